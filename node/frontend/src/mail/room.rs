//! Room for the bytes of all mails that are being received.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of one listener.
#[derive(Clone, Debug)]
pub(super) struct Room {
    units: Arc<Semaphore>,
}

/// What one connection has taken of it.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    taken: Vec<OwnedSemaphorePermit>,
}

impl Room {
    /// Room for this many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { units: Arc::new(Semaphore::new(bytes / UNIT_BYTES)) }
    }

    /// A share of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { room: self.clone(), taken: Vec::new() }
    }
}

impl Share {
    /// Takes, or gives back, what is needed to hold so many bytes; `false`: there is no room.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let units = bytes.div_ceil(UNIT_BYTES);
        self.taken.truncate(units);
        while self.taken.len() < units {
            match self.room.units.clone().try_acquire_owned() {
                Ok(permit) => self.taken.push(permit),
                Err(_) => return false,
            }
        }
        true
    }
}

const UNIT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_taken_and_given_back() {
        let room = Room::new(3 * UNIT_BYTES);
        let (mut one, mut other) = (room.share(), room.share());
        assert!(one.hold(UNIT_BYTES + 1));
        assert!(other.hold(1));
        assert!(!other.hold(UNIT_BYTES + 1));
        assert!(one.hold(5), "less than before");
        assert!(other.hold(UNIT_BYTES + 1));
        drop(other);
        assert!(one.hold(3 * UNIT_BYTES));
        assert!(!one.hold(4 * UNIT_BYTES));
    }
}
