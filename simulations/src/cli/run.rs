//! `caps-sim run`: a scenario under one seed or many.

use std::path::PathBuf;
use std::time::Duration;

use caps_node::output::{Compact, table};
use caps_node::say;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::crew;
use super::seeds::Seeds;
use crate::scenario::{self, Outcome, Scenario};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// The scenario.
    file: PathBuf,
    /// The seed, which decides everything that happens by chance.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Many seeds, one after the other: A..B, both included.
    #[arg(long, value_name = "A..B")]
    seeds: Option<Seeds>,
    /// How many seeds run at once, each in a process of its own.
    #[arg(long, default_value_t = cores(), value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "J")]
    jobs: u16,
    /// Run each seed twice, in two processes, and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Print JSON: one object a seed.
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        let scenario = Scenario::read(&self.file)?;
        match &self.seeds {
            None if !self.twice => self.one(&scenario),
            None => self.many(&Seeds(self.seed..=self.seed)),
            Some(seeds) => self.many(seeds),
        }
    }

    fn one(&self, scenario: &Scenario) -> anyhow::Result<bool> {
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(scenario.length.as_secs()) };
        bar.set_style(ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} virtual seconds")?);
        let shown = bar.clone();
        let outcome = scenario::run(scenario, self.seed, None, move |now| shown.set_position(now.as_secs()))?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", serde_json::to_string(&outcome)?);
        } else {
            say!("{}\n\n{}", scenario.about, of_one(&outcome));
            self.complain(&outcome);
        }
        Ok(outcome.is_good())
    }

    fn many(&self, seeds: &Seeds) -> anyhow::Result<bool> {
        let times = if self.twice { 2 } else { 1 };
        let count = (seeds.0.end() - seeds.0.start()).saturating_add(1).saturating_mul(times);
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(count) };
        bar.set_style(ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} runs, about {eta} more")?);
        let mut sum = Sum::default();
        let each = seeds.0.clone().flat_map(|seed| std::iter::repeat_n(seed, usize::try_from(times).unwrap_or(1)));
        crew::run(&self.file, each, self.jobs.into(), |(seed, result)| {
            bar.inc(1);
            match result {
                Ok(outcome) => {
                    if self.json {
                        say!("{}", serde_json::to_string(&outcome).unwrap_or_default());
                    } else if !outcome.is_good() {
                        bar.suspend(|| self.complain(&outcome));
                    }
                    sum.take(outcome);
                }
                Err(error) => {
                    bar.suspend(|| eprintln!("{error:#}\n  {}", self.replay(seed)));
                    sum.without_end += 1;
                }
            }
            true
        })?;
        bar.finish_and_clear();
        if !self.json {
            say!("{}", sum.table(self.twice));
        }
        Ok(sum.is_good())
    }

    fn complain(&self, outcome: &Outcome) {
        if outcome.is_good() {
            return;
        }
        say!("seed {}:", outcome.seed);
        for violation in &outcome.violations {
            say!("  {violation}");
        }
        for unmet in &outcome.unmet {
            say!("  expected otherwise: {unmet}");
        }
        say!("  {}", self.replay(outcome.seed));
    }

    fn replay(&self, seed: u64) -> String {
        format!("replay: caps-sim replay {} --seed {seed} --trace story-{seed}.txt", self.file.display())
    }
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) runs: u64,
    pub(super) virtual_time: Duration,
    pub(super) faults: u64,
    pub(super) faults_by_kind: std::collections::BTreeMap<String, u64>,
    pub(super) violations: u64,
    pub(super) unmet: u64,
    pub(super) acknowledged: u64,
    pub(super) reads: u64,
    pub(super) failed: u64,
    pub(super) without_end: u64,
    /// Traces by seed, of those that ran once so far.
    waiting: std::collections::BTreeMap<u64, crate::TraceHash>,
    equal: u64,
    different: Vec<u64>,
}

impl Sum {
    pub(super) fn take(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.virtual_time += Duration::from_secs_f64(outcome.virtual_seconds);
        self.faults += outcome.faults;
        self.violations += outcome.violations.len() as u64;
        self.unmet += outcome.unmet.len() as u64;
        self.acknowledged += outcome.acknowledged;
        self.reads += outcome.reads;
        self.failed += outcome.failed_count();
        for (kind, count) in outcome.faults_by_kind {
            *self.faults_by_kind.entry(kind).or_default() += count;
        }
        match self.waiting.remove(&outcome.seed) {
            None => drop(self.waiting.insert(outcome.seed, outcome.trace)),
            Some(trace) if trace == outcome.trace => self.equal += 1,
            Some(_) => self.different.push(outcome.seed),
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.violations + self.unmet + self.without_end == 0 && self.different.is_empty()
    }

    fn table(&self, twice: bool) -> String {
        let mut table = table(&["QUESTION", "ANSWER"]);
        table.add_row(["runs", &self.runs.to_string()]);
        table.add_row(["virtual time", &Compact(self.virtual_time).to_string()]);
        table.add_row(["faults", &self.faults.to_string()]);
        table.add_row(["writes acknowledged", &self.acknowledged.to_string()]);
        table.add_row(["reads answered", &self.reads.to_string()]);
        table.add_row(["operations failed", &self.failed.to_string()]);
        if twice {
            table.add_row(["seeds with equal traces", &format!("{} of {}", self.equal, self.equal + self.different.len() as u64)]);
        }
        if !self.different.is_empty() {
            table.add_row(["seeds with different traces", &format!("{:?}", self.different)]);
        }
        table.add_row(["runs without an end", &self.without_end.to_string()]);
        table.add_row(["expectations not met", &self.unmet.to_string()]);
        table.add_row(["promises broken", &self.violations.to_string()]);
        if self.violations == 0 && self.runs > 0 {
            // The rule of three: 0 of N means a rate of at most 3/N at 95 %.
            table.add_row(["at most, at 95 %", &format!("one run in {:.0}", (self.runs as f64 / 3.0).max(1.0).floor())]);
        }
        table.to_string()
    }
}

fn of_one(outcome: &Outcome) -> String {
    let mut table = table(&["QUESTION", "ANSWER"]);
    let kinds: Vec<String> = outcome.faults_by_kind.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    table.add_row(["seed", &outcome.seed.to_string()]);
    table.add_row(["trace", &outcome.trace.to_string()]);
    table.add_row(["virtual time", &Compact(Duration::from_secs_f64(outcome.virtual_seconds)).to_string()]);
    table.add_row(["faults", &format!("{} ({})", outcome.faults, kinds.join(", "))]);
    table.add_row(["writes acknowledged", &outcome.acknowledged.to_string()]);
    table.add_row(["writes refused", &outcome.refused.to_string()]);
    table.add_row(["writes that nobody heard of", &format!("{} happened, {} did not", outcome.open_happened, outcome.open_not_happened)]);
    table.add_row(["reads answered", &outcome.reads.to_string()]);
    table.add_row(["operations failed", &outcome.failed_count().to_string()]);
    table.add_row(["changes followed", &outcome.followed.to_string()]);
    table.add_row(["longest pause between writes", &Compact(Duration::from_millis(outcome.longest_write_gap_ms)).to_string()]);
    let healed = outcome.healed_in_ms.map_or_else(|| "not at all".to_owned(), |ms| Compact(Duration::from_millis(ms)).to_string());
    table.add_row(["recovered within", &healed]);
    table.add_row(["promises broken", &outcome.violations.len().to_string()]);
    table.to_string()
}

pub(super) fn cores() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(1))
}

const EXAMPLES: &str = "\
Examples:
  caps-sim run simulations/scenarios/leader-loss.toml
  caps-sim run simulations/scenarios/mixed-faults.toml --seed 17 --json
  caps-sim run simulations/scenarios/mixed-faults.toml --seeds 1..200 --twice";
