//! The overlay as its users see it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::{Identity, NodeCredentials, TrustAnchors};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::builtin::{DirectorySubscriber, OverlayService, PING};
use crate::calls::Calls;
use crate::close::CloseCode;
use crate::config::{Config, StartError};
use crate::connection::Connection;
use crate::connections::Connections;
use crate::directory::Directory;
use crate::environment::{Environment, TaskHandle};
use crate::failure::CallError;
use crate::gossip::{Gossip, GossipSettings, follow_directory};
use crate::header::{MethodId, Priority};
use crate::hello::Control;
use crate::limits::EVENT_QUEUE;
use crate::node::Node;
use crate::options::{CallOptions, NotifyError, Reply, To};
use crate::service::Service;
use crate::status::{Path, PeerStatus, Ping, TlsFacts};
use crate::stream::{RawStream, Replies};
use crate::watch;

/// A node's part in the overlay. Clones share it.
#[derive(Clone, Debug)]
pub struct Overlay {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: Arc<Node>,
    connections: Arc<Connections>,
    calls: Calls,
    directory: watch::Receiver<Arc<Directory>>,
    /// Servers gossip; leaves follow.
    gossip: Option<Gossip>,
    /// Set when the endpoint is gone.
    closed: watch::Receiver<bool>,
    /// What runs as long as the node does.
    loops: Vec<TaskHandle>,
}

impl Overlay {
    /// Starts the node: checks that its own certificate would be believed, serves `services`, joins the others.
    ///
    /// Returns at once; peers are dialled in the background and whenever a call needs them. Must be called within a tokio
    /// runtime, best a single-threaded one. Nothing runs after an error.
    #[expect(clippy::unused_async, reason = "the signature is agreed, and looking seeds up by name will wait here")]
    pub async fn start(
        credentials: NodeCredentials,
        anchors: TrustAnchors,
        config: Config,
        mut services: Vec<Arc<dyn Service>>,
        environment: Environment,
    ) -> Result<Self, StartError> {
        let (epoch, directory) = (Instant::now(), Arc::new(OnceLock::new()));
        services.push(Arc::new(OverlayService::new(config.policy.clone(), epoch, directory.clone())));
        let node = Arc::new(Node::new(credentials, &anchors, &config, services, environment, epoch)?);
        let (tell, events) = mpsc::channel(EVENT_QUEUE);
        let connections = Arc::new(Connections::new(node.clone(), &config.seeds, config.announce.map(|_| tell)));
        let (gossip, members) = join(&config, &node, &connections, events);
        connections.follow(members.clone());
        // It was empty: this is the only place that fills it.
        drop(directory.set(members.clone()));
        let (say_closed, closed) = watch::channel(false);
        let tasks = &node.environment.tasks;
        let admit = connections.clone().admit_all();
        let loops = vec![
            tasks.spawn(connections.clone().keep_connected()),
            tasks.spawn(connections.clone().keep_checking()),
            tasks.spawn(async move {
                admit.await;
                say_closed.send_replace(true);
            }),
        ];
        let seeds = config.seeds.into_iter().map(|seed| seed.identity).collect();
        let calls = Calls::new(connections.clone(), members.clone(), seeds);
        tracing::info!(identity = %node.identity, address = %node.endpoint.local_address(), "the overlay node has started");
        Ok(Self { shared: Arc::new(Shared { node, connections, calls, directory: members, gossip, closed, loops }) })
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.shared.node.identity
    }

    /// The address of our socket.
    pub fn local_address(&self) -> SocketAddr {
        self.shared.node.endpoint.local_address()
    }

    /// What we were given from outside.
    pub fn environment(&self) -> &Environment {
        &self.shared.node.environment
    }

    /// What we believe about the members.
    pub fn directory(&self) -> Arc<Directory> {
        self.shared.directory.borrow().clone()
    }

    /// What we believe about the members, and every change of it.
    pub fn watch_directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.shared.directory.clone()
    }

    /// Tells the members how busy this node is, 0 to 255, and which position each of its services has; one that is not named stays where it
    /// was. Cheap; the latest counts. Leaves tell nobody.
    pub fn report(&self, load: u8, positions: &[(u16, u64)]) {
        if let Some(gossip) = &self.shared.gossip {
            gossip.report(load, positions);
        }
    }

    /// Makes a call with one reply. Dropping the future cancels the call over there.
    pub async fn call(&self, to: To<'_>, method: MethodId, body: Bytes, options: CallOptions) -> Result<Reply, CallError> {
        self.shared.calls.call(to, method, body, &options).await
    }

    /// Makes a call with many replies. The deadline is for its beginning only; dropping the replies cancels the call.
    pub async fn stream(&self, to: To<'_>, method: MethodId, body: Bytes, options: CallOptions) -> Result<Replies, CallError> {
        Box::pin(self.shared.calls.stream(to, method, body, &options)).await
    }

    /// Opens a stream of bytes both ways to a method that serves such. The deadline is for its beginning only.
    pub async fn raw(&self, to: To<'_>, method: MethodId, body: Bytes, options: CallOptions) -> Result<RawStream, CallError> {
        Box::pin(self.shared.calls.raw(to, method, body, &options)).await
    }

    /// Sends a message that nobody answers. Never waits; dials if need be. What does not fit a queue is dropped, and said so.
    /// A message that was accepted may still be lost with its connection.
    pub fn notify(&self, to: &Identity, method: MethodId, body: Bytes, priority: Priority) -> Result<(), NotifyError> {
        let options = CallOptions { priority, ..CallOptions::default() };
        self.shared.calls.notify(to, method, body, &options)
    }

    /// Asks a peer whether it is there, and how it is reached.
    pub async fn ping(&self, to: &Identity, within: Duration) -> Result<Ping, CallError> {
        let started = Instant::now();
        let connection = self.shared.calls.reach(to, started + within).await?;
        let asked = Instant::now();
        let left = within.saturating_sub(asked - started);
        let options = CallOptions { deadline: left, priority: Priority::Control, ..CallOptions::default() };
        self.call(To::Node(to), PING, Bytes::new(), options).await?;
        let (cipher_suite, key_exchange) = self.shared.node.tls.first_offers();
        Ok(Ping {
            round_trip: asked.elapsed(),
            rtt: connection.quic.rtt(),
            path: Path::Direct,
            remote_address: connection.quic.remote_address(),
            tls: TlsFacts { version: "TLS 1.3".to_owned(), cipher_suite, key_exchange },
            certificate_expires: connection.certificate_expires,
        })
    }

    /// The live connections, in the order of their peers.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let mut peers: Vec<PeerStatus> = self.shared.connections.open().iter().map(|connection| status(connection)).collect();
        peers.sort_by(|one, other| one.identity.cmp(&other.identity));
        peers
    }

    /// How many peers were refused at the door. Each address and reason was logged once.
    pub fn refusals(&self) -> u64 {
        self.shared.node.refusals.count()
    }

    /// Waits until the endpoint is gone, be it drained or broken.
    pub async fn closed(&self) {
        // An error means that the task that would say so is gone, and the endpoint with it.
        drop(self.shared.closed.clone().wait_for(|closed| *closed).await);
    }

    /// Leaves in good order: tells the peers, admits nobody, finishes what was accepted, and closes after `within` at the
    /// latest. Streams of replies are ended with advice to go elsewhere. Calls of our own still go out meanwhile.
    ///
    /// The environment's tasks go on; whoever made the environment shuts them down.
    pub async fn drain(&self, within: Duration) {
        let shared = &self.shared;
        if !shared.node.begin_draining() {
            return self.closed().await;
        }
        let deadline = Instant::now() + within;
        shared.gossip.as_ref().inspect(|gossip| gossip.drain());
        let open = shared.connections.open();
        for connection in &open {
            shared.connections.retire(connection, Some(Control::Drain { leaving: true }));
        }
        let finished = join_all(open.iter().map(|connection| async {
            connection.own_calls_answered().await;
            connection.peer_retired().await;
        }));
        if timeout_at(deadline, finished).await.is_err() {
            tracing::warn!("closing although some calls were not finished in time");
        }
        if let Some(gossip) = &shared.gossip {
            // A task that is gone has left already.
            drop(timeout_at(deadline.max(Instant::now() + FAREWELL), gossip.leave()).await);
        }
        shared.node.endpoint.close(CloseCode::Shutdown.to_varint(), b"", FAREWELL).await;
        shared.loops.iter().for_each(TaskHandle::abort);
    }
}

fn join(
    config: &Config,
    node: &Node,
    connections: &Arc<Connections>,
    events: mpsc::Receiver<crate::gossip::GossipEvent>,
) -> (Option<Gossip>, watch::Receiver<Arc<Directory>>) {
    let (me, policy, seeds, epoch) = (node.identity.clone(), node.policy.clone(), config.seeds.clone(), node.epoch);
    match config.announce {
        Some(address) => {
            let settings = GossipSettings { me, address, policy, seeds, offers: node.dispatch.offers(), epoch };
            let gossip = Gossip::start(settings, connections.clone(), events, &node.environment);
            let members = gossip.watch();
            (Some(gossip), members)
        }
        None => {
            let subscribe = Arc::new(DirectorySubscriber(connections.clone()));
            (None, follow_directory(me, policy, seeds, epoch, subscribe, &node.environment))
        }
    }
}

fn status(connection: &Connection) -> PeerStatus {
    let now = Instant::now();
    let (calls_made, calls_served) = connection.counts();
    PeerStatus {
        identity: connection.peer.clone(),
        address: connection.quic.remote_address(),
        announced: connection.hello().and_then(|hello| hello.announce),
        dialled: connection.dialled,
        rtt: connection.quic.rtt(),
        travel: connection.travel(now),
        loss: connection.loss(),
        open_for: now - connection.since,
        calls_made,
        calls_served,
        certificate_expires: connection.certificate_expires,
    }
}

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_millis(500);
