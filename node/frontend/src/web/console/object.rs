//! One object: what it holds, what can be done with it, what happened to it.

use std::sync::Arc;

use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_adapters::web::form;
use caps_model::messages::{Event, History};
use caps_model::{Name, Object, ObjectId, Position, ValueKind};
use maud::{Markup, html};

use super::super::blob;
use super::super::catalogue::{Catalogue, is_of_rights};
use super::super::input::object_id;
use super::super::refusal::Trouble;
use super::super::shown::{Show, label};
use super::super::site::Site;
use super::super::titles::Titles;
use super::super::visitor::Profile;
use super::page::{Failed, Page};
use super::request::Asked;
use super::timeline::{mentioned, timeline};
use crate::{Client, ClientError};

/// A large value, as a file that a browser saves.
pub(super) async fn file(Path((id, attribute, number)): Path<(String, String, u32)>, asked: Asked) -> Result<Response, Failed> {
    let nothing = || Trouble::NotFound("There is no such file, or none that you may read.".to_owned());
    let client = &asked.visitor.client;
    let got = client.get(vec![object_id(&id).ok_or_else(nothing)?]).await?;
    let object = got.objects.into_iter().next().flatten().ok_or_else(nothing)?;
    Ok(blob::file(client, &object, &attribute, number).ok_or_else(nothing)?)
}

/// An object with everything that its page shows.
#[derive(Debug)]
pub(super) struct Portrait {
    pub(super) object: Object,
    pub(super) events: Vec<Event>,
    pub(super) titles: Titles,
    more: bool,
}

impl Portrait {
    /// Asks for an object, what happened to it before a position, and what others call what it refers to.
    pub(super) async fn ask(
        client: &Client,
        catalogue: &Catalogue,
        id: ObjectId,
        before: Option<Position>,
    ) -> Result<Option<Self>, ClientError> {
        let (got, history) =
            tokio::try_join!(client.get(vec![id]), client.history(History { object: id, before, limit: EVENTS_SHOWN + 1 }))?;
        let mut events = history.events;
        let more = events.len() > EVENTS_SHOWN as usize;
        // Deleted objects are found in their past only.
        let latest = before.is_none().then(|| events.first().map(|event| event.object.clone())).flatten();
        let Some(object) = got.objects.into_iter().next().flatten().or(latest) else { return Ok(None) };
        events.truncate(EVENTS_SHOWN as usize + 1);
        let mut titles = Titles::default();
        titles.fetch(client, catalogue, mentioned(&events)).await?;
        titles.learn(client, catalogue, [&object], |_| true).await?;
        Ok(Some(Self { object, events, titles, more }))
    }

    /// What it holds.
    pub(super) fn attributes(&self, catalogue: &Catalogue, now: i64) -> Markup {
        let show = Show { titles: &self.titles, now };
        let object = &self.object;
        let kind = catalogue.kind(object.entity.as_str());
        let declared = kind.iter().flat_map(|kind| kind.entity.attributes.iter()).filter(|attribute| !is_of_rights(&attribute.name));
        html! {
            dl.attributes #attributes {
                @if object.deleted { div { dt { "State" } dd { strong.late { "Deleted" } } } }
                @for attribute in declared {
                    @let values = object.values(attribute.name.as_str());
                    @if !values.is_empty() || object.is_obliterated(&attribute.name) {
                        div {
                            dt title=(attribute.summary) { (label(attribute.name.as_str())) }
                            dd {
                                @if values.is_empty() { em { "obliterated" } } @else { (show.whole(Some(attribute), &attribute.name, values)) }
                                @if attribute.kind == ValueKind::Blob { (files(object, &attribute.name, values.len())) }
                            }
                        }
                    }
                }
                @for name in ["readers", "writers"] {
                    @if !object.values(name).is_empty() {
                        div.rights { dt { (label(name)) } dd { (show.whole(None, &Name::fixed(name), object.values(name))) } }
                    }
                }
                div.rights { dt { "Version" } dd { (object.version) " (since " (object.created) ")" } }
            }
        }
    }

    /// What happened to it.
    pub(super) fn history(&self, catalogue: &Catalogue, now: i64) -> Markup {
        let show = Show { titles: &self.titles, now };
        let shown = &self.events[..self.events.len().min(EVENTS_SHOWN as usize)];
        let earlier = self.more.then(|| shown.last()).flatten().map(|last| format!("/o/{}?before={}", self.object.id, last.object.version));
        timeline(catalogue, show, shown, earlier.as_deref())
    }
}

/// The ways to the files that an attribute holds.
fn files(object: &Object, attribute: &Name, count: usize) -> Markup {
    html! { @for place in 0..count { " " a href={ "/o/" (object.id) "/file/" (attribute) "/" (place) } { "Save" @if count > 1 { " " (place + 1) } } } }
}

pub(super) async fn page(State(site): State<Arc<Site>>, Path(id): Path<String>, asked: Asked) -> Result<Response, Failed> {
    let nothing = || Trouble::NotFound("There is no such object, or none that you may read.".to_owned());
    let id = object_id(&id).ok_or_else(nothing)?;
    let (catalogue, profile) = (site.catalogue().await?, asked.visitor.profile().await?);
    let before = asked.query.filled("before").and_then(|before| before.parse().ok()).map(Position);
    let portrait = Portrait::ask(&asked.visitor.client, &catalogue, id, before).await?.ok_or_else(nothing)?;
    let now = site.now_micros();
    let object = &portrait.object;
    let title = catalogue.title(object);
    let body = html! {
        p.crumbs { a href={ "/e/" (object.entity) } { (label(object.entity.as_str())) } }
        h1 dir="auto" { (title) }
        p.id { (id) }
        @if object.entity == *"case" && catalogue.has_module("casedesk") { p { a.button href={ "/desk/cases/" (id) } { "Open the conversation" } } }
        div.split {
            section { h2 { "Attributes" } (portrait.attributes(&catalogue, now)) (actions(&catalogue, &profile, object)) }
            section { h2 { "Timeline" } (portrait.history(&catalogue, now)) }
        }
    };
    let mut page = Page::new(&site, title).of(&asked.visitor, &profile, &catalogue, "data");
    if before.is_none() && !object.deleted {
        page = page.live(format!("/live/object/{id}?{}", form::query([("from", asked.visitor.client.position().to_string().as_str())])));
    }
    Ok(page.with(body).into_response())
}

/// What this user may do with the object.
fn actions(catalogue: &Catalogue, profile: &Profile, object: &Object) -> Markup {
    let mine = catalogue.methods_on(object).filter(|(_, method, _)| profile.may_call(&method.callers) && !object.deleted);
    html! {
        ul.actions {
            @for (module, method, parameter) in mine {
                li { a.button title=(method.summary) href={ "/m/" (module) "/" (method.name) "?" (parameter.name) "=" (object.id) "&next=/o/" (object.id) } {
                    (label(method.name.as_str()))
                } }
            }
        }
    }
}

/// Events of one page.
const EVENTS_SHOWN: u32 = 30;
