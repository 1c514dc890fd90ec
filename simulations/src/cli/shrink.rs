//! `caps-sim shrink`: the few faults that it takes.

use std::path::{Path, PathBuf};

use anyhow::Context;
use caps_node::say;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::scenario::{Scenario, shrink};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Shrink {
    /// The scenario.
    file: PathBuf,
    /// The seed under which it fails.
    #[arg(long)]
    seed: u64,
    /// Where to write the smaller scenario; standard output if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many runs to try at most.
    #[arg(long, default_value_t = 200, value_name = "N")]
    runs: u32,
}

impl Shrink {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        let scenario = Scenario::read(&self.file)?;
        let bar = ProgressBar::new(self.runs.into());
        bar.set_style(ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} runs, {msg}")?);
        let smaller = shrink::shrink(&scenario, self.seed, self.runs, |runs, faults| {
            bar.set_position(runs.into());
            bar.set_message(format!("{faults} faults left"));
        })?;
        bar.finish_and_clear();
        let Some(smaller) = smaller else {
            say!("seed {} breaks no promise: there is nothing to make smaller", self.seed);
            return Ok(true);
        };
        let text = smaller.file(Path::new(&self.file), self.out.as_deref())?;
        match &self.out {
            None => say!("{text}"),
            Some(out) => {
                std::fs::write(out, &text).with_context(|| format!("cannot write {}", out.display()))?;
                say!("{} of {} faults are enough: {}", smaller.plan.len(), smaller.of, smaller.violation);
                say!("replay: caps-sim replay {} --seed {}", out.display(), self.seed);
            }
        }
        Ok(false)
    }
}

const EXAMPLES: &str = "\
Examples:
  caps-sim shrink simulations/scenarios/mixed-faults.toml --seed 17 --out small.toml";
