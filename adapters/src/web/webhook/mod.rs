//! Webhooks out: a signed POST to an endpoint that somebody configured, and what became of it.
//!
//! Requests follow Standard Webhooks (standardwebhooks.com, version 1.0.0): `webhook-id` stays the same in every attempt, `webhook-timestamp` is
//! the attempt's, and `webhook-signature` bears one signature for each secret. [`Endpoint::deliver`] makes one attempt and tells what another would risk.
//!
//! Nothing goes anywhere but to the endpoint: redirects are not followed, and of an answer no more is read than people can use.

mod failure;
mod secret;
mod target;
mod wire;

use tokio::time::{Instant, timeout_at};

pub use self::failure::DeliveryError;
pub use self::secret::{SecretError, Secrets};
pub use self::target::{EndpointError, Target};
use self::wire::Attempt;

/// Where webhooks go, and how they are signed.
#[derive(Clone, Debug)]
pub struct Endpoint {
    target: Target,
    secrets: Secrets,
}

/// One webhook, as one attempt sends it.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'w> {
    /// By what the other side recognises a repetition: the same in every attempt, printable ASCII without spaces and dots.
    pub id: &'w str,
    /// When this attempt is made: seconds since 1970. Receivers refuse what is minutes off.
    pub sent_at: i64,
    /// The body, JSON.
    pub body: &'w [u8],
}

impl Endpoint {
    /// Signs with all of `secrets` what it sends to `target`.
    pub fn new(target: Target, secrets: Secrets) -> Self {
        Self { target, secrets }
    }

    /// Makes one attempt, until the deadline; the status that it was taken with.
    ///
    /// # Errors
    /// A [`DeliveryError`], which says whether it was refused for good, was certainly not taken, or may have been taken.
    pub async fn deliver(&self, webhook: &Webhook<'_>, deadline: Instant) -> Result<u16, DeliveryError> {
        let request = wire::request(&self.target, &self.secrets, webhook)?;
        let mut attempt = Attempt::new(&self.target, webhook.sent_at);
        match timeout_at(deadline, attempt.run(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(attempt.broken("no answer came in time".to_owned())),
        }
    }
}

/// Bytes of a webhook's body: receivers expect some KiB (Standard Webhooks advises less than 20).
pub const BODY_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests;
