//! The cabinet beside other replicated stores: three processes each, on one disk, in one run.
//!
//! Writes: a new key or object of 100 bytes, acknowledged when a majority has it. Reads: one of a thousand of them by key, from a follower's own
//! copy (etcd: serializable). Everybody is asked by one client in this process, on one current-thread runtime; writes go to the leader. The
//! cabinet is spoken with as a host does, over QUIC with mutual TLS; the others without TLS, which is to their advantage.
//!
//! The systems take turns within each round and wait idle for theirs. Start reading at [`System`]; then one file per system.

mod cabinet;
mod etcd;
pub(crate) mod measure;
mod nats;
mod report;
pub(crate) mod server;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use measure::Load;
use report::Report;

/// How much is measured.
#[derive(Args, Debug)]
pub(crate) struct Stores {
    /// How long each measurement takes, in seconds.
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = crate::run::seconds)]
    seconds: f64,
    /// How many times each case has its turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only these systems.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = System::ALL)]
    only: Vec<System>,
    /// Only this work.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Work::Write, Work::Read])]
    work: Vec<Work>,
    /// Only with these numbers of callers at once: of 1, 16 and 256.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = CALLERS)]
    callers: Vec<usize>,
    /// What replicas of the cabinet keep their state in.
    #[arg(long, value_name = "KIND", default_value = "sled", value_parser = ["sled", "memory"])]
    state: String,
    /// The caps program; the one beside this program if not given.
    #[arg(long, value_name = "PROGRAM")]
    caps: Option<PathBuf>,
    /// Print the report as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Where the report goes.
    #[arg(long, value_name = "FILE", default_value = "target/bench-stores.json")]
    out: PathBuf,
}

/// A store, as three processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// A cabinet with three voters.
    Cabinet,
    /// etcd with three members.
    Etcd,
    /// A NATS JetStream stream with three replicas.
    Nats,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// One new key or object.
    Write,
    /// One key or object, from a follower's own copy.
    Read,
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) work: Work,
    pub(crate) callers: usize,
    pub(crate) system: System,
}

/// A system at work, and the way to ask it.
enum Running {
    Cabinet(cabinet::Cabinet),
    Etcd(etcd::Etcd),
    Nats(nats::Nats),
}

impl Stores {
    /// Measures what the settings ask for and reports it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(self.measure())?;
        let json = serde_json::to_value(&report)?;
        if let Some(parent) = self.out.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        std::fs::write(&self.out, format!("{json:#}\n")).with_context(|| format!("cannot write {}", self.out.display()))?;
        if self.json {
            println!("{json}");
        } else {
            println!("{}", report.told());
        }
        Ok(())
    }

    fn cases(&self) -> impl Iterator<Item = (Work, usize)> {
        let callers = CALLERS.into_iter().filter(|callers| self.callers.contains(callers));
        self.work.iter().flat_map(move |work| callers.clone().map(|callers| (*work, callers)))
    }

    async fn measure(&self) -> anyhow::Result<Report> {
        if self.cases().next().is_none() {
            bail!("nothing is measured with these numbers of callers: choose among 1, 16 and 256");
        }
        let directory = tempfile::tempdir().context("there is no place for the stores' files")?;
        let caps = match &self.caps {
            Some(caps) => caps.clone(),
            None => std::env::current_exe()?.with_file_name("caps"),
        };
        let mut report = Report::default();
        let mut systems = Vec::new();
        for system in &self.only {
            let place = directory.path().join(system.to_string());
            std::fs::create_dir_all(&place)?;
            let running = match system {
                System::Cabinet => cabinet::Cabinet::start(&place, &caps, &self.state).await.map(Running::Cabinet),
                System::Etcd => etcd::Etcd::start(&place).await.map(Running::Etcd),
                System::Nats => nats::Nats::start(&place).await.map(Running::Nats),
            };
            match running {
                Ok(running) => systems.push((*system, running)),
                Err(error) => {
                    eprintln!("{system} is left out: {error:#}");
                    report.note(format!("{system} was left out: {error:#}"));
                }
            }
        }
        if systems.is_empty() {
            bail!("there is nothing to measure");
        }
        for (_, running) in &systems {
            running.notes().into_iter().for_each(|note| report.note(note));
        }
        for round in 1..=self.rounds {
            for (work, callers) in self.cases() {
                for (system, running) in &mut systems {
                    let case = Case { work, callers, system: *system };
                    if *system == System::Nats && work == Work::Read {
                        continue;
                    }
                    let load = Load { callers, seconds: self.seconds };
                    match running.measure(work, load).await {
                        Ok(figures) => {
                            eprintln!("round {round} of {}: {case}: {figures}", self.rounds);
                            report.add(case, figures);
                        }
                        Err(error) => {
                            eprintln!("round {round} of {}: {case} failed: {error:#}", self.rounds);
                            report.note(format!("{case} failed in round {round}: {error:#}"));
                        }
                    }
                }
            }
        }
        Ok(report)
    }
}

impl Running {
    fn notes(&self) -> Vec<String> {
        match self {
            Self::Nats(nats) => nats.notes(),
            Self::Cabinet(_) | Self::Etcd(_) => Vec::new(),
        }
    }

    async fn measure(&mut self, work: Work, load: Load) -> anyhow::Result<measure::Figures> {
        match self {
            Self::Cabinet(cabinet) => {
                cabinet.find_leader().await?;
                measure::run(cabinet.pids(), load, cabinet.ask(work)).await
            }
            Self::Etcd(etcd) => {
                etcd.find_leader().await?;
                measure::run(etcd.pids(), load, etcd.ask(work, load.callers).await?).await
            }
            Self::Nats(nats) => {
                nats.find_leader().await?;
                measure::run(nats.pids(), load, nats.ask()).await
            }
        }
    }
}

impl System {
    const ALL: [Self; 3] = [Self::Cabinet, Self::Etcd, Self::Nats];
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cabinet => "cabinet",
            Self::Etcd => "etcd",
            Self::Nats => "nats",
        })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Read => "local read",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, {}", self.work, self.callers, self.system)
    }
}

const CALLERS: [usize; 3] = [1, 16, 256];

/// Bytes of a value.
const VALUE_BYTES: usize = 100;

/// Keys or objects that are read.
const READ: usize = 1_000;
