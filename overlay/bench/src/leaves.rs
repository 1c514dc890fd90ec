//! What a thousand connected and idle front ends cost.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::sleep;

use crate::case::{LEAVES, Way};
use crate::certificates::Certificates;
use crate::load::{Figures, figures};
use crate::meter::{Meter, resident_kib};
use crate::overlay_calls::Leaf;
use crate::processes::Target;

/// Connects the leaves, each with its own socket, lets each make one call, and measures when all is quiet.
///
/// They live in one process, so what one leaf costs is what it adds, not what a front end's process takes; that is
/// `one_leaf_process_mib`.
pub(crate) async fn measure(certificates: Certificates, target: &Target) -> anyhow::Result<Figures> {
    permit_sockets()?;
    let own_pid = std::process::id();
    let server_before = resident_kib(target.server_pid)?;
    let mut leaves = vec![connected(&certificates, target).await?];
    let (own_one, server_one) = (resident_kib(own_pid)?, resident_kib(target.server_pid)?);
    while leaves.len() <= LEAVES {
        leaves.push(connected(&certificates, target).await?);
    }
    sleep(SETTLING).await;
    let (own_all, server_all) = (resident_kib(own_pid)?, resident_kib(target.server_pid)?);
    let meter = Meter::start(target.server_pid)?;
    sleep(IDLE).await;
    let used = meter.stop()?;
    let more = LEAVES as f64;
    Ok(figures([
        ("idle_server_process_mib", server_before / 1024.0),
        ("one_leaf_process_mib", own_one / 1024.0),
        ("server_kib_per_leaf", (server_all - server_one) / more),
        ("leaf_kib", (own_all - own_one) / more),
        ("idle_cpu_percent", 100.0 * used.cpu_seconds / used.wall_seconds),
    ]))
}

async fn connected(certificates: &Certificates, target: &Target) -> anyhow::Result<Leaf> {
    let leaf = Leaf::start(certificates, target.address).await?;
    leaf.call(Way::OverlayLane).await?;
    Ok(leaf)
}

/// A thousand sockets are more than the usual soft limit leaves room for.
fn permit_sockets() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

/// Until the acknowledgements and tickets of the last handshakes are through.
const SETTLING: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(3);
