//! What a host said no to, and everything else that keeps an answer away, sorted for people and programs.

use std::time::Duration;

use caps_adapters::web::Problem;
use caps_model::messages::host::codes;
use caps_overlay::{Failure, Retry};

use crate::ClientError;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// There is no session, or none any more.
    SignedOut,
    /// There is nothing of this name, or nothing that the user may know of.
    NotFound(String),
    /// The host, or a module, said no. Nothing was changed.
    Refused(Refusal),
    /// What was sent is not understood.
    Bad(String),
    /// Too much was asked for.
    Busy {
        /// When to come back.
        wait: Duration,
        /// Why.
        sentence: String,
    },
    /// Nobody answered.
    Away {
        /// What was tried.
        sentence: String,
        /// The commit whose outcome is open.
        commit: Option<String>,
    },
    /// A mistake of ours or of a module.
    Fault(String),
}

/// A refusal, taken apart: `code[attribute]: sentence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status that says it to programs.
    pub(crate) status: u16,
    /// The word for programs.
    pub(crate) code: String,
    /// The parameter to blame.
    pub(crate) field: Option<String>,
    /// The sentence for people.
    pub(crate) sentence: String,
}

impl Refusal {
    fn of(failure: &Failure) -> Self {
        let status = match failure.code {
            codes::NOT_ALLOWED => 403,
            codes::NOT_FOUND => 404,
            codes::CONFLICT | codes::SEALED | codes::COMMIT_ID_TAKEN => 409,
            codes::NOT_AS_EXPECTED => 412,
            codes::INVALID_QUERY | codes::MALFORMED => 400,
            _ => 422,
        };
        let (head, sentence) = failure.message.split_once(": ").unwrap_or(("", &failure.message));
        let (code, field) = match head.strip_suffix(']').and_then(|head| head.split_once('[')) {
            Some((code, field)) => (code, Some(field.to_owned())),
            None => (head, None),
        };
        let is_word = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        match is_word {
            true => Self { status, code: code.to_owned(), field, sentence: sentence.to_owned() },
            false => Self { status, code: "refused".to_owned(), field: None, sentence: failure.message.clone() },
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(failure) => Self::of(&failure),
            ClientError::NoAnswer { within, commit, last } => Self::Away {
                sentence: format!("no host answered within {within:?}: {last}"),
                commit: commit.map(|commit| commit.to_string()),
            },
            ClientError::TooLarge(error) => {
                Self::Refused(Refusal { status: 413, code: "too_large".to_owned(), field: None, sentence: error.to_string() })
            }
            ClientError::Overlay(error) => Self::Away { sentence: error.to_string(), commit: None },
            other => Self::Fault(other.to_string()),
        }
    }
}

impl Trouble {
    fn of(failure: &Failure) -> Self {
        let wait = match failure.retry {
            Retry::After(wait) => wait,
            _ => Duration::from_secs(1),
        };
        match failure.code {
            codes::NO_SESSION => Self::SignedOut,
            codes::LOGIN_LOCKED | codes::BUSY => Self::Busy { wait, sentence: failure.message.clone() },
            codes::NO_SUCH_METHOD => Self::NotFound("no module has this method".to_owned()),
            codes::CABINET_UNAVAILABLE | codes::OUTCOME_UNKNOWN | codes::BLOB_NO_ROOM => {
                Self::Away { sentence: failure.message.clone(), commit: None }
            }
            codes::LOGIN_REFUSED => {
                Self::Refused(Refusal { status: 401, code: "login_refused".to_owned(), field: None, sentence: failure.message.clone() })
            }
            codes::FAULT => Self::Fault(failure.message.clone()),
            // Below 100 the overlay speaks.
            0..=99 => Self::Away { sentence: failure.message.clone(), commit: None },
            _ => Self::Refused(Refusal::of(failure)),
        }
    }

    /// The status of an answer that says this.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::SignedOut => 401,
            Self::NotFound(_) => 404,
            Self::Refused(refusal) => refusal.status,
            Self::Bad(_) => 400,
            Self::Busy { .. } => 429,
            Self::Away { .. } => 503,
            Self::Fault(_) => 500,
        }
    }

    /// What happened and what to change.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::SignedOut => "there is no session, or none any more: log in".to_owned(),
            Self::NotFound(sentence)
            | Self::Bad(sentence)
            | Self::Busy { sentence, .. }
            | Self::Away { sentence, .. }
            | Self::Fault(sentence) => sentence.clone(),
            Self::Refused(refusal) => refusal.sentence.clone(),
        }
    }

    /// The same for programs.
    pub(crate) fn problem(&self) -> Problem {
        let problem = Problem::of(self.status()).detail(self.sentence());
        match self {
            Self::Refused(refusal) => Problem { field: refusal.field.as_deref().map(Into::into), ..problem.code(refusal.code.as_str()) },
            Self::Busy { wait, .. } => problem.retry_after(*wait),
            Self::Away { commit, .. } => Problem { commit: commit.as_deref().map(Into::into), ..problem.retry_after(AWAY_PAUSE) },
            _ => problem,
        }
    }
}

/// After this long another host is usually found.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_taken_apart() {
        let of = |message: &str| Refusal::of(&Failure::new(codes::CONSTRAINT, message));
        let refusal = of("size[subject]: at most 5 bytes: not 6");
        assert_eq!(
            (refusal.code.as_str(), refusal.field.as_deref(), refusal.sentence.as_str()),
            ("size", Some("subject"), "at most 5 bytes: not 6")
        );
        assert_eq!((of("closed: it is").code.as_str(), of("closed: it is").field), ("closed", None));
        assert_eq!(of("Something else: odd").sentence, "Something else: odd");
    }
}
