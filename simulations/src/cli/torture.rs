//! `caps-sim torture`: cruelty to real processes.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, bail};
use caps_node::say;
use caps_overlay::bugs::{self, Bug};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::history;
use crate::torture::company::Programs;
use crate::torture::corruption::{self, Corruption};
use crate::torture::plan::Mode;
use crate::torture::point::Point;
use crate::torture::power::{self, Power};
use crate::torture::report::{Round, Sum};
use crate::torture::{Settings, Torture as Tortured, node};

/// Kill real processes while others work with them, and look whether anything was lost.
///
/// Starts three replicas and two hosts as processes of their own on loopback, lets clients and front ends work with them, kills some with
/// SIGKILL in each round (at a random moment, or at one of a replica's writes, syncs, renames and so on, each in turn), starts them again, and
/// looks whether everything that was acknowledged is there once, whether all replicas are equal, whether followers were told of everything
/// once, and whether what clients saw has an order.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(super) struct Torture {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    rounds: Rounds,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Damage the files of one replica of three, and see what becomes of it.
    Corruption(Corrupt),
    /// Cut the power of simulated machines at every change of their disks.
    Power(PowerCuts),
    /// Judge recorded histories.
    History {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print JSON: one object a file.
        #[arg(long)]
        json: bool,
    },
    /// Become another program that does not outlive whoever started this one.
    #[command(hide = true)]
    Launch {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Run a replica that dies at a point; what rounds are made of.
    #[command(hide = true)]
    Node {
        #[arg(long)]
        config: PathBuf,
        #[arg(long)]
        node: String,
        #[arg(long)]
        die_at: Point,
    },
}

#[derive(Debug, Args)]
struct Rounds {
    /// How many rounds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    rounds: u64,
    /// Only this round.
    #[arg(long, value_name = "NUMBER")]
    round: Option<u64>,
    /// Which rounds.
    #[arg(long, value_enum, default_value_t = Mode::Both)]
    mode: Mode,
    /// Decides whom and when and where.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the history of every round into this directory; else only those with something wrong are kept.
    #[arg(long, value_name = "DIR")]
    histories: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

/// Where processes come from, and where they are kept.
#[derive(Debug, Args)]
struct Place {
    /// The caps program; the one beside this program if not given.
    #[arg(long, value_name = "PROGRAM")]
    caps: Option<PathBuf>,
    /// Where data, logs and histories are kept; a temporary directory, removed if all is well, if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Corrupt {
    /// How many cases of each kind.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000), value_name = "N")]
    cases: u64,
    /// Only kinds whose name contains this.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Also succeed when a replica was not repaired, or took its damage for a torn tail: nothing wrong may be served in any case.
    #[arg(long)]
    lenient: bool,
    /// Decides where it is damaged.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: Place,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PowerCuts {
    /// The first change at which the power is cut.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only every so many-th change.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    every: u64,
    /// How many clients commit one after the other.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64), value_name = "N")]
    clients: u64,
    /// The commits of each.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=1000), value_name = "N")]
    commits: u64,
    /// Decides what the disks happened to get to.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Make this mistake on purpose, and end when it is found; needs a build with the feature seeded-bugs.
    #[arg(long, value_name = "NAME", value_parser = known_bug)]
    bug: Option<Bug>,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

impl Torture {
    /// Whether nodes in this very process fail, as they are to.
    pub(super) fn fails_on_purpose(&self) -> bool {
        matches!(self.other, Some(Other::Power(_)))
    }

    pub(super) fn run(self) -> anyhow::Result<bool> {
        match self.other {
            None => self.rounds.run(),
            Some(Other::Corruption(command)) => command.run(),
            Some(Other::Power(command)) => command.run(),
            Some(Other::History { files, json }) => judge(&files, json),
            Some(Other::Launch { command }) => node::launch(&command).map(|()| true),
            Some(Other::Node { config, node, die_at }) => node::run(&config, &node, die_at).map(|()| true),
        }
    }
}

impl Rounds {
    fn run(self) -> anyhow::Result<bool> {
        let (directory, temporary) = self.place.directory()?;
        let (programs, histories) = (self.place.programs()?, self.histories.clone());
        let settings = Settings { programs, directory: directory.clone(), seed: self.seed, mode: self.mode, histories };
        let wanted = match self.round {
            Some(round) => round..round + 1,
            None => 0..self.rounds,
        };
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(wanted.end - wanted.start) };
        bar.set_style(ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} {msg}")?);
        let sum = runtime()?.block_on(unless_interrupted(async {
            let mut torture = Tortured::begin(settings).await?;
            let mut sum = Sum::default();
            for number in wanted {
                let round =
                    torture.round(number).await.with_context(|| format!("round {number}; to repeat it: {}", self.repeat(number)))?;
                self.tell(&round, &bar);
                sum.take(&round);
                bar.inc(1);
                bar.set_message(format!("{} killed, {} acknowledged, {} bad", sum.kills, sum.acknowledged, sum.bad));
            }
            let mut last = Round { number: sum.rounds, what: "the last end".to_owned(), ..Round::default() };
            last.reckoning.problems = torture.end().await?.problems;
            self.tell(&last, &bar);
            sum.take_last(&last);
            anyhow::Ok(sum)
        }));
        bar.finish_and_clear();
        let sum = sum.with_context(|| format!("logs and data are in {}", directory.display()))?;
        if self.json {
            say!("{}", serde_json::to_string(&sum)?);
        } else {
            say!("{}", sum.told());
        }
        if temporary && sum.is_good() {
            std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        } else if !sum.is_good() {
            eprintln!("logs, data and the histories of bad rounds are in {}", directory.display());
        }
        Ok(sum.is_good())
    }

    fn tell(&self, round: &Round, bar: &ProgressBar) {
        for problem in &round.reckoning.problems {
            let what = format!("round {} ({}): {}: {}", round.number, round.what, problem.kind.name(), problem.what);
            bar.suspend(|| eprintln!("{what}\n  repeat: {}", self.repeat(round.number)));
        }
    }

    fn repeat(&self, round: u64) -> String {
        let mode = clap::ValueEnum::to_possible_value(&self.mode).map_or(String::new(), |mode| mode.get_name().to_owned());
        format!("caps-sim torture --seed {} --mode {mode} --round {round}", self.seed)
    }
}

impl Place {
    /// The directory, and whether it is temporary.
    fn directory(&self) -> anyhow::Result<(PathBuf, bool)> {
        match &self.dir {
            Some(directory) => {
                let there = directory.join("caps.toml").exists();
                anyhow::ensure!(!there, "{} has a caps.toml: choose an empty directory", directory.display());
                Ok((directory.clone(), false))
            }
            None => Ok((std::env::temp_dir().join(format!("caps-torture-{}", std::process::id())), true)),
        }
    }

    fn programs(&self) -> anyhow::Result<Programs> {
        let this = std::env::current_exe().context("cannot find the own program")?;
        let caps = self.caps.clone().unwrap_or_else(|| this.with_file_name("caps"));
        let caps = caps.canonicalize().with_context(|| format!("there is no program {}: say where with --caps", caps.display()))?;
        Ok(Programs { caps, this })
    }
}

impl Corrupt {
    fn run(self) -> anyhow::Result<bool> {
        let (directory, temporary) = self.place.directory()?;
        let programs = self.place.programs()?;
        let wanted = Corruption { programs, directory: directory.clone(), seed: self.seed, cases: self.cases, only: self.only };
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        bar.set_style(ProgressStyle::with_template("{elapsed} {spinner} {msg}")?);
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        let table = runtime()?.block_on(unless_interrupted(corruption::run(&wanted, &|what| bar.set_message(what.to_owned()))));
        bar.finish_and_clear();
        let table = table.with_context(|| format!("logs and data are in {}", directory.display()))?;
        if self.json {
            say!("{}", serde_json::to_string(&table)?);
        } else {
            say!("{}", table.told());
        }
        let good = table.is_good(self.lenient);
        if temporary && good {
            std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        } else if !good {
            eprintln!("logs and data are in {}", directory.display());
        }
        Ok(good)
    }
}

impl PowerCuts {
    fn run(self) -> anyhow::Result<bool> {
        anyhow::ensure!(self.bug.is_none() || bugs::COMPILED_IN, "there are no bugs in this build: build it with --features seeded-bugs");
        let Self { from, every, clients, commits, seed, bug, .. } = self;
        let wanted = Power { from, every, clients, commits, seed, bug };
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
        bar.set_style(ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} {msg}")?);
        let found = power::run(&wanted, |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", serde_json::to_string(&found)?);
        } else {
            say!("{}", found.told());
        }
        Ok(found.is_good())
    }
}

fn judge(files: &[PathBuf], json: bool) -> anyhow::Result<bool> {
    let mut good = true;
    for file in files {
        let judgement = history::judge(&history::read(file)?);
        good &= judgement.is_good() && judgement.undecided.is_empty();
        if json {
            say!("{}", serde_json::to_string(&judgement)?);
            continue;
        }
        let (operations, objects) = (judgement.operations, judgement.objects);
        let verdict = if judgement.is_good() { "explained".to_owned() } else { format!("{} findings", judgement.findings.len()) };
        say!("{}: {operations} operations on {objects} objects: {verdict}", file.display());
        judgement.findings.iter().for_each(|finding| say!("  {finding}"));
        judgement.undecided.iter().for_each(|object| say!("  {object} is too entangled to be judged"));
    }
    Ok(good)
}

fn known_bug(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| format!("no such bug; there are {}", Bug::ALL.map(|bug| bug.facts().name).join(", ")))
}

/// Works until it is done or somebody has had enough. Processes are killed when what holds them is dropped, which a signal would not do.
async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    tokio::select! {
        // A signal first: whoever gives up does not want the rest.
        biased;
        _ = terminate.recv() => bail!("interrupted"),
        _ = interrupt.recv() => bail!("interrupted"),
        done = work => done,
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the system gives no event loop")
}

const EXAMPLES: &str = "\
Examples:
  caps-sim torture
  caps-sim torture --rounds 20 --mode points --histories histories
  caps-sim torture --seed 1 --round 17
  caps-sim torture corruption --cases 20
  caps-sim torture power
  caps-sim torture history histories/*.jsonl

Exit status: 0 when nothing was wrong, 1 when something was, 2 when it could not be found out.
Only processes that it started are killed. Rounds are about real processes: the same seed kills the same ones, at nearly the same moments.";
