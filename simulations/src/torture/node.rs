//! A node of a tortured deployment in a process of its own: what `caps run` runs, on a disk on which it dies at a point.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use caps_certs_gen::{NodeCredentials, TrustAnchors};
use caps_node::deployment::Deployment;
use caps_node::node::{self, Place};
use caps_overlay::Environment;
use caps_store::storage::{DiskStorage, Storage};

use super::point::{MortalStorage, Point};

/// Runs a replica of the deployment until it comes to its point. It is made of what `caps run` is made of; only the disk is another one.
pub fn run(config: &Path, name: &str, point: Point) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the system gives no event loop")?;
    runtime.block_on(async {
        let deployment = Deployment::read(config)?;
        let node = deployment.node(name)?;
        let running = node::start_in(&deployment, node, place(&deployment, node)?, || {
            let disk = DiskStorage::open(&deployment.data_of(node))?;
            Ok(Arc::new(MortalStorage::new(Arc::new(disk), point)) as Arc<dyn Storage>)
        });
        Err(running.await?.failed().await)
    })
}

fn place(deployment: &Deployment, node: &caps_node::deployment::Node) -> anyhow::Result<Place> {
    let listen = node.listen.with_context(|| format!("{} has no address to listen on", node.name))?;
    Ok(Place {
        environment: Environment::real(listen)?,
        credentials: NodeCredentials::load(deployment.certificates.join("nodes").join(&node.name))?,
        anchors: TrustAnchors::load(&deployment.certificates)?,
    })
}
