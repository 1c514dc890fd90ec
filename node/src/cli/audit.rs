//! `caps audit`.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use caps_model::messages::audit::{self, AskHead, Head};
use caps_model::{Position, codec};
use caps_store::journal::audit::{Audit as Verification, Audited, segment_file_name, segments_among};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Global;
use super::cabinet::ask;
use super::connect::LEAVE;
use crate::deployment::Deployment;
use crate::output::say;
use crate::{ambient, output};

/// Verify the history of a cabinet without trusting whoever keeps it.
///
/// Commits are hash-chained over salted digests of the values. So a copy of a journal can be verified by anybody, also after values in it were
/// obliterated, and two numbers suffice to compare it with a running cabinet or with another copy: the index of an entry, and the chain's head there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps audit verify copy-of/store-lund/main         a copy of a journal; nothing but the files is needed
  caps audit head --as admin                        where the chain of the running cabinet stands
  caps audit verify copy-of/store-lund/main --head 5f0c...      whether the copy has that head, and where")]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify a copy of a journal: every record, both chains, every slot and decision; names the first bad record.
    #[command(after_help = "Examples:\n  caps audit verify copy-of/store-lund/main\n  caps audit verify . --json")]
    Verify(Verify),
    /// Show where the chain over proposals stands in the running cabinet.
    #[command(after_help = "Examples:\n  caps audit head --as admin\n  caps audit head --as admin --position 812")]
    Head(AtPosition),
}

#[derive(Debug, Args)]
struct Verify {
    /// The directory with the segments, `journal-0000000001` and so on.
    directory: PathBuf,
    /// Fail unless the chain over proposals has this head at some entry: what `caps audit head` printed, 64 hexadecimal digits.
    #[arg(long, value_name = "HASH", value_parser = parse_hash)]
    head: Option<[u8; 32]>,
}

#[derive(Debug, Args)]
struct AtPosition {
    /// The position; the present one if not given.
    #[arg(long)]
    position: Option<u64>,
}

impl Audit {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        match &self.command {
            Command::Verify(verify) => verify.run(global),
            Command::Head(at) => at.run(global).await,
        }
    }
}

impl Verify {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        let directory = self.directory.display();
        let entries = fs::read_dir(&self.directory).with_context(|| format!("cannot read {directory}"))?;
        let names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        let segments = segments_among(names.iter().map(String::as_str));
        if segments.is_empty() {
            bail!("{directory} holds no journal: there is no file {}", segment_file_name(1));
        }
        let began = ambient::now();
        let mut verification = Verification::new(self.head);
        for (done, segment) in segments.iter().enumerate() {
            let path = self.directory.join(segment_file_name(*segment));
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let last = done + 1 == segments.len();
            if let Err(bad) = verification.segment(*segment, &bytes, last) {
                if global.json {
                    say!("{}", json!({"sound": false, "file": bad.file, "offset": bad.offset, "entry": bad.index, "what": bad.what}));
                }
                bail!("{bad}");
            }
            let took = ambient::now().duration_since(began).unwrap_or_default();
            if took > SILENT && std::io::stderr().is_terminal() {
                eprint!("\rverified {} of {} segments{}", done + 1, segments.len(), if last { "\n" } else { "" });
            }
        }
        let found = verification.finish();
        match global.json {
            true => say!("{}", found_json(&found)),
            false => print_found(&found),
        }
        match (self.head, found.sought_at) {
            (Some(_), None) => bail!("the chain has that head nowhere: the copy is of another history, or does not reach that far"),
            (Some(_), Some(index)) if !global.json => say!("the chain has that head at entry {index}"),
            _ => {}
        }
        Ok(())
    }
}

impl AtPosition {
    async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let cabinet = global.cabinet(&deployment, global.administrator())?;
        let overlay = global.administer(&deployment).await?;
        let question = codec::encode(&AskHead { at: self.position.map(Position) })?;
        let mut failures = Vec::new();
        for replica in deployment.keepers(cabinet) {
            match ask::<Head>(&overlay, cabinet, &replica.identity, audit::HEAD, question.clone(), global.timeout).await {
                Ok(head) => {
                    overlay.drain(LEAVE).await;
                    let hash = hex(&head.chain_head);
                    match global.json {
                        true => say!(
                            "{}",
                            json!({"node": replica.name, "position": head.position.0, "entry": head.index, "head": hash, "moment": output::moment(head.moment)})
                        ),
                        false => {
                            say!(
                                "position {} is entry {}, {}, says {}",
                                head.position,
                                head.index,
                                output::moment(head.moment),
                                replica.name
                            );
                            say!("head {hash}");
                        }
                    }
                    return Ok(());
                }
                Err(error) => failures.push(format!("{}: {error}", replica.name)),
            }
        }
        overlay.drain(LEAVE).await;
        bail!("no replica answered ({})", failures.join("; "))
    }
}

fn print_found(found: &Audited) {
    say!("the journal of cabinet {} is sound", found.cabinet);
    say!("  segments:     {}, {} bytes, {} records", found.segments, found.bytes, found.records);
    say!("  entries:      {} to index {}, {} known to be committed", found.entries, found.last_index, found.committed_index);
    say!("  proposals:    {}, {} of them with their decision beside them", found.proposals, found.decided);
    say!(
        "  obliterated:  {} slots emptied by {} obliterations, {} hold a value",
        found.emptied_slots,
        found.obliterations,
        found.whole_slots
    );
    say!("  head:         {} at entry {}", hex(&found.last_head), found.last_index);
    if found.committed_index < found.last_index {
        say!("                {} at entry {}, the last known to be committed", hex(&found.committed_head), found.committed_index);
    }
    if let Some(torn) = &found.torn {
        say!(
            "  torn end:     {} bytes in {} from {} on, which a crash left and nobody was told of",
            torn.lost_bytes,
            torn.file,
            torn.offset
        );
    }
}

/// `{"sound","cabinet","segments","bytes","records","entries","proposals","obliterations","slots","emptied","decided","last","committed"}`.
fn found_json(found: &Audited) -> serde_json::Value {
    json!({
        "sound": true, "cabinet": found.cabinet, "segments": found.segments, "bytes": found.bytes, "records": found.records,
        "entries": found.entries, "proposals": found.proposals, "obliterations": found.obliterations, "slots": found.whole_slots,
        "emptied": found.emptied_slots, "decided": found.decided,
        "last": {"entry": found.last_index, "head": hex(&found.last_head)},
        "committed": {"entry": found.committed_index, "head": hex(&found.committed_head)},
        "sought_at": found.sought_at, "record_chain": hex(&found.record_chain),
        "torn": found.torn.as_ref().map(|torn| json!({"file": torn.file, "offset": torn.offset, "bytes": torn.lost_bytes})),
    })
}

pub(super) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hash(text: &str) -> Result<[u8; 32], String> {
    let wrong = || format!("'{text}' is no head: 64 hexadecimal digits are");
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

/// How long nothing is said about progress.
const SILENT: Duration = Duration::from_secs(2);
