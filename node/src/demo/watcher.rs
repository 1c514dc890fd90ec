//! A watcher: a `caps watch` process, and what it saw.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::company::{Company, terminate};

/// A front end that follows an entity.
#[derive(Debug)]
pub(super) struct Watcher {
    child: Child,
    seen: Arc<Mutex<Seen>>,
    reader: JoinHandle<()>,
}

/// What a watcher saw.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// The position at which it had all objects of the present; changes count from there.
    pub(super) start: Option<u64>,
    /// The last position it knows of.
    pub(super) position: u64,
    /// How often it was told of each version of each object.
    pub(super) versions: BTreeMap<(String, u64), u64>,
    /// Updates that came at or before the position of an earlier one.
    pub(super) disordered: u64,
}

/// One line of `caps watch --json`.
#[derive(Deserialize)]
#[serde(tag = "update", rename_all = "lowercase")]
enum Line {
    Present { position: u64, complete: bool },
    Changes { position: u64, changes: Vec<Change> },
    Progress { position: u64 },
}

#[derive(Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
enum Change {
    Added { object: Object },
    Changed { object: Object },
    Removed {},
}

#[derive(Deserialize)]
struct Object {
    id: String,
    version: u64,
}

impl Watcher {
    /// Starts to follow an entity as this front end, and waits until it has all there is.
    pub(super) async fn start(company: &Company, name: &str, entity: &str) -> anyhow::Result<Self> {
        let mut command = company.command(name)?;
        // What it sees is held against every version that there was.
        command.args(["--as", name, "--json", "watch", entity, "--every-change"]);
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
        let output = child.stdout.take().context("a process started with a pipe has one")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sink = seen.clone();
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(line) => sink.lock().expect("no holder of this lock panics").take(line),
                    Err(error) => tracing::error!(line, %error, "a watcher says something unknown"),
                }
            }
        });
        let watcher = Self { child, seen, reader };
        watcher.wait_for(name, |seen| seen.start.is_some()).await?;
        Ok(watcher)
    }

    /// Waits until it knows of everything up to this position, and gives what it saw.
    pub(super) async fn stop_at(self, name: &str, position: u64) -> anyhow::Result<Seen> {
        self.wait_for(name, |seen| seen.position >= position).await?;
        terminate(&self.child);
        let Self { mut child, seen, reader } = self;
        child.wait().await?;
        reader.await?;
        let seen = std::mem::take(&mut *seen.lock().expect("no holder of this lock panics"));
        Ok(seen)
    }

    async fn wait_for(&self, name: &str, reached: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !reached(&self.seen.lock().expect("no holder of this lock panics")) {
            anyhow::ensure!(Instant::now() < until, "the watcher {name} did not get so far within {PATIENCE:?}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Seen {
    fn take(&mut self, line: Line) {
        match line {
            Line::Present { position, complete } => {
                if complete {
                    self.start = Some(position);
                    self.position = position;
                }
            }
            Line::Changes { position, changes } => {
                self.disordered += u64::from(position <= self.position);
                self.position = position;
                for change in changes {
                    if let Change::Added { object } | Change::Changed { object } = change {
                        *self.versions.entry((object.id, object.version)).or_default() += 1;
                    }
                }
            }
            Line::Progress { position } => self.position = self.position.max(position),
        }
    }
}

/// Progress is told every few seconds at least, also when nothing changes.
const PATIENCE: Duration = Duration::from_secs(30);
