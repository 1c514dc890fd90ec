//! What goes wrong, in the words of front ends.

use std::time::Duration;

use caps_overlay::{Failure, Retry};

use crate::cabinet::{BlobRefusal, CabinetError};
use crate::module::{Refusal, refusals};
use crate::principals::PrincipalError;
use crate::service::codes;

/// Too much at once.
pub(crate) fn busy() -> Failure {
    Failure::new(codes::BUSY, "this host has too many calls at once").retry(Retry::After(BUSY_PAUSE))
}

/// What cannot be decoded.
pub(crate) fn malformed(problem: impl std::fmt::Display) -> Failure {
    Failure::new(codes::MALFORMED, problem.to_string())
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.code {
            refusals::NOT_ALLOWED => codes::NOT_ALLOWED,
            refusals::NOT_FOUND | refusals::REFERENCE | refusals::NO_SUCH_GROUP => codes::NOT_FOUND,
            refusals::NOT_AS_EXPECTED => codes::NOT_AS_EXPECTED,
            code if refusals::OF_CONSTRAINTS.contains(&code) => codes::CONSTRAINT,
            _ => codes::REFUSED,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<CabinetError> for Failure {
    /// For reads: whatever went wrong, nothing happened.
    fn from(error: CabinetError) -> Self {
        match &error {
            CabinetError::Unavailable(_) | CabinetError::Unanswered(_) => {
                Self::new(codes::CABINET_UNAVAILABLE, error.to_string()).retry(Retry::Elsewhere)
            }
            CabinetError::Refused(_) => Self::new(codes::INVALID_QUERY, error.to_string()),
            CabinetError::Blob(refusal, message) => of_blob(*refusal, message),
            CabinetError::Malformed(_) => Self::new(codes::FAULT, error.to_string()),
        }
    }
}

/// What layer 1 has against a blob.
fn of_blob(refusal: BlobRefusal, message: &str) -> Failure {
    let code = match refusal {
        BlobRefusal::Refused | BlobRefusal::Unsecured => return Failure::new(codes::REFUSED, format!("blob: {message}")),
        BlobRefusal::NotBegun => codes::BLOB_NOT_BEGUN,
        BlobRefusal::NoRoom => codes::BLOB_NO_ROOM,
    };
    Failure::new(code, message)
}

/// For commits: no answer does not mean no commit.
pub(super) fn of_commit(error: CabinetError) -> Failure {
    match &error {
        CabinetError::Unanswered(_) | CabinetError::Malformed(_) => Failure::new(codes::OUTCOME_UNKNOWN, error.to_string()),
        CabinetError::Refused(_) => Failure::new(codes::FAULT, error.to_string()),
        CabinetError::Unavailable(_) | CabinetError::Blob(..) => error.into(),
    }
}

impl From<PrincipalError> for Failure {
    fn from(error: PrincipalError) -> Self {
        match error {
            PrincipalError::NoSession => Self::new(codes::NO_SESSION, error.to_string()),
            PrincipalError::Cabinet(error) => error.into(),
        }
    }
}

/// A pause after which a host that was full has finished some tens of calls.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
