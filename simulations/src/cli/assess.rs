//! `caps-sim assess`: how a deployment will feel.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use caps_node::deployment::Deployment;
use caps_node::say;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::run::cores;
use crate::assess::{self, Effort};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Assess {
    /// The deployment file, with lines, links, operations and users.
    #[arg(default_value = "caps.toml")]
    file: PathBuf,
    /// Write a page for people who are no engineers.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long everybody works, in virtual time.
    #[arg(long = "for", default_value = "3m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    length: Duration,
    /// How many worlds run at once.
    #[arg(long, default_value_t = cores(), value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "J")]
    jobs: u16,
}

impl Assess {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        let deployment = Deployment::read(&self.file)?;
        anyhow::ensure!(self.length >= LENGTH_MIN, "people work for {LENGTH_MIN:?} at least: raise --for");
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
        bar.set_style(ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} rehearsals")?);
        bar.enable_steady_tick(Duration::from_millis(200));
        let effort = Effort { seed: self.seed, jobs: self.jobs.into(), length: self.length, ..Effort::default() };
        let assessment = assess::assess(&deployment, effort, |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        if let Some(path) = &self.html {
            std::fs::write(path, assessment.html()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.json {
            say!("{}", serde_json::to_string(&assessment)?);
        } else {
            say!("{}", assessment.text());
        }
        Ok(assessment.is_good())
    }
}

/// Shorter, and there is nothing to tell.
const LENGTH_MIN: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  caps-sim assess caps.toml
  caps-sim assess simulations/deployments/five-regions.toml --html report.html

Exit status: 0 when everything is within its limits, 1 when something is not.";
