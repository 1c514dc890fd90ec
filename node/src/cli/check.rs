//! `caps check`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use caps_certs_gen::Layer;
use caps_store::check::{Examined, JournalFound, Sound, StateFound, compare, examine};
use caps_store::journal::SetAside;
use caps_store::state::{SledState, State, StateOpened};
use caps_store::storage::DiskStorage;
use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value as Json, json};

use super::Global;
use super::backup::Manifest;
use super::progress::Bar;
use super::scratch::Scratch;
use crate::deployment::{Cabinet, Deployment, Node};
use crate::output::{moment, say};

/// Examine what a node of layer 1 keeps, or a backup, without changing it.
///
/// Reads every record of the journal as a replica does when it starts, and names the first that is wrong. With --state the journal is replayed as well,
/// and everything that the state answers is held against what comes out: every commit, every version of every object, every index. A copy of
/// the state is examined, because the database writes when it is opened. Lists what was set aside. The node must not run. The exit status is the verdict.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps check                          every node of layer 1 that has its data on this machine
  caps check --node store-lund --state
  caps check /backup/main
  caps check /backup/main --json")]
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
    /// Where the copy of the state goes for that long.
    #[arg(long, value_name = "DIR", requires = "state")]
    scratch: Option<PathBuf>,
}

/// What was found in one directory.
struct Found {
    directory: PathBuf,
    examined: Examined,
    state: Option<StateVerdict>,
    /// Entries that the manifest of a backup promises and that are not there.
    missing: Option<u64>,
}

enum StateVerdict {
    Compared(StateFound),
    Unusable(String),
}

impl Check {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let mut faults = 0;
        for directory in self.directories(global)? {
            let found = self.examine(global, directory)?;
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

    fn directories(&self, global: &Global) -> anyhow::Result<Vec<PathBuf>> {
        if let Some(directory) = &self.directory {
            return Ok(vec![directory.clone()]);
        }
        let deployment = Deployment::read(&global.config)?;
        if let Some(name) = &self.node {
            let node = deployment.node(name)?;
            return Ok(self.cabinets(global, &deployment, node)?.into_iter().map(|cabinet| deployment.data_of(node, cabinet)).collect());
        }
        let mut here = Vec::new();
        for node in deployment.layer(Layer::Cabinet) {
            let directories = self.cabinets(global, &deployment, node)?.into_iter().map(|cabinet| deployment.data_of(node, cabinet));
            here.extend(directories.filter(|directory| directory.exists()));
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

    fn examine(&self, global: &Global, directory: PathBuf) -> anyhow::Result<Found> {
        let busy = || format!("cannot examine {}: does its node run? stop it first, or examine a copy", directory.display());
        let storage = DiskStorage::open_read_only(&directory).with_context(busy)?;
        let examined = examine(Arc::new(storage)).with_context(|| format!("cannot read {}", directory.display()))?;
        let (mut state, mut missing) = (None, None);
        if let JournalFound::Sound(sound) = &examined.journal {
            missing = Manifest::read(&directory)?.map(|manifest| manifest.entries.saturating_sub(sound.committed)).filter(|lost| *lost > 0);
            if self.state {
                state = self.compare(global, &directory, sound)?;
            }
        }
        Ok(Found { directory, examined, state, missing })
    }

    fn compare(&self, global: &Global, directory: &Path, sound: &Sound) -> anyhow::Result<Option<StateVerdict>> {
        let original = directory.join("state");
        if !original.exists() {
            return Ok(None);
        }
        let scratch = Scratch::directory(self.scratch.as_deref().unwrap_or(&std::env::temp_dir()))?;
        let copy = scratch.path().expect("it is a directory").join("state");
        copy_directory(&original, &copy).with_context(|| format!("cannot copy {}", original.display()))?;
        let found = match SledState::open(&copy, sound.last_index)? {
            (state, StateOpened::Kept | StateOpened::Fresh) => state,
            (_, StateOpened::Rebuilding { reason, .. }) => return Ok(Some(StateVerdict::Unusable(reason))),
        };
        let last = found.mark().index;
        let bar = Bar::new(global, "replaying");
        let (expected, mark) = sound.replay(scratch.state()?, last, &mut |figures| bar.tell(figures))?;
        drop(bar);
        let bar = Bar::new(global, "comparing");
        let compared = compare(&*expected, mark, &found, &mut |figures| bar.tell(figures))?;
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
        journal && state && self.missing.is_none()
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
                say!("  state: NOT SOUND: move it away, and it is rebuilt when the node starts");
                found.disagreements.iter().for_each(|disagreement| say!("    {disagreement}"));
            }
        }
        for aside in &self.examined.set_aside {
            say!("  set aside: {}, {}, last changed {}", aside.file, HumanBytes(aside.size_bytes), self.changed(aside));
        }
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
        let aside = self.examined.set_aside.iter();
        let aside = aside.map(|aside| json!({"file": aside.file, "size_bytes": aside.size_bytes, "changed": self.changed(aside)}));
        json!({
            "directory": self.directory.display().to_string(), "sound": self.is_sound(), "journal": journal, "state": state,
            "set_aside": aside.collect::<Vec<_>>(),
        })
    }

    fn changed(&self, aside: &SetAside) -> String {
        let changed = fs::metadata(self.directory.join(&aside.file)).and_then(|metadata| metadata.modified()).ok();
        let since = changed.and_then(|changed| changed.duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO);
        moment(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
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
