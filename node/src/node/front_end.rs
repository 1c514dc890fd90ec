//! A node of layer 4 that serves the outside: the console and the web services, mail, and webhooks.

mod carriage;
mod mail;
mod web;
mod webhooks;

use std::time::Duration;

use caps_frontend::Client;
use caps_frontend::web::Server;

use self::carriage::Carriage;
use self::mail::MailGateway;
use super::running::Part;
use super::{Place, Running, leaf_in};
use crate::deployment::{Deployment, Node};

/// What a front end serves.
#[derive(Debug)]
pub(super) struct FrontEnd {
    mail: Option<MailGateway>,
    web: Option<Server>,
    webhooks: Vec<Carriage>,
}

/// Joins the overlay as a leaf, and serves.
pub(super) async fn start(deployment: &Deployment, node: &Node, place: Place) -> anyhow::Result<Running> {
    let overlay = leaf_in(deployment, place).await?;
    let client = Client::new(overlay.clone(), deployment.cabinet_of(node).services(), PATIENCE);
    let mail = match &node.front_end.mail {
        Some(settings) => Some(MailGateway::start(settings, client.clone()).await?),
        None => None,
    };
    let web = match &node.front_end.web {
        Some(settings) => Some(web::start(settings, client.clone()).await?),
        None => None,
    };
    let webhooks = webhooks::start(&node.front_end.webhooks, &client)?;
    let web_at = web.as_ref().map(|web| tracing::field::display(web.local_address()));
    let mail_at = mail.as_ref().and_then(MailGateway::local_address).map(tracing::field::display);
    tracing::info!(node = %node.identity, cabinet = %deployment.cabinet_of(node).name, mail = mail_at, web = web_at, "serving");
    Ok(Running::new(overlay, Part::FrontEnd(FrontEnd { mail, web, webhooks })))
}

impl FrontEnd {
    /// Takes nothing new from the outside, and finishes what was accepted.
    pub(super) async fn stop(self) {
        self.webhooks.iter().for_each(Carriage::stop);
        if let Some(web) = self.web {
            web.shutdown().await;
        }
        if let Some(mail) = self.mail {
            mail.stop().await;
        }
        for webhooks in self.webhooks {
            webhooks.ended().await;
        }
    }
}

/// How long a request to layer 2 may take: a browser, or a mail server, waits longer than that.
const PATIENCE: Duration = Duration::from_secs(15);
