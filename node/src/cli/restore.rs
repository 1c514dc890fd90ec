//! `caps restore`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use caps_certs_gen::{Identity, Layer};
use caps_model::CommitId;
use caps_store::StateKind;
use caps_store::backup::{Beside, BlobsRestored, Built, Restoration, Source, SourceError, build};
use caps_store::journal;
use caps_store::storage::{DiskStorage, Storage};
use clap::Args;
use indicatif::HumanBytes;
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
/// Blobs that are named up to the moment come along, each proven; those that the node has whole it keeps. One that no source has whole is in the way,
/// unless --without-blobs says that it is to be done without; a backup of a release that left blobs out gives what was put beside it.
///
/// Obliterations hold, also those after the moment, and those that only one of the journals given knows. Where the node's own journal, which is set
/// aside, knows of others, nothing is restored: give it with --obliterations-from, here and at the other nodes.
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
  caps restore --node store-lund --from /backup/main --obliterations-from data/store-lund --set-aside
  caps restore --node store-lund --from-peers                            set its data aside; it is rebuilt when it starts")]
pub(super) struct Restore {
    /// The node whose journal is made. It must not run.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// A backup, or a copy of a replica's directory. More than one: the longest counts, all must be of one history, and blobs and obliterations are
    /// taken from each.
    #[arg(long, value_name = "DIR", required_unless_present = "from_peers")]
    from: Vec<PathBuf>,
    /// The moment: a position, a time, or how long ago; all that there is, if not given.
    #[arg(long, default_value = "now", value_name = "POSITION|TIME|AGO", conflicts_with = "from_peers")]
    to: Moment,
    /// Set aside what the node has.
    #[arg(long)]
    set_aside: bool,
    /// A journal of this cabinet, of any history: of it only obliterations are taken, so that nothing comes back that was to be gone. The node's own
    /// directory may be one. Give the same ones at every node.
    #[arg(long, value_name = "DIR", conflicts_with = "from_peers")]
    obliterations_from: Vec<PathBuf>,
    /// Restore although the journal that the node has knows of obliterations that are in none that is given: what they took away comes back.
    #[arg(long, conflicts_with = "from_peers")]
    forget_obliterations: bool,
    /// Restore although blobs are missing. Nobody has them then: downloads of them fail.
    #[arg(long, conflicts_with = "from_peers")]
    without_blobs: bool,
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
            true => self.leave_to_peers(global, &deployment.state_of(node, cabinet)?, &*storage),
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

    fn leave_to_peers(&self, global: &Global, state: &StateKind, storage: &dyn Storage) -> anyhow::Result<()> {
        ensure!(journal::exists(storage)?, "{} has no journal: start it, and it is built from its peers", self.node);
        let state = discard(state)?;
        let names = journal::set_aside(storage)?;
        match global.json {
            true => say!("{}", json!({"node": self.node, "journal_set_aside": names, "state_set_aside": state})),
            false => say!("set aside {names}*; when {} starts, the others let it in under another number and rebuild it", self.node),
        }
        Ok(())
    }

    fn refuse_to_forget(&self, directory: &Path, lacking: &[CommitId]) -> anyhow::Result<()> {
        if lacking.is_empty() || self.forget_obliterations {
            return Ok(());
        }
        let ids: Vec<String> = lacking.iter().take(NAMES_MAX).map(ToString::to_string).collect();
        bail!(
            "the journal that the node has knows of {} obliterations that are in none that it is restored from ({}): what they took away would come back. \
             Restore with --obliterations-from {}, here and, from a copy of it, at the other nodes; or with --forget-obliterations",
            lacking.len(),
            ids.join(", "),
            directory.display()
        );
    }

    /// Brings the blobs to the node before its journal takes its place.
    fn restore_blobs(
        &self,
        global: &Global,
        directory: &Path,
        storage: &dyn Storage,
        sources: &[Source],
        built: &Built,
    ) -> anyhow::Result<BlobsRestored> {
        let size_bytes = built.blobs().iter().map(|blob| blob.size_bytes).sum();
        let held = built.blobs().iter().map(|blob| Beside::held_bytes(storage, *blob)).sum::<u64>();
        let (free, lacking) = (storage.free_bytes()?, size_bytes - held.min(size_bytes));
        ensure!(free > lacking, "{} has {free} bytes free, the blobs take {lacking}: make room", directory.display());
        let bar = Bar::of_bytes(global, "blobs", size_bytes);
        let blobs = built.copy_blobs(sources, &mut |bytes| bar.add(bytes))?;
        if blobs.missing.is_empty() || self.without_blobs || sources_left_blobs_out(&self.from)? {
            return Ok(blobs);
        }
        let names: Vec<String> = blobs.missing.iter().take(NAMES_MAX).map(ToString::to_string).collect();
        bail!(
            "{} blobs that commits name are not whole in what it is restored from ({}{}): give another --from that has them, or restore --without-blobs",
            blobs.missing.len(),
            names.join(", "),
            if blobs.missing.len() > NAMES_MAX { ", ..." } else { "" }
        );
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
        let own = own_journal(storage);
        let mut orders = Vec::new();
        for other in &self.obliterations_from {
            match (&own, is_same(other, directory)) {
                (Some(own), true) => orders.extend(own.orders()?),
                (None, true) => bail!("the journal in {} cannot be read", directory.display()),
                (_, false) => orders.extend(open_journal(other, cabinet.name.as_str())?.orders()?),
            }
        }
        let restoration = Restoration {
            node: node.identity.clone(),
            voters: named(&cabinet.voters),
            learners: named(&cabinet.learners),
            to: self.to.0,
            set_aside: self.set_aside,
            orders,
        };
        let sources = self.from.iter().map(|from| open_source(from, cabinet.name.as_str())).collect::<anyhow::Result<Vec<_>>>()?;
        let largest = sources.iter().map(Source::size_bytes).max().unwrap_or_default();
        let free = storage.free_bytes()?;
        ensure!(free > largest, "{} has {free} bytes free, the backup takes {largest}: make room", directory.display());
        let bar = Bar::new(global, "replaying");
        let scratch = Scratch::for_journal(directory, largest)?;
        let built = build(&sources, storage, &restoration, scratch.state()?, &mut |figures| bar.tell(figures))?;
        drop(bar);
        if let Some(own) = &own {
            self.refuse_to_forget(directory, &built.lacking(&own.orders()?))?;
        }
        let blobs = self.restore_blobs(global, directory, &**storage, &sources, &built)?;
        let state = discard(&deployment.state_of(node, cabinet)?)?;
        let restored = built.take_place()?;
        let mark = restored.mark;
        let missing: Vec<String> = blobs.missing.iter().map(ToString::to_string).collect();
        if global.json {
            let (position, head) = (mark.position.0, hex(&mark.chain_head));
            say!(
                "{}",
                json!({
                    "node": node.name, "position": position, "time": moment(mark.moment), "chain_head": head, "available": restored.available.0,
                    "entries": restored.entries, "number": restored.number, "journal_set_aside": restored.set_aside, "state_set_aside": state,
                    "obliterations_carried": restored.carried,
                    "blobs": {"copied": blobs.copied, "kept": blobs.kept, "size_bytes": blobs.size_bytes, "missing": missing},
                })
            );
            return Ok(());
        }
        say!("restored {} to position {} of {}, {}", node.name, mark.position, restored.available, moment(mark.moment));
        say!("{} entries; chain head {}; number {} in the group", restored.entries, &hex(&mark.chain_head)[..16], restored.number);
        if restored.carried > 0 {
            say!("{} obliterations that came later hold", restored.carried);
        }
        if blobs.copied + blobs.kept > 0 {
            let size = HumanBytes(blobs.size_bytes);
            say!("{} blobs, {size}: {} copied, {} there before", blobs.copied + blobs.kept, blobs.copied, blobs.kept);
        }
        if !missing.is_empty() {
            let left_out = if sources_left_blobs_out(&self.from)? { ": the release that made the backup left them out" } else { "" };
            say!("{} blobs are MISSING{left_out}:", missing.len());
            missing.iter().for_each(|blob| say!("  {blob}"));
        }
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

/// Whether a source is a backup of a release that left blobs out.
fn sources_left_blobs_out(directories: &[PathBuf]) -> anyhow::Result<bool> {
    for directory in directories {
        if Manifest::read(directory)?.is_some_and(|manifest| manifest.blobs.is_none()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The journal that the node has, if it can be read. One that cannot is no reason not to restore.
fn own_journal(storage: &Arc<dyn Storage>) -> Option<Source> {
    match Source::open("the node's journal", storage.clone()) {
        Ok(own) => Some(own),
        Err(SourceError::Nothing { .. }) => None,
        Err(error) => {
            tracing::warn!(%error, "the journal that the node has cannot be asked for obliterations");
            None
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

/// A journal of the cabinet.
fn open_journal(directory: &Path, cabinet: &str) -> anyhow::Result<Source> {
    let name = directory.display().to_string();
    let storage = DiskStorage::open_read_only(directory).with_context(|| format!("cannot read {name}"))?;
    let source = Source::open(&name, Arc::new(storage))?;
    if source.cabinet.as_str() != cabinet {
        bail!("{name} holds the cabinet {}, the deployment file has {cabinet}", source.cabinet);
    }
    Ok(source)
}

fn open_source(directory: &Path, cabinet: &str) -> anyhow::Result<Source> {
    let source = open_journal(directory, cabinet)?;
    let name = &source.name;
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
/// Of another history than the journal that takes the place: not a word of it may stay.
fn discard(state: &StateKind) -> anyhow::Result<Option<String>> {
    let aside = state.discard().context("cannot throw the state away")?;
    Ok(aside.map(|aside| aside.display().to_string()))
}

/// Blobs that a complaint names.
const NAMES_MAX: usize = 20;
