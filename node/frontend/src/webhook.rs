//! What carries effects of the kind `webhook` out: to the endpoint that they name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use caps_adapters::web::webhook::{DeliveryError, Endpoint, Webhook};
use caps_model::{Effect, Record, Value};
use caps_overlay::WallClock;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::Instant;

use crate::effects::{ATTEMPT_MAX, Carrier, Setback};
use crate::web::rfc3339;

/// Sends webhooks to one endpoint.
pub struct Posting {
    name: String,
    endpoint: Endpoint,
    pause: Duration,
    wall_clock: Arc<dyn WallClock>,
}

impl Posting {
    /// Sends what goes towards `name` to this endpoint; what is not taken is tried again after `pause`, then after twice as long each time.
    pub fn new(name: String, endpoint: Endpoint, pause: Duration, wall_clock: Arc<dyn WallClock>) -> Self {
        Self { name, endpoint, pause, wall_clock }
    }
}

impl Carrier for Posting {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn towards(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn pause(&self) -> Duration {
        self.pause
    }

    fn carry<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<String, Setback>> {
        async move {
            let body = body(&effect.arguments).map_err(Setback::last)?;
            let sent_at = self.wall_clock.now_micros().div_euclid(1_000_000);
            let webhook = Webhook { id: &effect.key, sent_at, body: body.as_bytes() };
            match self.endpoint.deliver(&webhook, Instant::now() + DELIVERY_MAX).await {
                Ok(status) => Ok(format!("the endpoint answers {status}")),
                Err(error @ (DeliveryError::Refused { .. } | DeliveryError::Unfit { .. })) => Err(Setback::last(error.to_string())),
                // Also of what may have been taken: it goes out again under the same id, by which the other side knows it.
                Err(DeliveryError::Later { why, wait }) => {
                    Err(Setback::passing(DeliveryError::Later { why, wait }.to_string()).not_within(wait))
                }
                Err(error) => Err(Setback::passing(error.to_string())),
            }
        }
        .boxed()
    }
}

impl fmt::Debug for Posting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posting").field("name", &self.name).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The body that an effect's arguments describe, the same in every attempt: `type`, `timestamp` and `data`, as Standard Webhooks has them.
fn body(arguments: &Record) -> Result<String, &'static str> {
    let value = |name: &str| arguments.get(name).and_then(|values| values.first());
    let text = |name: &str| value(name).and_then(Value::as_text);
    let id = value("object").and_then(Value::as_reference).ok_or("it does not say what it is about")?;
    let happened_at = value("happened_at").and_then(Value::as_timestamp).ok_or("it does not say when it happened")?;
    let changed: Vec<&str> = arguments.get("changed").into_iter().flatten().filter_map(Value::as_text).collect();
    let body = json!({
        "type": text("type").ok_or("it does not say what happened")?,
        "timestamp": rfc3339(happened_at),
        "data": { "id": id.to_string(), "entity": text("entity").ok_or("it does not say to what it happened")?, "changed": changed },
    });
    Ok(body.to_string())
}

/// For one delivery: less than for an attempt, so that what came of it is known. Endpoints are expected to answer within 15 to 30 seconds.
const DELIVERY_MAX: Duration = ATTEMPT_MAX.saturating_sub(Duration::from_secs(60));

#[cfg(test)]
mod tests {
    use caps_model::{Name, ObjectId};

    use super::*;

    fn arguments() -> Record {
        [
            ("type", vec![Value::text("case.changed")]),
            ("object", vec![Value::Reference(ObjectId(7))]),
            ("entity", vec![Value::text("case")]),
            ("happened_at", vec![Value::Timestamp(1_000_000_000_000_000)]),
            ("changed", vec![Value::text("status"), Value::text("closed_at")]),
        ]
        .map(|(name, values)| (Name::fixed(name), values))
        .into()
    }

    #[test]
    fn arguments_become_a_body_that_is_always_the_same() {
        let expected = format!(
            r#"{{"data":{{"changed":["status","closed_at"],"entity":"case","id":"{}"}},"timestamp":"2001-09-09T01:46:40Z","type":"case.changed"}}"#,
            ObjectId(7)
        );
        assert_eq!(body(&arguments()).unwrap(), expected);
        for name in ["type", "object", "entity", "happened_at"] {
            let mut arguments = arguments();
            arguments.remove(name);
            assert!(body(&arguments).is_err(), "{name}");
        }
    }
}
