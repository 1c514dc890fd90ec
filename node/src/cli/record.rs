//! `caps record`.

mod listening;
mod retelling;
mod transcript;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::Global;
use crate::deployment::Deployment;
use crate::deployment::workload::Operation;
use crate::output::say;

pub(super) use listening::Recorder;

/// Write down what commands ask for, as an operation of the deployment file.
///
/// Runs COMMAND, often a shell. Whatever the caps commands below it ask of layer 2 (objects queried and got, histories, methods called, mails
/// filed, consoles left open) becomes a step, and the pauses in between become thinking. Objects that an earlier answer brought are written
/// as $found or $result, so that the operation takes other objects when it runs again. What was refused is left out, and so are passwords:
/// put them in by hand.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps record 'case read' -- sh -c \"caps query case 'status = new' --limit 20; caps get '#01jd...'\"\n  \
    caps record 'case closed' --limit 1s --into caps.toml -- bash"
)]
pub(super) struct Record {
    /// The operation's name.
    name: String,
    /// Append the operation to this deployment file; print it if not given.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// What users accept at the 95th percentile.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    limit: Option<Duration>,
    /// What it is, in one sentence.
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,
    /// The command.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

impl Record {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let target = self.into.as_ref().unwrap_or(&global.config);
        let deployment = Deployment::read(target)?;
        let taken = deployment.workload.operation(&self.name).is_some();
        anyhow::ensure!(!taken, "{} has an operation {:?} already: choose another name", target.display(), self.name);
        let file = TranscriptFile::new(crate::ambient::random()?)?;
        self.listen(global, &file.path).await?;
        let text = std::fs::read_to_string(&file.path).with_context(|| format!("cannot read {}", file.path.display()))?;
        let steps = retelling::steps(&transcript::read(&text)?)?;
        anyhow::ensure!(!steps.is_empty(), "nothing was recorded: no caps command below `{}` was answered", self.command.join(" "));
        let operation = Operation { name: self.name.clone(), about: self.about.clone(), limit: self.limit, steps };
        self.hand_over(target, &operation)
    }

    /// Runs the command with everything below it being recorded.
    async fn listen(&self, global: &Global, transcript: &Path) -> anyhow::Result<()> {
        // Ctrl-C is for the command: a watch below a shell ends by it, and recording goes on.
        let _not_for_us = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let (program, arguments) = self.command.split_first().expect("the command line demands a command");
        let mut command = Command::new(program);
        command.args(arguments).env(listening::VARIABLE, transcript).env("CAPS_CONFIG", absolute(&global.config));
        if let Some(actor) = &global.actor {
            command.env("CAPS_AS", actor);
        }
        let status = command.status().await.with_context(|| format!("cannot run {program}"))?;
        if !status.success() {
            eprintln!("caps: {program} ended with {status}; what was answered until then is recorded");
        }
        Ok(())
    }

    /// Writes the operation where it was wanted, if the file then still makes sense.
    fn hand_over(&self, target: &Path, operation: &Operation) -> anyhow::Result<()> {
        let before = std::fs::read_to_string(target).with_context(|| format!("cannot read {}", target.display()))?;
        let checked = Deployment::parse(target, &format!("{before}\n{operation}"));
        if self.into.is_none() || checked.is_err() {
            say!("{operation}");
        }
        checked.context("the operation above was recorded, and does not go into the deployment file as it is")?;
        if self.into.is_some() {
            let mut file = OpenOptions::new().append(true).open(target).with_context(|| format!("cannot write {}", target.display()))?;
            write!(file, "\n{operation}").with_context(|| format!("cannot write {}", target.display()))?;
            say!("{:?} with {} steps is in {}", operation.name, operation.steps.len(), target.display());
        }
        Ok(())
    }
}

/// The path from wherever the command goes.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Where commands write what they asked for: for its owner only, and gone when it has been read.
struct TranscriptFile {
    path: PathBuf,
}

impl TranscriptFile {
    fn new(mut random: impl FnMut(&mut [u8])) -> anyhow::Result<Self> {
        let mut name = [0; 8];
        random(&mut name);
        let path = std::env::temp_dir().join(format!("caps-record-{:016x}", u64::from_be_bytes(name)));
        let create = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        create.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for TranscriptFile {
    fn drop(&mut self) {
        // What cannot be removed now is the system's to clean up: it is in the directory for that.
        std::fs::remove_file(&self.path).ok();
    }
}
