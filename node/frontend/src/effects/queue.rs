//! Which of the effects that wait is begun next.

use std::collections::BTreeMap;

use caps_model::messages::Update;
use caps_model::{Object, ObjectId, Position, Value};

use crate::Window;

/// Those that wait, and those under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Window,
    /// Where each one under way goes, and what it was like when it was begun.
    under_way: BTreeMap<ObjectId, (String, Position)>,
    /// Those to be left alone.
    resting: BTreeMap<ObjectId, Rest>,
}

/// How long to leave one alone.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// Until then: microseconds since 1970.
    Until(i64),
    /// While it is told to be as it was before it was claimed: its own time is the one after.
    While(Position),
}

impl Queue {
    pub(super) fn take(&mut self, update: &Update) {
        if self.waiting.take(update) {
            let known = self.waiting.objects();
            self.resting.retain(|id, _| known.iter().any(|object| object.id == *id));
        }
    }

    /// The next one to begin, if there is one that is due, and room for it.
    pub(super) fn begin(&mut self, now: i64) -> Option<ObjectId> {
        if self.under_way.len() >= AT_ONCE {
            return None;
        }
        let next = self.waiting.objects().iter().find(|object| self.has_room_for(object) && self.due(object) <= now)?;
        let (id, begun) = (next.id, (towards(next).to_owned(), next.version));
        self.under_way.insert(id, begun);
        Some(id)
    }

    /// It is under way no more: to be left alone until `rest`; or, if it was claimed, until that is told.
    pub(super) fn ended(&mut self, effect: ObjectId, rest: Option<i64>) {
        let Some((_, version)) = self.under_way.remove(&effect) else { return };
        self.resting.insert(effect, rest.map_or(Rest::While(version), Rest::Until));
    }

    /// In how many microseconds the next one that has room is due.
    pub(super) fn next_due(&self, now: i64) -> Option<u64> {
        if self.under_way.len() >= AT_ONCE {
            return None;
        }
        let due = self.waiting.objects().iter().filter(|object| self.has_room_for(object)).map(|object| self.due(object)).min()?;
        Some(due.saturating_sub(now).max(0).unsigned_abs())
    }

    fn has_room_for(&self, object: &Object) -> bool {
        let to_there = self.under_way.values().filter(|(other, _)| other == towards(object)).count();
        !self.under_way.contains_key(&object.id) && to_there < TO_ONE_PLACE
    }

    fn due(&self, object: &Object) -> i64 {
        let next_at = object.value("next_at").and_then(Value::as_timestamp).unwrap_or(i64::MIN);
        match self.resting.get(&object.id) {
            Some(Rest::Until(rest)) => next_at.max(*rest),
            Some(Rest::While(version)) if *version == object.version => i64::MAX,
            _ => next_at,
        }
    }
}

fn towards(object: &Object) -> &str {
    object.text("towards").unwrap_or_default()
}

/// Effects that are followed: those due first. The rest comes into view as these are done.
pub(super) const FOLLOWED: u32 = 500;

/// Effects under way at once.
const AT_ONCE: usize = 16;

/// Effects under way at once that go to the same place: a mail server that is given more at a time defers them.
const TO_ONE_PLACE: usize = 4;

#[cfg(test)]
mod tests {
    use caps_model::messages::ObjectChange;
    use caps_model::{Name, Record};

    use super::*;

    fn effect(id: u128, towards: &str, next_at: i64) -> Object {
        let attributes: Record =
            [(Name::fixed("towards"), vec![Value::text(towards)]), (Name::fixed("next_at"), vec![Value::Timestamp(next_at)])].into();
        Object::new(ObjectId(id), Name::fixed("effect"), Position(1), attributes)
    }

    fn present(objects: Vec<Object>) -> Update {
        Update::Present { position: Position(1), moment: None, objects, complete: true }
    }

    fn begun(queue: &mut Queue, now: i64) -> Vec<u128> {
        std::iter::from_fn(|| queue.begin(now)).map(|id| id.0).collect()
    }

    #[test]
    fn those_due_are_begun_as_far_as_there_is_room() {
        let mut queue = Queue::default();
        let to_one = (0..6).map(|id| effect(id, "a.example", 10));
        queue.take(&present(to_one.chain([effect(7, "b.example", 10), effect(8, "b.example", 30)]).collect()));
        assert!(begun(&mut queue, 9).is_empty());
        assert_eq!(queue.next_due(4), Some(6));
        assert_eq!(begun(&mut queue, 10), [0, 1, 2, 3, 7]);
        assert_eq!(queue.next_due(10), Some(20), "the next one to another place");
        queue.ended(ObjectId(2), None);
        assert_eq!(begun(&mut queue, 10), [4]);
        let many = (0..40).map(|id| effect(id, &format!("{id}.example"), 0)).collect();
        let mut queue = Queue::default();
        queue.take(&present(many));
        assert_eq!(begun(&mut queue, 0).len(), AT_ONCE);
        assert_eq!(queue.next_due(0), None);
    }

    #[test]
    fn what_was_tried_is_left_alone_until_it_is_told_or_its_rest_is_over() {
        let mut queue = Queue::default();
        queue.take(&present(vec![effect(1, "a", 0), effect(2, "a", 0)]));
        assert_eq!(begun(&mut queue, 0), [1, 2]);
        queue.ended(ObjectId(1), Some(50));
        queue.ended(ObjectId(2), None);
        assert!(begun(&mut queue, 49).is_empty());
        assert_eq!(begun(&mut queue, 50), [1]);
        let failed = Object { version: Position(2), ..effect(2, "a", 60) };
        let changes = vec![ObjectChange::Changed(failed), ObjectChange::Removed(ObjectId(1))];
        queue.take(&Update::Changes { position: Position(2), moment: None, changes, places: vec![0], coalesced_from: None });
        assert!(begun(&mut queue, 59).is_empty());
        assert_eq!(begun(&mut queue, 60), [2], "it was told anew");
        // It is told while it is still under way.
        let failed = Object { version: Position(3), ..effect(2, "a", 70) };
        queue.take(&present(vec![failed]));
        queue.ended(ObjectId(2), None);
        assert_eq!(begun(&mut queue, 70), [2]);
    }
}
