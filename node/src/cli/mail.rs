//! `caps mail`: mail by SMTP, and what waits to be sent.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use caps_adapters::mail::deliver::{DeliveryError, Relay, Route};
use caps_adapters::mail::smtp::{Address, Domain};
use caps_adapters::mail::{Limits, LineEndings, Message};
use caps_model::{Filter, Name, ObjectId, Query, Record, Value};
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::Instant;

use super::Global;
use super::blob::object;
use super::connect::with_client;
use crate::deployment::Deployment;
use crate::output::{self, say};

/// Send mail by SMTP to a gateway of the deployment, and look after what waits to be sent.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps mail send order.eml\n  caps mail send *.eml --server smtp://127.0.0.1:2525 --to desk@pumps.example\n  \
    caps mail queue\n  caps mail retry '#01jd4m3v7q8z0r5t1x6y2w9k3n' --as desk-lund"
)]
pub(super) struct Mail {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send RFC 5322 files by SMTP, as any mail program does.
    Send(Send),
    /// Show what waits to be sent or was given up, and why.
    Queue(Queue),
    /// Try again what was given up.
    Retry(Retry),
}

/// Send RFC 5322 files by SMTP, as any mail program does.
///
/// Each goes to the first mail gateway of the deployment file, from who its From field says, to the first address that the gateway takes mail for.
#[derive(Debug, Args)]
struct Send {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The server; the first gateway of the deployment file that takes mail if not given.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The recipient; the desk if not given.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// The sender; who the mail says it is from if not given.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
}

/// Show what waits to be sent or was given up, and why.
#[derive(Debug, Args)]
struct Queue {
    /// At most this many.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u32,
}

/// Try again what was given up.
#[derive(Debug, Args)]
struct Retry {
    /// The effects, as `caps mail queue` shows them.
    #[arg(required = true, value_name = "#EFFECT", value_parser = object)]
    effects: Vec<ObjectId>,
}

impl Mail {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        match &self.command {
            Command::Send(send) => send.run(global).await,
            Command::Queue(queue) => queue.run(global).await,
            Command::Retry(retry) => retry.run(global).await,
        }
    }
}

impl Send {
    async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let (relay, to) = self.way(global)?;
        let mut failed = 0;
        for path in &self.files {
            let raw = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let file = path.display().to_string();
            let outcome = self.send(&relay, &to, &raw, global.timeout).await;
            failed += usize::from(outcome.is_err());
            match (outcome, global.json) {
                (Ok(said), true) => say!("{}", json!({"file": file, "sent": true, "said": said})),
                (Ok(said), false) => say!("sent      {file}: {said}"),
                (Err(error), true) => say!("{}", json!({"file": file, "sent": false, "said": format!("{error:#}")})),
                (Err(error), false) => say!("not sent  {file}: {error:#}"),
            }
        }
        anyhow::ensure!(failed == 0, "{failed} of {} mails were not sent", self.files.len());
        Ok(())
    }

    /// Where it goes, and to whom.
    fn way(&self, global: &Global) -> anyhow::Result<(Relay, Address)> {
        let name = Domain::parse("localhost").context("localhost is a domain")?;
        let (server, to) = match (&self.server, &self.to) {
            (Some(server), Some(to)) => (server.clone(), to.clone()),
            _ => {
                let deployment = Deployment::read(&global.config)?;
                let mut gateways = deployment.nodes.iter().filter_map(|node| node.front_end.mail.as_ref());
                let gateway = gateways.find(|mail| mail.listen.is_some());
                let listen = gateway.and_then(|mail| mail.listen);
                let first = gateway.and_then(|mail| mail.recipients.first());
                let Some(server) = self.server.clone().or(listen.map(|listen| format!("smtp://{listen}"))) else {
                    bail!(
                        "{} has no mail gateway: give --server smtp://HOST:PORT, or a front end mail = {{ listen = ... }}",
                        global.config.display()
                    );
                };
                let desk = || {
                    first.map_or_else(
                        || format!("desk@{}", deployment.domain),
                        |first| first.strip_prefix('@').map_or_else(|| first.clone(), |domain| format!("desk@{domain}")),
                    )
                };
                (server, self.to.clone().unwrap_or_else(desk))
            }
        };
        Ok((Relay::parse(&server, &name)?, address(&to)?))
    }

    async fn send(&self, relay: &Relay, to: &Address, raw: &[u8], patience: Duration) -> anyhow::Result<String> {
        let mail = with_crlf(raw);
        let from = match &self.from {
            Some(from) => Some(address(from)?),
            // A mail that cannot be read goes out, too: what becomes of it is for the other side to say.
            None => Message::parse(raw, &Limits { line_endings: LineEndings::FromFile, ..Limits::default() })
                .ok()
                .and_then(|message| Address::parse(&message.from.address)),
        };
        let route = Route { reverse_path: from, recipients: vec![to.clone()] };
        match relay.deliver(&route, &mail, Instant::now() + patience).await {
            Ok(delivered) => Ok(delivered.reply.to_string()),
            Err(error @ DeliveryError::Unsure { .. }) => {
                Err(error).context("it may be there: sending it again does no harm, it is known by its Message-ID")
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Queue {
    async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            let open = Filter::one_of(Name::fixed("status"), ["waiting", "claimed", "dead"].map(Value::text));
            let query = Query { filter: open, ..Query::all(Name::fixed("effect")) }.by(Name::fixed("made_at"), false).limit(self.limit);
            let found = client.query(query).await?;
            if global.json {
                let effects: Vec<_> = found.objects.iter().map(output::object).collect();
                say!("{}", json!({"effects": effects, "more": found.more, "position": found.position.0}));
                return Ok(());
            }
            let mut table = output::table(&["EFFECT", "KIND", "TO", "STATUS", "ATTEMPTS", "NEXT", "LAST OUTCOME"]);
            for effect in &found.objects {
                let cell = |name: &str| output::values(effect.values(name));
                let id = format!("#{}", effect.id);
                table.add_row([id, cell("kind"), cell("towards"), cell("status"), cell("attempts"), cell("next_at"), cell("outcome")]);
            }
            say!("{table}");
            let more = if found.more { "; there are more" } else { "" };
            say!("{} wait or were given up{more}", found.objects.len());
            Ok(())
        })
        .await
    }
}

impl Retry {
    async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            for effect in &self.effects {
                let arguments: Record = [(Name::fixed("effect"), vec![Value::Reference(*effect)])].into();
                client.call(Name::fixed("effects"), Name::fixed("retry"), arguments).await?;
                match global.json {
                    true => say!("{}", json!({"effect": effect.to_string(), "retried": true})),
                    false => say!("#{effect} is tried again"),
                }
            }
            Ok(())
        })
        .await
    }
}

fn address(text: &str) -> anyhow::Result<Address> {
    Address::parse(text).with_context(|| format!("{text:?} is not a mail address: write it as desk@pumps.example"))
}

/// A file with the line endings that mail has.
fn with_crlf(raw: &[u8]) -> Vec<u8> {
    if raw.windows(2).any(|pair| pair == b"\r\n") {
        return raw.to_vec();
    }
    raw.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..])
}
