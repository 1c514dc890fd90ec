//! `caps-sim replay`: one seed again, as a story.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use caps_node::say;
use clap::Args;

use crate::scenario::{self, Scenario};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replay {
    /// The scenario.
    file: PathBuf,
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Where to write the story; standard output if not given.
    #[arg(long, value_name = "OUT")]
    trace: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        let scenario = Scenario::read(&self.file)?;
        let outcome = scenario::run(&scenario, self.seed, None, |_| {})?;
        let mut story = format!("{}\n{} under seed {}, trace {}\n\n", scenario.about, self.file.display(), self.seed, outcome.trace);
        for (at, what) in &outcome.story {
            story.push_str(&format!("{:>12.6}s  {what}\n", at.as_secs_f64()));
        }
        match &self.trace {
            None => say!("{story}"),
            Some(path) => {
                let written = std::fs::File::create(path).and_then(|mut file| file.write_all(story.as_bytes()));
                written.with_context(|| format!("cannot write {}", path.display()))?;
                say!("{} lines of story in {}; promises broken: {}", outcome.story.len(), path.display(), outcome.violations.len());
            }
        }
        Ok(outcome.is_good())
    }
}

const EXAMPLES: &str = "\
Examples:
  caps-sim replay simulations/scenarios/mixed-faults.toml --seed 17 --trace story.txt
  CAPS_LOG=caps_store=debug caps-sim replay simulations/scenarios/mixed-faults.toml --seed 17    with what the nodes log";
