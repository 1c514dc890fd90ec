//! A mail gateway: a `caps file` process, and what it reports.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::company::{Company, terminate};

/// A mail gateway at work.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    reports: Arc<Mutex<Vec<Report>>>,
    reader: JoinHandle<()>,
}

/// One line of `caps file --json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "mail", rename_all = "lowercase")]
pub(super) enum Report {
    /// A mail is durably filed.
    Filed(Filed),
    /// A mail was not understood.
    Refused { file: String, reason: String },
    /// A mail could not be filed.
    Failed { commit: String, error: String },
    /// The gateway is done.
    Done {},
}

/// A mail that is durably filed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Filed {
    pub(super) commit: String,
    pub(super) position: u64,
    pub(super) acknowledged_at_us: i64,
    pub(super) latency_us: u64,
}

impl Gateway {
    /// Starts to file these mails as this front end, with further arguments of `caps file`.
    pub(super) fn start(company: &Company, name: &str, mails: &[PathBuf], arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = company.command(name)?;
        command.args(["--as", name, "--json", "--timeout", "30s", "file"]).args(arguments).args(mails);
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
        let output = child.stdout.take().context("a process started with a pipe has one")?;
        let reports = Arc::new(Mutex::new(Vec::new()));
        let sink = reports.clone();
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(report) => sink.lock().expect("no holder of this lock panics").push(report),
                    Err(error) => tracing::error!(line, %error, "a gateway says something unknown"),
                }
            }
        });
        Ok(Self { child, reports, reader })
    }

    /// How many mails are durably filed so far.
    pub(super) fn filed(&self) -> usize {
        let reports = self.reports.lock().expect("no holder of this lock panics");
        reports.iter().filter(|report| matches!(report, Report::Filed(_))).count()
    }

    /// Asks it to end after the mail in hand, and gives everything it reported.
    pub(super) async fn stop(self) -> anyhow::Result<Vec<Report>> {
        terminate(&self.child);
        self.finish().await
    }

    /// Waits until it has filed everything, and gives what it reported.
    pub(super) async fn finish(mut self) -> anyhow::Result<Vec<Report>> {
        self.child.wait().await?;
        self.reader.await?;
        let reports = std::mem::take(&mut *self.reports.lock().expect("no holder of this lock panics"));
        anyhow::ensure!(reports.iter().any(|report| matches!(report, Report::Done {})), "a gateway ended before it was done");
        Ok(reports)
    }
}
