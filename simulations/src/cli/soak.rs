//! `caps-sim soak`: new seeds until the time is over.

use std::path::PathBuf;
use std::time::Duration;

use caps_node::output::{Compact, table};
use caps_node::say;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::crew;
use super::run::{Sum, cores};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Soak {
    /// The scenario.
    #[arg(default_value = "simulations/scenarios/soak.toml")]
    file: PathBuf,
    /// How long to go on, in real time.
    #[arg(long = "for", default_value = "20m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    length: Duration,
    /// The first seed; the following ones follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds run at once.
    #[arg(long, default_value_t = cores(), value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "J")]
    jobs: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Soak {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        crate::scenario::Scenario::read(&self.file)?;
        let begin = now();
        let over = |begin: std::time::Instant| begin.elapsed() >= self.length;
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(self.length.as_secs()) };
        bar.set_style(ProgressStyle::with_template("{elapsed} {wide_bar} {msg}")?);
        let mut sum = Sum::default();
        let seeds = (self.seed..).take_while(|_| !over(begin));
        crew::run(&self.file, seeds, self.jobs.into(), |(seed, result)| {
            match result {
                Ok(outcome) => {
                    for violation in &outcome.violations {
                        bar.suspend(|| {
                            eprintln!(
                                "seed {seed}, {violation}\n  replay: caps-sim replay {} --seed {seed} --trace story-{seed}.txt",
                                self.file.display()
                            );
                        });
                    }
                    sum.take(outcome);
                }
                Err(error) => {
                    bar.suspend(|| eprintln!("{error:#}"));
                    sum.without_end += 1;
                }
            }
            bar.set_position(begin.elapsed().as_secs());
            bar.set_message(format!("{} virtual, {} faults, {} promises broken", Compact(sum.virtual_time), sum.faults, sum.violations));
            true
        })?;
        bar.finish_and_clear();
        self.tell(&sum, begin.elapsed())?;
        Ok(sum.is_good())
    }

    fn tell(&self, sum: &Sum, took: Duration) -> anyhow::Result<()> {
        let hours = sum.virtual_time.as_secs_f64() / 3_600.0;
        if self.json {
            let object = serde_json::json!({
                "real_seconds": took.as_secs_f64(), "virtual_hours": hours, "runs": sum.runs, "faults": sum.faults,
                "faults_by_kind": sum.faults_by_kind, "acknowledged": sum.acknowledged, "reads": sum.reads, "failed": sum.failed,
                "violations": sum.violations, "unmet": sum.unmet, "without_end": sum.without_end,
            });
            say!("{}", serde_json::to_string(&object)?);
            return Ok(());
        }
        let mut table = table(&["QUESTION", "ANSWER"]);
        table.add_row(["real time", &Compact(took).to_string()]);
        table.add_row(["virtual time", &format!("{hours:.1} hours")]);
        table.add_row(["runs", &sum.runs.to_string()]);
        table.add_row(["faults", &sum.faults.to_string()]);
        for (kind, count) in &sum.faults_by_kind {
            table.add_row([&format!("  {kind}"), &count.to_string()]);
        }
        table.add_row(["writes acknowledged", &sum.acknowledged.to_string()]);
        table.add_row(["reads answered", &sum.reads.to_string()]);
        table.add_row(["runs without an end", &sum.without_end.to_string()]);
        table.add_row(["promises broken", &sum.violations.to_string()]);
        say!("{table}");
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a soak lasts for as long as people wait")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

const EXAMPLES: &str = "\
Examples:
  caps-sim soak
  caps-sim soak simulations/scenarios/mixed-faults.toml --for 8h --seed 1000000";
