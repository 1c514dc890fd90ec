//! The failure codes of the service `cabinet`.
//!
//! As everywhere on the overlay, advice to retry ([`Retry::Elsewhere`], [`Retry::After`]) says that the call did not run. A commit may always
//! be asked for again, anywhere, with the same id: it happens at most once.

use std::fmt::Display;
use std::time::Duration;

use caps_overlay::{Failure, Retry};

/// The request cannot be read. The caller is at fault; asking again gives the same.
pub const MALFORMED: u16 = 100;
/// The commit breaks a limit or contradicts itself. It did not happen and never will as it is.
pub const REFUSED: u16 = 101;
/// The replica is not the leader: said only to other replicas, which then look for the leader. It did not run.
pub const NOT_LEADER: u16 = 102;
/// No leader was found in time. The commit did not enter the log through this call.
pub const NO_LEADER: u16 = 103;
/// Time ran out, or the leadership ended, while the commit was on its way. Ask for its outcome, or ask for it again with the same id.
pub const UNDECIDED: u16 = 104;
/// Too much is waiting. It did not run.
pub const OVERLOADED: u16 = 105;
/// This replica has not come to the position that the session has seen. Another one may have.
pub const BEHIND: u16 = 106;
/// The replica has not started yet, or is stopping. It did not run.
pub const STOPPED: u16 = 107;
/// The state or the answer is broken. An administrator must look.
pub const BROKEN: u16 = 108;
/// The question asks for more than one answer may hold. Ask for less at once.
pub const TOO_MUCH: u16 = 109;
/// A change of membership or leadership is not made; the message says why. Nothing happened.
pub const CHANGE_REFUSED: u16 = 120;
/// A replica without a number asks for one, and was not added to this cabinet.
pub const NOT_A_MEMBER: u16 = 121;
/// A replica without a number asks for one: it is being given one. Ask again.
pub const NOT_YET: u16 = 122;

/// The disk of the replica that leads is nearly full. It did not happen; reads go on. Make room, or let another replica lead.
pub const NEARLY_FULL: u16 = 130;
/// What the caller has is not of this cabinet's history: another cabinet's of the same name, or one that was restored to an earlier point since.
pub const OTHER_HISTORY: u16 = 140;
/// This replica has not got the blob. Another one may.
pub const BLOB_ABSENT: u16 = 150;
/// What is asked of a blob breaks a rule: bytes that are not that chunk, a chunk that it has not got.
pub const BLOB_REFUSED: u16 = 151;
/// The upload was not begun at this replica, or so long ago that it made room for others: begin it (again).
pub const BLOB_NOT_BEGUN: u16 = 152;
/// There is no room for a blob: too many arrive at once, too much is here that no commit named, or the disk is full.
pub const BLOB_NO_ROOM: u16 = 153;
/// The commit names a blob that no majority of the voters has on disk: upload it first. The commit did not happen.
pub const BLOB_UNSECURED: u16 = 154;

/// [`MALFORMED`].
pub(crate) fn malformed(error: &dyn Display) -> Failure {
    Failure::new(MALFORMED, error.to_string())
}

/// [`OVERLOADED`]. The advice is about one group commit on a busy disk; the overlay's callers jitter it.
pub(crate) fn overloaded(what: &str) -> Failure {
    Failure::new(OVERLOADED, what).retry(Retry::After(OVERLOAD_PAUSE))
}

/// [`NEARLY_FULL`].
pub(crate) fn nearly_full(node: &str) -> Failure {
    Failure::new(NEARLY_FULL, format!("the disk of {node}, which leads, is nearly full: make room there; reads go on"))
        .retry(Retry::Elsewhere)
}

/// [`STOPPED`].
pub(crate) fn stopped() -> Failure {
    Failure::new(STOPPED, "this replica is not serving").retry(Retry::Elsewhere)
}

/// [`BROKEN`].
pub(crate) fn broken(error: &dyn Display) -> Failure {
    Failure::new(BROKEN, error.to_string())
}

const OVERLOAD_PAUSE: Duration = Duration::from_millis(20);
