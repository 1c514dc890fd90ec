//! From a whole mail to the commit that files it.
//!
//! Whatever was taken over is filed, once: the Message-ID names it, and a mail that comes again because an answer was lost is recognised by the
//! case desk. A mail that cannot be read is filed as what it is, kept whole and marked. The client hears 250 only after the commit is durable.

use std::fmt;

use caps_adapters::mail::smtp::{Address, Decision, Domain, Envelope, Objection, Received};
use caps_adapters::mail::{Limits, Message, Unreadable, with_message_id};
use caps_model::blob::{CHUNK_BYTES, Table, TableError};
use caps_model::messages::host::codes;
use caps_model::{Name, Record, Value};
use caps_overlay::Worker;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::listener::Taker;
use crate::{Client, ClientError, gateway};

/// Files mail with the case desk.
pub struct Filing {
    client: Client,
    host_name: Domain,
    worker: Worker,
}

/// A mail, ready to be filed.
struct Prepared {
    arguments: Record,
    attachments: Vec<(Table, Vec<u8>)>,
}

impl Filing {
    /// Files as whoever `client` acts for. `host_name` is ours, as it stands in `Received` fields.
    pub fn new(client: Client, host_name: Domain) -> Self {
        let worker = client.overlay().environment().workers.start("mail", QUEUED_MAX);
        Self { client, host_name, worker }
    }

    async fn file(&self, envelope: Envelope, mail: Vec<u8>) -> Decision {
        let environment = self.client.overlay().environment();
        let at = environment.wall_clock.now_micros() / 1_000_000;
        let id = format!("{:016x}", environment.rng.next_u64());
        let host_name = self.host_name.clone();
        let prepared = self.worker.run(move || prepare(&envelope, &host_name, &id, at, &mail)).await;
        let Ok(prepared) = prepared else { return later("the server is stopping") };
        let Prepared { mut arguments, attachments } = match prepared {
            Ok(prepared) => prepared,
            Err(decision) => return decision,
        };
        match self.keep(attachments).await {
            Ok(contents) if contents.is_empty() => {}
            Ok(contents) => drop(arguments.insert(Name::fixed("attachment_contents"), contents)),
            Err(error) => return self.undecided("its attachments could not be kept", &error),
        }
        match self.client.call(Name::fixed("casedesk"), Name::fixed("file_mail"), arguments).await {
            Ok(called) => Decision::Accepted { note: format!("at position {}", called.position) },
            Err(ClientError::Refused(failure)) if matches!(failure.code, codes::REFUSED | codes::CONSTRAINT) => {
                tracing::info!(%failure, "a mail was refused by the case desk");
                Decision::Refused { objection: Objection::Content, why: failure.message }
            }
            Err(error) => self.undecided("it could not be filed now", &error),
        }
    }

    async fn keep(&self, attachments: Vec<(Table, Vec<u8>)>) -> Result<Vec<Value>, ClientError> {
        let mut contents = Vec::with_capacity(attachments.len());
        for (table, bytes) in attachments {
            let read = |index: u32| {
                let start = index as usize * CHUNK_BYTES;
                let end = start + table.chunk_bytes(index);
                bytes.get(start..end).map(<[u8]>::to_vec).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
            };
            let stored = self.client.put_blob(&table, read, |_| {}).await?;
            contents.push(Value::Blob(Box::new(stored.blob)));
        }
        Ok(contents)
    }

    /// The client keeps the mail and comes again; if it was filed all the same, that is noticed then.
    fn undecided(&self, what: &str, error: &ClientError) -> Decision {
        tracing::warn!(%error, what, "a mail was put off");
        later(what)
    }
}

impl Taker for Filing {
    fn take(&self, envelope: Envelope, mail: Vec<u8>) -> BoxFuture<'_, Decision> {
        self.file(envelope, mail).boxed()
    }
}

impl fmt::Debug for Filing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filing").field("host_name", &self.host_name).finish_non_exhaustive()
    }
}

/// Reads a mail, and works out the names of what is attached to it.
fn prepare(envelope: &Envelope, host_name: &Domain, id: &str, at: i64, mail: &[u8]) -> Result<Prepared, Decision> {
    let trace = Received { envelope, host_name, id, at }.to_string();
    let named = with_message_id(mail, host_name);
    let traced = [trace.as_bytes(), &named].concat();
    let limits = Limits { message_bytes_max: Limits::default().message_bytes_max + TRACE_BYTES_MAX, ..Limits::default() };
    let (arguments, contents) = match Message::parse(&traced, &limits) {
        Ok(message) if message.hops > HOPS_MAX => {
            return Err(Decision::Refused { objection: Objection::Loop, why: format!("it has been through more than {HOPS_MAX} servers") });
        }
        Ok(message) => {
            let mut arguments = gateway::arguments_of(&message);
            arguments.insert(Name::fixed("auto_submitted"), vec![Value::Bool(message.is_automatic(envelope))]);
            arguments.extend(message.report.iter().flat_map(gateway::arguments_of_bounce));
            (arguments, message.attachments.into_iter().map(|attachment| attachment.content).collect())
        }
        Err(refusal) => {
            // Its name is made from what came in, and so the same when it comes again.
            let unreadable = Unreadable::describe(mail, refusal, host_name, &limits);
            let sender = envelope.reverse_path.as_ref().map(Address::as_str);
            (gateway::arguments_of_unreadable(&unreadable, sender), vec![mail.to_vec()])
        }
    };
    let too_large = |error: TableError| Decision::Refused { objection: Objection::Size, why: error.to_string() };
    let attachments = contents.into_iter().map(|bytes: Vec<u8>| Ok((Table::of(&bytes)?, bytes))).collect::<Result<_, _>>();
    Ok(Prepared { arguments, attachments: attachments.map_err(too_large)? })
}

fn later(why: &str) -> Decision {
    Decision::TryLater { why: why.to_owned() }
}

/// Servers that a mail may have been through (RFC 5321 section 6.3 expects at least 100 to be let pass; those that loop come by soon enough).
const HOPS_MAX: usize = 100;

/// Room for what is put in front of a mail.
const TRACE_BYTES_MAX: usize = 4 << 10;

/// Mails that wait to be read: one for each connection fits.
const QUEUED_MAX: usize = 256;
