//! What went wrong, and what it means for the webhook.

use std::time::Duration;

use hyper::StatusCode;

/// Why a webhook was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The endpoint refuses it for good. Trying again gives the same answer.
    #[error("the endpoint refuses it: {status}{}", after(.said))]
    Refused {
        /// The status.
        status: u16,
        /// The beginning of what it said, on one line.
        said: String,
    },
    /// It cannot be sent to anybody: nothing was said.
    #[error("the webhook cannot be sent: {why}")]
    Unfit {
        /// Why.
        why: String,
    },
    /// It was not taken, and may be another time: the endpoint is away, busy, or says so itself.
    #[error("the webhook was not taken: {why}")]
    Later {
        /// Why.
        why: String,
        /// How long the endpoint wants to be left alone (`Retry-After`), a day at most.
        wait: Option<Duration>,
    },
    /// It may have been taken: the connection or the time ended before the answer came. It goes out again under the same id.
    #[error("the webhook may have been taken: {why}")]
    Unsure {
        /// Why it is not known.
        why: String,
    },
}

impl DeliveryError {
    /// What an answer other than 2xx means.
    pub(super) fn of_answer(status: StatusCode, wait: Option<Duration>, said: String) -> Self {
        let code = status.as_u16();
        match is_for_good(status) {
            true => Self::Refused { status: code, said },
            false => Self::Later { why: format!("the endpoint answers {code}{}", after(&said)), wait },
        }
    }
}

/// A client error is about this webhook, but for those that are about the moment. A redirect is not followed, and waits for somebody to write the new address down.
fn is_for_good(status: StatusCode) -> bool {
    status.is_client_error() && !OF_THE_MOMENT.contains(&status)
}

fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

const OF_THE_MOMENT: [StatusCode; 4] =
    [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
