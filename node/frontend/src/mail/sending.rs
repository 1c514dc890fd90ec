//! What carries effects of the kind `mail` out.

use std::fmt;
use std::time::Duration;

use caps_adapters::mail::deliver::{Delivered, DeliveryError, Relay, Route};
use caps_adapters::mail::smtp::Address;
use caps_adapters::mail::{Author, Draft, Mailbox, MessageId, Signer};
use caps_model::{Effect, Record, Value};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::effects::{ATTEMPT_MAX, Carrier, Setback};

/// Sends mail by way of one relay.
pub struct Sending {
    relay: Relay,
    signer: Option<Signer>,
    pause: Duration,
}

impl Sending {
    /// Sends by this relay; what is put off is tried again after `pause`, then after twice as long each time.
    pub fn new(relay: Relay, signer: Option<Signer>, pause: Duration) -> Self {
        Self { relay, signer, pause }
    }
}

impl Carrier for Sending {
    fn kind(&self) -> &'static str {
        "mail"
    }

    fn pause(&self) -> Duration {
        self.pause
    }

    fn carry<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<String, Setback>> {
        async move {
            let draft = draft(&effect.arguments).map_err(Setback::last)?;
            let route = route(&draft).map_err(Setback::last)?;
            let mail = draft.compose_signed(self.signer.as_ref()).map_err(|error| Setback::last(error.to_string()))?;
            match self.relay.deliver(&route, &mail, Instant::now() + DELIVERY_MAX).await {
                Ok(delivered) => Ok(told(&delivered)),
                Err(error @ (DeliveryError::Refused { .. } | DeliveryError::Unfit { .. })) => Err(Setback::last(error.to_string())),
                // Also of what may have been taken: it goes out again under the same Message-ID, by which the other side knows it.
                Err(error) => Err(Setback::passing(error.to_string())),
            }
        }
        .boxed()
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("signer", &self.signer).field("pause", &self.pause).finish_non_exhaustive()
    }
}

/// The mail that an effect's arguments describe.
fn draft(arguments: &Record) -> Result<Draft, String> {
    let one = |name: &str| texts(arguments, name).next();
    let mailboxes = |name| texts(arguments, name).map(|address| Mailbox { name: None, address: address.to_owned() }).collect();
    let ids = |name| texts(arguments, name).filter_map(MessageId::parse);
    let message_id = one("message_id").and_then(MessageId::parse).ok_or("it has no Message-ID")?;
    let sent_at = arguments.get("sent_at").and_then(|values| values.first()).and_then(Value::as_timestamp).ok_or("it has no date")?;
    Ok(Draft {
        message_id,
        date: sent_at.div_euclid(1_000_000),
        from: Mailbox { name: None, address: one("from").ok_or("it has no author")?.to_owned() },
        to: mailboxes("to"),
        cc: mailboxes("cc"),
        subject: one("subject").unwrap_or_default().to_owned(),
        in_reply_to: ids("in_reply_to").next(),
        references: ids("references").collect(),
        text: one("text").unwrap_or_default().to_owned(),
        attachments: Vec::new(),
        author: Author::Person,
    })
}

fn route(draft: &Draft) -> Result<Route, String> {
    let address = |mailbox: &Mailbox| Address::parse(&mailbox.address).ok_or_else(|| format!("{:?} is no mail address", mailbox.address));
    let recipients = draft.to.iter().chain(&draft.cc).map(address).collect::<Result<_, _>>()?;
    Ok(Route { reverse_path: Some(address(&draft.from)?), recipients })
}

fn told(delivered: &Delivered) -> String {
    let failed = delivered.failed.iter().map(|failure| format!("; not to {}: {}", failure.recipient, failure.reply));
    std::iter::once(delivered.reply.to_string()).chain(failed).collect()
}

fn texts<'a>(arguments: &'a Record, name: &str) -> impl Iterator<Item = &'a str> {
    arguments.get(name).into_iter().flatten().filter_map(Value::as_text)
}

/// For one delivery: less than for an attempt, so that what came of it is known.
const DELIVERY_MAX: Duration = ATTEMPT_MAX.saturating_sub(Duration::from_secs(10));

#[cfg(test)]
mod tests {
    use caps_model::Name;

    use super::*;

    fn arguments() -> Record {
        let text = |text: &str| vec![Value::text(text)];
        [
            ("message_id", text("1@desk.example")),
            ("from", text("desk@desk.example")),
            ("to", text("ann@a.example")),
            ("subject", text("Re: Pump [#1]")),
            ("in_reply_to", text("a@x")),
            ("references", vec![Value::text("root@x"), Value::text("a@x"), Value::text("not one")]),
            ("text", text("Hello")),
            ("sent_at", vec![Value::Timestamp(1_000_000_000_000_000)]),
        ]
        .map(|(name, values)| (Name::fixed(name), values))
        .into()
    }

    #[test]
    fn arguments_become_a_mail_and_its_route() {
        let draft = draft(&arguments()).unwrap();
        assert_eq!(draft.references.len(), 2);
        let route = route(&draft).unwrap();
        assert_eq!(route.recipients[0].as_str(), "ann@a.example");
        let mail = String::from_utf8(draft.compose().unwrap()).unwrap();
        for line in
            ["Message-ID: <1@desk.example>", "In-Reply-To: <a@x>", "Subject: Re: Pump [#1]", "Date: Sun, 09 Sep 2001 01:46:40 +0000"]
        {
            assert!(mail.lines().any(|written| written == line), "{line} is not in {mail}");
        }
    }

    #[test]
    fn what_is_no_mail_is_said_to_be_none() {
        for (name, reason) in [("message_id", "it has no Message-ID"), ("from", "it has no author"), ("sent_at", "it has no date")] {
            let mut arguments = arguments();
            arguments.remove(name);
            assert_eq!(draft(&arguments).unwrap_err(), reason);
        }
        let mut arguments = arguments();
        arguments.insert(Name::fixed("to"), vec![Value::text("ann@a.example\r\nBcc: eve@x")]);
        assert!(route(&draft(&arguments).unwrap()).unwrap_err().contains("is no mail address"));
    }
}
