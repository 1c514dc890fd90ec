//! Why a call did not succeed, as the service says it and as the caller sees it.

use std::time::Duration;

use caps_certs_gen::Identity;
use thiserror::Error;

/// Why a service did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} (code {code})")]
pub struct Failure {
    /// What went wrong: below 100 the overlay's own ([`code`](crate::failure::code)), from 100 the service's.
    pub code: u16,
    /// The same for people, without a full stop; at most 4 KiB travel.
    pub message: String,
    /// Whether trying again makes sense.
    pub retry: Retry,
}

impl Failure {
    /// A failure for which trying again makes no sense.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: Retry::No }
    }

    /// The same failure with other advice on trying again.
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

/// Whether trying again makes sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// No: the answer would be the same.
    #[default]
    No,
    /// At another node, at once. The call did not run here.
    Elsewhere,
    /// Here, after this long. The call did not run.
    After(Duration),
}

/// The overlay's own failure codes, all below 100.
pub mod code {
    /// The deadline passed before the answer was ready; the call may have had effects.
    pub const EXPIRED: u16 = 1;
    /// Too many calls at once; it did not run.
    pub const OVERLOADED: u16 = 2;
    /// The node takes no new work, or ended a stream because it is draining.
    pub const DRAINING: u16 = 3;
    /// No such service or method; it did not run.
    pub const NO_SUCH_METHOD: u16 = 4;
    /// The method is not for this caller; it did not run.
    pub const NOT_ALLOWED: u16 = 5;
    /// The request or the answer is larger than a frame may be.
    pub const TOO_LARGE: u16 = 6;
    /// The request cannot be read; it did not run.
    pub const MALFORMED: u16 = 7;
    /// The caller cancelled.
    pub const CANCELLED: u16 = 8;
    /// The method answers in another shape than it was called for (one reply, many replies, raw).
    pub const OTHER_SHAPE: u16 = 9;
    /// Codes from here on are the services' own.
    pub const FIRST_OF_SERVICES: u16 = 100;
}

/// Why a call did not succeed, as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// Nobody by this name is known: neither the directory nor the seeds have an address. It did not run.
    #[error("{peer} is not known here")]
    Unknown {
        /// Who was asked for.
        peer: String,
    },
    /// The peer could not be reached. It did not run.
    #[error("{peer} cannot be reached: {cause}")]
    Unreachable {
        /// Who was asked for.
        peer: Identity,
        /// What happened.
        cause: String,
    },
    /// The peer refused us, at the handshake or when it saw who we are. It did not run.
    #[error("{peer} refused the connection: {reason} (code {code:#x})")]
    Refused {
        /// Who refused.
        peer: Identity,
        /// The code of the connection close, see [`CloseCode`](crate::CloseCode); TLS alerts are 0x100 + the alert.
        code: u64,
        /// The reason, in words.
        reason: String,
    },
    /// The answer did not come in time. It may have run.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The connection was lost while the call was out. It may have run.
    #[error("the connection to {peer} was lost: {cause}")]
    Lost {
        /// Who was called.
        peer: Identity,
        /// What happened to the connection.
        cause: String,
    },
    /// Too much is going on, here or there. It did not run.
    #[error("overloaded; try again in {retry_after:?}")]
    Overloaded {
        /// How long to wait before trying again.
        retry_after: Duration,
    },
    /// The peer is draining and takes no new work. It did not run.
    #[error("the peer is draining")]
    Draining,
    /// The peer has no such service, or the service no such method. It did not run.
    #[error("the peer has no such service or method")]
    NoSuchMethod,
    /// The method is not for us. It did not run.
    #[error("not allowed: {reason}")]
    NotAllowed {
        /// Who may call it.
        reason: String,
    },
    /// The request or the answer is larger than a frame may be.
    #[error("{size_bytes} bytes are more than the {limit_bytes} that a message may have")]
    TooLarge {
        /// The size of the message.
        size_bytes: usize,
        /// The most that a message may have.
        limit_bytes: usize,
    },
    /// The service says no.
    #[error(transparent)]
    Failed(Failure),
    /// The peer sent something that makes no sense. The call may have run.
    #[error("the peer sent a malformed answer")]
    Malformed,
    /// This node is shutting down. It did not run.
    #[error("this node is shutting down")]
    ShuttingDown,
}

impl CallError {
    /// Whether the call certainly had no effect, so that anything may be sent again elsewhere.
    pub fn certainly_not_run(&self) -> bool {
        match self {
            Self::Unknown { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Overloaded { .. }
            | Self::Draining
            | Self::NoSuchMethod
            | Self::NotAllowed { .. }
            | Self::ShuttingDown => true,
            Self::Failed(failure) => failure.retry != Retry::No,
            Self::DeadlineExceeded | Self::Lost { .. } | Self::TooLarge { .. } | Self::Malformed => false,
        }
    }

    /// The failure of a call that was tried once more: that of an attempt which may have had an effect says so for all of them.
    pub(crate) fn or(self, later: Self) -> Self {
        if later.certainly_not_run() && !self.certainly_not_run() { self } else { later }
    }

    /// The same, for a call of which nothing was sent yet.
    pub(crate) fn before_sending(self) -> Self {
        match self {
            Self::Lost { peer, cause } => Self::Unreachable { peer, cause },
            other => other,
        }
    }

    /// Whether another node may do better.
    pub(crate) fn worth_trying_elsewhere(&self) -> bool {
        match self {
            Self::Unknown { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Overloaded { .. }
            | Self::Draining
            | Self::NoSuchMethod => true,
            Self::Failed(failure) => failure.retry == Retry::Elsewhere,
            _ => false,
        }
    }
}

impl From<Failure> for CallError {
    /// Turns the overlay's own codes into their variants; everything else is the service's.
    fn from(failure: Failure) -> Self {
        match failure.code {
            code::EXPIRED => Self::DeadlineExceeded,
            code::OVERLOADED => Self::Overloaded {
                retry_after: match failure.retry {
                    Retry::After(after) => after,
                    Retry::No | Retry::Elsewhere => Duration::ZERO,
                },
            },
            code::DRAINING => Self::Draining,
            code::NO_SUCH_METHOD => Self::NoSuchMethod,
            code::NOT_ALLOWED => Self::NotAllowed { reason: failure.message },
            _ => Self::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_may_have_had_an_effect_is_not_unsaid_by_a_later_one() {
        let peer: Identity = "spiffe://test.example/site/lund/layer/2/host".parse().unwrap();
        let lost = || CallError::Lost { peer: peer.clone(), cause: "silence".to_owned() };
        let unreachable = || CallError::Unreachable { peer: peer.clone(), cause: "nobody there".to_owned() };
        assert_eq!(lost().or(unreachable()), lost());
        assert_eq!(unreachable().or(lost()), lost());
        assert_eq!(unreachable().or(CallError::Draining), CallError::Draining);
        assert_eq!(lost().or(CallError::DeadlineExceeded), CallError::DeadlineExceeded);
    }
}
