//! What a finished backup says about itself: `backup.json` beside the journal, written last.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use caps_model::messages::backup::Reached;
use caps_store::backup::Copied;
use serde::{Deserialize, Serialize};

use super::hex;
use crate::ambient;
use crate::output::moment;

/// The manifest. The journal is the backup; this says what it must at least hold, so that the loss of its end is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Manifest {
    /// The version of this file.
    format: u32,
    /// The cabinet.
    pub(in crate::cli) cabinet: String,
    /// The deployment's domain.
    domain: String,
    /// The node that it was copied from last.
    from: String,
    /// When it was finished last.
    finished: String,
    /// The last entry.
    pub(in crate::cli) entries: u64,
    /// The last commit.
    position: u64,
    /// The latest time of any commit.
    time: String,
    /// The chain over all commits.
    chain_head: String,
    /// Whether it was replayed.
    verified: bool,
    /// The blobs that it has; none: it was made by a release that left them out.
    #[serde(default)]
    pub(in crate::cli) blobs: Option<BlobCount>,
}

/// How many blobs a backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct BlobCount {
    /// Whole ones.
    pub(in crate::cli) count: u64,
    /// Bytes of these.
    pub(in crate::cli) size_bytes: u64,
}

impl Manifest {
    pub(super) fn new(domain: &str, reached: &Reached, copied: &Copied, blobs: BlobCount, verified: bool) -> Self {
        let now = ambient::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            format: 1,
            cabinet: reached.cabinet.clone(),
            domain: domain.to_owned(),
            from: reached.node.clone(),
            finished: moment(i64::try_from(now.as_micros()).unwrap_or(i64::MAX)),
            entries: copied.entries,
            position: reached.position.0,
            time: moment(reached.moment),
            chain_head: hex(&reached.chain_head),
            verified,
            blobs: Some(blobs),
        }
    }

    /// The manifest of a backup; `None`: there is none, because it was never finished, or because this is no backup.
    pub(in crate::cli) fn read(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} is no manifest of a backup", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Replaces the manifest, whole or not at all.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let (path, new) = (directory.join(NAME), directory.join(format!("{NAME}.new")));
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            fs::File::open(directory)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

const NAME: &str = "backup.json";
