//! Subscriptions: what layer 1 tells, to those who may know of it.
//!
//! Layer 1 is asked for the query with the reader's rights conjoined, so an object that stops to be readable is retracted there like one that
//! stops to match. What layer 1 cannot know is that the *reader's* groups change. So nothing of a position is told before the reader's rights
//! are known to be, at that position or later, those that layer 1 was asked with. When they change, the subscription starts again with the new
//! ones and tells the difference: the change of rights is itself a commit, later than anything told, so positions still only grow.
//!
//! For the difference the host keeps the ids of what it told. It has them when the subscription started with the present; a window, or one that
//! resumed after a position, ends with [`RIGHTS_CHANGED`](codes::RIGHTS_CHANGED) instead, and the reader starts over.
//!
//! Of updates the host holds one at a time: while a listener is slow layer 1 is not listened to, and tells the newest state when it is again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use caps_model::messages::host::As;
use caps_model::messages::{From as StartAt, ObjectChange, Subscribe, Update};
use caps_model::{Object, ObjectId, Position};
use caps_overlay::Identity;
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{Failure, Retry};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Counts, Host, busy};
use crate::cabinet::{Ask, CabinetError, Updates};
use crate::principals::{Credential, SUBSCRIBED_FOR};
use crate::privileges::Principal;
use crate::service::codes;

/// Who is told.
pub trait Listener: Send {
    /// Tells one update; waits while the listener is slower.
    fn tell(&mut self, update: Update) -> BoxFuture<'_, Result<(), ListenerGone>>;
}

/// Nobody listens any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody listens any more")]
pub struct ListenerGone;

impl Host {
    /// Tells `listener` what the subscription sees, until the listener is gone (`Ok`), the session is over, or layer 1 cannot be reached for
    /// long.
    pub async fn subscribe(&self, message: As<Subscribe>, peer: &Identity, ask: Ask, listener: &mut dyn Listener) -> Result<(), Failure> {
        let _counted = Counted::new(&self.counts).ok_or_else(busy)?;
        let As { session, message: subscribe } = message;
        let subscribe = self.followed(subscribe)?;
        let from = subscribe.from;
        let credential = Credential::of(session.as_ref(), peer);
        let ask = ask.seeing(from.position().unwrap_or_default());
        let mut changes = self.principals.changes();
        let principal = self.principals.resolve(&credential, ask).await?;
        let mut feed = Feed::new(self, credential, principal, subscribe, ask, listener)?;
        feed.open(ask.seeing(feed.principal.position)).await?;
        loop {
            let expiry = feed.expires_in();
            let outcome = tokio::select! {
                // Lost rights come before what they would show; the end of the session before more of it.
                biased;
                () = tokio::time::sleep(expiry) => feed.check_rights(Position::ZERO).await,
                changed = changes.changed() => match changed {
                    Ok(()) => feed.check_rights(Position::ZERO).await,
                    Err(_) => return Ok(()),
                },
                update = feed.upstream.next() => match update {
                    Some(Ok(update)) => feed.pass_on(update).await,
                    Some(Err(problem)) => feed.resume(&problem.to_string()).await,
                    None => feed.resume("the cabinet ended the subscription").await,
                },
            };
            match outcome {
                Ok(()) => {}
                Err(Ended::ListenerGone) => return Ok(()),
                Err(Ended::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// What a front end may follow, whoever is behind it.
    fn followed(&self, subscribe: Subscribe) -> Result<Subscribe, Failure> {
        let invalid = |problem: String| Failure::new(codes::INVALID_QUERY, problem);
        subscribe.check().map_err(|elusive| invalid(elusive.to_string()))?;
        self.catalogue.bind_followed(subscribe).map_err(invalid)
    }
}

/// One subscription as it runs.
struct Feed<'a> {
    host: &'a Host,
    credential: Credential,
    principal: Arc<Principal>,
    /// Without the rights; it starts where the listener is told everything up to, and with the present before all of that has been told.
    subscribe: Subscribe,
    ask: Ask,
    listener: &'a mut dyn Listener,
    upstream: Box<dyn Updates>,
    /// Something has been told.
    begun: bool,
    /// Only a part of the present has been told.
    mid_present: bool,
    /// What the listener knows of; `None` if that is not known here.
    known: Option<BTreeSet<ObjectId>>,
}

enum Ended {
    ListenerGone,
    Failed(Failure),
}

impl<'a> Feed<'a> {
    fn new(
        host: &'a Host,
        credential: Credential,
        principal: Arc<Principal>,
        subscribe: Subscribe,
        ask: Ask,
        listener: &'a mut dyn Listener,
    ) -> Result<Self, Failure> {
        let known = match subscribe.from.position() {
            None if subscribe.window => None,
            None => Some(BTreeSet::new()),
            // What the reader saw then it saw with the rights of then.
            Some(position) if principal.since > position => return Err(rights_changed()),
            Some(_) => None,
        };
        let ask = Ask { deadline: Instant::now() + SUBSCRIBED_FOR, ..ask };
        let upstream = Box::new(Nothing);
        Ok(Self { host, credential, principal, subscribe, ask, listener, upstream, begun: false, mid_present: false, known })
    }

    /// Starts to listen to layer 1, from where the listener is, with growing pauses while nobody answers.
    async fn open(&mut self, ask: Ask) -> Result<(), Failure> {
        let from = match self.subscribe.from {
            StartAt::After(position) if bugs::has(Bug::SubscriptionGap) => StartAt::After(position.next()),
            told => told,
        };
        let mut pause = PAUSE_MIN;
        for _ in 0..ATTEMPTS_MAX {
            match self.listen(from, ask).await {
                Ok(upstream) => {
                    self.upstream = upstream;
                    return Ok(());
                }
                Err(CabinetError::Unavailable(_) | CabinetError::Unanswered(_)) => {}
                Err(problem) => return Err(problem.into()),
            }
            tokio::time::sleep(self.host.environment.rng.jitter(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(Failure::new(codes::CABINET_UNAVAILABLE, "the cabinet cannot be reached").retry(Retry::Elsewhere))
    }

    // `&mut`: a future that holds `&Feed` could not move between threads, because listeners need not be `Sync`.
    async fn listen(&mut self, from: StartAt, ask: Ask) -> Result<Box<dyn Updates>, CabinetError> {
        // Somebody in no group sees nothing, and hears when that changes.
        let Some(rights) = self.principal.sees() else { return Ok(Box::new(Nothing)) };
        let mut query = self.subscribe.query.clone();
        query.filter = query.filter.of_others(&rights).and(rights);
        let ask = Ask { deadline: Instant::now() + SUBSCRIBED_FOR, ..ask };
        self.host.cabinet.subscribe(Subscribe { query, from, ..self.subscribe.clone() }, ask).await
    }

    async fn resume(&mut self, problem: &str) -> Result<(), Ended> {
        tracing::debug!(problem, told = ?self.subscribe.from, "resuming a subscription");
        if self.mid_present {
            // Half of a present cannot be continued at another replica, whose present is another.
            let sentence = format!("the cabinet stopped in the middle of the present: {problem}");
            return Err(Ended::Failed(Failure::new(codes::CABINET_UNAVAILABLE, sentence).retry(Retry::Elsewhere)));
        }
        tokio::time::sleep(self.host.environment.rng.jitter(PAUSE_MIN)).await;
        self.open(self.ask.seeing(self.told().unwrap_or_default())).await.map_err(Ended::Failed)
    }

    /// Tells an update of layer 1, once the rights are known to be right for it.
    async fn pass_on(&mut self, update: Update) -> Result<(), Ended> {
        let position = update.position();
        if let Update::Progress { .. } = update {
            // Progress is a convenience: not worth a look at the rights.
            let confirmed = self.host.principals.recall(&self.credential, position);
            if !confirmed.is_some_and(|principal| principal.same_rights(&self.principal))
                || self.subscribe.from.place() >= update.resume_from().place()
            {
                return Ok(());
            }
            return self.tell(update).await;
        }
        if !self.begun && position < self.ask.at_least {
            // A present older than what the session has seen: this replica lags.
            return self.resume("the replica is behind the session").await;
        }
        if self.check_rights_changed(position).await? {
            return Ok(());
        }
        self.tell(update).await
    }

    /// Looks whether the rights are still the same; if not, the subscription goes on with the new ones.
    async fn check_rights(&mut self, at_least: Position) -> Result<(), Ended> {
        self.check_rights_changed(at_least).await.map(drop)
    }

    async fn check_rights_changed(&mut self, at_least: Position) -> Result<bool, Ended> {
        let ask = Ask { deadline: Instant::now() + RIGHTS_WITHIN, ..self.ask }.seeing(at_least);
        let principal = self.host.principals.resolve(&self.credential, ask).await.map_err(|error| Ended::Failed(error.into()))?;
        if principal.same_rights(&self.principal) {
            self.principal = principal;
            return Ok(false);
        }
        self.principal = principal;
        self.start_over().await?;
        Ok(true)
    }

    /// Starts again with the present as the new rights show it, and tells what is different from what was told.
    async fn start_over(&mut self) -> Result<(), Ended> {
        let ended = |failure| Err(Ended::Failed(failure));
        if !self.begun && self.told().is_none() {
            return self.open(self.ask.seeing(self.principal.position)).await.map_err(Ended::Failed);
        }
        let (Some(told), Some(known)) = (self.told(), self.known.take()) else { return ended(rights_changed()) };
        let ask = self.ask.seeing(self.principal.position.max(told));
        let mut upstream = match self.listen(StartAt::Present, ask).await {
            Ok(upstream) => upstream,
            Err(problem) => return ended(problem.into()),
        };
        let (position, moment, mut changes, now_known) = if self.principal.groups.is_empty() {
            let (_, moment) = self.subscribe.from.place().unwrap_or_default();
            (self.principal.position, moment, Vec::new(), BTreeSet::new())
        } else {
            self.difference(upstream.as_mut(), told, &known).await?
        };
        changes.extend(known.difference(&now_known).map(|id| ObjectChange::Removed(*id)));
        if position <= told || changes.len() > DIFFERENCE_MAX {
            return ended(rights_changed());
        }
        (self.upstream, self.known) = (upstream, Some(now_known));
        let update = match changes.is_empty() {
            true => Update::Progress { position, moment },
            false => Update::Changes { position, moment, changes, places: Vec::new(), coalesced_from: None },
        };
        self.subscribe.from = update.resume_from();
        self.listener.tell(update).await.map_err(|ListenerGone| Ended::ListenerGone)
    }

    /// Reads the whole present: its place, what the listener does not have, and all its ids.
    async fn difference(
        &mut self,
        upstream: &mut dyn Updates,
        told: Position,
        known: &BTreeSet<ObjectId>,
    ) -> Result<(Position, Option<i64>, Vec<ObjectChange>, BTreeSet<ObjectId>), Ended> {
        let (mut changes, mut now_known) = (Vec::new(), BTreeSet::new());
        loop {
            let part = match upstream.next().await {
                Some(Ok(Update::Present { position, moment, objects, complete })) => (position, moment, objects, complete),
                Some(Err(problem)) => return Err(Ended::Failed(problem.into())),
                _ => return Err(Ended::Failed(rights_changed())),
            };
            let (position, moment, objects, complete) = part;
            for object in objects {
                now_known.insert(object.id);
                let (id, version) = (object.id, object.version);
                let Some(object) = self.readable(object) else { continue };
                match known.contains(&id) {
                    false => changes.push(ObjectChange::Added(object)),
                    true if version > told => changes.push(ObjectChange::Changed(object)),
                    true => {}
                }
            }
            if now_known.len() > KNOWN_MAX || changes.len() > DIFFERENCE_MAX {
                return Err(Ended::Failed(rights_changed()));
            }
            if complete {
                return Ok((position, moment, changes, now_known));
            }
        }
    }

    async fn tell(&mut self, update: Update) -> Result<(), Ended> {
        let update = self.shown(update);
        self.note(&update);
        self.begun = true;
        self.mid_present = update.resume().is_none();
        self.subscribe.from = update.resume_from();
        self.listener.tell(update).await.map_err(|ListenerGone| Ended::ListenerGone)
    }

    fn shown(&self, update: Update) -> Update {
        let show = |object| self.host.catalogue.shown(object);
        match update {
            Update::Present { position, moment, objects, complete } => {
                Update::Present { position, moment, objects: objects.into_iter().map(show).collect(), complete }
            }
            Update::Changes { position, moment, changes, places, coalesced_from } => {
                let changes = changes.into_iter().map(|change| change.shown(show)).collect();
                Update::Changes { position, moment, changes, places, coalesced_from }
            }
            progress @ Update::Progress { .. } => progress,
        }
    }

    /// Keeps in mind what the listener knows of.
    fn note(&mut self, update: &Update) {
        if matches!(update, Update::Present { .. }) && !self.mid_present && !self.subscribe.window {
            // A new start: whatever was known before.
            self.known = Some(BTreeSet::new());
        }
        let Some(known) = &mut self.known else { return };
        match update {
            Update::Present { objects, .. } => known.extend(objects.iter().map(|object| object.id)),
            Update::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        ObjectChange::Added(object) | ObjectChange::Changed(object) => known.insert(object.id),
                        ObjectChange::Removed(id) => known.remove(id),
                    };
                }
            }
            Update::Progress { .. } => {}
        }
        if known.len() > KNOWN_MAX {
            self.known = None;
        }
    }

    /// Everything up to here has been told; `None` before all of the present has been.
    fn told(&self) -> Option<Position> {
        self.subscribe.from.position()
    }

    /// The object as the listener may see it. That it may be read is checked, not believed, unless what says so was not asked for.
    fn readable(&self, object: Object) -> Option<Object> {
        match self.subscribe.attributes.is_empty() {
            true => self.host.shown_to(&self.principal, object),
            false => Some(self.host.catalogue.shown(object)),
        }
    }

    fn expires_in(&self) -> Duration {
        let Some(expires) = self.principal.expires else { return SUBSCRIBED_FOR };
        let left = expires.saturating_sub(self.host.environment.wall_clock.now_micros());
        // Never busy: a wall clock that stands still behind the expiry must not make this loop spin.
        Duration::from_micros(u64::try_from(left).unwrap_or(0)).clamp(PAUSE_MIN, SUBSCRIBED_FOR)
    }
}

/// A subscription that tells nothing.
struct Nothing;

impl Updates for Nothing {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Update, CabinetError>>> {
        Box::pin(std::future::pending())
    }
}

/// Counts a subscription while it lives.
struct Counted<'a>(&'a Counts);

impl<'a> Counted<'a> {
    fn new(counts: &'a Counts) -> Option<Self> {
        let counted = Self(counts);
        (counts.subscriptions.fetch_add(1, Ordering::Relaxed) < SUBSCRIPTIONS_MAX).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

fn rights_changed() -> Failure {
    Failure::new(codes::RIGHTS_CHANGED, "what you may see has changed: subscribe again from the present")
}

/// Subscriptions of one host.
const SUBSCRIPTIONS_MAX: u32 = 10_000;

/// Ids remembered for one subscription, 16 bytes each and the tree around them. With more, a change of rights ends it.
const KNOWN_MAX: usize = 100_000;

/// Changes told at once when rights change: they must fit a frame. With more, the subscription ends.
const DIFFERENCE_MAX: usize = 1_000;

/// Attempts to start, and the pauses between them: about ten seconds in all, longer than any election.
const ATTEMPTS_MAX: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a look at the rights may take before the subscription ends rather than guess.
const RIGHTS_WITHIN: Duration = Duration::from_secs(10);
