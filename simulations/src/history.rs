//! What clients saw, written down and judged: is there one order of everything that explains all of it?
//!
//! A run of real or simulated processes writes an [`Operation`] for everything that a client asked ([`Recorder`]; `HISTORIES.md` beside this
//! crate describes the file). [`judge`] then holds the whole against three promises, each in a file of its own:
//!
//! - [`linearizability`]: each object by itself behaves as if every operation on it happened at one moment between its start and its end;
//! - [`sessions`]: what one process sees never goes back;
//! - [`serializability`]: transactions have an order; what spoils it is called by its name (write skew, lost update, read skew, dirty reads).
//!
//! The judge knows nothing of how the cabinet works. It uses the positions that the cabinet gives for the order of versions, and checks that
//! they tell the truth about what was read; it never believes them about real time, which only the clients' clock tells.

mod graph;
pub mod linearizability;
mod operation;
mod recorder;
pub mod serializability;
pub mod sessions;
mod verdict;

pub use operation::{Answer, Asked, Operation, Seen};
pub use recorder::{ReadError, Recorder, read};
pub use verdict::{Anomaly, Finding, Judgement};

/// Holds a whole history against every promise.
pub fn judge(history: &[Operation]) -> Judgement {
    let mut judgement = Judgement { operations: history.len(), ..Judgement::default() };
    linearizability::check(history, &mut judgement);
    sessions::check(history, &mut judgement);
    serializability::check(history, &mut judgement);
    judgement
}
