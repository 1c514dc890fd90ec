//! Copies of a cabinet: made while it works, brought back when it is lost.
//!
//! **A backup is a journal.** It holds the committed log from the first entry on, written and verified by the same code as a replica's, and a seat
//! without a number: nobody's. It grows at its end only, so that the next backup into the same directory adds what is new, and one that broke off
//! goes on where it broke. What vouches for it is checked again at each use: every record by the journal's hash chain, the order of entries by
//! their indices and terms, and what they say by replaying them ([`Copied::prove`]): the chain over all commits must come out as the replica
//! said.
//!
//! **Blobs stand beside it**, as beside a replica's journal: all that its commits name and that no obliteration took ([`Named`]). What is there whole is
//! not sent again, and a part goes on where it broke ([`Beside`]).
//!
//! **A restore founds a new group on an old history.** [`build`] writes a journal with the entries up to the moment asked for, exactly as they
//! were, so that positions, ids, answers to commits and the past are what they were; after them the obliterations that came later, in whichever journal it is given, because what is to be gone for ever must not come back; and
//! after these it lets the members of then leave and new ones
//! join, as entries of the log like any other change of membership. All of the new members have numbers that nobody had before, drawn from what
//! was restored, obliterations included, and from who is to vote. From that follows what makes it safe:
//!
//! 1. Every voter is restored from a backup to the same moment; then any majority of them has all that was restored. Who is restored to
//!    another moment, or for other voters, has other numbers, and is no member to the rest: nothing happens instead of something wrong.
//! 2. A node that begins with nothing has the number that the deployment file gave it, which has no vote in the restored group. It can
//!    overwrite nothing and elect nobody there; it gives its number up and is let in under another one, once it finds the group.
//! 3. So can a replica with a journal from before the restore; and because it holds entries that the group does not have any more, it is not let
//!    in at all, but told to be rebuilt from its peers.
//! 4. A restored replica that had begun to work, and is restored once more, has forgotten what it promised. Therefore each asks the others before
//!    it begins whether the group is at work already, and if it is, joins it under another number.

mod beside;
mod copy;
mod founding;
mod named;
mod orders;
mod restore;
mod source;
#[cfg(test)]
mod tests;

pub use beside::{Beside, Receiving};
pub use copy::{Backup, BackupError, Copied, ProveError};
pub use named::Named;
pub(crate) use named::{mentioned, named};
pub use orders::Order;
pub use restore::{BlobsRestored, Built, Restoration, RestoreError, Restored, build};
pub use source::{Source, SourceError};
