//! Webhooks, as the deployment file describes their endpoints.

use anyhow::Context;
use caps_frontend::Client;
use caps_frontend::webhook::Posting;

use super::job::Job;
use crate::deployment::front_end::Webhook;

/// Sends webhooks to these endpoints, to each on its own: one that is slow keeps no other waiting.
pub(super) fn start(webhooks: &[Webhook], client: &Client) -> anyhow::Result<Vec<Job>> {
    let opened = webhooks.iter().map(|webhook| {
        let endpoint = webhook.open().with_context(|| format!("webhooks to {} cannot be sent", webhook.endpoint))?;
        Ok(Posting::new(webhook.endpoint.clone(), endpoint, webhook.retry, client.overlay().environment().wall_clock.clone()))
    });
    let postings: Vec<Posting> = opened.collect::<anyhow::Result<_>>()?;
    Ok(postings.into_iter().map(|posting| Job::carrying(client.clone(), posting)).collect())
}
