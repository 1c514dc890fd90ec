//! The node's one QUIC endpoint and how it treats each path.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use caps_certs_gen::Identity;
use quinn::congestion::ControllerFactory;
use quinn::{
    ClientConfig, Connecting, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TransportConfig,
    VarInt,
};
use ring::{hkdf, hmac};

use crate::config::StartError;
use crate::congestion::{ByEvidence, bbr, cubic};
use crate::environment::{Environment, QuicRuntime, Rng};
use crate::failure::CallError;
use crate::limits::{LOOPBACK_MTU, LOOPBACK_WINDOW_BYTES, Limits, Timing, WINDOW_BYTES};
use crate::paths::{Controller, PathKnowledge, PathMemory, PathRules};
use crate::tls::{Clock, Tls};

/// The node's one endpoint: it dials and is dialled.
#[derive(Debug)]
pub(crate) struct Endpoint {
    quic: quinn::Endpoint,
    local: SocketAddr,
    tls: Arc<Tls>,
    limits: Limits,
    timing: Timing,
    rules: PathRules,
    rng: Rng,
    /// What a server does on a line, and on loopback.
    on_line: ServerConfig,
    on_loopback: Arc<ServerConfig>,
    memory: Mutex<PathMemory>,
}

impl Endpoint {
    pub(crate) fn new(
        tls: Arc<Tls>,
        limits: Limits,
        timing: Timing,
        rules: PathRules,
        environment: &Environment,
    ) -> Result<Self, StartError> {
        let rng = environment.rng.fork();
        let crypto = Arc::new(tls.server().map_err(StartError::Credentials)?);
        let server = |transport| {
            let mut config = ServerConfig::new(crypto.clone(), Arc::new(token_key(&rng)));
            config.time_source(Arc::new(Clock(environment.wall_clock.clone())));
            config.max_incoming(limits.incoming);
            config.incoming_buffer_size(INCOMING_BYTES).incoming_buffer_size_total(INCOMING_BYTES * limits.incoming as u64);
            config.transport_config(Arc::new(transport));
            config
        };
        let on_line = server(transport(Path::Line, Side::Dialled, &limits, &timing, &rules, Known::default()));
        let on_loopback = server(transport(Path::Loopback, Side::Dialled, &limits, &timing, &rules, Known::default()));
        let runtime = Arc::new(QuicRuntime::new(environment.tasks.clone()));
        let local = environment.socket.local_addr().map_err(StartError::Socket)?;
        let config = endpoint_config(&tls, &rng, local);
        let quic = quinn::Endpoint::new_with_abstract_socket(config, Some(on_line.clone()), environment.socket.clone(), runtime)
            .map_err(StartError::Socket)?;
        Ok(Self { quic, local, tls, limits, timing, rules, rng, on_line, on_loopback: Arc::new(on_loopback), memory: Mutex::default() })
    }

    /// The address of the socket.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// How many connections there are, those in the handshake and those closing included.
    pub(crate) fn open_connections(&self) -> usize {
        self.quic.open_connections()
    }

    /// The next peer that dials; `None` when the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        self.quic.accept().await
    }

    /// Begins the handshake with a peer that dials.
    pub(crate) fn admit(&self, incoming: Incoming) -> Result<Connecting, quinn::ConnectionError> {
        match Path::to(incoming.remote_address()) {
            Path::Line => match self.memory().to(ip(incoming.remote_address())) {
                None => incoming.accept(),
                Some(path) => {
                    let known = Known { rtt: Some(path.rtt), path: Some(path) };
                    let mut config = self.on_line.clone();
                    config.transport_config(Arc::new(self.transport(Path::Line, Side::Dialled, known)));
                    incoming.accept_with(Arc::new(config))
                }
            },
            Path::Loopback => incoming.accept_with(self.on_loopback.clone()),
        }
    }

    /// Begins the handshake with `peer` at `address`.
    pub(crate) fn dial(&self, peer: &Identity, address: SocketAddr) -> Result<Connecting, CallError> {
        let unreachable = |cause: String| CallError::Unreachable { peer: peer.clone(), cause };
        let crypto = self.tls.client(peer).map_err(|error| unreachable(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        let rng = self.rng.clone();
        config.initial_dst_cid_provider(Arc::new(move || random_id(&rng, INITIAL_ID_BYTES)));
        let known = {
            let memory = self.memory();
            Known { rtt: memory.rtt(peer, ip(address)), path: memory.to(ip(address)) }
        };
        config.transport_config(Arc::new(self.transport(Path::to(address), Side::Dialling, known)));
        // The name in the handshake only has to be a name: the identity that is expected is in the verifier.
        self.quic.connect_with(config, address, peer.domain()).map_err(|error| unreachable(error.to_string()))
    }

    /// Takes note of how an admitted peer was reached, for the next connection over the same path.
    pub(crate) fn learn(&self, peer: &Identity, address: SocketAddr, knowledge: PathKnowledge) {
        self.memory().learn(peer, ip(address), knowledge);
    }

    fn transport(&self, path: Path, side: Side, known: Known) -> TransportConfig {
        transport(path, side, &self.limits, &self.timing, &self.rules, known)
    }

    fn memory(&self) -> MutexGuard<'_, PathMemory> {
        self.memory.lock().expect("nothing panics while it holds this lock")
    }

    /// Closes every connection, and waits a little for the peers to hear of it.
    pub(crate) async fn close(&self, code: VarInt, reason: &[u8], within: Duration) {
        self.quic.close(code, reason);
        if tokio::time::timeout(within, self.quic.wait_idle()).await.is_err() {
            tracing::debug!("some peers did not hear of the end");
        }
    }
}

/// What kind of way leads to an address. On loopback, where nothing is lost and BBR costs 1.85 times the CPU (BASELINES, lesson 7), the
/// controller is Cubic; anywhere else the evidence decides ([`ByEvidence`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Loopback,
    Line,
}

impl Path {
    fn to(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() { Self::Loopback } else { Self::Line }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialling,
    Dialled,
}

/// What is known before a connection is made.
#[derive(Clone, Copy, Default)]
struct Known {
    rtt: Option<Duration>,
    path: Option<PathKnowledge>,
}

fn transport(path: Path, side: Side, limits: &Limits, timing: &Timing, rules: &PathRules, known: Known) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(limits.streams.into())
        .max_concurrent_uni_streams(limits.streams.into())
        .stream_receive_window(limits.stream_window_bytes.into())
        .receive_window(limits.connection_window_bytes.into())
        .send_window(limits.send_window_bytes)
        .datagram_receive_buffer_size(Some(limits.datagram_bytes))
        .datagram_send_buffer_size(limits.datagram_bytes)
        .max_idle_timeout(IdleTimeout::try_from(timing.idle).ok())
        .initial_rtt(known.rtt.map_or(timing.initial_rtt, |rtt| rtt.clamp(INITIAL_RTT_MIN, INITIAL_RTT_MAX)));
    // One side is enough to show that both are alive, and a server has more connections than its clients.
    if side == Side::Dialling {
        config.keep_alive_interval(Some(timing.keep_alive));
    }
    let mut window_bytes = rules.initial_window_bytes.unwrap_or(known.path.map_or(WINDOW_BYTES, |path| path.initial_window_bytes()));
    let mut decided = rules.controller;
    if path == Path::Loopback {
        window_bytes = LOOPBACK_WINDOW_BYTES;
        decided = Some(Controller::Cubic);
        config.initial_mtu(LOOPBACK_MTU).min_mtu(LOOPBACK_MTU).mtu_discovery_config(None);
        config.initial_rtt(LOOPBACK_RTT);
    }
    config.congestion_controller_factory(controller(decided, window_bytes, known.path.is_some_and(|path| path.loses())));
    config
}

fn controller(decided: Option<Controller>, initial_window_bytes: u64, loses: bool) -> Arc<dyn ControllerFactory + Send + Sync> {
    match decided {
        Some(Controller::Cubic) => Arc::new(cubic(initial_window_bytes)),
        Some(Controller::Bbr) => Arc::new(bbr(initial_window_bytes)),
        None => Arc::new(ByEvidence { initial_window_bytes, loses }),
    }
}

fn ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

fn endpoint_config(tls: &Tls, rng: &Rng, local: SocketAddr) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(reset_key(tls)));
    let ids = rng.clone();
    config.cid_generator(move || Box::new(SeededIds(ids.clone())));
    let mut seed = [0; 32];
    rng.fill(&mut seed);
    config.rng_seed(Some(seed));
    // quinn keeps room for 32 of the largest datagrams, so only who may be reached over loopback takes large ones.
    let is_near = Path::to(local) == Path::Loopback || local.ip().is_unspecified();
    config.max_udp_payload_size(if is_near { LOOPBACK_MTU } else { LINE_MTU }).expect("both are more than 1,200");
    config
}

/// The key of stateless resets (RFC 9000, section 10.3) comes from the node's private key: a process that was restarted on
/// the same port then ends its old connections at the first packet, instead of leaving peers to wait.
fn reset_key(tls: &Tls) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, tls.credentials().key().secret_der());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, b"caps stateless reset 1").as_ref())
}

/// The key of address validation tokens, which nobody has to read after a restart.
fn token_key(rng: &Rng) -> hkdf::Prk {
    let mut secret = [0; 32];
    rng.fill(&mut secret);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"caps address tokens 1").extract(&secret)
}

/// Connection ids from the node's own randomness.
#[derive(Debug)]
struct SeededIds(Rng);

impl ConnectionIdGenerator for SeededIds {
    fn generate_cid(&mut self) -> ConnectionId {
        random_id(&self.0, ID_BYTES)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn random_id(rng: &Rng, size_bytes: usize) -> ConnectionId {
    let mut id = [0; INITIAL_ID_BYTES];
    rng.fill(&mut id);
    ConnectionId::new(&id[..size_bytes])
}

/// What fits Ethernet after the headers of IPv4 and UDP.
const LINE_MTU: u16 = 1472;
/// 64 bits do not collide among the connections of one node.
const ID_BYTES: usize = 8;
/// What QUIC allows at most, so that a client's first choice cannot be guessed.
const INITIAL_ID_BYTES: usize = 20;
/// What a client may send before it is answered: a ClientHello and some early retransmissions.
const INCOMING_BYTES: u64 = 64 << 10;
/// Round trips are known to the last measurement, but a busy peer may take some time more, and a wrong figure must do no harm.
const INITIAL_RTT_MIN: Duration = Duration::from_millis(10);
const INITIAL_RTT_MAX: Duration = Duration::from_secs(1);
/// Loopback answers within microseconds; this allows for a busy machine.
const LOOPBACK_RTT: Duration = Duration::from_millis(20);
