//! The client: one front end's conversation with layer 2.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use caps_model::codec::{decode, encode};
use caps_model::messages::host::{self, As, Called, HostStatus, LoggedIn, LoggedOut, Login, Logout, Schemas, Session, codes};
use caps_model::messages::inspect::{Inspect, Inspected};
use caps_model::messages::{AskOutcome, From, Get, Got, History, Latest, Objects, Outcome, Subscribe, Timeline};
use caps_model::{CommitId, Name, ObjectId, Position, Query, Record, Services, Wire};
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{CallError, CallOptions, MethodId, Overlay, Retry, To};
use caps_overlay::{Identity, Layer};
use tokio::time::Instant;

use crate::{ClientError, Exchange, MethodCall, Observer, Subscription};

/// A front end's way to layer 2; cheap to clone, all clones share session and position.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    overlay: Overlay,
    services: Services,
    session: Mutex<Option<Session>>,
    /// The latest position seen in any answer: later reads are at least there, so this session never goes backwards.
    position: AtomicU64,
    deadline: Duration,
    observer: OnceLock<Arc<dyn Observer>>,
}

impl Shared {
    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().expect("no holder of this lock panics")
    }
}

impl Client {
    /// A client of the hosts of the cabinet that has these services. It acts as its own node until it logs a user in. `deadline` bounds every
    /// request, all attempts together.
    pub fn new(overlay: Overlay, services: Services, deadline: Duration) -> Self {
        let (session, position) = (Mutex::new(None), AtomicU64::new(0));
        let shared = Shared { overlay, services, session, position, deadline, observer: OnceLock::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Another client over the same overlay, in the same session, that goes its own way from here.
    #[must_use]
    pub fn beside(&self) -> Self {
        let other = self.stranger();
        other.resume_session(self.session());
        other.resume_position(self.position());
        other
    }

    /// Another client over the same overlay and with as much patience, that has no session and has seen nothing.
    #[must_use]
    pub fn stranger(&self) -> Self {
        Self::new(self.shared.overlay.clone(), self.shared.services, self.shared.deadline)
    }

    /// Under which numbers its cabinet is found.
    pub fn services(&self) -> Services {
        self.shared.services
    }

    /// The overlay underneath.
    pub fn overlay(&self) -> &Overlay {
        &self.shared.overlay
    }

    /// The latest position seen.
    pub fn position(&self) -> Position {
        Position(self.shared.position.load(Ordering::Relaxed))
    }

    /// Tells somebody of each request that is answered from now on. The first one told of is the only one.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        // A second observer has no place.
        self.shared.observer.set(observer).ok();
    }

    /// Acts for the user of this session from now on; `None`: for its own node.
    pub fn resume_session(&self, session: Option<Session>) {
        *self.shared.session() = session;
    }

    /// Reads at least at this position from now on: the last one that an earlier process of the same user saw.
    pub fn resume_position(&self, position: Position) {
        self.saw(position);
    }

    /// Authenticates a user, and acts for them from now on.
    pub async fn login(&self, user: &str, password: &str) -> Result<LoggedIn, ClientError> {
        let message = Login { user: user.to_owned(), password: password.to_owned(), commit: self.new_commit() };
        let answer: LoggedIn = self.ask(host::LOGIN, &message).await?;
        self.saw(answer.position);
        self.resume_session(Some(answer.session.clone()));
        Ok(answer)
    }

    /// Ends the session, at every host, and acts for the front end's own node from then on.
    pub async fn logout(&self) -> Result<(), ClientError> {
        let session = self.session();
        if session.is_none() {
            return Ok(());
        }
        let message = As { session, message: Logout { commit: self.new_commit() } };
        let answer: LoggedOut = self.ask(host::LOGOUT, &message).await?;
        self.saw(answer.position);
        self.resume_session(None);
        Ok(())
    }

    /// Calls a method of a module. When this returns `Ok`, what it did is durable on a majority of replicas.
    pub async fn call(&self, module: Name, method: Name, arguments: Record) -> Result<Called, ClientError> {
        self.call_as(self.new_commit(), module, method, arguments).await
    }

    /// Calls a method under a commit id chosen before, for callers that keep a record of what they asked for.
    ///
    /// Attempts follow one another under the same id until one is answered or the deadline passes; nothing is done twice.
    pub async fn call_as(&self, commit: CommitId, module: Name, method: Name, arguments: Record) -> Result<Called, ClientError> {
        self.call_with(MethodCall::new(commit, module, method, arguments)).await
    }

    /// Calls a method, with all that can be said of a call.
    pub async fn call_with(&self, call: MethodCall) -> Result<Called, ClientError> {
        let mut message = call.message(self.session());
        let commit = message.commit;
        let until = Instant::now() + self.shared.deadline;
        let mut patience = FIRST_ATTEMPT;
        let mut body = Bytes::from(encode(&message)?);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let options = CallOptions { deadline: patience.min(left), position: self.position().0, ..CallOptions::default() };
            let error = match self.shared.overlay.call(To::Layer(Layer::Host), self.method_id(host::CALL), body.clone(), options).await {
                Ok(reply) => {
                    let called: Called = decode(&reply.body)?;
                    self.tell(host::CALL, &body, &reply.body, until);
                    self.saw(called.position);
                    return Ok(called);
                }
                Err(error) => error,
            };
            let Some(pause) = pause_before_next(&error) else { return Err(ClientError::of(error)) };
            if left <= patience.min(left).max(pause) {
                return Err(ClientError::NoAnswer { within: self.shared.deadline, commit: Some(commit), last: error });
            }
            if bugs::has(Bug::BlindRetry) {
                message.commit = self.new_commit();
                body = Bytes::from(encode(&message)?);
            } else if !message.again && !error.certainly_not_run() && !bugs::has(Bug::RetryUnmarked) {
                message.again = true;
                body = Bytes::from(encode(&message)?);
            }
            tokio::time::sleep(self.shared.overlay.environment().rng.jitter(pause)).await;
            patience *= 2;
        }
    }

    /// Calls a method under a commit id that may have been asked for before, by whoever gave it to us: if it has happened, the answer is the first
    /// one's, whatever the method would say now. What was refused leaves the id as it was. It costs a round trip to look.
    pub async fn call_again(&self, call: MethodCall) -> Result<Called, ClientError> {
        let commit = call.commit();
        if let Some(called) = self.earlier(commit).await? {
            return Ok(called);
        }
        let refusal = match self.call_with(call).await {
            Err(ClientError::Refused(refusal)) => refusal,
            answer => return answer,
        };
        // Another one with the same id may have come in between, and be why the method says no.
        let earlier = self.earlier(commit).await.unwrap_or_default();
        earlier.ok_or(ClientError::Refused(refusal))
    }

    /// What a commit answered that has happened.
    async fn earlier(&self, commit: CommitId) -> Result<Option<Called>, ClientError> {
        match self.outcome(commit, false).await? {
            Outcome::Accepted { position, result } => {
                self.saw(position);
                Ok(Some(Called { position, result, repeated: true }))
            }
            Outcome::Sealed | Outcome::Unknown => Ok(None),
        }
    }

    /// The objects that satisfy a query.
    pub async fn query(&self, query: Query) -> Result<Objects, ClientError> {
        let answer: Objects = self.ask_as(host::QUERY, query).await?;
        self.saw(answer.position);
        Ok(answer)
    }

    /// The present values of given objects.
    pub async fn get(&self, objects: Vec<ObjectId>) -> Result<Got, ClientError> {
        let answer: Got = self.ask_as(host::GET, Get { objects }).await?;
        self.saw(answer.position);
        Ok(answer)
    }

    /// What happened to an object, newest first.
    pub async fn history(&self, history: History) -> Result<Timeline, ClientError> {
        let answer: Timeline = self.ask_as(host::HISTORY, history).await?;
        self.saw(answer.position);
        Ok(answer)
    }

    /// The answer to a question that looks further than at the present.
    pub async fn inspect(&self, question: Inspect) -> Result<Inspected, ClientError> {
        self.ask_as(host::INSPECT, question).await
    }

    /// Catches up with everything that was acknowledged, to anybody, before this was called: what is read through this client afterwards is
    /// linearizable. It costs a round trip to the cabinet's leader and one from there to a majority.
    pub async fn catch_up(&self) -> Result<Position, ClientError> {
        let latest: Latest = self.request(host::LATEST, Bytes::new()).await?;
        self.saw(latest.position);
        Ok(latest.position)
    }

    /// What became of a commit. With `seal` the answer is final: what has not happened never will.
    pub async fn outcome(&self, commit: CommitId, seal: bool) -> Result<Outcome, ClientError> {
        self.ask_as(host::OUTCOME, AskOutcome { commit, seal }).await
    }

    /// Follows all that a query matches: see [`Subscription`].
    pub fn subscribe(&self, query: Query, from: From) -> Subscription {
        self.follow(Subscribe::new(query, from))
    }

    /// Follows a query, a window of it, given objects, or some attributes: see [`Subscribe`] for what there is, and [`Subscription`].
    pub fn follow(&self, subscribe: Subscribe) -> Subscription {
        if self.shared.observer.get().is_some()
            && let Ok(asked) = encode(&As { session: None, message: subscribe.clone() })
        {
            self.tell(host::SUBSCRIBE, &asked, &[], Instant::now() + self.shared.deadline);
        }
        Subscription::new(self.clone(), subscribe)
    }

    /// What the modules declare.
    pub async fn schemas(&self) -> Result<Schemas, ClientError> {
        self.request(host::SCHEMAS, Bytes::new()).await
    }

    /// How a host, and every replica that it reaches, is.
    pub async fn status(&self) -> Result<HostStatus, ClientError> {
        self.request(host::STATUS, Bytes::new()).await
    }

    /// How this particular host is.
    pub async fn status_of(&self, host: &Identity) -> Result<HostStatus, ClientError> {
        let options = self.read_options();
        let reply = self.shared.overlay.call(To::Node(host), self.method_id(host::STATUS), Bytes::new(), options).await;
        Ok(decode(&reply.map_err(ClientError::of)?.body)?)
    }

    /// A commit id that nobody else has.
    pub fn new_commit(&self) -> CommitId {
        let environment = self.shared.overlay.environment();
        let unix_ms = environment.wall_clock.now_micros().max(0).unsigned_abs() / 1_000;
        CommitId::new(unix_ms, environment.rng.next_u128())
    }

    /// The method of the host service with this number.
    pub(crate) fn method_id(&self, method: u16) -> MethodId {
        MethodId { service: self.shared.services.host(), method }
    }

    /// How long every request, or step of a longer one, may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.shared.deadline
    }

    pub(crate) fn session(&self) -> Option<Session> {
        self.shared.session().clone()
    }

    pub(crate) fn saw(&self, position: Position) {
        self.shared.position.fetch_max(position.0, Ordering::Relaxed);
    }

    async fn ask_as<M, A: Wire>(&self, method: u16, message: M) -> Result<A, ClientError>
    where
        As<M>: Wire,
    {
        self.ask(method, &As { session: self.session(), message }).await
    }

    async fn ask<A: Wire>(&self, method: u16, message: &impl Wire) -> Result<A, ClientError> {
        self.request(method, Bytes::from(encode(message)?)).await
    }

    /// Sends what may be sent twice, until it is answered or the deadline passes.
    async fn request<A: Wire>(&self, method: u16, body: Bytes) -> Result<A, ClientError> {
        let until = Instant::now() + self.shared.deadline;
        loop {
            let deadline = until.saturating_duration_since(Instant::now());
            let options = CallOptions { deadline, ..self.read_options() };
            let error = match self.shared.overlay.call(To::Layer(Layer::Host), self.method_id(method), body.clone(), options).await {
                Ok(reply) => {
                    self.tell(method, &body, &reply.body, until);
                    return Ok(decode(&reply.body)?);
                }
                Err(error) => error,
            };
            let Some(pause) = pause_before_next(&error) else { return Err(ClientError::of(error)) };
            if until.saturating_duration_since(Instant::now()) <= pause {
                return Err(ClientError::NoAnswer { within: self.shared.deadline, commit: None, last: error });
            }
            tokio::time::sleep(self.shared.overlay.environment().rng.jitter(pause)).await;
        }
    }

    /// Tells the observer, if there is one, of a request that would have been given up at `until`.
    fn tell(&self, method: u16, asked: &[u8], answer: &[u8], until: Instant) {
        if let Some(observer) = self.shared.observer.get() {
            let took = self.shared.deadline.saturating_sub(until.saturating_duration_since(Instant::now()));
            observer.answered(&Exchange { method, asked, answer, took });
        }
    }

    fn read_options(&self) -> CallOptions {
        CallOptions { deadline: self.shared.deadline, position: self.position().0, repeatable: true, ..CallOptions::default() }
    }
}

/// How long to wait before another attempt; `None` when another attempt cannot help.
pub(crate) fn pause_before_next(error: &CallError) -> Option<Duration> {
    match error {
        CallError::Failed(failure) => match failure.retry {
            // Asking again with the same commit id is how to find out.
            Retry::No if failure.code == codes::OUTCOME_UNKNOWN => Some(PAUSE),
            Retry::No => None,
            // Whoever types passwords is told at once for how long to wait.
            Retry::After(_) if failure.code == codes::LOGIN_LOCKED => None,
            Retry::Elsewhere => Some(PAUSE),
            Retry::After(pause) => Some(pause.min(PAUSE_MAX)),
        },
        CallError::Overloaded { retry_after, .. } => Some((*retry_after).min(PAUSE_MAX)),
        CallError::Unreachable { .. } | CallError::Lost { .. } | CallError::DeadlineExceeded | CallError::Draining => Some(PAUSE),
        _ => None,
    }
}

/// Silence after which a first attempt is given up for another host: several round trips of the worst line plus a commit. It doubles with
/// each attempt, so that a slow line is not flooded.
const FIRST_ATTEMPT: Duration = Duration::from_secs(2);

/// Between attempts: long enough for a host's restart not to be hammered, short enough not to be felt.
const PAUSE: Duration = Duration::from_millis(100);

/// However long a host asks us to stay away.
const PAUSE_MAX: Duration = Duration::from_secs(2);
