//! `caps cabinet`.

mod picture;

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use caps_certs_gen::Layer;
use caps_model::messages::cabinet::{self, Members, Order, OrderKind};
use caps_model::{Wire, codec};
use caps_overlay::{CallError, CallOptions, Identity, MethodId, Overlay, To};
use caps_store::service::failure;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Global;
use super::connect::LEAVE;
use crate::deployment::{self as config, Deployment, Node};
use crate::output::say;
use picture::Picture;

/// Show who keeps the cabinet and what it survives; or change that.
///
/// Without a command: the members with their parts and how far they are, whether the places of the voters survive a node, a site or a region, and
/// what a commit costs from each site in round trips, as the leader measures them. The deployment file names the first members only; from then on
/// these commands say who belongs, one change at a time. Needs the administrator's certificate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps cabinet
  caps cabinet --json
  caps cabinet add-learner store-oslo     after starting it with `caps run --node store-oslo`
  caps cabinet promote store-oslo
  caps cabinet transfer store-oslo
  caps cabinet demote store-lund
  caps cabinet remove store-lund")]
pub(super) struct Cabinet {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Let a running node of layer 1 follow: it serves reads and subscriptions near whoever asks, and never votes.
    #[command(after_help = "Examples:\n  caps cabinet add-learner store-oslo")]
    AddLearner(Whom),
    /// Give a learner that has caught up a vote.
    #[command(after_help = "Examples:\n  caps cabinet promote store-oslo")]
    Promote(Whom),
    /// Make a voter a learner.
    #[command(after_help = "Examples:\n  caps cabinet demote store-lund")]
    Demote(Whom),
    /// Take a node out of the cabinet; its process then ends. Its journal stays where it is.
    #[command(after_help = "Examples:\n  caps cabinet remove store-lund")]
    Remove(Whom),
    /// Let a voter lead.
    #[command(after_help = "Examples:\n  caps cabinet transfer store-oslo")]
    Transfer(Whom),
}

#[derive(Debug, Clone, Args)]
struct Whom {
    /// The node.
    node: String,
}

impl Cabinet {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let cabinet = global.cabinet(&deployment, global.administrator())?;
        let order = self.command.as_ref().map(|command| command.order(&deployment, cabinet)).transpose()?;
        let overlay = global.administer(&deployment).await?;
        let done = match &order {
            None => show(global, &deployment, cabinet, &overlay).await,
            Some((order, node)) => carry_out(global, &deployment, cabinet, &overlay, order, node).await,
        };
        overlay.drain(LEAVE).await;
        done
    }
}

impl Command {
    fn order<'a>(&self, deployment: &'a Deployment, cabinet: &config::Cabinet) -> anyhow::Result<(Order, &'a Node)> {
        let (kind, whom) = match self {
            Self::AddLearner(whom) => (OrderKind::AddLearner, whom),
            Self::Promote(whom) => (OrderKind::Promote, whom),
            Self::Demote(whom) => (OrderKind::Demote, whom),
            Self::Remove(whom) => (OrderKind::Remove, whom),
            Self::Transfer(whom) => (OrderKind::Transfer, whom),
        };
        let node = deployment.node(&whom.node)?;
        if node.layer != Layer::Cabinet {
            bail!("{} is of layer {}: only nodes of layer 1 keep the cabinet", node.name, node.layer.number());
        }
        if !node.cabinets.contains(&cabinet.name) {
            bail!(
                "{0} may not keep the cabinet {1}: add {1:?} to its `cabinets` in the deployment file, and start it again",
                node.name,
                cabinet.name.as_str()
            );
        }
        Ok((Order { kind, node: node.identity.uri().to_owned() }, node))
    }
}

async fn show(global: &Global, deployment: &Deployment, cabinet: &config::Cabinet, overlay: &Overlay) -> anyhow::Result<()> {
    let picture = Picture::take(deployment, cabinet, overlay, global.timeout.min(ANSWER)).await?;
    match global.json {
        true => say!("{}", picture.json()),
        false => say!("{}", picture.text()),
    }
    Ok(())
}

/// Asks one replica after the other: any of them finds the leader.
async fn carry_out(
    global: &Global,
    deployment: &Deployment,
    cabinet: &config::Cabinet,
    overlay: &Overlay,
    order: &Order,
    node: &Node,
) -> anyhow::Result<()> {
    let mut last = None;
    for replica in deployment.keepers(cabinet) {
        match ask::<Members>(overlay, cabinet, &replica.identity, cabinet::ORDER, codec::encode(order)?, global.timeout).await {
            Ok(members) => {
                let done = done(order.kind, &node.name);
                match global.json {
                    true => say!("{}", json!({"node": node.name, "done": done, "members": picture::members(&members)})),
                    false => say!("{done}"),
                }
                return Ok(());
            }
            Err(CallError::Failed(refusal)) if refusal.code == failure::CHANGE_REFUSED => bail!("{}", refusal.message),
            Err(error) => last = Some(format!("{}: {error}", replica.name)),
        }
    }
    bail!("no replica could carry it out ({}); look with `caps cabinet`", last.unwrap_or_else(|| "there is none".to_owned()))
}

/// Calls a replica's cabinet service.
pub(super) async fn ask<A: Wire>(
    overlay: &Overlay,
    cabinet: &config::Cabinet,
    replica: &Identity,
    method: u16,
    body: Vec<u8>,
    within: Duration,
) -> Result<A, CallError> {
    let method = MethodId { service: cabinet.services().cabinet(), method };
    let options = CallOptions { deadline: within, ..CallOptions::default() };
    let reply = overlay.call(To::Node(replica), method, Bytes::from(body), options).await?;
    codec::decode(&reply.body).map_err(|_| CallError::Malformed)
}

fn done(kind: OrderKind, node: &str) -> String {
    match kind {
        OrderKind::AddLearner => format!("{node} follows as a learner; `caps cabinet` shows how far it is"),
        OrderKind::Promote => format!("{node} votes"),
        OrderKind::Demote => format!("{node} is a learner"),
        OrderKind::Remove => format!("{node} does not keep the cabinet any more; its process ends, its journal stays where it is"),
        OrderKind::Transfer => format!("{node} leads"),
    }
}

/// One unreachable node must not make the picture slow.
const ANSWER: Duration = Duration::from_secs(3);
