//! Objects that transactions fight over, and the queue before each.
//!
//! When many transactions of one host change the same object (a counter that numbers without gaps), all but one of those that run at once
//! conflict, run again, and conflict again: work grows with the square of the crowd. So an object over which a commit conflicted is *hot* for a
//! while, and transactions that change a hot object pass one at a time: whoever waited reads afresh and then commits without a rival in this
//! host. Hosts do not queue for one another; among few hosts re-running is cheaper than a lock with a round trip.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caps_model::ObjectId;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};
use tokio::time::Instant;

/// The hot objects of one host. At most [`HOT_MAX`]; waiting transactions are bounded by the host's bound on calls.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    hot: Mutex<BTreeMap<ObjectId, Hot>>,
}

#[derive(Debug)]
struct Hot {
    gate: Arc<Gate<()>>,
    until: Instant,
}

/// The right to be the only one of this host to change some hot objects. Dropping it lets the next one pass.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    objects: BTreeSet<ObjectId>,
    /// Held, never looked at.
    _gates: Vec<OwnedMutexGuard<()>>,
}

impl Contention {
    /// A commit conflicted over these objects.
    pub(crate) fn conflicted(&self, objects: impl IntoIterator<Item = ObjectId>, now: Instant) {
        let mut hot = self.hot();
        for object in objects {
            hot.entry(object).or_insert_with(|| Hot { gate: Arc::default(), until: now }).until = now + HOT_FOR;
        }
        hot.retain(|_, entry| entry.until > now || Arc::strong_count(&entry.gate) > 1);
        while hot.len() > HOT_MAX {
            let oldest = hot.iter().min_by_key(|(_, entry)| entry.until).map(|(object, _)| *object);
            oldest.and_then(|object| hot.remove(&object));
        }
    }

    /// Those of `objects` that are hot.
    pub(crate) fn hot_among(&self, objects: impl IntoIterator<Item = ObjectId>, now: Instant) -> BTreeSet<ObjectId> {
        let hot = self.hot();
        objects.into_iter().filter(|object| hot.get(object).is_some_and(|entry| entry.until > now)).collect()
    }

    /// Waits for the turn at all of these objects. Also says whether somebody else had it in the meantime, so that what was read is old.
    ///
    /// The gates are taken in the order of the ids, so that no two transactions wait for each other.
    pub(crate) async fn turn(&self, objects: BTreeSet<ObjectId>) -> (Turn, bool) {
        let mut gates = Vec::with_capacity(objects.len());
        let mut waited = false;
        for object in &objects {
            let Some(gate) = self.hot().get(object).map(|entry| entry.gate.clone()) else { continue };
            let passed = match gate.clone().try_lock_owned() {
                Ok(passed) => passed,
                Err(_) => {
                    waited = true;
                    gate.lock_owned().await
                }
            };
            gates.push(passed);
        }
        (Turn { objects, _gates: gates }, waited)
    }

    fn hot(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectId, Hot>> {
        self.hot.lock().expect("nothing panics while it holds this lock")
    }
}

impl Turn {
    /// Whether it is the turn for all of these.
    pub(crate) fn covers(&self, objects: &BTreeSet<ObjectId>) -> bool {
        objects.is_subset(&self.objects)
    }

    /// The objects that it is for.
    pub(crate) fn objects(&self) -> &BTreeSet<ObjectId> {
        &self.objects
    }
}

/// Objects that are hot at once.
const HOT_MAX: usize = 256;

/// How long an object stays hot after the last conflict over it.
const HOT_FOR: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_passes_a_hot_object_and_a_cold_one_has_no_gate() {
        let contention = Contention::default();
        let (hot, cold) = (ObjectId(1), ObjectId(2));
        contention.conflicted([hot], Instant::now());
        let wanted = contention.hot_among([hot, cold], Instant::now());
        assert_eq!(wanted, [hot].into());
        let (turn, waited) = contention.turn(wanted.clone()).await;
        assert!(!waited && turn.covers(&wanted));
        let mut second = Box::pin(contention.turn(wanted));
        tokio::select! {
            // First the waiter, to give it every chance to pass when it must not.
            biased;
            _ = &mut second => panic!("two passed at once"),
            () = tokio::task::yield_now() => drop(turn),
        }
        assert!(second.await.1);
    }

    #[tokio::test(start_paused = true)]
    async fn objects_cool_down_and_the_table_is_bounded() {
        let contention = Contention::default();
        let now = Instant::now();
        contention.conflicted((0..1_000).map(ObjectId), now);
        assert_eq!(contention.hot().len(), HOT_MAX);
        assert!(contention.hot_among((0..1_000).map(ObjectId), now + HOT_FOR).is_empty());
        contention.conflicted([ObjectId(5_000)], now + HOT_FOR);
        assert_eq!(contention.hot().len(), 1);
    }
}
