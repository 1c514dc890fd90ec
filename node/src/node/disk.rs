//! The directory of a cabinet on this machine's disk.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use caps_store::storage::{DiskStorage, Storage};

use crate::deployment::{Cabinet, Deployment, Node};

pub(super) fn open(deployment: &Deployment, node: &Node, cabinet: &Cabinet) -> anyhow::Result<Arc<dyn Storage>> {
    let directory = deployment.data_of(node, cabinet);
    refuse_old_layout(&deployment.data.join(&node.name), &directory)?;
    let storage = DiskStorage::open(&directory).with_context(|| format!("cannot use {}", directory.display()))?;
    Ok(Arc::new(storage))
}

/// A journal that lies where a node kept its only cabinet once would be overlooked, and an empty one begun beside it.
fn refuse_old_layout(of_node: &Path, of_cabinet: &Path) -> anyhow::Result<()> {
    let lies_there = of_node.exists() && caps_store::journal::exists(&DiskStorage::open(of_node)?)?;
    anyhow::ensure!(
        !lies_there,
        "there is a journal in {}, and each cabinet has a directory of its own now: move what is there into {}",
        of_node.display(),
        of_cabinet.display()
    );
    Ok(())
}
