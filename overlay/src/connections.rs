//! The table of connections: one to each peer that announces an address, and who dials when there is none.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::Identity;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::close::{CloseCode, error_of_call, error_of_dial, words};
use crate::config::Seed;
use crate::connection::{Connection, Outgoing};
use crate::control::{control_stream, keep_saying};
use crate::directory::Directory;
use crate::failure::CallError;
use crate::frame::Header;
use crate::gossip::{GossipEvent, Links};
use crate::hello::Control;
use crate::limits::NOTIFY_QUEUE;
use crate::node::Node;
use crate::serve::serve_peer;
use crate::watch;

/// The connections of a node.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) node: Arc<Node>,
    seeds: BTreeMap<Identity, SocketAddr>,
    directory: OnceLock<watch::Receiver<Arc<Directory>>>,
    table: Mutex<Table>,
    /// Something may have to be dialled.
    kick: Notify,
    events: Option<mpsc::Sender<GossipEvent>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Every open connection, by a number that grows.
    open: BTreeMap<u64, Arc<Connection>>,
    next: u64,
    peers: BTreeMap<Identity, Peer>,
    /// Who is to be kept connected, and where.
    wanted: BTreeMap<Identity, SocketAddr>,
}

/// What is known about reaching one peer.
#[derive(Debug, Default)]
struct Peer {
    /// The connection for new calls.
    current: Option<Arc<Connection>>,
    /// A dial that is under way.
    dial: Option<watch::Receiver<Option<Dialled>>>,
    /// Dials that failed since the last one that led to a greeting.
    failures: u32,
    /// Not to be dialled before, and what happened the last time.
    resting: Option<(Instant, CallError)>,
    /// One-way messages for the connection that is being dialled.
    waiting: VecDeque<(Header, Bytes)>,
}

type Dialled = Result<Arc<Connection>, CallError>;

impl Connections {
    pub(crate) fn new(node: Arc<Node>, seeds: &[Seed], events: Option<mpsc::Sender<GossipEvent>>) -> Self {
        Self {
            node,
            seeds: seeds.iter().map(|seed| (seed.identity.clone(), seed.address)).collect(),
            directory: OnceLock::new(),
            table: Mutex::default(),
            kick: Notify::new(),
            events,
        }
    }

    /// Looks addresses up in this directory from now on.
    pub(crate) fn follow(&self, directory: watch::Receiver<Arc<Directory>>) {
        // A node has one directory; a second one would be a mistake of ours without harm.
        drop(self.directory.set(directory));
    }

    /// Begins a call on the connection to `peer`, if there is one.
    pub(crate) fn begin_call(&self, peer: &Identity) -> Option<Outgoing> {
        self.current(peer)?.begin_call()
    }

    /// The connection for new calls to `peer`, if there is one.
    pub(crate) fn current(&self, peer: &Identity) -> Option<Arc<Connection>> {
        let table = self.table();
        table.peers.get(peer)?.current.as_ref().filter(|connection| connection.is_usable()).cloned()
    }

    /// Every open connection.
    pub(crate) fn open(&self) -> Vec<Arc<Connection>> {
        self.table().open.values().cloned().collect()
    }

    /// The connection for new calls to `peer`; dials if there is none, or joins a dial that is under way.
    ///
    /// After a failure the peer rests for a while, and the failure is the answer until then.
    pub(crate) async fn connect(self: &Arc<Self>, peer: &Identity) -> Dialled {
        let mut dial = match self.begin(peer)? {
            Reached::Connected(connection) => return Ok(connection),
            Reached::Dialling(dial) => dial,
        };
        match dial.wait_for(Option::is_some).await {
            Ok(dialled) => dialled.clone().expect("it was waited for"),
            Err(_) => Err(CallError::ShuttingDown),
        }
    }

    /// Keeps one-way messages for a connection that is not there yet; dials if need be. Says whether there was room.
    pub(crate) fn leave_notice(self: &Arc<Self>, peer: &Identity, header: Header, body: Bytes) -> Result<bool, CallError> {
        let reached = self.begin(peer)?;
        if let Reached::Connected(connection) = reached {
            return Ok(connection.lane(header.priority).notice(&header, &body));
        }
        let mut table = self.table();
        let waiting = &mut table.peers.entry(peer.clone()).or_default().waiting;
        let has_room = waiting.len() < NOTIFY_QUEUE && waiting.iter().map(|(_, body)| body.len()).sum::<usize>() < WAITING_BYTES_MAX;
        if has_room {
            waiting.push_back((header, body));
        }
        Ok(has_room)
    }

    /// Where `peer` can be dialled.
    pub(crate) fn address(&self, peer: &Identity) -> Option<SocketAddr> {
        let listed = self.directory.get().and_then(|directory| directory.borrow().get(peer).map(|member| member.address));
        listed.or_else(|| self.table().wanted.get(peer).copied()).or_else(|| self.seeds.get(peer).copied())
    }

    /// Dials wanted peers whenever they are missing, as long as the node lives.
    pub(crate) async fn keep_connected(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            let next = self.dial_wanted(now).unwrap_or(now + REST_MAX);
            tokio::select! {
                // A change of plan goes before the plan.
                biased;
                () = self.kick.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Cuts connections whose certificates have ended or were revoked, as long as the node lives.
    pub(crate) async fn keep_checking(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.node.timing.recheck).await;
            for connection in self.open() {
                if let Err(rejection) = self.node.tls.recheck(&connection.certificates()) {
                    tracing::warn!(peer = %connection.peer, %rejection, "cutting a connection");
                    connection.close(CloseCode::Certificate, &rejection.to_string());
                }
            }
        }
    }

    /// Puts a new connection into the table, decides which one of several to the same peer is for new calls, and serves it.
    pub(crate) fn install(self: &Arc<Self>, connection: &Arc<Connection>) {
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.open.insert(number, connection.clone());
        let peer = table.peers.entry(connection.peer.clone()).or_default();
        let former = peer.current.take().filter(|former| former.is_usable());
        let was_connected = former.is_some();
        let (current, superseded) = match former {
            Some(former) if !self.supersedes(connection, &former) => (former, Some(connection.clone())),
            Some(former) if has_name(connection) => (connection.clone(), Some(former)),
            _ => (connection.clone(), None),
        };
        let waiting = std::mem::take(&mut peer.waiting);
        peer.current = Some(current.clone());
        drop(table);
        for (header, body) in waiting {
            current.lane(header.priority).notice(&header, &body);
        }
        if let Some(superseded) = superseded {
            self.retire(&superseded, Some(Control::Drain { leaving: false }));
        }
        if has_name(connection) && !was_connected {
            self.tell(GossipEvent::Connected(connection.peer.clone()));
        }
        let tasks = &self.node.environment.tasks;
        tasks.spawn(serve_peer(self.clone(), connection.clone()));
        tasks.spawn(self.clone().see_off(number, connection.clone()));
    }

    /// Makes no new calls on a connection, and closes it when both sides have all their answers.
    pub(crate) fn retire(self: &Arc<Self>, connection: &Arc<Connection>, say: Option<Control>) {
        if !connection.retire() {
            return;
        }
        if let Some(control) = say {
            connection.say(control);
        }
        self.replace(connection);
        let connection = connection.clone();
        self.node.environment.tasks.spawn(async move {
            connection.own_calls_answered().await;
            connection.say(Control::Retired);
            connection.peer_retired().await;
            // One side is enough, and the dialling one knows best that nothing it sent is still under way.
            if connection.dialled {
                connection.close(CloseCode::Duplicate, "");
            }
        });
    }

    /// The peer has greeted us: it admitted us, and the next dial need not wait.
    pub(crate) fn greeted(&self, connection: &Connection) {
        if let Some(peer) = self.table().peers.get_mut(&connection.peer) {
            peer.failures = 0;
            peer.resting = None;
        }
    }

    /// Passes news on; a full queue drops it, which membership stands.
    pub(crate) fn tell(&self, event: GossipEvent) {
        if let Some(events) = &self.events
            && events.try_send(event).is_err()
        {
            tracing::debug!("dropping news of a peer: membership is behind");
        }
    }

    /// Whether `connection` is for new calls rather than `former`, to the same peer. Both sides decide alike: of two that
    /// were dialled from both sides at once the one stays whose dialler has the smaller name; otherwise the newer one.
    fn supersedes(&self, connection: &Connection, former: &Connection) -> bool {
        if connection.dialled == former.dialled || !has_name(connection) || !has_name(former) {
            return true;
        }
        let our_dial_wins = self.node.identity < connection.peer;
        connection.dialled == our_dial_wins
    }

    /// Finds another connection for new calls in place of one that is on its way out.
    fn replace(&self, leaving: &Arc<Connection>) -> bool {
        let mut table = self.table();
        let other = table.open.values().rev().find(|other| other.peer == leaving.peer && other.is_usable()).cloned();
        let Some(peer) = table.peers.get_mut(&leaving.peer) else { return false };
        if peer.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, leaving)) {
            peer.current = other;
        }
        peer.current.is_some()
    }

    /// Waits for the end of a connection and takes it out of the table.
    async fn see_off(self: Arc<Self>, number: u64, connection: Arc<Connection>) {
        let error = connection.quic.closed().await;
        tracing::debug!(peer = %connection.peer, reason = words(&error), "a connection has ended");
        connection.remember_path();
        self.table().open.remove(&number);
        connection.retire();
        let still_connected = self.replace(&connection);
        // Whoever is turned away right after the handshake dials less and less often.
        if connection.dialled && connection.hello().is_none() {
            self.rest(&connection.peer, error_of_call(&connection.peer, &error));
        }
        if has_name(&connection) && !still_connected {
            self.tell(GossipEvent::Disconnected(connection.peer.clone()));
        }
        self.forget(&connection.peer);
        self.kick.notify_one();
    }

    fn begin(self: &Arc<Self>, peer: &Identity) -> Result<Reached, CallError> {
        let address = self.address(peer);
        let mut table = self.table();
        let now = Instant::now();
        if let Some(known) = table.peers.get(peer) {
            if let Some(current) = known.current.as_ref().filter(|current| current.is_usable()) {
                return Ok(Reached::Connected(current.clone()));
            }
            if let Some(dial) = &known.dial {
                return Ok(Reached::Dialling(dial.clone()));
            }
            if let Some((until, error)) = &known.resting
                && now < *until
            {
                return Err(error.clone());
            }
        }
        let Some(address) = address.filter(|_| *peer != self.node.identity) else {
            return Err(CallError::Unknown { peer: peer.to_string() });
        };
        let (report, dial) = watch::channel(None);
        table.peers.entry(peer.clone()).or_default().dial = Some(dial.clone());
        drop(table);
        self.node.environment.tasks.spawn(self.clone().dial(peer.clone(), address, report));
        Ok(Reached::Dialling(dial))
    }

    async fn dial(self: Arc<Self>, peer: Identity, address: SocketAddr, report: watch::Sender<Option<Dialled>>) {
        let within = self.node.timing.dial;
        let late = || CallError::Unreachable { peer: peer.clone(), cause: format!("no answer from {address} within {within:?}") };
        let dialled = timeout(within, self.handshake(&peer, address)).await.unwrap_or_else(|_| Err(late()));
        if let Err(error) = &dialled {
            tracing::debug!(%peer, %address, %error, "a dial failed");
            self.rest(&peer, error.clone());
        }
        if let Some(peer) = self.table().peers.get_mut(&peer) {
            peer.dial = None;
        }
        report.send_replace(Some(dialled));
        self.kick.notify_one();
    }

    async fn handshake(self: &Arc<Self>, peer: &Identity, address: SocketAddr) -> Dialled {
        let connecting = self.node.endpoint.dial(peer, address)?;
        let quic = connecting.await.map_err(|error| error_of_dial(peer, &error))?;
        // The peer may still refuse us. Calls do not wait for its greeting: that would cost every cold call a round trip.
        let (control, says) = mpsc::channel(CONTROL_QUEUE);
        let stream = control_stream(&quic, &self.node.hello).await.map_err(|error| error_of_dial(peer, &error))?;
        self.node.environment.tasks.spawn(keep_saying(stream, says));
        let connection = Arc::new(Connection::new(quic, peer.clone(), true, None, control, self.node.clone()));
        self.install(&connection);
        Ok(self.current(peer).unwrap_or(connection))
    }

    /// Dials wanted peers that are missing and rested; says when the next one will be.
    fn dial_wanted(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let missing: Vec<Identity> = {
            let table = self.table();
            let is_missing =
                |peer: &&Identity| !table.peers.get(*peer).is_some_and(|known| known.current.is_some() || known.dial.is_some());
            table.wanted.keys().filter(is_missing).cloned().collect()
        };
        // A peer that still rests answers with its last failure, which is nobody's news here.
        missing.iter().for_each(|peer| drop(self.begin(peer)));
        let table = self.table();
        let until = |peer: &Identity| table.peers.get(peer).and_then(|known| known.resting.as_ref()).map(|(until, _)| *until);
        missing.iter().filter_map(until).filter(|until| *until > now).min()
    }

    /// Lets a peer that could not be reached rest: longer each time, jittered, so that many do not come back at once.
    fn rest(&self, peer: &Identity, error: CallError) {
        let timing = &self.node.timing;
        let mut table = self.table();
        let known = table.peers.entry(peer.clone()).or_default();
        let pause = timing.back_off_min.saturating_mul(1 << known.failures.min(DOUBLINGS_MAX)).min(timing.back_off_max);
        known.failures = known.failures.saturating_add(1);
        // A peer that turns us away does so again at each attempt: said once for each reason.
        let said = known.resting.as_ref().is_some_and(|(_, before)| before.to_string() == error.to_string());
        if matches!(error, CallError::Refused { .. }) && !said {
            tracing::warn!(%peer, %error, "a peer turns this node away");
        }
        known.resting = Some((Instant::now() + self.node.environment.rng.jitter(pause), error));
        known.waiting.clear();
    }

    /// Forgets a peer about whom nothing needs to be known.
    fn forget(&self, peer: &Identity) {
        let mut table = self.table();
        let idle = |known: &Peer| known.current.is_none() && known.dial.is_none() && known.resting.is_none();
        if table.peers.get(peer).is_some_and(idle) {
            table.peers.remove(peer);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics while it holds this lock")
    }
}

impl Links for Connections {
    fn connected(&self) -> Vec<(Identity, Duration)> {
        let table = self.table();
        let current = table.peers.values().filter_map(|known| known.current.as_ref());
        current.filter(|connection| has_name(connection)).map(|connection| (connection.peer.clone(), connection.quic.rtt())).collect()
    }

    fn send_datagram(&self, to: &Identity, datagram: Bytes) {
        let Some(connection) = self.current(to) else { return };
        if let Err(error) = connection.quic.send_datagram(datagram) {
            tracing::trace!(peer = %to, %error, "a datagram was not sent");
        }
    }

    fn keep(&self, wanted: BTreeMap<Identity, SocketAddr>) {
        self.table().wanted = wanted;
        self.kick.notify_one();
    }
}

enum Reached {
    Connected(Arc<Connection>),
    Dialling(watch::Receiver<Option<Dialled>>),
}

/// Whether the peer claims its name for itself: leaves do not, and may have many connections.
pub(crate) fn has_name(connection: &Connection) -> bool {
    connection.dialled || connection.hello().is_some_and(|hello| hello.announce.is_some())
}

/// Control messages that were not yet written.
pub(crate) const CONTROL_QUEUE: usize = 8;
/// Bytes of one-way messages that wait for a connection.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Beyond this the longest pause is reached in any case.
const DOUBLINGS_MAX: u32 = 16;
/// How long nothing needs to be done when nothing is known to be due.
const REST_MAX: Duration = Duration::from_secs(3600);
