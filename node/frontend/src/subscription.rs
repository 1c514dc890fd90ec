//! Following a query over everything that happens to hosts and lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use caps_model::Position;
use caps_model::codec::{decode, encode};
use caps_model::messages::host::{self, As, codes};
use caps_model::messages::{From, Subscribe, Update};
use caps_overlay::Layer;
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{CallError, CallOptions, Priority, Replies, To};

use crate::client::pause_before_next;
use crate::{Client, ClientError};

/// A query followed: each change once, in order, however often the host changes underneath.
///
/// When a stream breaks, the next one starts after the last place seen. A break in the middle of the first objects starts them anew: the reader
/// then sees `Update::Present` parts at another place and drops those it has. So it is when the reader's rights change in a way that no single
/// change can tell, and whenever there is more to tell than updates hold: `Update::Present` anywhere but at the start is a new one.
///
/// Nothing piles up for a slow reader: what it does not take stays in the stream, whose window is bounded, then the host waits, and the replica
/// tells it the newest state later, unless it asked for every change.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    subscribe: Subscribe,
    replies: Option<Replies>,
    resumes: u64,
    skipped: u64,
    live: Liveness,
}

/// Whether a subscription has a host to hear from; it can be asked while somebody waits for the next update.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<AtomicBool>);

impl Liveness {
    /// Whether a stream from a host is open, as far as is known.
    pub fn is_live(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, live: bool) {
        self.0.store(live, Ordering::Relaxed);
    }
}

impl Subscription {
    pub(crate) fn new(client: Client, subscribe: Subscribe) -> Self {
        Self { client, subscribe, replies: None, resumes: 0, skipped: 0, live: Liveness::default() }
    }

    /// The next update. Waits as long as it takes; only an answer that makes waiting pointless is an error.
    ///
    /// Dropping the returned future loses nothing, so it may stand in a `select!`.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            if self.replies.is_none() {
                self.replies = Some(self.connect().await?);
                self.live.set(true);
            }
            let Some(replies) = &mut self.replies else { continue };
            let error = match replies.next().await {
                Some(Ok(bytes)) => match self.accept(&bytes)? {
                    Some(update) => return Ok(update),
                    None => continue,
                },
                Some(Err(error)) => error,
                None => CallError::Draining,
            };
            self.replies = None;
            self.live.set(false);
            self.resumes += 1;
            if Self::must_start_anew(&error) {
                self.subscribe.from = From::Present;
                continue;
            }
            self.pause(error).await?;
        }
    }

    /// Where a successor of this subscription would start to miss nothing.
    pub fn resume_from(&self) -> From {
        self.subscribe.from
    }

    /// Tells from now on whether there is a host to hear from.
    pub fn liveness(&self) -> Liveness {
        self.live.clone()
    }

    /// How often a stream broke and another took over.
    pub fn resumes(&self) -> u64 {
        self.resumes
    }

    /// Updates that a host sent although they had been seen: always 0 unless a host is at fault.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    async fn connect(&self) -> Result<Replies, ClientError> {
        loop {
            let message = As { session: self.client.session(), message: self.subscribe.clone() };
            let options = CallOptions {
                priority: Priority::Interactive,
                position: self.client.position().0,
                repeatable: true,
                own_stream: true,
                ..CallOptions::default()
            };
            let body = Bytes::from(encode(&message)?);
            match self.client.overlay().stream(To::Layer(Layer::Host), self.client.method_id(host::SUBSCRIBE), body, options).await {
                Ok(replies) => return Ok(replies),
                Err(error) => self.pause(error).await?,
            }
        }
    }

    /// Whether the host asks for a new start, because what the reader may see has changed in a way that it cannot tell.
    fn must_start_anew(error: &CallError) -> bool {
        matches!(error, CallError::Failed(failure) if failure.code == codes::RIGHTS_CHANGED)
    }

    async fn pause(&self, error: CallError) -> Result<(), ClientError> {
        match pause_before_next(&error) {
            Some(pause) => {
                tracing::debug!(%error, "subscription resumes elsewhere");
                tokio::time::sleep(self.client.overlay().environment().rng.jitter(pause)).await;
                Ok(())
            }
            None => Err(ClientError::of(error)),
        }
    }

    /// Takes one update in; `None` for what was seen before.
    fn accept(&mut self, bytes: &[u8]) -> Result<Option<Update>, ClientError> {
        let update: Update = decode(bytes)?;
        let (seen, place) = (self.subscribe.from.place(), update.resume_from().place());
        if place.is_some() && place <= seen && !bugs::has(Bug::SubscriptionRepeat) {
            self.skipped += u64::from(matches!(update, Update::Changes { .. }));
            return Ok(None);
        }
        self.subscribe.from = match update.resume_from() {
            From::After(position) if bugs::has(Bug::SubscriptionRepeat) => From::After(Position(position.0.saturating_sub(1))),
            from => from,
        };
        if let Some(position) = update.resume() {
            self.client.saw(position);
        }
        Ok(Some(update))
    }
}
