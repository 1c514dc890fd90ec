//! What front ends ask about the past, about how many there are, and about how answers are found: the rights conjoined, the secrets stripped.

use caps_model::messages::host::As;
use caps_model::messages::inspect::{Circumstances, Counted, Differences, Inspect, Inspected};
use caps_model::messages::{GET_MAX, Get, Objects};
use caps_model::{Object, ObjectId, Position, Query};
use caps_overlay::{Failure, Identity};

use super::{Host, busy};
use crate::cabinet::Ask;
use crate::effects;
use crate::privileges::Principal;

impl Host {
    /// The answer to a question that looks further than at the present. Whoever asks about the past sees an object as it was only if they might
    /// have read it then, and may now; a deleted one counts as it was when it was deleted.
    pub async fn inspect(&self, message: As<Inspect>, peer: &Identity, ask: Ask) -> Result<Inspected, Failure> {
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        let As { session, message: question } = message;
        if let Some(query) = query_of(&question) {
            self.admitted(query)?;
        }
        let principal = self.principal(session.as_ref(), peer, ask).await?;
        let Some(rights) = principal.sees() else { return Ok(nothing(&question, principal.position)) };
        let bound = match question {
            Inspect::Find { query, at, .. } => Inspect::Find { query: self.bound(query, &rights)?, at, today: rights },
            Inspect::Count { query } => Inspect::Count { query: self.bound(query, &rights)? },
            Inspect::Explain { query } => Inspect::Explain { query: self.bound(query, &rights)? },
            Inspect::Compare { query, from, to, .. } => Inspect::Compare { query: self.bound(query, &rights)?, from, to, today: rights },
            Inspect::Effect { object } if !self.holds_claim(&principal, object, ask).await? => return Ok(Inspected::Effect(None)),
            Inspect::Why { .. } | Inspect::Effect { .. } => question,
        };
        let shown = |object: Option<Object>| object.and_then(|object| self.shown_to(&principal, object));
        Ok(match self.cabinet.inspect(bound, ask).await? {
            // Layer 1 was asked for the readable; that it answered with nothing else is checked, not believed.
            Inspected::Found(found) => {
                let objects = found.objects.into_iter().filter_map(|object| shown(Some(object))).collect();
                Inspected::Found(Objects { objects, ..found })
            }
            Inspected::Compared(mut differences) => {
                for difference in &mut differences.objects {
                    difference.before = shown(difference.before.take());
                    difference.after = shown(difference.after.take());
                }
                differences.objects.retain(|difference| difference.before.is_some() || difference.after.is_some());
                Inspected::Compared(differences)
            }
            Inspected::Because(Some(circumstances)) => Inspected::Because(self.readable_part(&principal, circumstances, ask).await?),
            other => other,
        })
    }

    async fn holds_claim(&self, principal: &Principal, effect: ObjectId, ask: Ask) -> Result<bool, Failure> {
        let got = self.cabinet.get(Get { objects: vec![effect] }, ask).await?;
        Ok(got.objects.into_iter().flatten().any(|object| effects::is_held_by(&object, principal)))
    }

    /// A commit as somebody may know of it: by the objects that they may read now. Of none: not at all.
    async fn readable_part(
        &self,
        principal: &Principal,
        mut circumstances: Circumstances,
        ask: Ask,
    ) -> Result<Option<Circumstances>, Failure> {
        let mut readable = Vec::new();
        for some in circumstances.objects.chunks(GET_MAX) {
            let got = self.cabinet.get(Get { objects: some.iter().map(|(id, _)| *id).collect() }, ask).await?;
            readable.extend(got.objects.into_iter().flatten().filter(|object| principal.may_read(object)).map(|object| object.id));
        }
        circumstances.objects.retain(|(id, _)| readable.contains(id));
        Ok((!circumstances.objects.is_empty()).then_some(circumstances))
    }
}

fn query_of(question: &Inspect) -> Option<&Query> {
    match question {
        Inspect::Find { query, .. } | Inspect::Count { query } | Inspect::Explain { query } | Inspect::Compare { query, .. } => Some(query),
        Inspect::Why { .. } | Inspect::Effect { .. } => None,
    }
}

/// The answer to somebody who sees nothing.
fn nothing(question: &Inspect, position: Position) -> Inspected {
    match question {
        Inspect::Find { .. } => Inspected::Found(Objects { position, objects: Vec::new(), more: false }),
        Inspect::Count { .. } => Inspected::Counted(Counted { position, count: 0, exact: true }),
        Inspect::Explain { query } => {
            let plan = format!("nothing of {} is readable: nothing is looked at", query.entity);
            let explained =
                caps_model::messages::inspect::Explained { position, plan, looked_at: 0, matched: 0, sorted: false, answered: 0 };
            Inspected::Explained(explained)
        }
        Inspect::Compare { .. } => Inspected::Compared(Differences { from: position, to: position, objects: Vec::new(), more: false }),
        Inspect::Why { .. } => Inspected::Because(None),
        Inspect::Effect { .. } => Inspected::Effect(None),
    }
}
