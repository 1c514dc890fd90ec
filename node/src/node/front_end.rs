//! A node of layer 4 that serves the outside: the console and the web services, mail, webhooks, and other databases.

mod databases;
mod job;
mod mail;
mod web;
mod webhooks;

use std::time::Duration;

use caps_frontend::Client;
use caps_frontend::web::Server;

use self::job::Job;
use self::mail::MailGateway;
use super::running::Part;
use super::{Place, Running, leaf_in};
use crate::deployment::{Deployment, Node};

/// What a front end serves.
#[derive(Debug)]
pub(super) struct FrontEnd {
    mail: Option<MailGateway>,
    web: Option<Server>,
    /// Webhooks that are sent, and other databases that are read and written.
    jobs: Vec<Job>,
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
    let mut jobs = webhooks::start(&node.front_end.webhooks, &client)?;
    jobs.extend(databases::start(&node.front_end, &deployment.data_of(node, deployment.cabinet_of(node)), &client)?);
    let web_at = web.as_ref().map(|web| tracing::field::display(web.local_address()));
    let mail_at = mail.as_ref().and_then(MailGateway::local_address).map(tracing::field::display);
    tracing::info!(node = %node.identity, cabinet = %deployment.cabinet_of(node).name, mail = mail_at, web = web_at, "serving");
    Ok(Running::new(overlay, Part::FrontEnd(FrontEnd { mail, web, jobs })))
}

impl FrontEnd {
    /// Takes nothing new from the outside, and finishes what was accepted.
    pub(super) async fn stop(self) {
        self.jobs.iter().for_each(Job::stop);
        if let Some(web) = self.web {
            web.shutdown().await;
        }
        if let Some(mail) = self.mail {
            mail.stop().await;
        }
        for job in self.jobs {
            job.ended().await;
        }
    }
}

/// How long a request to layer 2 may take: a browser, or a mail server, waits longer than that.
const PATIENCE: Duration = Duration::from_secs(15);
