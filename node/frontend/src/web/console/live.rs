//! What a page is told while it is open: rows and regions, made here, put in place by the script.
//!
//! A stream starts where the page was made, or where the browser heard last, and misses nothing. It says twice a beat's time whether it hears from a
//! host: a page that hears nothing at all knows that the line, or this server, is gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use caps_adapters::web::axum::body::{Body, Bytes};
use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_adapters::web::sse::Event;
use caps_model::messages::{From, ObjectChange, Subscribe, Update};
use caps_model::{Object, Position, Query};
use futures_util::stream::{self, SelectAll, Stream, StreamExt};
use maud::{Markup, html};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::catalogue::Catalogue;
use super::super::input::object_id;
use super::super::refusal::Trouble;
use super::super::shown::Show;
use super::super::site::Site;
use super::super::titles::Titles;
use super::super::visitor::Visitor;
use super::desk::conversation::{deeds, facts, head, message_row, messages_of};
use super::desk::queue::View;
use super::listing::Listing;
use super::object::Portrait;
use super::overlay::Picture;
use super::request::Asked;
use crate::subscription::Liveness;
use crate::{ClientError, Subscription, Window};

/// The rows of a list of any entity.
pub(super) async fn list(State(site): State<Arc<Site>>, Path(entity): Path<String>, headers: HeaderMap, asked: Asked) -> Response {
    let Ok(catalogue) = site.catalogue().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Some(kind) = catalogue.kind(&entity) else { return StatusCode::NOT_FOUND.into_response() };
    let listing = Listing::of(kind, &asked.query);
    if listing.complaint.is_some() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let from = start(&headers, &asked, &listing.query);
    rows(site, catalogue, asked.visitor, listing, from)
}

/// The rows of the queue.
pub(super) async fn queue(State(site): State<Arc<Site>>, headers: HeaderMap, asked: Asked) -> Response {
    let (Ok(catalogue), Ok(profile)) = (site.catalogue().await, asked.visitor.profile().await) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let listing = View::of(&asked.query).listing(profile.agent, &asked.query);
    let from = start(&headers, &asked, &listing.query);
    rows(site, catalogue, asked.visitor, listing, from)
}

fn rows(site: Arc<Site>, catalogue: Arc<Catalogue>, visitor: Arc<Visitor>, listing: Listing, from: From) -> Response {
    open(site.clone(), visitor.clone(), async move |feed| {
        let subscription = visitor.client.follow(Subscribe::new(listing.query.clone(), from).window());
        let mut heard = Heard::new([subscription]);
        let (mut window, mut titles) = (Window::new(), Titles::default());
        loop {
            let (_, update) = heard.next(&feed).await?;
            let is_shown = |name: &str| listing.columns.iter().any(|column| column == name);
            learn(&mut titles, &visitor, &catalogue, &update, is_shown).await;
            let show = Show { titles: &titles, now: site.now_micros() };
            let kind = catalogue.kind(listing.query.entity.as_str());
            let row = |object: &Object| listing.row(kind, show, object);
            tell(&feed, &mut window, &update, row, |object| catalogue.title(object)).await?;
        }
    })
}

/// What an object holds, and what happened to it.
pub(super) async fn object(State(site): State<Arc<Site>>, Path(id): Path<String>, headers: HeaderMap, asked: Asked) -> Response {
    let (Some(id), Ok(catalogue)) = (object_id(&id), site.catalogue().await) else { return StatusCode::NOT_FOUND.into_response() };
    let visitor = asked.visitor.clone();
    let Ok(Some(portrait)) = Portrait::ask(&visitor.client, &catalogue, id, None).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let query = Query::all(portrait.object.entity);
    let from = start(&headers, &asked, &query);
    open(site.clone(), visitor.clone(), async move |feed| {
        let mut heard = Heard::new([visitor.client.follow(Subscribe::new(query, from).objects([id]))]);
        loop {
            let (_, update) = heard.next(&feed).await?;
            if !matters(&update) {
                feed.place(&update).await?;
                continue;
            }
            let Ok(Some(portrait)) = Portrait::ask(&visitor.client, &catalogue, id, None).await else { continue };
            let now = site.now_micros();
            feed.region("attributes", portrait.attributes(&catalogue, now)).await?;
            feed.region("timeline", portrait.history(&catalogue, now)).await?;
            feed.place(&update).await?;
        }
    })
}

/// A case and its messages.
pub(super) async fn conversation(State(site): State<Arc<Site>>, Path(id): Path<String>, headers: HeaderMap, asked: Asked) -> Response {
    let (Some(id), Ok(catalogue)) = (object_id(&id), site.catalogue().await) else { return StatusCode::NOT_FOUND.into_response() };
    let visitor = asked.visitor.clone();
    let messages = messages_of(id);
    let case = Query::all(caps_model::Name::fixed("case"));
    let from = start(&headers, &asked, &messages);
    open(site.clone(), visitor.clone(), async move |feed| {
        let of_messages = visitor.client.follow(Subscribe::new(messages, from).window());
        let of_case = visitor.client.follow(Subscribe::new(case, from).objects([id]));
        let mut heard = Heard::new([of_messages, of_case]);
        let (mut window, mut titles) = (Window::new(), Titles::default());
        loop {
            let (which, update) = heard.next(&feed).await?;
            if which == 0 {
                learn(&mut titles, &visitor, &catalogue, &update, |_| false).await;
                let show = Show { titles: &titles, now: site.now_micros() };
                let name = |message: &Object| message.text("from").unwrap_or_default().to_owned();
                tell(&feed, &mut window, &update, |message| message_row(show, message), name).await?;
                continue;
            }
            if !matters(&update) {
                continue;
            }
            let Ok(Some(portrait)) = Portrait::ask(&visitor.client, &catalogue, id, None).await else { continue };
            let now = site.now_micros();
            let show = Show { titles: &portrait.titles, now };
            feed.region("head", head(show, &portrait.object, &catalogue.title(&portrait.object))).await?;
            feed.region("facts", facts(show, &portrait.object)).await?;
            feed.region("timeline", portrait.history(&catalogue, now)).await?;
            if let Ok(deeds) = deeds(&site, &visitor, &catalogue, &portrait.object).await {
                feed.region("deeds", deeds).await?;
            }
        }
    })
}

/// How the overlay is, every few seconds.
pub(super) async fn overlay(State(site): State<Arc<Site>>, asked: Asked) -> Response {
    open(site.clone(), asked.visitor, async move |feed| {
        loop {
            match Picture::take(&site).await {
                Ok(picture) => {
                    feed.state(true).await?;
                    feed.region("overview", picture.render(site.now_micros())).await?;
                }
                Err(_) => feed.state(false).await?,
            }
            tokio::time::sleep(PICTURE_EVERY).await;
        }
    })
}

/// Whether there is something new to see.
fn matters(update: &Update) -> bool {
    !matches!(update, Update::Progress { .. })
}

/// Where a stream starts: where the browser heard last, else where the page was made. What says something about now starts anew.
fn start(headers: &HeaderMap, asked: &Asked, query: &Query) -> From {
    let heard = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let Some(text) = heard.or_else(|| asked.query.filled("from")) else { return From::Present };
    let (position, moment) = text.split_once('/').map_or((text, None), |(position, moment)| (position, Some(moment)));
    match (position.parse().map(Position), moment.map(str::parse)) {
        (Ok(position), None) if !query.filter.is_relative_to_now() => From::After(position),
        (Ok(position), Some(Ok(moment))) => From::AfterMoment { position, moment },
        _ => From::Present,
    }
}

async fn learn(titles: &mut Titles, visitor: &Visitor, catalogue: &Catalogue, update: &Update, is_shown: impl Fn(&str) -> bool) {
    let objects: Vec<&Object> = match update {
        Update::Present { objects, .. } => objects.iter().collect(),
        Update::Changes { changes, .. } => changes.iter().filter_map(ObjectChange::object).collect(),
        Update::Progress { .. } => return,
    };
    // Without them rows show ids, which is better than no rows.
    titles.learn(&visitor.client, catalogue, objects, is_shown).await.ok();
}

/// Tells a page what to do to its rows.
async fn tell(
    feed: &Feed,
    window: &mut Window,
    update: &Update,
    row: impl Fn(&Object) -> Markup,
    name: impl Fn(&Object) -> String,
) -> Result<(), Gone> {
    let is_whole = window.take(update);
    match update {
        Update::Present { .. } if is_whole => {
            let rows = html! { @for object in window.objects() { (row(object)) } };
            feed.send(Some(update), "all", &json!({ "html": rows.into_string() })).await
        }
        Update::Present { .. } => Ok(()),
        Update::Changes { changes, places, .. } => {
            let gone: Vec<String> = changes.iter().map(|change| change.id().to_string()).collect();
            let put: Vec<Json> = changes
                .iter()
                .filter_map(|change| Some((change, change.object()?)))
                .zip(places)
                .map(|((change, object), place)| {
                    let is_new = matches!(change, ObjectChange::Added(_));
                    json!({ "key": object.id.to_string(), "place": place, "html": row(object).into_string(), "name": name(object), "new": is_new })
                })
                .collect();
            feed.send(Some(update), "rows", &json!({ "gone": gone, "put": put })).await
        }
        Update::Progress { .. } => feed.place(update).await,
    }
}

/// The other end of the stream is closed, or was told that there will be no more.
#[derive(Clone, Copy, Debug)]
struct Gone;

/// One page that listens.
#[derive(Clone, Debug)]
struct Feed {
    frames: mpsc::Sender<Bytes>,
}

impl Feed {
    async fn send(&self, update: Option<&Update>, kind: &str, data: &Json) -> Result<(), Gone> {
        let id = update.and_then(|update| match update.resume_from() {
            From::Present => None,
            From::After(position) => Some(position.to_string()),
            From::AfterMoment { position, moment } => Some(format!("{position}/{moment}")),
        });
        let frame = Event { id: id.as_deref(), kind: Some(kind), data: &data.to_string() }.frame();
        self.frames.send(Bytes::from(frame)).await.map_err(|_| Gone)
    }

    async fn region(&self, id: &str, html: Markup) -> Result<(), Gone> {
        self.send(None, "region", &json!({ "id": id, "html": html.into_string() })).await
    }

    async fn state(&self, is_live: bool) -> Result<(), Gone> {
        self.send(None, "state", &json!(if is_live { "live" } else { "lost" })).await
    }

    /// Only how far it is.
    async fn place(&self, update: &Update) -> Result<(), Gone> {
        self.send(Some(update), "place", &Json::Null).await
    }
}

type Told = Pin<Box<dyn Stream<Item = (usize, Result<Update, ClientError>)> + Send>>;

/// What some subscriptions tell, and whether they are heard.
struct Heard {
    updates: SelectAll<Told>,
    alive: Vec<Liveness>,
    beat: tokio::time::Interval,
    said: Option<(bool, Instant)>,
    begun: Instant,
}

impl Heard {
    fn new(subscriptions: impl IntoIterator<Item = Subscription>) -> Self {
        let (mut updates, mut alive): (Vec<Told>, Vec<Liveness>) = (Vec::new(), Vec::new());
        for (which, subscription) in subscriptions.into_iter().enumerate() {
            alive.push(subscription.liveness());
            updates.push(Box::pin(stream::unfold(subscription, move |mut subscription| async move {
                let update = subscription.next().await;
                Some(((which, update), subscription))
            })));
        }
        let mut beat = interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { updates: stream::select_all(updates), alive, beat, said: None, begun: Instant::now() }
    }

    /// The next update, and which subscription told it; says meanwhile how the line is.
    async fn next(&mut self, feed: &Feed) -> Result<(usize, Update), Gone> {
        loop {
            let told = tokio::select! {
                // What there is to tell first; when there is always something, a page needs no other sign of life.
                biased;
                told = self.updates.next() => told.ok_or(Gone)?,
                _ = self.beat.tick() => {
                    self.say(feed).await?;
                    continue;
                }
            };
            match told {
                (which, Ok(update)) => return Ok((which, update)),
                (_, Err(error)) => {
                    let reason = match Trouble::from(error) {
                        Trouble::SignedOut => "signed-out",
                        other => {
                            tracing::debug!(reason = other.sentence(), "a live page is not told any more");
                            "over"
                        }
                    };
                    feed.send(None, "end", &json!(reason)).await?;
                    return Err(Gone);
                }
            }
        }
    }

    async fn say(&mut self, feed: &Feed) -> Result<(), Gone> {
        let is_live = self.alive.iter().all(Liveness::is_live);
        // A stream that is only just being opened is not lost yet.
        if !is_live && self.said.is_none() && self.begun.elapsed() < OPENED_WITHIN {
            return Ok(());
        }
        let is_news = self.said.is_none_or(|(known, since)| known != is_live || since.elapsed() >= BEAT_EVERY);
        if is_news {
            feed.state(is_live).await?;
            self.said = Some((is_live, Instant::now()));
        }
        Ok(())
    }
}

/// An answer that goes on as long as `run` does and somebody listens.
fn open<F>(site: Arc<Site>, visitor: Arc<Visitor>, run: impl FnOnce(Feed) -> F) -> Response
where
    F: Future<Output = Result<Infallible, Gone>> + Send + 'static,
{
    let (Ok(mine), Ok(ours)) = (visitor.streams.clone().try_acquire_owned(), site.streams.clone().try_acquire_owned()) else {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    };
    let (frames, receiver) = mpsc::channel(FRAMES_WAITING);
    let run = Box::pin(run(Feed { frames: frames.clone() }));
    let mut stopping = site.stopping.clone();
    site.client.overlay().environment().tasks.spawn(async move {
        let _places = (mine, ours);
        tokio::select! {
            // The end first: a busy stream must not keep it waiting.
            biased;
            () = stopping.stopped() => {}
            () = frames.closed() => {}
            _ = run => {}
        }
    });
    let frames =
        stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|frame| (Ok::<_, Infallible>(frame), receiver)) });
    let mut response = Response::new(Body::from_stream(frames));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that gather what they pass on would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// How long a stream may take to be opened on a bad line.
const OPENED_WITHIN: Duration = Duration::from_secs(3);

/// How often it is looked whether a host is heard.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often a page hears something, whatever happens. The script gives up after three times that.
const BEAT_EVERY: Duration = Duration::from_secs(5);

const PICTURE_EVERY: Duration = Duration::from_secs(3);

/// Events that wait for a slow browser; then the subscription waits, and tells the newest state later.
const FRAMES_WAITING: usize = 16;
