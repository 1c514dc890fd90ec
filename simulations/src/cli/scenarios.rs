//! `caps-sim scenarios`: the library.

use std::path::{Path, PathBuf};

use anyhow::Context;
use caps_node::output::{Compact, table};
use caps_node::say;
use clap::Args;

use crate::scenario::Scenario;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Scenarios {
    /// Where the scenarios are.
    #[arg(long, default_value = "simulations/scenarios", value_name = "DIRECTORY")]
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Scenarios {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let scenarios = library(&self.dir)?;
        if self.json {
            let all: Vec<serde_json::Value> = scenarios.iter().map(object).collect();
            say!("{}", serde_json::Value::from(all));
            return Ok(());
        }
        let mut shown = table(&["SCENARIO", "LENGTH", "NODES", "WHAT IT SHOWS"]);
        for scenario in &scenarios {
            let length = Compact(scenario.length).to_string();
            shown.add_row([name(scenario), length, scenario.deployment.nodes.len().to_string(), scenario.about.clone()]);
        }
        say!("{shown}");
        Ok(())
    }
}

/// Every scenario of a directory, by name. One that makes no sense is a mistake of the library's, and told.
fn library(dir: &Path) -> anyhow::Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}: name the library with --dir", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    anyhow::ensure!(!paths.is_empty(), "there is no scenario in {}: scenarios are files that end in .toml", dir.display());
    Ok(paths.iter().map(|path| Scenario::read(path)).collect::<Result<_, _>>()?)
}

fn object(scenario: &Scenario) -> serde_json::Value {
    serde_json::json!({
        "name": name(scenario), "file": scenario.path, "about": scenario.about, "deployment": scenario.deployment.path,
        "seconds": scenario.length.as_secs_f64(), "nodes": scenario.deployment.nodes.len(), "planned_faults": scenario.timetable.len(),
        "storm": scenario.storm.is_some(),
    })
}

fn name(scenario: &Scenario) -> String {
    scenario.path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

const EXAMPLES: &str = "\
Examples:
  caps-sim scenarios
  caps-sim scenarios --dir my-scenarios --json";
