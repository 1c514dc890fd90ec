//! The codes of the host's failures, as front ends see them. Below 100 are the overlay's own.
//!
//! The message of [`NOT_ALLOWED`], [`REFUSED`], [`CONSTRAINT`], [`NOT_FOUND`] and [`NOT_AS_EXPECTED`] is `code[attribute]: sentence`, or `code: sentence` when no
//! attribute is to blame; `code` is one of the host's refusals or the module's own.

/// The message cannot be decoded. It did not run; the front end is at fault.
pub const MALFORMED: u16 = 100;
/// The session is over, or never was: log in again.
pub const NO_SESSION: u16 = 101;
/// Login name and password do not belong together.
pub const LOGIN_REFUSED: u16 = 102;
/// Too many failed logins under this name: wait as long as the retry hint says.
pub const LOGIN_LOCKED: u16 = 103;
/// No module has this method.
pub const NO_SUCH_METHOD: u16 = 104;
/// The groups of the principal do not admit this. Nothing happened.
pub const NOT_ALLOWED: u16 = 105;
/// The module says no. Nothing happened.
pub const REFUSED: u16 = 106;
/// Values do not obey the schema. Nothing happened.
pub const CONSTRAINT: u16 = 107;
/// What the call needs does not exist, or the principal may not know of it. Nothing happened.
pub const NOT_FOUND: u16 = 108;
/// Others changed the same objects every time: nothing happened, try again after the retry hint.
pub const CONFLICT: u16 = 109;
/// Somebody had this commit sealed: it has not happened and never will. Choose a new id.
pub const SEALED: u16 = 110;
/// Another principal's commit has this id. Nothing happened; choose a new id.
pub const COMMIT_ID_TAKEN: u16 = 111;
/// The commit may have happened: ask for its outcome, or call again with `again` set.
pub const OUTCOME_UNKNOWN: u16 = 112;
/// Layer 1 cannot be reached from here. Nothing happened; another host may do better.
pub const CABINET_UNAVAILABLE: u16 = 113;
/// Too many calls at once. Nothing happened; try again after the retry hint.
pub const BUSY: u16 = 114;
/// The query names what no module declares, or has too many conditions once the rights are added.
pub const INVALID_QUERY: u16 = 115;
/// What the reader may see has changed and the subscription cannot tell the difference: subscribe again from the present.
pub const RIGHTS_CHANGED: u16 = 116;
/// The upload of a blob is not known where it was continued: begin it again.
pub const BLOB_NOT_BEGUN: u16 = 117;
/// There is no room for a blob: too many arrive at once, too much is there that no commit named, or a disk is full. Nothing happened.
pub const BLOB_NO_ROOM: u16 = 118;
/// An object that the call expects something of is not as expected. Nothing happened; look again.
pub const NOT_AS_EXPECTED: u16 = 119;
/// A mistake in a module or in this system. Nothing happened; the host's log says more.
pub const FAULT: u16 = 120;
