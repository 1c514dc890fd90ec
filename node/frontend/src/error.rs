//! What goes wrong between a front end and its host.

use std::time::Duration;

use caps_model::{CommitId, DecodeError, EncodeError};
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
