//! `caps init`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Global;
use crate::deployment::StateKind;
use crate::founding::{FrontEnd, Plan, found};
use crate::output::say;

/// Make a deployment: certificates for everybody, and caps.toml.
///
/// Each site gets a replica (store-SITE) and a host (host-SITE), and a front end (desk-SITE). Edit caps.toml afterwards as you like; further
/// nodes get their certificates with `certs-gen`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps init\n  caps init --dir deployment --domain pumps.example --sites lund,goteborg,kiruna\n  \
    caps init --ip 10.1.0.5 --port 5000\n  caps init --state 'postgres://caps:${CAPS_DB_PASSWORD}@db.example/caps'")]
pub(super) struct Init {
    /// Where to make it.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// The trust domain.
    #[arg(long, default_value = "caps.example")]
    domain: String,
    /// The sites; an odd number survives the loss of the smaller half.
    #[arg(long, value_delimiter = ',', default_value = "lund,goteborg,kiruna", value_name = "NAMES")]
    sites: Vec<String>,
    /// The address that nodes listen on: change it per node in caps.toml when they are on different machines.
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// The first of the ports that nodes listen on.
    #[arg(long, default_value_t = 4100, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: u16,
    /// What replicas keep their states in: sled, sqlite, memory, or the URL of a database, such as postgres://caps:${CAPS_DB_PASSWORD}@db.example/caps.
    #[arg(long, default_value = "sled", value_name = "STATE")]
    state: String,
}

impl Init {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        anyhow::ensure!(self.sites.len() <= 100, "more than 100 sites: make the certificates with certs-gen instead");
        StateKind::parse(&self.state).with_context(|| format!("--state {:?}", self.state))?;
        let ports = (self.port..).take(self.sites.len() * 2);
        let plan = Plan {
            domain: self.domain,
            front_ends: self.sites.iter().map(|site| front_end(site)).collect(),
            addresses: ports.map(|port| SocketAddr::new(self.ip, port)).collect(),
            server_sites: self.sites,
            state: self.state,
        };
        let file = found(&self.dir, &plan, crate::ambient::now(), &mut crate::ambient::random()?)?;
        if global.json {
            say!("{}", serde_json::json!({ "config": file.display().to_string() }));
            return Ok(());
        }
        say!("made {} and certificates beside it. Next, each in its own terminal:", file.display());
        for site in &plan.server_sites {
            say!("  caps run --node store-{site} --config {}", file.display());
            say!("  caps run --node host-{site} --config {}", file.display());
        }
        say!("then `caps status --config {}`", file.display());
        Ok(())
    }
}

/// A desk; what it may serve stands there to be uncommented.
fn front_end(site: &str) -> FrontEnd {
    FrontEnd { name: format!("desk-{site}"), site: site.to_owned(), serves: SERVES.replace("{site}", site) }
}

const SERVES: &str = r#"# web = { listen = "127.0.0.1:8080" }    # the console and the web services, as long as `caps run --node desk-{site}` runs
# mail = { listen = "127.0.0.1:2525", relay = "smtp://mail.example:25" }    # takes mail by SMTP, and sends replies by a relay
"#;
