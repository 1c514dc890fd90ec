//! `caps-sim bugs`: whether known bugs are found, and how soon.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use caps_node::output::{Compact, table};
use caps_node::say;
use caps_overlay::bugs::{self, Bug};
use clap::Args;
use serde::Serialize;

use crate::known_bugs::{self, Hunt};
use crate::scenario::Scenario;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bugs {
    /// The scenario.
    #[arg(default_value = "simulations/scenarios/mixed-faults.toml")]
    file: PathBuf,
    /// Only this bug; may be repeated. `none` runs without any, which must find nothing.
    #[arg(long = "bug", value_name = "NAME", value_parser = named)]
    bugs: Vec<Hunted>,
    /// How many seeds a hunt has.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many hunts each bug gets, from different seeds on.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    hunts: u64,
    /// The seed that the first hunt begins with; the next ones begin a thousand further each.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many hunts run at once, each in a process of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "J")]
    jobs: u16,
    /// Print JSON: one object a bug.
    #[arg(long)]
    json: bool,
    /// Run one hunt in this process and print it as JSON; what the others are made of.
    #[arg(long, hide = true)]
    here: bool,
}

/// A bug, or the lack of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hunted(Option<Bug>);

/// How the hunts for one bug went.
#[derive(Debug, Serialize)]
struct Row {
    bug: String,
    breaks: &'static str,
    hunts: Vec<Hunt>,
}

impl Bugs {
    /// `false`: a bug escaped, or something was found without one.
    pub(super) fn run(self) -> anyhow::Result<bool> {
        anyhow::ensure!(bugs::COMPILED_IN, "there are no bugs in this build: {BUILD}");
        let wanted = if self.bugs.is_empty() { Bug::ALL.into_iter().map(|bug| Hunted(Some(bug))).collect() } else { self.bugs.clone() };
        if self.here {
            let scenario = Scenario::read(&self.file)?;
            for Hunted(bug) in wanted {
                say!("{}", serde_json::to_string(&known_bugs::hunt(bug, &scenario, self.from, self.seeds)?)?);
            }
            return Ok(true);
        }
        let rows = self.rows(&wanted)?;
        let good = rows.iter().all(|row| row.hunts.iter().all(|hunt| hunt.found.is_some() != (hunt.bug == NONE)));
        if self.json {
            rows.iter().try_for_each(|row| serde_json::to_string(row).map(|line| say!("{line}")))?;
        } else {
            say!("{}", told(&rows));
        }
        Ok(good)
    }

    fn rows(&self, wanted: &[Hunted]) -> anyhow::Result<Vec<Row>> {
        let plan = wanted.iter().flat_map(|bug| (0..self.hunts).map(move |number| (*bug, self.from + number * APART)));
        let (plan, done) = (Mutex::new(plan.collect::<VecDeque<_>>()), Mutex::new(BTreeMap::new()));
        let program = std::env::current_exe().context("cannot find the own program")?;
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    loop {
                        let next = plan.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some((bug, from)) = next else { return };
                        let hunt = elsewhere(&program, &self.file, bug, from, self.seeds);
                        done.lock().unwrap_or_else(PoisonError::into_inner).insert((bug, from), hunt);
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        for bug in wanted {
            let hunts = (0..self.hunts).filter_map(|number| done.remove(&(*bug, self.from + number * APART)));
            let breaks = bug.0.map_or("", |bug| bug.facts().breaks);
            rows.push(Row { bug: bug.name().to_owned(), breaks, hunts: hunts.collect::<anyhow::Result<_>>()? });
        }
        Ok(rows)
    }
}

impl Hunted {
    fn name(self) -> &'static str {
        self.0.map_or(NONE, |bug| bug.facts().name)
    }
}

/// A hunt in a process of its own.
fn elsewhere(program: &Path, scenario: &Path, bug: Hunted, from: u64, seeds: u64) -> anyhow::Result<Hunt> {
    let mut command = Command::new(program);
    command.arg("bugs").arg(scenario).args(["--here", "--bug", bug.name()]);
    command.args(["--from", &from.to_string(), "--seeds", &seeds.to_string()]);
    let output = command.stdin(Stdio::null()).output().context("cannot start a worker")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(said.lines().last().unwrap_or_default())
        .with_context(|| format!("the hunt for {} from seed {from} came to no end ({}): {}", bug.name(), output.status, complaint.trim()))
}

fn told(rows: &[Row]) -> String {
    let mut lines = table(&["bug", "breaks", "seeds until found", "median", "virtual", "found by"]);
    for row in rows {
        let mut seeds: Vec<u64> = row.hunts.iter().map(|hunt| if hunt.found.is_some() { hunt.seeds } else { u64::MAX }).collect();
        let each: Vec<String> =
            row.hunts.iter().map(|hunt| hunt.found.as_ref().map_or("-".to_owned(), |_| hunt.seeds.to_string())).collect();
        seeds.sort_unstable();
        let median = seeds.get(seeds.len() / 2).filter(|seeds| **seeds < u64::MAX).map_or("-".to_owned(), u64::to_string);
        let finds: Vec<_> = row.hunts.iter().filter_map(|hunt| hunt.found.as_ref()).collect();
        let mut times: Vec<f64> = finds.iter().map(|find| find.virtual_seconds).collect();
        times.sort_unstable_by(f64::total_cmp);
        let time = times.get(times.len() / 2).map_or("-".to_owned(), |time| Compact(std::time::Duration::from_secs_f64(*time)).to_string());
        let mut invariants: Vec<&str> = finds.iter().map(|find| find.invariant.as_str()).collect();
        invariants.sort_unstable();
        invariants.dedup();
        lines.add_row([row.bug.clone(), row.breaks.to_owned(), each.join(" "), median, time, invariants.join(", ")]);
    }
    lines.to_string()
}

fn named(name: &str) -> Result<Hunted, String> {
    if name == NONE {
        return Ok(Hunted(None));
    }
    let known = || Bug::ALL.map(|bug| bug.facts().name).join(", ");
    Bug::named(name).map(|bug| Hunted(Some(bug))).ok_or_else(|| format!("no such bug; there are {}, and {NONE}", known()))
}

/// Between the first seeds of two hunts for one bug.
const APART: u64 = 1_000;

const NONE: &str = "none";

const BUILD: &str = "build it with `cargo build --release -p caps-simulations --features seeded-bugs`";

const EXAMPLES: &str = "\
Examples:
  caps-sim bugs
  caps-sim bugs --bug acknowledge-before-sync --hunts 20 --seeds 100
  caps-sim bugs --bug none --hunts 5 --json

Exit status: 0 when every hunt found its bug, and hunts for none nothing; 1 when not; 2 when it could not be found out.
This command needs a build with the feature seeded-bugs, which no other build of CAPS may have.";
