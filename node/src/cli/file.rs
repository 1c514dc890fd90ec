//! `caps file`: the mail gateway on the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use caps_adapters::mail::{Limits, LineEndings};
use caps_frontend::{Client, gateway};
use caps_model::{Name, Record, Value};
use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::Global;
use super::connect::{interrupted, with_client};
use crate::output::say;
use crate::output::{Compact, micros};

/// File mails with the case desk.
///
/// Each file is one mail as RFC 5322 has it. A mail that is none is refused with its reason and the next one taken; the command fails if no
/// mail could be filed. With --repeat the mails are filed again and again as if others had sent them, to put a deployment under load.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps file mail.eml --as gateway-lund\n  caps file inbox/ --json\n  caps file inbox/ --repeat 100 --interval 20ms"
)]
pub(super) struct File {
    /// Files, or directories of *.eml.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How many times; 0: until interrupted.
    #[arg(long, default_value_t = 1)]
    repeat: u64,
    /// Wait this long between mails.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    interval: Duration,
    /// Tells apart what several gateways repeat at once.
    #[arg(long, default_value = "", value_name = "TEXT")]
    tag: String,
}

#[derive(Default)]
struct Tally {
    filed: u64,
    refused: u64,
    failed: u64,
}

impl File {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let mut tally = Tally::default();
        let mails = self.mails(global, &mut tally)?;
        with_client(global, async |client| {
            tokio::select! {
                // An interruption first: filing may have no end of its own.
                biased;
                () = interrupted() => {}
                () = self.file_all(global, &client, &mails, &mut tally) => {}
            }
            let Tally { filed, refused, failed } = tally;
            match global.json {
                true => say!("{}", json!({"mail": "done", "filed": filed, "refused": refused, "failed": failed})),
                false => say!("{filed} filed, {refused} refused, {failed} failed"),
            }
            anyhow::ensure!(failed == 0, "{failed} mails were not filed: ask for their outcomes, or file them again");
            anyhow::ensure!(filed > 0, "no mail was filed");
            Ok(())
        })
        .await
    }

    async fn file_all(&self, global: &Global, client: &Client, mails: &[(PathBuf, Record)], tally: &mut Tally) {
        let rounds = if self.repeat == 0 { u64::MAX } else { self.repeat };
        for round in 0..rounds {
            for (path, mail) in mails {
                let arguments = if self.tag.is_empty() && round == 0 { mail.clone() } else { self.as_if_new(mail, round) };
                file_one(global, client, path, arguments, tally).await;
                tokio::time::sleep(self.interval).await;
            }
        }
    }

    /// Reads and parses everything first: a mistyped path shows before anything is filed.
    fn mails(&self, global: &Global, tally: &mut Tally) -> anyhow::Result<Vec<(PathBuf, Record)>> {
        let limits = Limits { line_endings: LineEndings::FromFile, ..Limits::default() };
        let mut mails = Vec::new();
        for path in files(&self.paths)? {
            let raw = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            match gateway::file_mail_arguments(&raw, &limits) {
                Ok(arguments) => mails.push((path, arguments)),
                Err(refusal) => {
                    tally.refused += 1;
                    match global.json {
                        true => say!("{}", json!({"mail": "refused", "file": path.display().to_string(), "reason": refusal.to_string()})),
                        false => say!("refused   {}: {refusal}", path.display()),
                    }
                }
            }
        }
        Ok(mails)
    }

    /// The same mail as if somebody else had sent it: its ids get a suffix, so that threads stay threads.
    fn as_if_new(&self, mail: &Record, round: u64) -> Record {
        let mut arguments = mail.clone();
        for name in ["message_id", "in_reply_to", "references"] {
            for value in arguments.get_mut(name).into_iter().flatten() {
                if let Value::Text(id) = value {
                    *id = format!("r{round}{}.{id}", self.tag);
                }
            }
        }
        arguments
    }
}

async fn file_one(global: &Global, client: &Client, path: &Path, arguments: Record, tally: &mut Tally) {
    let message_id = arguments.get("message_id").and_then(|ids| ids.first()).map(ToString::to_string).unwrap_or_default();
    let commit = client.new_commit();
    let clock = &client.overlay().environment().wall_clock;
    let (started, asked_at) = (Instant::now(), clock.now_micros());
    let answer = client.call_as(commit, Name::fixed("casedesk"), Name::fixed("file_mail"), arguments).await;
    let took = started.elapsed();
    let latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match answer {
        Ok(called) => {
            tally.filed += 1;
            let number = called.result.get("number").and_then(|n| n.first()).and_then(Value::as_int);
            if global.json {
                let line = json!({
                    "mail": "filed", "file": path.display().to_string(), "message_id": message_id, "commit": commit.to_string(),
                    "position": called.position.0, "case": number, "repeated": called.repeated,
                    "asked_at_us": asked_at, "acknowledged_at_us": clock.now_micros(), "latency_us": latency_us,
                });
                say!("{line}");
            } else {
                say!("filed     {} in case {} after {}", path.display(), number.unwrap_or_default(), micros(latency_us));
            }
        }
        Err(error) => {
            tally.failed += 1;
            if global.json {
                let line = json!({
                    "mail": "failed", "file": path.display().to_string(), "message_id": message_id, "commit": commit.to_string(),
                    "asked_at_us": asked_at, "latency_us": latency_us, "error": error.to_string(),
                });
                say!("{line}");
            } else {
                say!("failed    {} after {}: {error}", path.display(), Compact(took));
            }
        }
    }
}

/// The files named, and the mails in the directories named, in order.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut inside = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        inside.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        anyhow::ensure!(!inside.is_empty(), "there is no *.eml in {}", path.display());
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
