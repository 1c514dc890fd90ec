//! Where the company's mail goes: nowhere, but it is shown.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use caps_adapters::mail::smtp::{Decision, Destinations, Domain, Envelope, Settings};
use caps_adapters::mail::{Limits, Message};
use caps_frontend::mail::{Listener, Taker};
use caps_overlay::Tasks;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// A mail server that takes everything that the company sends.
#[derive(Debug)]
pub(super) struct Sink {
    listener: Listener,
    kept: Arc<Kept>,
}

/// What came.
#[derive(Debug, Default)]
struct Kept(Mutex<Mails>);

#[derive(Debug, Default)]
struct Mails {
    count: u64,
    latest: VecDeque<Sent>,
}

/// A mail that the company sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// To whom.
    pub(super) to: String,
    /// About what.
    pub(super) subject: String,
    /// How it begins.
    pub(super) beginning: String,
}

impl Sink {
    /// Listens on loopback.
    pub(super) async fn open(tasks: &Tasks) -> anyhow::Result<Self> {
        let kept = Arc::new(Kept::default());
        let name = Domain::parse("sink.example").context("sink.example is a domain")?;
        // The domains of those who write to the demo's desk are all sorts.
        let settings = Settings::new(name, Destinations::everybody());
        let listener = Listener::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), settings, None, kept.clone(), tasks).await?;
        Ok(Self { listener, kept })
    }

    /// Where it takes mail.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// How many mails came, and the latest.
    pub(super) fn mails(&self) -> (u64, Vec<Sent>) {
        let mails = self.kept.0.lock().expect("no holder of this lock panics");
        (mails.count, mails.latest.iter().cloned().collect())
    }
}

impl Taker for Kept {
    fn take(&self, envelope: Envelope, mail: Vec<u8>) -> BoxFuture<'_, Decision> {
        let read = Message::parse(&mail, &Limits::default());
        let (subject, text) = read.map_or_else(|refusal| (refusal.to_string(), String::new()), |message| (message.subject, message.text));
        let to = envelope.recipients.first().map(ToString::to_string).unwrap_or_default();
        let beginning = text.lines().next().unwrap_or_default().chars().take(60).collect();
        let mut mails = self.0.lock().expect("no holder of this lock panics");
        mails.count += 1;
        mails.latest.push_front(Sent { to, subject, beginning });
        mails.latest.truncate(SHOWN);
        let note = format!("as number {}", mails.count);
        async move { Decision::Accepted { note } }.boxed()
    }
}

/// Mails that are kept to be shown.
const SHOWN: usize = 5;
