//! What layer 1 answers on the overlay.
//!
//! - [`cabinet`]: reads, commits and subscriptions, for hosts, administrators and the other replicas.
//! - [`raft`]: consensus messages of the other voters.
//! - [`blobs`]: large values, which commits only name.

pub mod blobs;
pub mod cabinet;
pub mod failure;
pub mod raft;

pub use blobs::BlobService;
pub use cabinet::CabinetService;
pub use raft::RaftService;
