//! The directory of a node of layer 1 on this machine's disk.

use std::sync::Arc;

use anyhow::Context;
use caps_store::storage::{DiskStorage, Storage};

use crate::deployment::{Deployment, Node};

pub(super) fn open(deployment: &Deployment, node: &Node) -> anyhow::Result<Arc<dyn Storage>> {
    let directory = deployment.data_of(node);
    let storage = DiskStorage::open(&directory).with_context(|| format!("cannot use {}", directory.display()))?;
    Ok(Arc::new(storage))
}
