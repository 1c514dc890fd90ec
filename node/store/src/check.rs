//! Examining what a node keeps, without changing it: the journal, record by record; the state, against what the journal says it must be; and what
//! was set aside.

mod journal;
mod state;
#[cfg(test)]
mod tests;

pub use journal::{Examined, JournalFound, Sound, examine};
pub use state::{Disagreement, StateFound, compare};
