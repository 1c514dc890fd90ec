//! The queue: the cases whose turn it is, the most pressing first, live.

use std::sync::Arc;

use caps_adapters::web::axum::extract::State;
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_adapters::web::form::{self, Form};
use caps_model::{Filter, Name, ObjectId, Query, Value};
use maud::html;

use super::super::super::cursor;
use super::super::super::refusal::Trouble;
use super::super::super::shown::Show;
use super::super::super::site::Site;
use super::super::super::titles::Titles;
use super::super::listing::{Listing, PAGE_ROWS};
use super::super::page::{Failed, Page};
use super::super::request::Asked;

/// Which cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum View {
    /// Those that the desk has to do something about.
    Open,
    /// Those of the user.
    Mine,
    /// Those that wait for the customer.
    Pending,
    /// Those that are closed.
    Closed,
}

impl View {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Open, "open", "To do"),
        (Self::Mine, "mine", "Mine"),
        (Self::Pending, "pending", "Waiting"),
        (Self::Closed, "closed", "Closed"),
    ];

    pub(in super::super) fn of(asked: &Form) -> Self {
        let word = asked.get("view").unwrap_or_default();
        Self::ALL.into_iter().find(|(_, name, _)| *name == word).map_or(Self::Open, |(view, _, _)| view)
    }

    fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(view, _, _)| *view == self).map_or("open", |(_, name, _)| name)
    }

    /// The list of this view. Somebody who is no agent has no cases.
    pub(in super::super) fn listing(self, agent: Option<ObjectId>, asked: &Form) -> Listing {
        let of = |words: &[&str]| Filter::one_of(Name::fixed("status"), words.iter().map(|word| Value::text(*word)));
        let by = |name, descending| (Name::fixed(name), descending);
        let (filter, (attribute, descending)) = match self {
            Self::Open => (of(&["new", "open"]), by("due_at", false)),
            Self::Pending => (of(&["pending"]), by("due_at", false)),
            Self::Closed => (of(&["closed"]), by("closed_at", true)),
            Self::Mine => {
                let mine = Filter::equal(Name::fixed("agent"), Value::Reference(agent.unwrap_or(ObjectId(0))));
                (of(&["new", "open", "pending"]).and(mine), by("due_at", false))
            }
        };
        let mut query = Query::all(Name::fixed("case")).and(filter).by(attribute, descending).limit(PAGE_ROWS);
        query.after = asked.filled("after").and_then(cursor::read);
        Listing { query, columns: COLUMNS.map(Name::fixed).to_vec(), leads_to: "/desk/cases/", typed: String::new(), complaint: None }
    }
}

pub(in super::super) async fn page(State(site): State<Arc<Site>>, asked: Asked) -> Result<Response, Failed> {
    let (catalogue, profile) = (site.catalogue().await?, asked.visitor.profile().await?);
    if !catalogue.has_module("casedesk") {
        return Err(Trouble::NotFound("There is no case desk here.".to_owned()).into());
    }
    let view = View::of(&asked.query);
    let listing = view.listing(profile.agent, &asked.query);
    let client = &asked.visitor.client;
    let answer = client.query(listing.query.clone()).await?;
    let mut titles = Titles::default();
    titles.learn(client, &catalogue, &answer.objects, |name| COLUMNS.contains(&name)).await?;
    let show = Show { titles: &titles, now: site.now_micros() };
    let next = answer.objects.last().filter(|_| answer.more).map(|last| cursor::written(&listing.query.cursor(last)));
    let body = html! {
        h1 { "Queue" }
        nav.tabs aria-label="Which cases" {
            @for (other, word, text) in View::ALL {
                a href={ "/desk?view=" (word) } aria-current=[(other == view).then_some("page")] { (text) }
            }
        }
        @if view == View::Mine && profile.agent.is_none() { p.lead { "You are not an agent yet: somebody of the desk adds you, under Data." } }
        (listing.table(&catalogue, show, &answer.objects, "/e/case"))
        nav.pages aria-label="Pages" {
            @if asked.query.filled("after").is_some() { a.button href={ "/desk?view=" (view.word()) } { "First page" } }
            @if let Some(next) = &next { a.button rel="next" href={ "/desk?view=" (view.word()) "&after=" (next) } { "Next page" } }
        }
    };
    let (position, after) = (answer.position.to_string(), asked.query.get("after").unwrap_or_default());
    let live = format!("/live/desk?{}", form::query([("view", view.word()), ("from", &position), ("after", after)]));
    Ok(Page::new(&site, "Queue").of(&asked.visitor, &profile, &catalogue, "desk").live(live).with(body).into_response())
}

/// What the queue shows of a case.
pub(in super::super) const COLUMNS: [&str; 7] = ["number", "subject", "status", "priority", "due_at", "customer", "agent"];
