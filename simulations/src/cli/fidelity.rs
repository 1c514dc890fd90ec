//! `caps-sim fidelity`: predictions held against real processes.

use std::path::PathBuf;

use anyhow::Context;
use caps_node::deployment::Deployment;
use caps_node::deployment::profile::Profile;
use caps_node::output::table;
use caps_node::say;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::fidelity::{self, Compared, Plan};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Fidelity {
    /// The deployment file.
    #[arg(default_value = "simulations/deployments/demo.toml")]
    file: PathBuf,
    /// The front end that does everything; its site's line is changed.
    #[arg(long = "as", default_value = "desk-malmo", value_name = "NODE")]
    front_end: String,
    /// The lines to compare on.
    #[arg(long, default_value = "dsl,lte,leo", value_delimiter = ',', value_name = "PROFILE,..")]
    profiles: Vec<String>,
    /// How often each operation is done.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    times: u32,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The `caps` program; the one beside this program if not given.
    #[arg(long, value_name = "PATH")]
    caps: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Fidelity {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        let deployment = Deployment::read(&self.file)?;
        deployment.node(&self.front_end)?;
        let named = |name: &String| {
            Profile::named(name).with_context(|| format!("there is no link profile {name:?}; there are {}", Profile::names()))
        };
        let profiles = self.profiles.iter().map(named).collect::<anyhow::Result<Vec<_>>>()?;
        let caps = match self.caps {
            Some(caps) => caps,
            None => std::env::current_exe()?.with_file_name("caps"),
        };
        let plan = Plan { deployment, front_end: self.front_end, profiles, times: self.times, seed: self.seed, caps };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        bar.set_style(ProgressStyle::with_template("{elapsed} {spinner} {msg}")?);
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        let compared = runtime.block_on(async {
            let calibration = fidelity::calibrate(&plan, &|what| bar.set_message(what.to_owned())).await?;
            let speed = calibration.speed;
            bar.println(format!("this machine: {:?} a datagram, {:?} a sync", speed.datagram, speed.sync));
            let mut compared = Vec::new();
            for profile in &plan.profiles {
                bar.set_message(format!("real processes on {}", profile.name));
                compared.extend(fidelity::compare(&plan, profile, calibration).await?);
            }
            anyhow::Ok(compared)
        })?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", serde_json::to_string(&compared)?);
        } else {
            say!("{}", shown(&compared));
        }
        Ok(true)
    }
}

fn shown(compared: &[Compared]) -> String {
    let mut table = table(&["LINE", "OPERATION", "P50 PREDICTED", "MEASURED", "OFF BY", "P95 PREDICTED", "MEASURED", "OFF BY"]);
    let off = |(predicted, measured): (f64, f64)| format!("{:+.1} %", (predicted / measured - 1.0) * 100.0);
    let ms = |ms: f64| format!("{ms:.1} ms");
    for one in compared {
        table.add_row([
            one.profile.clone(),
            one.operation.clone(),
            ms(one.p50_ms.0),
            ms(one.p50_ms.1),
            off(one.p50_ms),
            ms(one.p95_ms.0),
            ms(one.p95_ms.1),
            off(one.p95_ms),
        ]);
    }
    table.to_string()
}

const EXAMPLES: &str = "\
Examples:
  caps-sim fidelity
  caps-sim fidelity --profiles geo,wifi-bad --times 200

It needs Linux, root and /dev/net/tun, and a machine that does nothing else meanwhile.";
