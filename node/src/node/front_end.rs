//! A node of layer 4 that serves the outside: the console and the web services, and mail.

use std::time::Duration;

use caps_frontend::Client;

use super::running::Part;
use super::{Place, Running, leaf_in};
use crate::deployment::{Deployment, Node};

/// What a front end serves.
#[derive(Debug)]
pub(super) struct FrontEnd {
    client: Client,
}

/// Joins the overlay as a leaf, and serves.
pub(super) async fn start(deployment: &Deployment, node: &Node, place: Place) -> anyhow::Result<Running> {
    let overlay = leaf_in(deployment, place).await?;
    let client = Client::new(overlay.clone(), deployment.cabinet_of(node).services(), PATIENCE);
    tracing::info!(node = %node.identity, cabinet = %deployment.cabinet_of(node).name, "serving");
    Ok(Running::new(overlay, Part::FrontEnd(FrontEnd { client })))
}

impl FrontEnd {
    /// Takes nothing new from the outside, and finishes what was accepted.
    pub(super) async fn stop(self) {
        tokio::task::yield_now().await;
        drop(self.client);
    }
}

/// How long a request to layer 2 may take: a browser, or a mail server, waits longer than that.
const PATIENCE: Duration = Duration::from_secs(15);
