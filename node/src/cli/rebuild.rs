//! `caps rebuild`.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use caps_certs_gen::Layer;
use caps_store::check::{JournalFound, examine};
use caps_store::storage::{DiskStorage, Storage};
use clap::Args;
use serde_json::json;

use super::Global;
use super::progress::Bar;
use crate::deployment::{Cabinet, Deployment, Node};
use crate::output::say;

/// Make a node's state anew from its journal.
///
/// The state is what a journal materialises into: in sled, or in a database, where reports read it. It is no truth: when the database is lost, or was
/// changed by somebody else, it is made anew. Stop the node first. A state in sled is set aside; in a database the node's own schema is emptied.
/// (A node that finds its state missing, damaged or ahead of the journal does the same by itself when it starts.)
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps rebuild --node store-lund\n  CAPS_DB_PASSWORD=... caps rebuild --node store-lund --cabinet main --json"
)]
pub(super) struct Rebuild {
    /// The node.
    #[arg(long, value_name = "NAME")]
    node: String,
}

impl Rebuild {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let node = deployment.node(&self.node)?;
        ensure!(node.layer == Layer::Cabinet, "{} is of layer {}: only nodes of layer 1 keep a state", node.name, node.layer.number());
        let named = global.cabinet.as_deref().map(|name| deployment.cabinet_named(name)).transpose()?;
        for cabinet in deployment.cabinets_of(node).filter(|cabinet| named.is_none_or(|named| named.name == cabinet.name)) {
            rebuild(global, &deployment, node, cabinet)?;
        }
        Ok(())
    }
}

fn rebuild(global: &Global, deployment: &Deployment, node: &Node, cabinet: &Cabinet) -> anyhow::Result<()> {
    let directory = deployment.data_of(node, cabinet);
    ensure!(directory.exists(), "there is nothing in {}: the node has never run here", directory.display());
    // Held until the end: the node must not start meanwhile.
    let storage =
        DiskStorage::open(&directory).with_context(|| format!("cannot rebuild the state of {}: does it run? stop it first", node.name))?;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let JournalFound::Sound(sound) = examine(storage)?.journal else {
        bail!("the journal in {} is not sound: `caps check --node {}` says what is wrong with it", directory.display(), node.name)
    };
    let state = deployment.state_of(node, cabinet)?;
    let aside = state.discard().context("cannot throw the state away")?;
    let bar = Bar::new(global, "rebuilding");
    let (filled, mark) = sound.replay(state.open(0)?, sound.committed, &mut |figures| bar.tell(figures))?;
    // It is complete when it is closed.
    drop(filled);
    drop(bar);
    let aside = aside.map(|aside| aside.display().to_string());
    match global.json {
        true => {
            say!("{}", json!({"node": node.name, "cabinet": cabinet.name.as_str(), "position": mark.position.0, "state_set_aside": aside}));
        }
        false => {
            let aside = aside.map(|aside| format!("; what was there is in {aside}")).unwrap_or_default();
            say!("the state of {} in {} is rebuilt, at position {}{aside}", cabinet.name, node.name, mark.position);
        }
    }
    Ok(())
}
