//! `caps check`.

mod aside;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use caps_certs_gen::Layer;
use caps_model::BlobId;
use caps_store::StateKind;
use caps_store::check::{Aside, BlobsFound, Examined, JournalFound, Sound, StateFound, compare, examine, set_aside};
use caps_store::state::{SledState, State, StateOpened};
use caps_store::storage::{DiskStorage, Storage};
use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value as Json, json};

use super::Global;
use super::backup::Manifest;
use super::progress::Bar;
use super::scratch::Scratch;
use crate::deployment::{Cabinet, Deployment, Node};
use crate::output::say;

/// Examine what a node of layer 1 keeps, or a backup, without changing it.
///
/// Reads every record of the journal as a replica does when it starts, and names the first that is wrong. With --state the journal is replayed as well,
/// and everything that the state answers is held against what comes out: every commit, every version of every object, every index. A copy of
/// the state is examined, because the database writes when it is opened. Every blob that the journal names is read and proven; one that is missing
/// or damaged is named (a replica fetches it from the others when it runs). Lists what was set aside. The node must not run. The exit status is the verdict.
///
/// What was set aside (journals, states, blobs) is never read again, and may hold values that were obliterated since. With --purge-quarantined nothing
/// is examined but that: it is listed, and with --yes overwritten and removed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps check                          every node of layer 1 that has its data on this machine
  caps check --node store-lund --state
  caps check /backup/main
  caps check /backup/main --json
  caps check --node store-lund --purge-quarantined           what was set aside there
  caps check --node store-lund --purge-quarantined --yes     overwrite and remove it")]
pub(super) struct Check {
    /// A backup, or a copy of a node's directory.
    #[arg(conflicts_with = "node")]
    directory: Option<PathBuf>,
    /// The node; every one that has its data on this machine, if not given.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Examine the state, too.
    #[arg(long)]
    state: bool,
    /// Where the copy of the state goes for that long, and what else is needed for a while; the system's directory for such, if not given.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Only list what was set aside; with --yes overwrite and remove it.
    #[arg(long, conflicts_with_all = ["state", "scratch"])]
    purge_quarantined: bool,
    /// Do it.
    #[arg(long, requires = "purge_quarantined")]
    yes: bool,
}

/// What was found in one directory.
struct Found {
    directory: PathBuf,
    examined: Examined,
    set_aside: Vec<Aside>,
    state: Option<StateVerdict>,
    blobs: Option<BlobsFound>,
    /// It is a backup of a release that left blobs out.
    blobs_left_out: bool,
    /// Entries that the manifest of a backup promises and that are not there.
    missing: Option<u64>,
}

/// What is to be examined.
struct Kept {
    directory: PathBuf,
    /// What a node makes of the journal there; why that cannot be said, if it cannot.
    state: anyhow::Result<StateKind>,
}

impl Kept {
    fn of(deployment: &Deployment, node: &Node, cabinet: &Cabinet) -> Self {
        Self { directory: deployment.data_of(node, cabinet), state: deployment.state_of(node, cabinet) }
    }
}

enum StateVerdict {
    Compared(StateFound),
    Unusable(String),
}

impl Check {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        if self.purge_quarantined {
            return self.kept(global)?.iter().try_for_each(|kept| aside::purge(global, &kept.directory, self.yes));
        }
        let mut faults = 0;
        for kept in self.kept(global)? {
            let found = self.examine(global, kept)?;
            match global.json {
                true => say!("{}", found.json()),
                false => found.tell(),
            }
            faults += usize::from(!found.is_sound());
        }
        match faults {
            0 => Ok(()),
            1 => bail!("what was examined is not sound"),
            faults => bail!("{faults} of what was examined are not sound"),
        }
    }

    fn kept(&self, global: &Global) -> anyhow::Result<Vec<Kept>> {
        if let Some(directory) = &self.directory {
            return Ok(vec![Kept { state: Ok(StateKind::Sled(directory.join("state"))), directory: directory.clone() }]);
        }
        let deployment = Deployment::read(&global.config)?;
        if let Some(name) = &self.node {
            let node = deployment.node(name)?;
            return Ok(self.cabinets(global, &deployment, node)?.into_iter().map(|cabinet| Kept::of(&deployment, node, cabinet)).collect());
        }
        let mut here = Vec::new();
        for node in deployment.layer(Layer::Cabinet) {
            let kept = self.cabinets(global, &deployment, node)?.into_iter().map(|cabinet| Kept::of(&deployment, node, cabinet));
            here.extend(kept.filter(|kept| kept.directory.exists()));
        }
        match here.is_empty() {
            true => bail!("no node of layer 1 has its data under {}", deployment.data.display()),
            false => Ok(here),
        }
    }

    /// The cabinet that is named, or all that the node keeps.
    fn cabinets<'a>(&self, global: &Global, deployment: &'a Deployment, node: &'a Node) -> anyhow::Result<Vec<&'a Cabinet>> {
        let named = global.cabinet.as_deref().map(|name| deployment.cabinet_named(name)).transpose()?;
        Ok(deployment.cabinets_of(node).filter(|cabinet| named.is_none_or(|named| named.name == cabinet.name)).collect())
    }

    fn examine(&self, global: &Global, kept: Kept) -> anyhow::Result<Found> {
        let Kept { directory, state: kind } = kept;
        let busy = || format!("cannot examine {}: does its node run? stop it first, or examine a copy", directory.display());
        let storage = DiskStorage::open_read_only(&directory).with_context(busy)?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let examined = examine(storage.clone()).with_context(|| format!("cannot read {}", directory.display()))?;
        let (mut state, mut missing, mut blobs) = (None, None, None);
        let manifest = Manifest::read(&directory)?;
        let blobs_left_out = manifest.as_ref().is_some_and(|manifest| manifest.blobs.is_none());
        if let JournalFound::Sound(sound) = &examined.journal {
            blobs = Some(self.examine_blobs(global, sound, &*storage)?);
            missing = manifest.map(|manifest| manifest.entries.saturating_sub(sound.committed)).filter(|lost| *lost > 0);
            if self.state {
                state = self.compare(global, &kind?, sound)?;
            }
        }
        let set_aside = set_aside(&*storage, &directory.join("state"))?;
        Ok(Found { directory, examined, set_aside, state, blobs, blobs_left_out, missing })
    }

    /// What is only mentioned, by a commit that was refused for example, needs not be there: where something is wrong, a replay tells.
    fn examine_blobs(&self, global: &Global, sound: &Sound, storage: &dyn Storage) -> anyhow::Result<BlobsFound> {
        let bar = Bar::counting_bytes(global, "reading blobs");
        let found = sound.examine_blobs(storage, &mut |bytes| bar.add(bytes))?;
        drop(bar);
        if found.is_sound() {
            return Ok(found);
        }
        let beside = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = Scratch::for_journal(&beside, sound.size_bytes)?;
        let bar = Bar::new(global, "replaying");
        Ok(found.only(&sound.named(scratch.state()?, &mut |figures| bar.tell(figures))?))
    }

    fn compare(&self, global: &Global, kind: &StateKind, sound: &Sound) -> anyhow::Result<Option<StateVerdict>> {
        match kind {
            StateKind::Memory => Ok(None),
            StateKind::Sled(path) => self.compare_copy(global, path, sound),
            // Others may read there while this does.
            StateKind::Sql(_) => {
                let found = kind.open(u64::MAX)?;
                self.compare_with(global, &*found, &Scratch::directory(self.scratch.as_deref().unwrap_or(&std::env::temp_dir()))?, sound)
            }
        }
    }

    fn compare_copy(&self, global: &Global, path: &Path, sound: &Sound) -> anyhow::Result<Option<StateVerdict>> {
        let Some(original) = SledState::whereabouts(path) else { return Ok(None) };
        let scratch = Scratch::directory(self.scratch.as_deref().unwrap_or(&std::env::temp_dir()))?;
        let copy = scratch.path().expect("it is a directory").join("state");
        copy_directory(&original, &copy).with_context(|| format!("cannot copy {}", original.display()))?;
        let found = match SledState::open(&copy, sound.last_index)? {
            (state, StateOpened::Kept | StateOpened::Fresh) => state,
            (_, StateOpened::Rebuilding { reason, .. }) => return Ok(Some(StateVerdict::Unusable(reason))),
        };
        self.compare_with(global, &found, &scratch, sound)
    }

    fn compare_with(&self, global: &Global, found: &dyn State, scratch: &Scratch, sound: &Sound) -> anyhow::Result<Option<StateVerdict>> {
        let last = found.mark().index;
        let bar = Bar::new(global, "replaying");
        let (expected, mark) = sound.replay(scratch.state()?, last, &mut |figures| bar.tell(figures))?;
        drop(bar);
        let bar = Bar::new(global, "comparing");
        let compared = compare(&*expected, mark, found, &mut |figures| bar.tell(figures))?;
        Ok(Some(StateVerdict::Compared(compared)))
    }
}

impl Found {
    fn is_sound(&self) -> bool {
        let journal = matches!(self.examined.journal, JournalFound::Sound(_));
        let state = match &self.state {
            None => true,
            Some(StateVerdict::Compared(found)) => found.disagreements.is_empty(),
            Some(StateVerdict::Unusable(_)) => false,
        };
        journal && state && self.blobs_are_sound() && self.missing.is_none()
    }

    fn blobs_are_sound(&self) -> bool {
        self.blobs.as_ref().is_none_or(|found| found.damaged.is_empty() && (self.blobs_left_out || found.missing.is_empty()))
    }

    fn tell(&self) {
        say!("{}", self.directory.display());
        match &self.examined.journal {
            JournalFound::Nothing => say!("  journal: there is none"),
            JournalFound::Unsound(error) => say!("  journal: NOT SOUND: {error}"),
            JournalFound::Sound(sound) => {
                let Sound { cabinet, last_index, committed, .. } = &**sound;
                say!(
                    "  journal: sound; cabinet {cabinet}, {last_index} entries, {committed} known to be committed, {}",
                    HumanBytes(sound.size_bytes)
                );
                say!("  {}", whose(sound));
                if let Some(torn) = &sound.torn {
                    say!(
                        "  a write was interrupted: {} bytes after offset {} of {} are cut off when it is opened",
                        torn.lost_bytes,
                        torn.offset,
                        torn.file
                    );
                }
            }
        }
        if let Some(missing) = self.missing {
            say!("  NOT SOUND: backup.json promises {missing} entries that are not there: the end of the backup is lost");
        }
        if let Some(found) = &self.blobs {
            self.tell_blobs(found);
        }
        match &self.state {
            None => {}
            Some(StateVerdict::Unusable(reason)) => say!("  state: NOT SOUND: {reason}; it is rebuilt when the node starts"),
            Some(StateVerdict::Compared(found)) if found.disagreements.is_empty() => {
                say!(
                    "  state: as the journal says; {} commits, {} objects, {} indexes compared",
                    found.commits,
                    found.objects,
                    found.indexes
                );
            }
            Some(StateVerdict::Compared(found)) => {
                say!("  state: NOT SOUND: `caps rebuild` makes it anew");
                found.disagreements.iter().for_each(|disagreement| say!("    {disagreement}"));
            }
        }
        self.set_aside.iter().for_each(|aside| say!("  set aside: {}", aside::described(&self.directory, aside)));
    }

    fn tell_blobs(&self, found: &BlobsFound) {
        let BlobsFound { whole, size_bytes, missing, damaged } = found;
        let size = HumanBytes(*size_bytes);
        match missing.len() + damaged.len() {
            0 if *whole == 0 => {}
            0 => say!("  blobs: {whole} proven, {size}"),
            _ if self.blobs_left_out && damaged.is_empty() => {
                say!("  blobs: the release that made this backup left them out; {whole} proven, {size}, {} are not in it", missing.len());
            }
            wrong => say!("  blobs: NOT SOUND: {wrong} are not whole; {whole} proven, {size}"),
        }
        missing.iter().for_each(|blob| say!("    missing: {blob}"));
        damaged.iter().for_each(|blob| say!("    damaged: {blob}"));
    }

    fn json(&self) -> Json {
        let journal = match &self.examined.journal {
            JournalFound::Nothing => json!({"sound": null}),
            JournalFound::Unsound(error) => json!({"sound": false, "why": error.to_string()}),
            JournalFound::Sound(sound) => json!({
                "sound": true, "cabinet": sound.cabinet.to_string(), "entries": sound.last_index, "committed": sound.committed,
                "term": sound.hard_state.term, "number": sound.seat.as_ref().map(|seat| seat.number), "size_bytes": sound.size_bytes,
                "torn_bytes": sound.torn.as_ref().map(|torn| torn.lost_bytes), "missing": self.missing,
            }),
        };
        let state = self.state.as_ref().map(|state| match state {
            StateVerdict::Unusable(reason) => json!({"sound": false, "disagreements": [reason]}),
            StateVerdict::Compared(found) => json!({
                "sound": found.disagreements.is_empty(), "commits": found.commits, "objects": found.objects, "indexes": found.indexes,
                "disagreements": found.disagreements.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }),
        });
        let named = |blobs: &[BlobId]| blobs.iter().map(ToString::to_string).collect::<Vec<_>>();
        let blobs = self.blobs.as_ref().map(|found| {
            json!({
                "sound": self.blobs_are_sound(), "left_out": self.blobs_left_out, "whole": found.whole, "size_bytes": found.size_bytes,
                "missing": named(&found.missing), "damaged": named(&found.damaged),
            })
        });
        json!({
            "directory": self.directory.display().to_string(), "sound": self.is_sound(), "journal": journal, "state": state, "blobs": blobs,
            "set_aside": aside::json_of(&self.directory, &self.set_aside),
        })
    }
}

fn whose(sound: &Sound) -> String {
    match &sound.seat {
        None => "nobody's yet".to_owned(),
        Some(seat) if seat.number == 0 && sound.hard_state.vote == 0 => "nobody's: a backup, or a replica without a number".to_owned(),
        Some(seat) => format!("the replica with number {}, in term {}", seat.number, sound.hard_state.term),
    }
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_directory(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
