//! Seeds run by processes of their own: counters that a process keeps would otherwise carry over from one seed to the next, and a seed that
//! brings its process down tells only of itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;

use anyhow::Context;

use crate::scenario::Outcome;

/// What became of one seed.
pub(super) type Report = (u64, anyhow::Result<Outcome>);

/// Runs a scenario under each of the seeds, `jobs` at a time, and hands every outcome to `take` as it comes. Ends when the seeds do, or when
/// `take` says that it has enough.
pub(super) fn run(
    scenario: &Path,
    seeds: impl Iterator<Item = u64> + Send,
    jobs: usize,
    mut take: impl FnMut(Report) -> bool,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find the own program")?;
    let seeds = Mutex::new(seeds);
    let (sender, reports) = mpsc::sync_channel::<Report>(jobs);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, seeds, program) = (sender.clone(), &seeds, &program);
            scope.spawn(move || {
                loop {
                    let next = seeds.lock().map(|mut seeds| seeds.next());
                    let Ok(Some(seed)) = next else { return };
                    if sender.send((seed, one(program, scenario, seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        while let Ok(report) = reports.recv() {
            if !take(report) {
                break;
            }
        }
        // What is still under way is finished, and nobody is told.
        drop(reports);
    });
    Ok(())
}

fn one(program: &PathBuf, scenario: &Path, seed: u64) -> anyhow::Result<Outcome> {
    let mut command = Command::new(program);
    command.arg("run").arg(scenario).args(["--seed", &seed.to_string(), "--json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start a worker")?;
    let mut said = String::new();
    // It says one line, and what it complains about is short: neither pipe fills up.
    child.stdout.take().context("a worker started with a pipe has one")?.read_to_string(&mut said)?;
    let mut complaint = String::new();
    child.stderr.take().context("a worker started with a pipe has one")?.read_to_string(&mut complaint)?;
    let status = child.wait()?;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("seed {seed} came to no end ({status}): {}", complaint.trim()))
}
