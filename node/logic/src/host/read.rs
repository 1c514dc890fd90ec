//! What front ends read: the rights conjoined, the secrets stripped.

use caps_model::messages::host::As;
use caps_model::messages::{AskOutcome, Get, Got, HISTORY_MAX, History, Latest, Objects, Outcome, Timeline};
use caps_model::query::LIMIT_MAX;
use caps_model::{Filter, Object, ObjectId, Position, Query};
use caps_overlay::Failure;
use caps_overlay::Identity;

use super::call::without_owner;
use super::{Host, busy};
use crate::cabinet::Ask;
use crate::privileges::Principal;
use crate::service::codes;

impl Host {
    /// The objects that match and that the principal may read.
    pub async fn query(&self, message: As<Query>, peer: &Identity, ask: Ask) -> Result<Objects, Failure> {
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        let As { session, message: query } = message;
        self.admitted(&query)?;
        let principal = self.principal(session.as_ref(), peer, ask).await?;
        let Some(rights) = principal.sees() else {
            return Ok(Objects { position: principal.position, objects: Vec::new(), more: false });
        };
        let found = self.cabinet.query(self.bound(query, &rights)?, ask).await?;
        // Layer 1 was asked for the readable; that it answered with nothing else is checked, not believed.
        let readable = found.objects.into_iter().filter(|object| principal.may_read(object));
        Ok(Objects { objects: readable.map(|object| self.catalogue.shown(object)).collect(), ..found })
    }

    /// How far everything is that was acknowledged before this was asked: a read at least there is linearizable.
    pub async fn latest(&self, ask: Ask) -> Result<Latest, Failure> {
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        Ok(self.cabinet.latest(ask).await?)
    }

    /// Objects by id; `None` for those that do not exist and for those that the principal may not read.
    pub async fn get(&self, message: As<Get>, peer: &Identity, ask: Ask) -> Result<Got, Failure> {
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        let As { session, message: get } = message;
        if get.objects.len() > caps_model::messages::GET_MAX {
            return Err(super::malformed(format!("{} objects at once are too many", get.objects.len())));
        }
        let principal = self.principal(session.as_ref(), peer, ask).await?;
        let got = self.cabinet.get(get, ask).await?;
        let shown = got.objects.into_iter().map(|object| self.shown_to(&principal, object?)).collect();
        Ok(Got { objects: shown, ..got })
    }

    /// What happened to an object, as far as the principal may read it: nothing if it may not read it now, and never a state that it may not
    /// have read then.
    pub async fn history(&self, message: As<History>, peer: &Identity, ask: Ask) -> Result<Timeline, Failure> {
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        let As { session, message: mut history } = message;
        history.limit = history.limit.clamp(1, HISTORY_MAX);
        let principal = self.principal(session.as_ref(), peer, ask).await?;
        let mut timeline = Timeline { position: ask.at_least, events: Vec::new() };
        let (readable, position) = self.readable(&principal, history.object, ask).await?;
        if !readable {
            return Ok(Timeline { position, ..timeline });
        }
        let wanted = history.limit as usize;
        for _ in 0..HISTORY_PAGES_MAX {
            let page = self.cabinet.history(history.clone(), ask.seeing(position)).await?;
            timeline.position = page.position;
            let last = page.events.last().map(|event| event.object.version);
            let complete = page.events.len() < wanted;
            let readable = page.events.into_iter().filter(|event| principal.may_read(&event.object));
            timeline.events.extend(readable.map(|mut event| {
                event.object = self.catalogue.shown(event.object);
                event
            }));
            // A page of which the principal may read nothing must not look like the end of the history.
            if complete || !timeline.events.is_empty() || last.is_none() {
                break;
            }
            history.before = last;
        }
        Ok(timeline)
    }

    /// What became of a commit. Somebody else's looks like one that never happened.
    pub async fn outcome(&self, message: As<AskOutcome>, peer: &Identity, ask: Ask) -> Result<Outcome, Failure> {
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        let As { session, message: question } = message;
        let principal = self.principal(session.as_ref(), peer, ask).await?;
        let seal = question.seal;
        match self.cabinet.outcome(question, ask).await? {
            Outcome::Accepted { position, result } => Ok(match without_owner(&principal, result) {
                Some(result) => Outcome::Accepted { position, result },
                None if seal => Outcome::Sealed,
                None => Outcome::Unknown,
            }),
            other => Ok(other),
        }
    }

    /// Whether a front end may ask this at all, whoever is behind it.
    pub(super) fn admitted(&self, query: &Query) -> Result<(), Failure> {
        self.bound(query.clone(), &Filter::All).map(drop)
    }

    /// The query as layer 1 is asked it on behalf of somebody with these rights, its limit within bounds.
    pub(super) fn bound(&self, query: Query, rights: &Filter) -> Result<Query, Failure> {
        let limit = query.limit.clamp(1, LIMIT_MAX);
        let bound = self.catalogue.bind(query.limit(limit), rights, self.environment.wall_clock.now_micros());
        bound.map_err(|problem| Failure::new(codes::INVALID_QUERY, problem))
    }

    pub(super) fn shown_to(&self, principal: &Principal, object: Object) -> Option<Object> {
        principal.may_read(&object).then(|| self.catalogue.shown(object))
    }

    async fn readable(&self, principal: &Principal, id: ObjectId, ask: Ask) -> Result<(bool, Position), Failure> {
        let got = self.cabinet.get(Get { objects: vec![id] }, ask).await?;
        Ok((got.objects.into_iter().flatten().any(|object| principal.may_read(&object)), got.position))
    }
}

/// Pages of a history read in search of something readable.
const HISTORY_PAGES_MAX: u32 = 16;
