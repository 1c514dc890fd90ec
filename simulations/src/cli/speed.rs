//! `caps-sim speed`: how fast a simulation goes.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use caps_node::output::table;
use caps_node::say;
use clap::Args;

use crate::speed::{Pace, measure};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SpeedOf {
    /// The sizes.
    #[arg(long, value_delimiter = ',', default_value = "9,100,1000", value_parser = clap::value_parser!(u16).range(9..=4000))]
    nodes: Vec<u16>,
    /// How much virtual time is measured, after everybody has joined.
    #[arg(long = "for", default_value = "60s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    length: Duration,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// Measure in this process.
    #[arg(long, hide = true)]
    here: bool,
}

impl SpeedOf {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut table =
            table(&["NODES", "VIRTUAL/CORE s", "VIRTUAL/REAL s", "JOINING, CORE s", "KB A NODE", "DATAGRAMS/s", "ANSWERED", "FAILED"]);
        for nodes in &self.nodes {
            let pace = if self.here { measure((*nodes).into(), self.length, self.seed)? } else { self.elsewhere(*nodes)? };
            if self.json {
                say!("{}", serde_json::to_string(&pace)?);
                continue;
            }
            let real = pace.virtual_seconds / pace.real_seconds;
            let figures = [pace.virtual_per_cpu_second, real, pace.joining_cpu_seconds, pace.memory_kb_per_node, pace.datagrams_per_second];
            let figures = figures.map(|figure| if figure < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") });
            let counts = [pace.answered.to_string(), pace.failed.to_string()];
            table.add_row(std::iter::once(nodes.to_string()).chain(figures).chain(counts));
        }
        if !self.json {
            say!("{table}");
        }
        Ok(())
    }

    /// Each size in a process of its own: memory that one had is not given back before the next.
    fn elsewhere(&self, nodes: u16) -> anyhow::Result<Pace> {
        let program = std::env::current_exe().context("cannot find the own program")?;
        let length = humantime::format_duration(self.length).to_string();
        let mut command = Command::new(program);
        command.args(["speed", "--here", "--json", "--nodes", &nodes.to_string(), "--seed", &self.seed.to_string(), "--for", &length]);
        let output = command.stdin(Stdio::null()).output().context("cannot start a worker")?;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said).with_context(|| format!("{nodes} nodes: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

const EXAMPLES: &str = "\
Examples:
  caps-sim speed
  caps-sim speed --nodes 1000 --for 5m --json";
