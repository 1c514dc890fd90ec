//! Readers that wait until this replica has come far enough.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

/// Something ordered that a replica reaches (a position, an index), and who waits for it.
///
/// Each arrival wakes only those whose time has come, so that a thousand readers at different positions cost nothing extra.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    reached: u64,
    waiting: BTreeMap<(u64, u64), oneshot::Sender<u64>>,
    next_ticket: u64,
}

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Arrivals {
    /// Starts at `reached`.
    pub(crate) fn new(reached: u64) -> Self {
        Self { reached, ..Self::default() }
    }

    /// How far it has come.
    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    /// Resolves once `target` is reached, with how far it has come by then; an error then means that the replica has stopped.
    pub(crate) fn wait(&mut self, target: u64) -> Result<oneshot::Receiver<u64>, TooMany> {
        let (arrived, arrival) = oneshot::channel();
        if target <= self.reached {
            // The receiver is in our hand, so that this cannot fail.
            arrived.send(self.reached).ok();
            return Ok(arrival);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|_, waiter| !waiter.is_closed());
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(TooMany);
        }
        self.waiting.insert((target, self.next_ticket), arrived);
        self.next_ticket += 1;
        Ok(arrival)
    }

    /// It has come to `reached`.
    pub(crate) fn arrive(&mut self, reached: u64) {
        self.reached = self.reached.max(reached);
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > self.reached {
                return;
            }
            // A reader that gave up is not there any more.
            entry.remove().send(self.reached).ok();
        }
    }

    /// Nothing arrives any more: whoever waits learns it.
    pub(crate) fn stop(&mut self) {
        self.waiting.clear();
    }
}

/// Readers that wait at once: what a node with every permitted connection busy can ask for.
const WAITING_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_wake_when_their_time_has_come() {
        let mut arrivals = Arrivals::new(3);
        let mut now = arrivals.wait(3).unwrap();
        let mut soon = arrivals.wait(5).unwrap();
        let mut late = arrivals.wait(9).unwrap();
        assert_eq!(now.try_recv(), Ok(3));
        arrivals.arrive(6);
        assert_eq!(soon.try_recv(), Ok(6));
        assert!(late.try_recv().is_err());
        arrivals.stop();
        assert_eq!(late.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn it_never_goes_back() {
        let mut arrivals = Arrivals::new(3);
        arrivals.arrive(2);
        assert_eq!(arrivals.reached(), 3);
    }
}
