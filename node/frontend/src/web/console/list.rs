//! The objects of any entity: filter, order, columns, pages, live.

use std::sync::Arc;

use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::StatusCode;
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_adapters::web::form;
use caps_model::messages::Objects;
use maud::{Markup, html};

use super::super::catalogue::Kind;
use super::super::refusal::Trouble;
use super::super::shown::{Show, label};
use super::super::site::Site;
use super::super::titles::Titles;
use super::listing::Listing;
use super::page::{Failed, Page};
use super::request::Asked;

pub(super) async fn page(State(site): State<Arc<Site>>, Path(entity): Path<String>, asked: Asked) -> Result<Response, Failed> {
    let catalogue = site.catalogue().await?;
    let kind = catalogue.kind(&entity).ok_or_else(|| Trouble::NotFound(format!("No module declares {entity:?}.")))?;
    let profile = asked.visitor.profile().await?;
    let client = &asked.visitor.client;
    let mut listing = Listing::of(kind, &asked.query);
    let mut status = StatusCode::OK;
    let answer = match listing.complaint.is_none() {
        false => None,
        true => match client.query(listing.query.clone()).await.map_err(Trouble::from) {
            Ok(answer) => Some(answer),
            // What the host does not like about the filter is shown where it was typed.
            Err(Trouble::Refused(refusal)) => {
                listing.complaint = Some(refusal.sentence);
                None
            }
            Err(other) => return Err(other.into()),
        },
    };
    if listing.complaint.is_some() {
        status = StatusCode::UNPROCESSABLE_ENTITY;
    }
    let mut titles = Titles::default();
    if let Some(answer) = &answer {
        let is_column = |name: &str| listing.columns.iter().any(|column| column == name);
        titles.learn(client, &catalogue, &answer.objects, is_column).await?;
    }
    let show = Show { titles: &titles, now: site.now_micros() };
    let path = format!("/e/{entity}");
    let body = html! {
        h1 { (label(&entity)) }
        p.lead { (kind.entity.summary) }
        (search(kind, &listing, &path))
        @if let Some(answer) = &answer {
            (listing.table(&catalogue, show, &answer.objects, &path))
            (pages(&listing, answer, &path, asked.query.filled("after").is_some()))
        }
    };
    let mut page = Page::new(&site, label(&entity)).of(&asked.visitor, &profile, &catalogue, "data");
    if let Some(answer) = &answer {
        let from = form::query([("from", answer.position.to_string().as_str())]);
        page = page.live(format!("/live/list/{entity}?{}&{from}", listing.address(None, listing.query.after.as_ref())));
    }
    Ok((status, page.with(body)).into_response())
}

/// The box for a filter in the query language, and what is wrong with what is in it.
fn search(kind: &Kind, listing: &Listing, path: &str) -> Markup {
    let columns = listing.columns.iter().map(caps_model::Name::as_str).collect::<Vec<_>>().join(",");
    html! {
        form.search method="get" action=(path) role="search" {
            label.hidden for="q" { "Filter" }
            input #q name="q" type="search" value=(listing.typed) placeholder=(example(kind)) spellcheck="false" autocapitalize="none"
                aria-invalid=[listing.complaint.as_ref().map(|_| "true")] aria-describedby="q-complaint" data-focus="/";
            button { "Filter" }
            details {
                summary { "Columns and order" }
                label for="columns" { "Columns" }
                input #columns name="columns" value=(columns) spellcheck="false" autocapitalize="none";
                label for="order" { "Order" }
                input #order name="order" value=(listing.order()) placeholder="due_at, number desc" spellcheck="false" autocapitalize="none";
                p.hint { "There are " (kind.entity.attributes.iter().map(|attribute| attribute.name.as_str()).collect::<Vec<_>>().join(", ")) "." }
            }
            p.complaint #q-complaint role="alert" { @if let Some(complaint) = &listing.complaint { (complaint) } }
        }
    }
}

fn example(kind: &Kind) -> &'static str {
    match kind.entity.name.as_str() {
        "case" => "status = open and priority >= 3",
        _ => "text 'leaking pump*'",
    }
}

fn pages(listing: &Listing, answer: &Objects, path: &str, is_later: bool) -> Markup {
    let next = answer.objects.last().filter(|_| answer.more).map(|last| listing.query.cursor(last));
    html! {
        nav.pages aria-label="Pages" {
            @if is_later { a.button href={ (path) "?" (listing.address(None, None)) } { "First page" } }
            @if let Some(next) = &next { a.button rel="next" href={ (path) "?" (listing.address(None, Some(next))) } { "Next page" } }
            span.grow {}
            span.hint { (answer.objects.len()) " shown · position " (answer.position) }
        }
    }
}
