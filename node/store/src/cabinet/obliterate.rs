//! Taking values away: from the present, from every earlier version, from what is kept of the commits that set them.
//!
//! The journals follow, see [`Redaction`](super::Redaction); what is done here is what readers see, at once and on every replica alike. A state
//! that is rebuilt from journals that were redacted comes out equal to one that lived through it: the tests hold the two against each other.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use caps_model::commit::{OBLITERATIONS_MAX, REASON_BYTES_MAX};
use caps_model::messages::audit::{self, Head, Obliterate};
use caps_model::messages::cabinet::Committed;
use caps_model::{Author, Name, Object, ObjectId, Position, Record, Value};

use super::{Applied, Cabinet, Mark, Obliteration, Proposed, ReadError, Target, Verdict, object_bytes};
use crate::journal::envelope::Decision;
use crate::state::{Changed, CommitRecord, State, StateError, Step, Transaction};

/// Why values are not obliterated. The caller is at fault; nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unobliterable {
    /// Too much at once, or nothing.
    #[error("an obliteration has 1 to {OBLITERATIONS_MAX} targets, this has {0}")]
    Targets(usize),
    /// Without a reason, or with a long one.
    #[error("an obliteration needs a reason of 1 to {REASON_BYTES_MAX} bytes")]
    Reason,
    /// There is no such object.
    #[error("there is no object {0}")]
    NoObject(ObjectId),
    /// There is nothing to take away.
    #[error("the attribute {attribute} of {object} got no values there, or they are obliterated already")]
    NoValues {
        /// The object.
        object: ObjectId,
        /// The attribute.
        attribute: Name,
    },
    /// Relations have two ends.
    #[error("the attribute {attribute} of {object} refers to objects: references are not obliterated, clear the relation instead")]
    Reference {
        /// The object.
        object: ObjectId,
        /// The attribute.
        attribute: Name,
    },
    /// The values are in too many versions, or in too large ones.
    #[error(
        "the values are in more than {VERSIONS_MAX} versions, in versions of more than {VERSION_BYTES_MAX} bytes, or in an object with more than \
         {LIFETIME_MAX}: name fewer targets, or positions closer together"
    )]
    Versions,
}

/// What an obliteration replaces.
#[derive(Debug, Default)]
struct Replaced {
    /// Versions so far, as they are to be.
    versions: BTreeMap<(ObjectId, Position), Object>,
    /// What these occupied.
    bytes: usize,
    /// The present of every object concerned, before and after.
    present: BTreeMap<ObjectId, (Object, Object)>,
    /// Positions of commits that set a value that goes.
    setters: BTreeSet<Position>,
}

impl Obliteration {
    /// What was asked for, at this time.
    pub fn asked(order: &Obliterate, time: i64) -> Self {
        let author = Author {
            user: None,
            front_end: order.by.clone(),
            host: order.by.clone(),
            module: Name::fixed("cabinet"),
            module_version: 1,
            method: Name::fixed("obliterate"),
            reason: Some(order.reason.clone()),
        };
        let target = |target: &audit::Target| {
            let audit::Target { object, attribute, from, to } = target.clone();
            Target { object, attribute, from, to }
        };
        Self { id: order.id, author, time, targets: order.targets.iter().map(target).collect() }
    }
}

impl<S: State> Cabinet<S> {
    /// Where the chain over proposals stood at a position: at the present one if none is asked for.
    pub fn head(&self, at: Option<Position>) -> Result<Head, ReadError> {
        let Mark { position, chain_head, moment, .. } = self.mark();
        match at.filter(|at| *at != position) {
            None => Ok(Head { position, index: self.made_by(position)?.unwrap_or(0), chain_head, moment }),
            Some(at) if at > position => Err(ReadError::Future { asked: at, now: position }),
            Some(Position::ZERO) => Ok(Head { position: Position::ZERO, index: 0, chain_head: [0; 32], moment: 0 }),
            Some(at) => {
                let CommitRecord { index, chain_head, moment, .. } = self.record(at)?;
                Ok(Head { position: at, index, chain_head, moment })
            }
        }
    }

    fn made_by(&self, position: Position) -> Result<Option<u64>, StateError> {
        Ok(self.state.commit_at(position)?.map(|record| record.index))
    }

    /// Whether values can be obliterated as things are.
    pub fn may_obliterate(&self, order: &Obliteration) -> Result<Result<(), Unobliterable>, StateError> {
        Ok(self.replaced(order)?.map(drop))
    }

    pub(super) fn apply_obliteration(&mut self, order: &Obliteration, proposed: &Proposed) -> Result<Applied, StateError> {
        if let Some(answer) = self.answer_before(order.id)? {
            return Ok(self.unchanged(order.id, answer));
        }
        let replaced = match proposed.decision {
            Some(Decision::Refused) => None,
            Some(Decision::Accepted) => Some(self.replaced_again(order)?),
            None => self.replaced(order)?.ok(),
        };
        match replaced {
            Some(replaced) => self.obliterate(order, proposed.time, replaced),
            None => Ok(self.refused(order.id, order.targets.iter().take(CONFLICTS_MAX).map(|target| target.object).collect())),
        }
    }

    fn obliterate(&mut self, order: &Obliteration, proposed: i64, replaced: Replaced) -> Result<Applied, StateError> {
        let mark = self.next_mark(order.time, proposed);
        let mut commits = Vec::new();
        for position in replaced.setters {
            let record = self.record(position)?;
            if record.has_words() {
                commits.push((position, record.without_words()));
            }
        }
        let change = |(before, after)| Changed { before: Some(before), after: Object { version: mark.position, ..after } };
        let changes: Vec<Changed> = replaced.present.into_values().map(change).collect();
        let versions: Vec<Object> = replaced.versions.into_values().collect();
        let record = CommitRecord {
            id: order.id,
            index: mark.index,
            chain_head: mark.chain_head,
            time: order.time,
            moment: mark.moment,
            author: order.author.clone(),
            objects: changes.iter().map(|change| change.after.id).collect(),
            effects: Vec::new(),
            result: Record::new(),
            obliterated: false,
        };
        let step = Step::Obliterate { record: &record, changes: &changes, versions: &versions, commits: &commits };
        self.state.write(&Transaction { mark, step })?;
        self.mark = mark;
        let verdict = Verdict::Commit(Committed::Accepted { position: mark.position, result: record.result, repeated: false });
        Ok(Applied { index: mark.index, position: mark.position, commit: order.id, verdict, changes })
    }

    fn replaced(&self, order: &Obliteration) -> Result<Result<Replaced, Unobliterable>, StateError> {
        if order.targets.is_empty() || order.targets.len() > OBLITERATIONS_MAX {
            return Ok(Err(Unobliterable::Targets(order.targets.len())));
        }
        if !order.author.reason.as_ref().is_some_and(|reason| (1..=REASON_BYTES_MAX).contains(&reason.len())) {
            return Ok(Err(Unobliterable::Reason));
        }
        let mut replaced = Replaced::default();
        for target in &order.targets {
            if let Err(why) = self.replace(&mut replaced, target)? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(replaced))
    }

    /// As [`replaced`](Self::replaced), for an order that was accepted once: what it took away may be missing already.
    fn replaced_again(&self, order: &Obliteration) -> Result<Replaced, StateError> {
        let mut replaced = Replaced::default();
        for target in &order.targets {
            // Nothing that it could be refused for has become worse since.
            match self.replace(&mut replaced, target)? {
                Ok(()) | Err(Unobliterable::NoValues { .. }) => {}
                Err(why) => return Err(StateError::Lacks { what: format!("what an obliteration was accepted upon: {why}") }),
            }
        }
        Ok(replaced)
    }

    fn replace(&self, replaced: &mut Replaced, target: &Target) -> Result<Result<(), Unobliterable>, StateError> {
        let Target { object, attribute, from, to } = target;
        let Some(present) = self.state.object(*object)? else { return Ok(Err(Unobliterable::NoObject(*object))) };
        let newest = present.version;
        replaced.present.entry(*object).or_insert_with(|| (present.clone(), present));
        let mut nothing = true;
        let mut run = Run::default();
        let versions = self.state.versions(*object, None, LIFETIME_MAX + 1)?;
        if versions.len() > LIFETIME_MAX {
            return Ok(Err(Unobliterable::Versions));
        }
        for version in versions.into_iter().rev() {
            let position = version.version;
            let begins = run.meet(version.values(attribute.as_str()));
            if begins {
                run.goes = (*from..=*to).contains(&position);
            }
            if !run.goes || version.values(attribute.as_str()).is_empty() {
                continue;
            }
            if version.values(attribute.as_str()).iter().any(refers) {
                return Ok(Err(Unobliterable::Reference { object: *object, attribute: attribute.clone() }));
            }
            nothing = false;
            if begins {
                replaced.setters.insert(position);
            }
            replaced.bytes += object_bytes(&version);
            replaced.versions.entry((*object, position)).or_insert(version).obliterate(attribute);
            if position == newest
                && let Some((_, after)) = replaced.present.get_mut(object)
            {
                after.obliterate(attribute);
            }
        }
        if replaced.versions.len() > VERSIONS_MAX || replaced.bytes > VERSION_BYTES_MAX {
            return Ok(Err(Unobliterable::Versions));
        }
        match nothing {
            true => Ok(Err(Unobliterable::NoValues { object: *object, attribute: attribute.clone() })),
            false => Ok(Ok(())),
        }
    }
}

/// Consecutive versions in which an attribute has equal values. A commit that sets a value again does not begin another: the value is the same.
#[derive(Debug, Default)]
struct Run {
    values: Vec<Value>,
    goes: bool,
}

impl Run {
    /// Whether a run begins with these values.
    fn meet(&mut self, values: &[Value]) -> bool {
        let begins = self.values != values;
        if begins {
            self.values = values.to_vec();
        }
        begins
    }
}

impl CommitRecord {
    /// Whether it has anything that was written for people or machines outside, and may contain values.
    fn has_words(&self) -> bool {
        self.author.reason.is_some() || !self.result.is_empty() || !self.effects.is_empty()
    }

    /// It without reason, result, and arguments of effects.
    fn without_words(mut self) -> Self {
        self.author.reason = None;
        self.result.clear();
        self.effects.iter_mut().for_each(|effect| effect.arguments.clear());
        self.obliterated = true;
        self
    }
}

fn refers(value: &Value) -> bool {
    value.as_reference().is_some() || value.as_entry().is_some_and(|entry| entry.value().as_reference().is_some())
}

/// Versions that one obliteration replaces.
pub const VERSIONS_MAX: usize = 10_000;

/// Bytes of those versions: what one step of the state has to hold in memory.
const VERSION_BYTES_MAX: usize = 64 << 20;

/// Versions of one object that are gone through.
const LIFETIME_MAX: usize = 100_000;

/// Objects named in a refusal.
const CONFLICTS_MAX: usize = 10;
