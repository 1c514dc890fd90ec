//! `caps restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use caps_certs_gen::{Identity, Layer};
use caps_store::backup::{Restoration, Source, build};
use caps_store::journal;
use caps_store::state::SledState;
use caps_store::storage::{DiskStorage, Storage};
use clap::Args;
use serde_json::json;

use super::Global;
use super::backup::{Manifest, hex};
use super::moment::Moment;
use super::progress::Bar;
use super::scratch::Scratch;
use crate::deployment::{Cabinet, Deployment, Node};
use crate::output::{moment, say};

/// Make the journal of a node of layer 1 from a backup, as the cabinet was at its end or at an earlier moment.
///
/// When a cabinet is lost: stop every replica, run this for each voter that the deployment file names, on its machine, with the same backup and the same
/// moment, and start them. They are a group of their own then, with new numbers; positions, ids, answers to commits and the past are as they were.
/// A node that is not restored, or has an empty disk, is let in by those that are, once more than half of the voters are restored and started.
///
/// When one node is lost and the others work, nothing is to be restored: start it with an empty directory, or use --from-peers, and it is rebuilt.
///
/// Nothing is deleted: what the node has is set aside with --set-aside, under names that begin with `quarantine-`; without, it is in the way. Commits that
/// were acknowledged after the moment are gone: `caps outcome` says so of each. Front ends that saw later positions log in again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps restore --node store-lund --from /backup/main                     all of it
  caps restore --node store-lund --from /backup/main --to 4711           up to this commit
  caps restore --node store-lund --from /backup/main --to 2026-11-22T10:30:00Z --set-aside
  caps restore --node store-lund --from /backup/main --from /old/store-kiruna    from whichever goes further
  caps restore --node store-lund --from-peers                            set its data aside; it is rebuilt when it starts")]
pub(super) struct Restore {
    /// The node whose journal is made. It must not run.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// A backup, or a copy of a replica's directory. More than one: the longest counts, and all must be of one history.
    #[arg(long, value_name = "DIR", required_unless_present = "from_peers")]
    from: Vec<PathBuf>,
    /// The moment: a position, a time, or how long ago; all that there is, if not given.
    #[arg(long, default_value = "now", value_name = "POSITION|TIME|AGO", conflicts_with = "from_peers")]
    to: Moment,
    /// Set aside what the node has.
    #[arg(long)]
    set_aside: bool,
    /// Restore nothing: only set aside what the node has, so that the others rebuild it.
    #[arg(long, conflicts_with = "from")]
    from_peers: bool,
}

impl Restore {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let node = deployment.node(&self.node)?;
        ensure!(node.layer == Layer::Cabinet, "{} is of layer {}: only nodes of layer 1 keep the cabinet", node.name, node.layer.number());
        let cabinet = self.cabinet(global, &deployment, node)?;
        let directory = deployment.data_of(node, cabinet);
        let storage = DiskStorage::open(&directory).with_context(|| format!("cannot restore {}: does it run? stop it first", node.name))?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        match self.from_peers {
            true => self.leave_to_peers(global, &directory, &*storage),
            false => self.restore(global, &deployment, (node, cabinet), &directory, &storage),
        }
    }

    /// The cabinet that is named; else the one that the node keeps, if there is just one.
    fn cabinet<'a>(&self, global: &Global, deployment: &'a Deployment, node: &'a Node) -> anyhow::Result<&'a Cabinet> {
        let kept: Vec<&Cabinet> = deployment.cabinets_of(node).collect();
        match (&global.cabinet, &kept[..]) {
            (Some(name), _) => Ok(deployment.cabinet_named(name)?),
            (None, [only]) => Ok(only),
            (None, several) => {
                let names: Vec<&str> = several.iter().map(|cabinet| cabinet.name.as_str()).collect();
                bail!("{} keeps {}: say which one with --cabinet NAME", node.name, names.join(", "))
            }
        }
    }

    fn leave_to_peers(&self, global: &Global, directory: &Path, storage: &dyn Storage) -> anyhow::Result<()> {
        ensure!(journal::exists(storage)?, "{} has no journal: start it, and it is built from its peers", self.node);
        let state = set_state_aside(directory)?;
        let names = journal::set_aside(storage)?;
        match global.json {
            true => say!("{}", json!({"node": self.node, "journal_set_aside": names, "state_set_aside": state})),
            false => say!("set aside {names}*; when {} starts, the others let it in under another number and rebuild it", self.node),
        }
        Ok(())
    }

    fn restore(
        &self,
        global: &Global,
        deployment: &Deployment,
        (node, cabinet): (&Node, &Cabinet),
        directory: &Path,
        storage: &Arc<dyn Storage>,
    ) -> anyhow::Result<()> {
        let named = |names: &[String]| -> Vec<Identity> {
            deployment.nodes.iter().filter(|node| names.contains(&node.name)).map(|node| node.identity.clone()).collect()
        };
        let restoration = Restoration {
            node: node.identity.clone(),
            voters: named(&cabinet.voters),
            learners: named(&cabinet.learners),
            to: self.to.0,
            set_aside: self.set_aside,
        };
        let sources = self.from.iter().map(|from| open_source(from, cabinet.name.as_str())).collect::<anyhow::Result<Vec<_>>>()?;
        let largest = sources.iter().map(Source::size_bytes).max().unwrap_or_default();
        let free = storage.free_bytes()?;
        ensure!(free > largest, "{} has {free} bytes free, the backup takes {largest}: make room", directory.display());
        let bar = Bar::new(global, "replaying");
        let scratch = Scratch::for_journal(directory, largest)?;
        let built = build(&sources, storage, &restoration, scratch.state()?, &mut |figures| bar.tell(figures))?;
        drop(bar);
        let state = set_state_aside(directory)?;
        let restored = built.take_place()?;
        let mark = restored.mark;
        if global.json {
            let (position, head) = (mark.position.0, hex(&mark.chain_head));
            say!(
                "{}",
                json!({
                    "node": node.name, "position": position, "time": moment(mark.moment), "chain_head": head, "available": restored.available.0,
                    "entries": restored.entries, "number": restored.number, "journal_set_aside": restored.set_aside, "state_set_aside": state,
                })
            );
            return Ok(());
        }
        say!("restored {} to position {} of {}, {}", node.name, mark.position, restored.available, moment(mark.moment));
        say!("{} entries; chain head {}; number {} in the group", restored.entries, &hex(&mark.chain_head)[..16], restored.number);
        if let Some(names) = &restored.set_aside {
            say!("what it had is set aside as {names}*");
        }
        let others: Vec<&str> = cabinet.voters.iter().filter(|voter| **voter != node.name).map(String::as_str).collect();
        if !others.is_empty() {
            say!("do the same, to position {}, for {}; then start them all", mark.position, others.join(", "));
        }
        Ok(())
    }
}

fn open_source(directory: &Path, cabinet: &str) -> anyhow::Result<Source> {
    let name = directory.display().to_string();
    let storage = DiskStorage::open_read_only(directory).with_context(|| format!("cannot read {name}"))?;
    let source = Source::open(&name, Arc::new(storage))?;
    if source.cabinet.as_str() != cabinet {
        bail!("{name} holds the cabinet {}, the deployment file has {cabinet}", source.cabinet);
    }
    if let Some(manifest) = Manifest::read(directory)?
        && manifest.entries > source.committed
    {
        bail!(
            "{name} is said to hold {} entries by its backup.json, and ends after {}: its end is lost; move backup.json away to restore what is left",
            manifest.entries,
            source.committed
        );
    }
    Ok(source)
}

/// Sets the node's state aside: it is made from another journal than the one to come.
fn set_state_aside(directory: &Path) -> anyhow::Result<Option<String>> {
    let state = directory.join("state");
    if !state.exists() {
        return Ok(None);
    }
    let aside = SledState::set_aside(&state).with_context(|| format!("cannot set {} aside", state.display()))?;
    Ok(Some(aside.display().to_string()))
}
