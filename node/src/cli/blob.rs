//! `caps blob`: large values, which objects only name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use caps_frontend::blob::{chunk_of, table_of};
use caps_frontend::{Client, Stored};
use caps_model::blob::Table;
use caps_model::messages::blobs::Download;
use caps_model::{Name, ObjectId, Position, Value};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Global;
use super::connect::with_client;
use crate::output::say;

/// Bring large values to the cabinet, and get them back.
///
/// A blob is kept once, however many objects hold it, on every replica. It has at most 4 GiB.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps blob put pump.jpg
  caps call casedesk.attach case=#01jd... name=pump.jpg content=blob:5f3c...:481230
  caps blob get '#01jd...' content --out pump.jpg")]
pub(super) struct Blob {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a file to the cabinet; prints the value that names it.
    ///
    /// Returns once a majority of the voters has it on disk; then a call may put it into an attribute. What is there already is not sent again,
    /// so that the same command goes on with an upload that was interrupted. What no call names is removed after a day.
    #[command(after_help = "Examples:\n  caps blob put pump.jpg\n  caps blob put pump.jpg --json")]
    Put(Put),
    /// Get the bytes of a blob by the object and the attribute that hold it.
    #[command(after_help = "\
Examples:
  caps blob get '#01jd...' content --out pump.jpg
  caps blob get '#01jd...' content --offset 1000 --length 500 > part
  caps blob get '#01jd...' content --at 812 --out as-it-was.jpg")]
    Get(Get),
}

#[derive(Debug, Args)]
struct Put {
    /// The file.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Get {
    /// The object.
    #[arg(value_name = "#OBJECT", value_parser = object)]
    object: ObjectId,
    /// The attribute.
    attribute: Name,
    /// Where to write it; standard output if not given. The file is there only once it is whole.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Which of the attribute's blobs, from 0.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    number: u32,
    /// The object as it was at this position.
    #[arg(long, value_name = "POSITION")]
    at: Option<u64>,
    /// The first byte.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    offset: u64,
    /// At most this many bytes.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true, value_name = "BYTES")]
    length: u64,
}

impl Blob {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        match &self.command {
            Command::Put(put) => put.run(global).await,
            Command::Get(get) => get.run(global).await,
        }
    }
}

impl Put {
    async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let named = || format!("cannot read {}", self.file.display());
        let file = File::open(&self.file).with_context(named)?;
        ensure!(file.metadata().with_context(named)?.is_file(), "{} is no file", self.file.display());
        let table = table_of(&file).with_context(named)?;
        let bar = bar(global, u64::from(table.chunks()), "{msg} {wide_bar} {percent}% {eta}");
        bar.set_message("sending");
        let read = |index| chunk_of(&file, &table, index);
        let stored =
            with_client(global, async |client| Ok(client.put_blob(&table, read, |chunks| bar.set_position(u64::from(chunks))).await?))
                .await;
        bar.finish_and_clear();
        let Stored { blob, sent, voters } = stored?;
        match global.json {
            true => say!(
                "{}",
                json!({"blob": blob.to_string(), "bytes": blob.size_bytes, "chunks": table.chunks(), "sent": sent, "voters": voters})
            ),
            false => say!("{blob}"),
        }
        Ok(())
    }
}

impl Get {
    async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| match &self.out {
            None => {
                self.fetch(&client, global, &mut io::stdout().lock()).await?;
                Ok(())
            }
            Some(out) => self.fetch_into(&client, global, out).await,
        })
        .await
    }

    /// Under another name until it is whole, so that nobody takes a part for it.
    async fn fetch_into(&self, client: &Client, global: &Global, out: &Path) -> anyhow::Result<()> {
        let mut name = out.file_name().with_context(|| format!("{} names no file", out.display()))?.to_owned();
        name.push(".part");
        let part = out.with_file_name(name);
        let mut file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
        let fetched = self.fetch(client, global, &mut file).await;
        let fetched = fetched.and_then(|fetched| {
            fs::rename(&part, out).with_context(|| format!("cannot rename {} to {}", part.display(), out.display()))?;
            Ok(fetched)
        });
        let Ok((blob, bytes)) = fetched else {
            // Half of a blob is of no use.
            fs::remove_file(&part).ok();
            return fetched.map(drop);
        };
        match global.json {
            true => say!("{}", json!({"blob": blob, "bytes": bytes, "file": out.display().to_string()})),
            false => say!("{bytes} bytes of {blob} in {}", out.display()),
        }
        Ok(())
    }

    async fn fetch(&self, client: &Client, global: &Global, into: &mut impl Write) -> anyhow::Result<(String, u64)> {
        let wanted = Download {
            object: self.object,
            attribute: self.attribute.clone(),
            number: self.number,
            at: self.at.map(Position),
            offset: self.offset,
            length: self.length,
        };
        let bar = bar(global, 0, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
        bar.set_message("getting");
        let take = |table: &Table, bytes: &[u8]| {
            bar.set_length(table.size_bytes().saturating_sub(self.offset).min(self.length));
            bar.inc(bytes.len() as u64);
            into.write_all(bytes)
        };
        let got = client.get_blob(wanted, take).await;
        bar.finish_and_clear();
        let (blob, bytes) = got?;
        into.flush()?;
        Ok((blob.to_string(), bytes))
    }
}

pub(super) fn object(text: &str) -> Result<ObjectId, String> {
    match text.parse() {
        Ok(Value::Reference(object)) => Ok(object),
        _ => text.parse().map_err(|_| format!("'{text}' is no object: write #ID, as `caps query` prints it")),
    }
}

/// On standard error, so that it never mixes with what is asked for; none where nobody looks.
fn bar(global: &Global, length: u64, template: &str) -> ProgressBar {
    let bar = if global.json { ProgressBar::hidden() } else { ProgressBar::new(length) };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
