//! A run: rounds in which the cases take turns.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::case::{Case, Workload};
use crate::report::Report;
use crate::{certificates, processes};

/// How much is measured.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// How long each measurement takes, in seconds.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How many times each case has its turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Only cases whose name contains NAME, such as calls-256, bulk, cold, leaves, tonic, calls-1/overlay-lane; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Print the report as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the report goes.
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    pub(crate) out: PathBuf,
}

/// Measures what the settings ask for and reports it.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let cases = chosen(&settings.only)?;
    let certificates = tempfile::tempdir().context("there is no place for certificates")?;
    certificates::make(certificates.path())?;
    let mut report = Report::new(settings);
    for round in 1..=settings.rounds {
        for &case in cases.iter().filter(|case| takes_part(**case, round)) {
            match processes::measure_in_processes(case, certificates.path(), settings.seconds) {
                Ok(figures) => {
                    eprintln!("round {round} of {}: {}", settings.rounds, case.name());
                    report.add(case, figures);
                }
                Err(error) => {
                    eprintln!("round {round} of {}: {} failed: {error:#}", settings.rounds, case.name());
                    report.add_failure(case, &error);
                }
            }
        }
    }
    publish(&report, settings)
}

fn publish(report: &Report, settings: &Settings) -> anyhow::Result<()> {
    let json = report.to_json();
    if let Some(parent) = settings.out.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(&settings.out, format!("{json:#}\n")).with_context(|| format!("cannot write {}", settings.out.display()))?;
    if settings.json {
        println!("{json}");
    } else {
        println!("{report}");
    }
    if report.has_failures() {
        bail!("some measurements failed; see above");
    }
    Ok(())
}

fn chosen(only: &[String]) -> anyhow::Result<Vec<Case>> {
    let mut cases = Case::all();
    let names = || Case::all().into_iter().map(Case::name).collect::<Vec<_>>().join(", ");
    for part in only {
        ensure!(cases.iter().any(|case| case.name().contains(part)), "no case is called {part}; there are {}", names());
    }
    cases.retain(|case| only.is_empty() || only.iter().any(|part| case.name().contains(part)));
    Ok(cases)
}

/// Memory does not waver like time does: the leaves are counted once.
fn takes_part(case: Case, round: u32) -> bool {
    case.workload != Workload::Leaves || round == 1
}

pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=600.0).contains(&seconds) { Ok(seconds) } else { Err("must be from 0.1 to 600".to_owned()) }
}
