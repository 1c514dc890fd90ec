//! Examining what a node keeps, without changing it (but what was set aside can be removed): the journal, record by record; the state, against what the journal says it must be; the
//! blobs, byte by byte; and what was set aside.

mod aside;
mod blobs;
mod journal;
mod state;
#[cfg(test)]
mod tests;

pub use aside::{Aside, AsideError, AsideKind, purge_set_aside, set_aside};
pub use blobs::{BlobsError, BlobsFound};
pub use journal::{Examined, JournalFound, Sound, examine};
pub use state::{Disagreement, StateFound, compare};
