//! What this program is when it is one of the processes: it becomes `caps`, or runs what `caps run` runs on a disk on which it dies at a point.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use caps_certs_gen::{NodeCredentials, TrustAnchors};
use caps_node::deployment::Deployment;
use caps_node::node::{self, Place};
use caps_overlay::Environment;
use caps_store::storage::{DiskStorage, Storage};

use super::point::{MortalStorage, Point};

/// Becomes another program, which is killed when whoever started this one ends.
pub fn launch(command: &[OsString]) -> anyhow::Result<()> {
    dies_with_parent()?;
    let (program, arguments) = command.split_first().context("there is nothing to launch")?;
    // It returns only if it failed.
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot start {}", program.to_string_lossy()))
}

fn dies_with_parent() -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have ended before it was asked for; whoever adopts orphans has number 1.
    ensure!(rustix::process::getppid().is_some_and(|parent| !parent.is_init()), "whoever started this has ended");
    Ok(())
}

/// Runs a replica of the deployment until it comes to its point. It is made of what `caps run` is made of; only the disk is another one.
pub fn run(config: &Path, name: &str, point: Point) -> anyhow::Result<()> {
    dies_with_parent()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the system gives no event loop")?;
    runtime.block_on(async {
        let deployment = Deployment::read(config)?;
        let node = deployment.node(name)?;
        let running = node::start_in(&deployment, node, place(&deployment, node)?, |cabinet| {
            let disk = DiskStorage::open(&deployment.data_of(node, cabinet))?;
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
