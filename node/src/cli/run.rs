//! `caps run`.

use clap::Args;

use super::Global;
use super::connect::interrupted;
use crate::deployment::Deployment;
use crate::node;

/// Run one node of the deployment until SIGTERM.
///
/// A node of layer 1 keeps a replica, a node of layer 2 runs the modules. It says what it serves and where once it is ready; on SIGTERM or
/// Ctrl-C it takes no new work, finishes what it has, and ends.
///
/// A replica whose disk has less than 64 MiB left (`reserve_mib` under `[cabinet]`) orders no commits and lets another one lead; reads go on. One that
/// has a lot of its journal to replay first says every two seconds how far it is.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps run --node store-lund\n  caps run --node host-lund --config deployment/caps.toml\n  CAPS_LOG=debug caps run --node store-lund"
)]
pub(super) struct Run {
    /// The node's name in the deployment file.
    #[arg(long, value_name = "NAME")]
    node: String,
}

impl Run {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let node = deployment.node(&self.node)?;
        let interrupted = interrupted();
        let running = node::start(&deployment, node).await?;
        tokio::select! {
            // A failure first: a node that has failed must not report an orderly end.
            biased;
            failure = running.failed() => return Err(failure),
            () = interrupted => {}
        }
        running.stop().await;
        Ok(())
    }
}
