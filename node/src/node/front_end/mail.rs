//! A mail gateway, as the deployment file describes it.

use std::net::SocketAddr;

use anyhow::Context;
use caps_adapters::mail::smtp::{Address, Destinations, Domain, Settings};
use caps_frontend::Client;
use caps_frontend::mail::{Filing, Listener};

use crate::deployment::front_end::Mail;

/// A mail gateway at work.
#[derive(Debug)]
pub(super) struct MailGateway {
    listener: Option<Listener>,
}

impl MailGateway {
    /// Listens, and sends what is to be sent.
    pub(super) async fn start(mail: &Mail, client: Client) -> anyhow::Result<Self> {
        let host = domain(&mail.host)?;
        let listener =
            match mail.listen {
                Some(listen) => {
                    let settings = Settings::new(host.clone(), destinations(&mail.recipients)?);
                    let tasks = client.overlay().environment().tasks.clone();
                    let listener = Listener::start(listen, settings, Filing::new(client.clone(), host), &tasks).await;
                    Some(listener.with_context(|| {
                        format!("cannot take mail on {listen}: if another process has it, end that one or change `listen`")
                    })?)
                }
                None => None,
            };
        Ok(Self { listener })
    }

    /// Where it takes mail, if it does.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::local_address)
    }

    /// Takes no more, and finishes what was taken.
    pub(super) async fn stop(self) {
        if let Some(listener) = self.listener {
            listener.stop().await;
        }
    }
}

fn destinations(recipients: &[String]) -> anyhow::Result<Destinations> {
    recipients.iter().try_fold(Destinations::default(), |all, recipient| match recipient.strip_prefix('@') {
        Some(whole) => Ok(all.domain(&domain(whole)?)),
        None => Ok(all.address(&Address::parse(recipient).with_context(|| format!("{recipient:?} is no mail address"))?)),
    })
}

fn domain(text: &str) -> anyhow::Result<Domain> {
    Domain::parse(text).with_context(|| format!("{text:?} is no domain"))
}
