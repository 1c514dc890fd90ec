//! How much room the disk has left, and what a replica refuses before there is none.
//!
//! A disk that is full stops a replica: what a failed write left on it is not known. So writes end while there is room to end in good order:
//!
//! | room left | a leader | a follower |
//! |---|---|---|
//! | at least the reserve | orders commits | acknowledges |
//! | less than the reserve | refuses commits, says why, and lets another one lead | acknowledges |
//! | less than half of it | the same | takes in no more entries: the leader goes on with the others |
//!
//! Votes, membership and the mark of an orderly end are small: they are written from what is left. Reads go on all the while. Work is taken up
//! again when there is a quarter more than the reserve, so that it does not flicker.

use std::sync::Arc;

use raft::eraftpb::{Message, MessageType};

use crate::storage::Storage;

/// What is known of the room on the disk.
#[derive(Debug)]
pub(crate) struct Room {
    storage: Arc<dyn Storage>,
    reserve_bytes: u64,
    left: Left,
    /// The tick at which the leadership was offered to somebody else last.
    offered_at: Option<u64>,
}

/// How much room is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Enough,
    /// Less than the reserve.
    Little,
    /// Less than half of the reserve.
    Hardly,
}

impl Room {
    /// The room in `storage`, of which `reserve_bytes` are kept.
    pub(crate) fn new(storage: Arc<dyn Storage>, reserve_bytes: u64) -> Self {
        let mut room = Self { storage, reserve_bytes, left: Left::Enough, offered_at: None };
        room.look();
        room
    }

    /// Looks how much there is. That asks the system for figures that it has in memory.
    pub(crate) fn look(&mut self) {
        let free = match self.storage.free_bytes() {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "cannot tell how much room the disk has; going on");
                return;
            }
        };
        let left = judge(self.left, free, self.reserve_bytes);
        if left != self.left {
            let (free_mib, reserve_mib) = (free >> 20, self.reserve_bytes >> 20);
            let takes_in = left < Left::Hardly;
            match left {
                Left::Enough => tracing::info!(free_mib, "the disk has room again"),
                _ => tracing::error!(free_mib, reserve_mib, takes_in, "the disk is nearly full: make room; reads go on"),
            }
        }
        self.left = left;
    }

    /// Whether a leader may take in commits.
    pub(crate) fn takes_commits(&self) -> bool {
        self.left == Left::Enough
    }

    /// Whether a follower takes in what a message brings. A message that is dropped is one that the network lost.
    pub(crate) fn takes(&self, message: &Message) -> bool {
        self.left < Left::Hardly || message.get_msg_type() != MessageType::MsgAppend || message.entries.is_empty()
    }

    /// Whether a leader should let another one lead now. Where all are full they take turns, but not without end in one second.
    pub(crate) fn wants_another_leader(&mut self, tick: u64) -> bool {
        let is_time = self.offered_at.is_none_or(|at| tick.saturating_sub(at) >= OFFER_TICKS);
        if self.takes_commits() || !is_time {
            return false;
        }
        self.offered_at = Some(tick);
        true
    }
}

/// What `free` bytes are, after what was before: getting better takes more than not getting worse.
fn judge(before: Left, free: u64, reserve: u64) -> Left {
    let better = reserve.saturating_add(reserve / 4);
    match before {
        _ if free < reserve / 2 => Left::Hardly,
        Left::Enough if free >= reserve => Left::Enough,
        _ if free >= better => Left::Enough,
        Left::Hardly if free < reserve => Left::Hardly,
        _ => Left::Little,
    }
}

/// What is kept free if nobody says otherwise: two segments of a journal to end in, and as much for what other processes take in between.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// Ticks between two looks: at 100 MB/s a disk takes 20 MB in between.
pub(crate) const LOOK_TICKS: u64 = 4;

/// Ticks between two offers of the leadership.
const OFFER_TICKS: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gets_better_later_than_it_got_worse() {
        let mut left = Left::Enough;
        let mut seen = Vec::new();
        for free in [200, 100, 99, 110, 124, 125, 100, 49, 50, 99, 100, 125] {
            left = judge(left, free, 100);
            seen.push(left);
        }
        use Left::{Enough as E, Hardly as H, Little as L};
        assert_eq!(seen, [E, E, L, L, L, E, E, H, H, H, L, E]);
        // Nothing is kept where nothing is to be kept.
        assert_eq!(judge(Left::Enough, 0, 0), Left::Enough);
    }
}
