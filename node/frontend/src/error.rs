//! What goes wrong between a front end and its host.

use std::time::Duration;

use caps_model::{BlobId, CommitId, DecodeError, EncodeError};
use caps_overlay::{CallError, Failure};

/// Why a front end got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host or a module said no. Nothing was changed. The message says what to change.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// No host answered in time. For a call that changes something its commit id is given: ask for its outcome.
    #[error("no answer within {within:?}{}: {last}", .commit.map(|c| format!(" (commit {c}: ask `caps outcome {c}`)")).unwrap_or_default())]
    NoAnswer {
        /// How long was tried.
        within: Duration,
        /// The commit whose outcome is open, if the call could change something.
        commit: Option<CommitId>,
        /// What the last attempt ran into.
        last: CallError,
    },
    /// The overlay could not carry the call at all, and trying again does not help.
    #[error(transparent)]
    Overlay(CallError),
    /// The request is larger than a message may be.
    #[error(transparent)]
    TooLarge(#[from] EncodeError),
    /// What was to be sent could not be read, or what came could not be written. What was sent or written before is there.
    #[error(transparent)]
    Source(std::io::Error),
    /// No majority of the replicas has the blob on disk. What is there is kept for a day: uploading it again goes on from there.
    #[error("no majority of the replicas has {blob} on disk: see `caps cabinet`, then upload it again, which goes on where it stopped")]
    Unsecured {
        /// The blob.
        blob: BlobId,
    },
    /// The host answered something else than was asked.
    #[error("the host answered something else than was asked: is it of another release?")]
    Untrue,
    /// The host answered something that is not an answer: it is of another release.
    #[error("the host's answer is not understood: {0}")]
    Answer(#[from] DecodeError),
}

impl ClientError {
    /// Sorts what the overlay reports: a service's own answer is final, the rest stays the overlay's.
    pub(crate) fn of(error: CallError) -> Self {
        match error {
            CallError::Failed(failure) => Self::Refused(failure),
            other => Self::Overlay(other),
        }
    }
}
