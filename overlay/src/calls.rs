//! From a caller's wish to a peer: which one, which way, and who next if that fails.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::{Identity, Layer};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::choice::{Balancer, Candidate};
use crate::connection::{Connection, Outgoing};
use crate::connections::Connections;
use crate::directory::{Directory, MemberState};
use crate::environment::Rng;
use crate::failure::CallError;
use crate::frame::Header;
use crate::header::MethodId;
use crate::limits::{ATTEMPTS_MAX, BODY_BYTES_MAX, LANE_BODY_BYTES_MAX};
use crate::node::Node;
use crate::options::{CallOptions, NotifyError, Reply, To};
use crate::stream::{self, RawStream, Replies};
use crate::travel::Travel;
use crate::watch;

/// Makes calls.
#[derive(Debug)]
pub(crate) struct Calls {
    node: Arc<Node>,
    connections: Arc<Connections>,
    directory: watch::Receiver<Arc<Directory>>,
    seeds: Vec<Identity>,
    balancer: Mutex<Balancer>,
    rng: Rng,
}

/// A call as it is sent, wherever it goes.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    header: Header,
    body: Bytes,
    begun: Instant,
    deadline: Instant,
    own_stream: bool,
}

impl Calls {
    pub(crate) fn new(connections: Arc<Connections>, directory: watch::Receiver<Arc<Directory>>, seeds: Vec<Identity>) -> Self {
        let node = connections.node.clone();
        let balancer = Mutex::new(Balancer::new(node.identity.site()));
        Self { rng: node.environment.rng.fork(), node, connections, directory, seeds, balancer }
    }

    /// Makes a call with one reply.
    pub(crate) async fn call(&self, to: To<'_>, method: MethodId, body: Bytes, options: &CallOptions) -> Result<Reply, CallError> {
        let request = self.request(method, body, options)?;
        match to {
            // Boxed: the rest of the way is taken by few calls and needs much more room.
            To::Layer(layer) => Box::pin(self.call_layer(layer, request, options)).await,
            To::Node(peer) => match self.attempt(peer, &request).await {
                Ok(body) => Ok(Reply { body, from: peer.clone() }),
                Err(lost @ CallError::Lost { .. }) if options.repeatable => {
                    let again = Box::pin(self.attempt(peer, &request)).await;
                    again.map(|body| Reply { body, from: peer.clone() }).map_err(|error| lost.or(error))
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Makes a call with many replies.
    pub(crate) async fn stream(&self, to: To<'_>, method: MethodId, body: Bytes, options: &CallOptions) -> Result<Replies, CallError> {
        let request = self.request(method, body, options)?;
        let request = &request;
        let begin = |peer: Identity| {
            let begin = async move {
                let outgoing = self.begin(&peer, request.deadline).await?;
                stream::replies(outgoing, request.header, request.body.clone(), request.deadline).await
            };
            begin.boxed()
        };
        self.first_to_begin(to, method.service, options, begin).await
    }

    /// Opens a raw stream.
    pub(crate) async fn raw(&self, to: To<'_>, method: MethodId, body: Bytes, options: &CallOptions) -> Result<RawStream, CallError> {
        let request = self.request(method, body, options)?;
        let request = &request;
        let begin = |peer: Identity| {
            let begin = async move {
                let outgoing = self.begin(&peer, request.deadline).await?;
                stream::raw(outgoing, request.header, request.body.clone(), request.deadline).await
            };
            begin.boxed()
        };
        self.first_to_begin(to, method.service, options, begin).await
    }

    /// Sends a one-way message, or leaves it for a connection that is being dialled.
    pub(crate) fn notify(&self, to: &Identity, method: MethodId, body: Bytes, options: &CallOptions) -> Result<(), NotifyError> {
        let size_bytes = body.len();
        if size_bytes > BODY_BYTES_MAX {
            return Err(NotifyError::TooLarge { size_bytes });
        }
        let header = self.node.header(method, options, options.deadline);
        let accepted = match self.connections.current(to) {
            Some(connection) => connection.lane(header.priority).notice(&header, &body),
            None => self.connections.leave_notice(to, header, body)?,
        };
        if accepted { Ok(()) } else { Err(NotifyError::Full) }
    }

    /// The connection to `peer`, dialled if need be.
    pub(crate) async fn reach(&self, peer: &Identity, deadline: Instant) -> Result<Arc<Connection>, CallError> {
        if let Some(connection) = self.connections.current(peer) {
            return Ok(connection);
        }
        let dial = Box::pin(self.connections.connect(peer));
        timeout_at(deadline, dial)
            .await
            .unwrap_or_else(|_| Err(CallError::Unreachable { peer: peer.clone(), cause: "not connected before the deadline".to_owned() }))
    }

    /// Begins a call on the connection to `peer`. One that is superseded at just that moment is left for its successor.
    async fn begin(&self, peer: &Identity, deadline: Instant) -> Result<Outgoing, CallError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(outgoing) = self.reach(peer, deadline).await?.begin_call() {
                return Ok(outgoing);
            }
        }
        Err(CallError::Unreachable { peer: peer.clone(), cause: "one connection after the other was superseded".to_owned() })
    }

    /// Sends a call to one peer, on whichever way suits the path and the size.
    async fn attempt(&self, peer: &Identity, request: &Request) -> Result<Bytes, CallError> {
        let outgoing = match self.connections.begin_call(peer) {
            Some(outgoing) => outgoing,
            None => Box::pin(self.begin(peer, request.deadline)).await?,
        };
        let connection = outgoing.connection();
        let (header, body, deadline) = (request.header, request.body.clone(), request.deadline);
        if self.travel(connection, request) == Travel::Stream {
            return Box::pin(stream::call(outgoing, header, body, deadline)).await;
        }
        connection.lane(header.priority).call(header, body, deadline).await
    }

    fn travel(&self, connection: &Connection, request: &Request) -> Travel {
        if request.own_stream || request.body.len() > LANE_BODY_BYTES_MAX {
            return Travel::Stream;
        }
        connection.next_travel(request.begun)
    }

    /// Tries the nodes of a layer, the best one first. The next one is tried when one certainly did not run the call or, for
    /// a repeatable call, when one was lost or is silent for unusually long.
    async fn call_layer(&self, layer: Layer, request: Request, options: &CallOptions) -> Result<Reply, CallError> {
        let candidates = self.order_met(layer, request.header.method.service, request.header.position, request.deadline).await?;
        let mut candidates = candidates.into_iter().take(ATTEMPTS_MAX);
        let mut running = FuturesUnordered::new();
        let mut hedge_at = None;
        let mut start = |running: &mut FuturesUnordered<_>, hedge_at: &mut Option<Instant>| -> bool {
            let next = candidates.next();
            *hedge_at = next.as_ref().filter(|_| options.repeatable).map(|peer| Instant::now() + self.patience(peer));
            let started = next.is_some();
            running.extend(next.map(|peer| self.watched_attempt(peer, &request)));
            started
        };
        start(&mut running, &mut hedge_at);
        let mut last: Option<CallError> = None;
        loop {
            let hedge = async {
                match hedge_at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            let ended = tokio::select! {
                // An answer that is there makes the second question needless.
                biased;
                ended = running.next() => ended,
                () = hedge => {
                    hedge_at = None;
                    if self.balancer().may_retry(self.node.epoch.elapsed()) {
                        start(&mut running, &mut hedge_at);
                    }
                    continue;
                }
            };
            match ended {
                Some(Ok(reply)) => return Ok(reply),
                Some(Err(error)) if options.may_move_on(&error) => {
                    last = Some(last.map_or(error.clone(), |last| last.or(error)));
                    start(&mut running, &mut hedge_at);
                }
                Some(Err(error)) => {
                    let error = last.map_or(error.clone(), |last| last.or(error));
                    // Whoever was asked besides may be at it: nobody can say that nothing was done.
                    let is_open = error.certainly_not_run() && !running.is_empty();
                    return Err(if is_open { CallError::DeadlineExceeded } else { error });
                }
                None => return Err(last.unwrap_or_else(|| no_candidate(layer))),
            }
        }
    }

    /// An attempt from which the balancer learns.
    async fn watched_attempt(&self, peer: Identity, request: &Request) -> Result<Reply, CallError> {
        let started = Instant::now();
        self.balancer().on_start(&peer, self.node.epoch.elapsed());
        let mut watched = Watched { calls: self, peer: Some(peer.clone()) };
        let result = self.attempt(&peer, request).await;
        watched.peer = None;
        let now = self.node.epoch.elapsed();
        match &result {
            Ok(_) | Err(CallError::Failed(_) | CallError::NoSuchMethod | CallError::NotAllowed { .. } | CallError::TooLarge { .. }) => {
                self.balancer().on_reply(&peer, started.elapsed(), now);
            }
            Err(_) => self.balancer().on_failure(&peer, now, &mut self.rng.clone()),
        }
        result.map(|body| Reply { body, from: peer })
    }

    /// Begins a stream at the first node that lets us.
    async fn first_to_begin<'a, T>(
        &self,
        to: To<'_>,
        service: u16,
        options: &CallOptions,
        begin: impl Fn(Identity) -> BoxFuture<'a, Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let layer = match to {
            To::Node(peer) => return begin(peer.clone()).await,
            To::Layer(layer) => layer,
        };
        let mut last = no_candidate(layer);
        let deadline = Instant::now() + options.deadline;
        for peer in self.order_met(layer, service, options.position, deadline).await?.into_iter().take(ATTEMPTS_MAX) {
            match begin(peer).await {
                Err(error) if options.may_move_on(&error) => last = error,
                result => return result,
            }
        }
        Err(last)
    }

    /// The nodes of a layer that may have a service, the best first, once one of them is connected.
    ///
    /// As long as none is, nobody knows which is near. So several are dialled at once: whoever is reached first is near, and whoever is down
    /// costs no time. A node of our own site gets a head start, as in RFC 8305: where there is one, a crowd that returns does not knock
    /// everywhere.
    async fn order_met(&self, layer: Layer, service: u16, position: u64, deadline: Instant) -> Result<Vec<Identity>, CallError> {
        let order = self.order(layer, service, position)?;
        if order.len() == 1 || order.iter().any(|peer| self.connections.current(peer).is_some()) {
            return Ok(order);
        }
        let (here, away): (Vec<_>, Vec<_>) = order.iter().take(DIALS_AT_ONCE).partition(|peer| peer.site() == self.node.identity.site());
        let start = if here.is_empty() { Instant::now() } else { Instant::now() + HEAD_START };
        let dial_here = here.into_iter().map(|peer| self.dial_from(peer, Instant::now()));
        let mut dials: FuturesUnordered<_> = dial_here.chain(away.into_iter().map(|peer| self.dial_from(peer, start))).collect();
        let first = async {
            while let Some(reached) = dials.next().await {
                if reached {
                    return;
                }
            }
        };
        // If nobody is reached by then, the attempts find out why.
        timeout_at(deadline, first).await.ok();
        self.order(layer, service, position)
    }

    /// Dials a peer from a moment on; says whether it was reached. The dial goes on when this is dropped.
    async fn dial_from(&self, peer: &Identity, start: Instant) -> bool {
        sleep_until(start).await;
        self.connections.connect(peer).await.is_ok()
    }

    /// The nodes of a layer that may have a service, the best first: those of the directory, and until there is one, the seeds.
    fn order(&self, layer: Layer, service: u16, position: u64) -> Result<Vec<Identity>, CallError> {
        let directory = self.directory.borrow().clone();
        let rtt = |peer: &Identity| self.connections.current(peer).map(|connection| connection.quic.rtt());
        let ourselves = &self.node.identity;
        let members = directory.offering(layer, service).filter(|member| member.identity != *ourselves);
        let listed = members.map(|member| Candidate::of(member, service, rtt(&member.identity)));
        let is_unlisted = |seed: &&Identity| seed.layer() == Some(layer) && *seed != ourselves && directory.get(seed).is_none();
        let seeds = self.seeds.iter().filter(is_unlisted).map(|seed| Candidate {
            identity: seed,
            state: MemberState::Up,
            load: 0,
            position: 0,
            rtt: rtt(seed),
        });
        let candidates: Vec<Candidate<'_>> = listed.chain(seeds).collect();
        let order = self.balancer().order(&candidates, position, self.node.epoch.elapsed(), &mut self.rng.clone());
        if order.is_empty() { Err(no_candidate(layer)) } else { Ok(order) }
    }

    /// How long a repeatable call waits for `peer` before it is also sent elsewhere.
    fn patience(&self, peer: &Identity) -> Duration {
        self.balancer().hedge_after(peer) + self.node.timing.hedge
    }

    fn request(&self, method: MethodId, body: Bytes, options: &CallOptions) -> Result<Request, CallError> {
        if body.len() > self.node.limits.body_bytes {
            return Err(CallError::TooLarge { size_bytes: body.len(), limit_bytes: self.node.limits.body_bytes });
        }
        let header = self.node.header(method, options, options.deadline);
        let begun = Instant::now();
        Ok(Request { header, body, begun, deadline: begun + options.deadline, own_stream: options.own_stream })
    }

    fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock().expect("nothing panics while it holds this lock")
    }
}

/// Tells the balancer of an attempt that was dropped half-way.
struct Watched<'a> {
    calls: &'a Calls,
    peer: Option<Identity>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            self.calls.balancer().on_cancelled(peer);
        }
    }
}

/// How many nodes are dialled at once when none is connected: enough for one of them to be near, and to be up.
const DIALS_AT_ONCE: usize = 3;

/// What a node of our own site gets before others are dialled: the connection attempt delay that RFC 8305 recommends.
const HEAD_START: Duration = Duration::from_millis(250);

fn no_candidate(layer: Layer) -> CallError {
    CallError::Unknown { peer: format!("any node of layer {layer} that offers this") }
}
