//! Layer 1: a replica of a cabinet, the object store that never forgets.
//!
//! What it does: keeps the journal, which is the truth; agrees with the other replicas on the order of commits; applies each to the state,
//! deterministically; answers reads of the present and the past; pushes what changes to whoever subscribed. A commit is acknowledged once a
//! majority of the replicas has it on disk and this one has applied it.
//!
//! What it never does: run business logic, check what a user may see (layer 2 does), remove information (but for values that an administrator
//! obliterates), trust a state over the journal, or acknowledge before `fdatasync`.
//!
//! Start reading at [`service`]; then `replica` (what one replica does with a call), [`replication`](Timing) (the consensus core),
//! [`journal`], [`state`], [`cabinet`] (how a commit is applied) and [`watchers`]. How the data is looked after is in [`backup`] and [`check`].

// What arrives.
pub mod service;

// What one replica does with it.
mod replica;

// What the replicas agree on.
mod replication;

// Where the truth is kept, and on what.
pub mod journal;
pub mod storage;

// Large values, which it only names.
mod blobs;

// What the truth materialises into, how a commit changes it, and who is told.
pub mod state;

pub mod cabinet;

pub mod watchers;

// How the truth is looked after: copied, brought back, examined.
pub mod backup;
pub mod check;
mod replay;

pub use replay::{Figures, ReplayError, replay};
pub use replica::{NotRedacted, OpenError, RESERVE_BYTES, Settings, StateKind, Stopped, Store};
pub use replication::{ChangeError, ChangeRefused, LostEntries, Refusal, Role, Standing, Timing, WireError};
