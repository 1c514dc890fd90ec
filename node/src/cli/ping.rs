//! `caps ping`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::time::sleep;

use super::Global;
use super::connect::actor;
use crate::deployment::Deployment;
use crate::node;
use crate::output::say;
use crate::output::{Compact, micros};

/// Measure the way to a node, or learn why there is none.
///
/// Says which path answered, how long the way there and back took, and what protects it. A node refuses whom it has no business with: a front
/// end reaches hosts, a host reaches replicas, the administrator reaches everybody.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps ping host-lund\n  caps ping store-lund --as host-lund\n  caps ping store-lund --as admin --count 10 --json"
)]
pub(super) struct Ping {
    /// The node.
    node: String,
    /// How many times.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Between two.
    #[arg(long, default_value = "200ms", value_parser = humantime::parse_duration, value_name = "DURATION")]
    interval: Duration,
}

impl Ping {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let target = deployment.node(&self.node)?;
        let address = target.dialled().with_context(|| format!("{} listens nowhere: it is a front end", self.node))?;
        let overlay = node::leaf(&deployment, &actor(global, &deployment)?).await?;
        let result = self.ping(global, &overlay, target).await;
        overlay.drain(Duration::from_millis(500)).await;
        result.with_context(|| format!("no way from {} to {} at {address}", overlay.identity(), target.identity))
    }

    async fn ping(&self, global: &Global, overlay: &caps_overlay::Overlay, target: &crate::deployment::Node) -> anyhow::Result<()> {
        let mut best: Option<Duration> = None;
        for turn in 1..=self.count {
            let pong = overlay.ping(&target.identity, global.timeout).await?;
            best = Some(best.map_or(pong.round_trip, |best| best.min(pong.round_trip)));
            let micros_of = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            if global.json {
                let line = json!({
                    "node": self.node, "identity": target.identity.uri(), "address": pong.remote_address.to_string(), "path": pong.path.to_string(),
                    "round_trip_us": micros_of(pong.round_trip), "rtt_us": micros_of(pong.rtt),
                    "tls": {"version": pong.tls.version, "offered_cipher_suite": pong.tls.cipher_suite, "offered_key_exchange": pong.tls.key_exchange},
                    "certificate_expires": crate::output::moment(pong.certificate_expires.saturating_mul(1_000_000)),
                });
                say!("{line}");
            } else {
                if turn == 1 {
                    say!("{} at {}, {}", target.identity, pong.remote_address, pong.path);
                    say!("{}, offered first: {}, keys by {}", pong.tls.version, pong.tls.cipher_suite, pong.tls.key_exchange);
                    say!("its certificate is valid until {}", crate::output::moment(pong.certificate_expires.saturating_mul(1_000_000)));
                }
                say!("answered in {}; line's round trip {}", micros(micros_of(pong.round_trip)), micros(micros_of(pong.rtt)));
            }
            if turn < self.count {
                sleep(self.interval).await;
            }
        }
        if let (Some(best), false) = (best, global.json) {
            say!("best of {}: {}", self.count, Compact(best));
        }
        Ok(())
    }
}
