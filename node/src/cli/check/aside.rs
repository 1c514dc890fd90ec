//! What was set aside on a node: listing and removing it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use caps_store::check::{Aside, examine, purge_set_aside, set_aside};
use caps_store::storage::{DiskStorage, Storage};
use indicatif::HumanBytes;
use serde_json::{Value as Json, json};

use super::super::Global;
use crate::output::{moment, say};

/// Lists what was set aside in a directory; with `yes` overwrites and removes it.
pub(super) fn purge(global: &Global, directory: &Path, yes: bool) -> anyhow::Result<()> {
    let busy = || format!("cannot use {}: does its node run? stop it first", directory.display());
    let storage: Arc<dyn Storage> = match yes {
        true => Arc::new(DiskStorage::open(directory).with_context(busy)?),
        false => Arc::new(DiskStorage::open_read_only(directory).with_context(busy)?),
    };
    let state = directory.join("state");
    let all = set_aside(&*storage, &state)?;
    let json = json_of(directory, &all);
    let described: Vec<String> = all.iter().map(|aside| described(directory, aside)).collect();
    if !global.json {
        say!("{}", directory.display());
        described.iter().for_each(|aside| say!("  {aside}"));
    }
    let mut removed = 0;
    if yes && !all.is_empty() {
        let examined = examine(storage.clone()).with_context(|| format!("cannot read {}", directory.display()))?;
        let purged = purge_set_aside(&examined, &*storage, &state, &mut |_| removed += 1);
        purged.with_context(|| format!("cannot remove all that was set aside in {}", directory.display()))?;
    }
    if global.json {
        say!("{}", json!({"directory": directory.display().to_string(), "set_aside": json, "removed": removed}));
    } else {
        match (all.len(), yes) {
            (0, _) => say!("  nothing was set aside"),
            (_, true) => say!("  {removed} overwritten and removed"),
            (_, false) => say!("  say --yes to overwrite and remove this; it cannot be undone"),
        }
    }
    Ok(())
}

/// Name, size and age.
pub(super) fn described(directory: &Path, aside: &Aside) -> String {
    format!("{}, {}, last changed {}", aside.name, HumanBytes(aside.size_bytes), changed(directory, aside))
}

pub(super) fn json_of(directory: &Path, all: &[Aside]) -> Json {
    let aside = |aside: &Aside| json!({"file": aside.name, "size_bytes": aside.size_bytes, "changed": changed(directory, aside)});
    all.iter().map(aside).collect()
}

fn changed(directory: &Path, aside: &Aside) -> String {
    let changed = fs::metadata(directory.join(&aside.name)).and_then(|metadata| metadata.modified()).ok();
    let since = changed.and_then(|changed| changed.duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO);
    moment(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
