//! What changes, as server-sent events: each once, from where a client heard last.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use caps_adapters::web::Problem;
use caps_adapters::web::axum::body::{Body, Bytes};
use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::{HeaderMap, HeaderValue, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::json::{Value as Json, json};
use caps_adapters::web::sse::Event;
use caps_model::messages::{From, ObjectChange, Subscribe, Update};
use caps_model::{Name, Object, Position};
use futures_util::stream;
use tokio::time::{MissedTickBehavior, interval};

use super::super::catalogue::Catalogue;
use super::super::refusal::Trouble;
use super::super::site::Site;
use super::answer::object;
use super::caller::{Caller, Refused};
use super::objects::{asked, kind};
use crate::Subscription;

pub(super) async fn events(
    State(site): State<Arc<Site>>,
    Path(entity): Path<String>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Refused> {
    caller.knows(&["q", "columns", "from"])?;
    let catalogue = site.catalogue().await.map_err(|trouble| caller.format.trouble(trouble))?;
    let (query, columns) = asked(kind(&catalogue, &entity, &caller)?, &caller)?;
    let heard = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or_else(|| caller.query.get("from"));
    let from = heard.map_or(Some(From::Present), place);
    let from = from.ok_or_else(|| {
        caller.format.refuse(Problem::of(400).field("from").detail("give the id of an event that was heard, or a position"))
    })?;
    let subscribe = Subscribe::new(query, from).attributes(columns.clone().unwrap_or_default());
    subscribe.check().map_err(|elusive| caller.format.refuse(Problem::of(400).field("q").detail(elusive.to_string())))?;
    let full = || caller.format.refuse(Problem::of(429).detail("too many streams are open").retry_after(Duration::from_secs(5)));
    let places = (caller.visitor.streams.clone().try_acquire_owned(), site.streams.clone().try_acquire_owned());
    let (Ok(mine), Ok(ours)) = places else { return Err(full()) };
    let telling = Telling {
        subscription: caller.visitor.client.follow(subscribe),
        catalogue,
        columns,
        beat: interval(BEAT_EVERY),
        stopping: site.stopping.clone(),
        over: false,
        _places: (mine, ours),
    };
    let frames =
        stream::unfold(telling, |mut telling| async move { telling.next().await.map(|frame| (Ok::<_, Infallible>(frame), telling)) });
    let mut response = Response::new(Body::from_stream(frames));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

struct Telling {
    subscription: Subscription,
    catalogue: Arc<Catalogue>,
    columns: Option<Vec<Name>>,
    beat: tokio::time::Interval,
    stopping: crate::Stopping,
    over: bool,
    _places: (tokio::sync::OwnedSemaphorePermit, tokio::sync::OwnedSemaphorePermit),
}

impl Telling {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        self.beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let told = tokio::select! {
            // The end first, then what there is to tell; a beat matters only when there is nothing else.
            biased;
            () = self.stopping.stopped() => return None,
            told = self.subscription.next() => told,
            // What the subscription was about to do is begun again: it loses nothing.
            _ = self.beat.tick() => return Some(Bytes::from_static(b": beat\n\n")),
        };
        Some(Bytes::from(match told {
            Ok(update) => self.frame(&update),
            Err(error) => {
                self.over = true;
                Event { id: None, kind: Some("problem"), data: &Trouble::from(error).problem().json() }.frame()
            }
        }))
    }

    fn frame(&self, update: &Update) -> String {
        let (kind, data) = self.told(update);
        let id = match update.resume_from() {
            From::Present => None,
            From::After(position) => Some(position.to_string()),
            From::AfterMoment { position, moment } => Some(format!("{position}/{moment}")),
        };
        Event { id: id.as_deref(), kind: Some(kind), data: &data.to_string() }.frame()
    }

    fn told(&self, update: &Update) -> (&'static str, Json) {
        let shown = |found: &Object| object(&self.catalogue, found, self.columns.as_deref());
        match update {
            Update::Present { position, objects, complete, .. } => {
                let objects: Json = objects.iter().map(shown).collect();
                ("present", json!({ "position": position.0, "complete": complete, "objects": objects }))
            }
            Update::Changes { position, changes, .. } => {
                let change = |change: &ObjectChange| match change {
                    ObjectChange::Added(added) => json!({ "change": "added", "object": shown(added) }),
                    ObjectChange::Changed(changed) => json!({ "change": "changed", "object": shown(changed) }),
                    ObjectChange::Removed(id) => json!({ "change": "removed", "id": id.to_string() }),
                };
                ("changes", json!({ "position": position.0, "changes": changes.iter().map(change).collect::<Json>() }))
            }
            Update::Progress { position, .. } => ("progress", json!({ "position": position.0 })),
        }
    }
}

fn place(text: &str) -> Option<From> {
    match text.split_once('/') {
        None => text.parse().ok().map(|position| From::After(Position(position))),
        Some((position, moment)) => Some(From::AfterMoment { position: Position(position.parse().ok()?), moment: moment.parse().ok()? }),
    }
}

/// A sign of life; longer than a connection takes on the worst line, since it begins anew.
const BEAT_EVERY: Duration = Duration::from_secs(15);
