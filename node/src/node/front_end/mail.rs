//! A mail gateway, as the deployment file describes it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use caps_adapters::mail::Signer;
use caps_adapters::mail::deliver::Relay;
use caps_adapters::mail::smtp::{Address, Destinations, Domain, Settings};
use caps_adapters::tls::Tls;
use caps_frontend::Client;
use caps_frontend::mail::{Filing, Listener, Sending};

use super::job::Job;
use crate::deployment::front_end::{Dkim, Mail};

/// A mail gateway at work.
#[derive(Debug)]
pub(super) struct MailGateway {
    listener: Option<Listener>,
    sender: Option<Job>,
}

impl MailGateway {
    /// Listens, and sends what is to be sent.
    pub(super) async fn start(mail: &Mail, client: Client) -> anyhow::Result<Self> {
        let host = domain(&mail.host)?;
        let listener = match mail.listen {
            Some(listen) => {
                let settings = Settings::new(host.clone(), destinations(&mail.recipients)?);
                let tls = mail.tls.as_ref().map(|pair| pair.read(Tls::for_mail)).transpose()?;
                let tasks = client.overlay().environment().tasks.clone();
                let listener = Listener::start(listen, settings, tls, Arc::new(Filing::new(client.clone(), host.clone())), &tasks).await;
                Some(
                    listener.with_context(|| {
                        format!("cannot take mail on {listen}: if another process has it, end that one or change `listen`")
                    })?,
                )
            }
            None => None,
        };
        let sender = match &mail.relay {
            Some(relay) => Some(Job::carrying(client, sending(mail, relay, &host)?)),
            None => None,
        };
        Ok(Self { listener, sender })
    }

    /// Where it takes mail, if it does.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::local_address)
    }

    /// Takes no more, and finishes what was taken.
    pub(super) async fn stop(self) {
        if let Some(sender) = &self.sender {
            sender.stop();
        }
        if let Some(listener) = self.listener {
            listener.stop().await;
        }
        if let Some(sender) = self.sender {
            sender.ended().await;
        }
    }
}

fn sending(mail: &Mail, relay: &str, host: &Domain) -> anyhow::Result<Sending> {
    let relay = Relay::parse(relay, host)?;
    Ok(Sending::new(relay, mail.dkim.as_ref().map(signer).transpose()?, mail.retry))
}

fn signer(dkim: &Dkim) -> anyhow::Result<Signer> {
    let key = std::fs::read_to_string(&dkim.key).with_context(|| format!("cannot read the DKIM key {}", dkim.key.display()))?;
    Signer::new(&domain(&dkim.domain)?, &dkim.selector, &key).with_context(|| format!("cannot sign with {}", dkim.key.display()))
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
