//! Two places with a line between them, and nodes at both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use caps_certs_gen::{Authority, Identity, Key, Layer, NodeCredentials, TrustAnchors};
use caps_node::deployment::network::{HopId, LinkFigures};
use caps_overlay::{
    Answer, Call, CallError, CallOptions, Caller, Config, Descriptor, Environment, Failure, MethodDescriptor, MethodId, Overlay, PathRules,
    Rng, Seed, Service, Tasks, Timing, To, code,
};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::crypto;
use crate::machine::{BEGINNING_MICROS, MachineClock, MachineWorkers, Speed};
use crate::network::{MachineId, Network};

/// What lies between the two places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// From the front ends to the servers.
    pub(super) up: LinkFigures,
    /// And back.
    pub(super) down: LinkFigures,
}

impl Wire {
    /// The same both ways, half of the round trip each.
    pub(super) fn even(rtt: Duration) -> Self {
        Self::both(LinkFigures::ideal(rtt / 2))
    }

    pub(super) fn both(figures: LinkFigures) -> Self {
        Self { up: figures, down: figures }
    }

    /// The same with this share of datagrams lost, each by itself, either way.
    pub(super) fn losing(self, loss: f64) -> Self {
        let losing = |figures| LinkFigures { loss, ..figures };
        Self { up: losing(self.up), down: losing(self.down) }
    }
}

/// How the nodes of an experiment treat their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct How {
    pub(super) rules: PathRules,
    pub(super) timing: Timing,
}

/// Two places with a line between them: machines at the near one, machines at the far one. Machines of one place share the line and its queues.
pub(super) struct Lab {
    pub(super) network: Network,
    pub(super) rng: Rng,
    pub(super) anchors: TrustAnchors,
    clock: Clock,
    site: Authority,
    machines: Vec<(MachineId, IpAddr)>,
    ports: AtomicU64,
}

/// A node's environment, where it is, and who it is.
pub(super) struct Place {
    pub(super) machine: MachineId,
    pub(super) address: SocketAddr,
    pub(super) environment: Environment,
    pub(super) credentials: NodeCredentials,
}

impl Lab {
    /// Runs an experiment in a world of its own.
    pub(super) fn run<T, F>(seed: u64, wire: Wire, main: impl FnOnce(Self) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let clock = Clock::default();
        let network = Network::new(seed, clock.clone());
        crate::clock::simulate(seed, clock.clone(), Arc::new(network.clone()), move || main(Self::new(seed, wire, network, clock)))
    }

    fn new(seed: u64, wire: Wire, network: Network, clock: Clock) -> Self {
        let rng = Rng::seeded(seed);
        let key = || {
            let mut seed = [0; 32];
            rng.fill(&mut seed);
            seed
        };
        let mut random = |bytes: &mut [u8]| rng.fill(bytes);
        let root = Authority::from_seed(DOMAIN, &key(), beginning(), &mut random).expect("the domain is one");
        let site = root.site(SITE, Key::from_seed(&key()), beginning(), &mut random).expect("the site is one");
        let anchors = TrustAnchors::new(vec![root.certificate().clone()], Vec::new()).expect("a root of our own is one");
        let address = |place: u8| IpAddr::V4(Ipv4Addr::new(10, 0, place / FAR, 1 + place % FAR));
        let machines = (0..2 * FAR).map(|place| (network.add_machine(address(place), Duration::ZERO), address(place))).collect();
        network.set_map(Box::new(move |from, to| {
            let hop = |from: &str, to: &str, figures| (HopId::Backbone { from: from.to_owned(), to: to.to_owned() }, figures);
            match (from.0 < u32::from(FAR), to.0 < u32::from(FAR)) {
                (true, false) => vec![hop("near", "far", wire.up)],
                (false, true) => vec![hop("far", "near", wire.down)],
                _ => Vec::new(),
            }
        }));
        Self { network, rng, anchors, clock, site, machines, ports: AtomicU64::new(PORT_FIRST) }
    }

    /// A new place for a node at a machine of the near side.
    pub(super) fn near(&self, machine: usize) -> Place {
        self.place(machine, Layer::FrontEnd)
    }

    /// A new place for a node at a machine of the far side.
    pub(super) fn far(&self, machine: usize) -> Place {
        self.place(usize::from(FAR) + machine, Layer::Host)
    }

    fn place(&self, machine: usize, layer: Layer) -> Place {
        let (machine, ip) = self.machines[machine];
        let port = self.ports.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::new(ip, u16::try_from(port).expect("no experiment starts as many nodes as there are ports"));
        let identity = Identity::node(DOMAIN, SITE, layer, &format!("node-{port}")).expect("the name is one");
        let rng = self.rng.fork();
        let random = self.rng.clone();
        let credentials = self.site.credentials(&identity, beginning(), &mut |bytes: &mut [u8]| random.fill(bytes));
        let environment = Environment {
            socket: self.network.bind(machine, address),
            provider: crypto::provider(),
            rng: rng.fork(),
            wall_clock: Arc::new(MachineClock::new(self.clock.clone())),
            workers: Arc::new(MachineWorkers { network: self.network.clone(), rng, speed: Speed::default() }),
            tasks: Tasks::default(),
        };
        Place { machine, address, environment, credentials: credentials.expect("the authority is the site's own") }
    }

    /// A server at the far side.
    pub(super) async fn server(&self, machine: usize, how: &How) -> (Overlay, Arc<Bench>) {
        let place = self.far(machine);
        let config = Config { announce: Some(place.address), ..how.config(Vec::new()) };
        let bench = Arc::new(Bench::default());
        let services: Vec<Arc<dyn Service>> = vec![bench.clone()];
        let overlay = Overlay::start(place.credentials, self.anchors.clone(), config, services, place.environment).await;
        (overlay.expect("its papers are good"), bench)
    }

    /// A front end at the near side that knows this server.
    pub(super) async fn front_end(&self, machine: usize, server: &Overlay, how: &How) -> Overlay {
        self.front_end_at(self.near(machine), server, how).await
    }

    /// The same at a place that is there already.
    pub(super) async fn front_end_at(&self, place: Place, server: &Overlay, how: &How) -> Overlay {
        let config = how.config(vec![Seed { identity: server.identity().clone(), address: server.local_address() }]);
        let overlay = Overlay::start(place.credentials, self.anchors.clone(), config, Vec::new(), place.environment).await;
        overlay.expect("its papers are good")
    }

    /// Ends a node as `kill -9` does.
    pub(super) fn kill(&self, node: &Overlay) {
        node.environment().tasks.abort_all();
        self.network.unbind(node.local_address());
    }

    /// Another address for a near machine.
    pub(super) fn outside(&self, number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(100, 64, 0, number))
    }
}

impl How {
    fn config(&self, seeds: Vec<Seed>) -> Config {
        Config { seeds, paths: self.rules.clone(), timing: self.timing.clone(), ..Config::default() }
    }
}

/// Calls the server with a body of this size, answered by one of the same size, and says how long it took.
pub(super) async fn call(node: &Overlay, server: &Overlay, size_bytes: usize) -> Result<Duration, CallError> {
    let begun = Instant::now();
    let options = CallOptions { deadline: PATIENCE, ..CallOptions::default() };
    node.call(To::Node(server.identity()), ECHO, Bytes::from(vec![0; size_bytes]), options).await?;
    Ok(begun.elapsed())
}

/// Sends as much as goes through for this long.
pub(super) async fn send_for(node: &Overlay, server: &Overlay, within: Duration) -> Result<(), CallError> {
    let options = CallOptions { deadline: PATIENCE, ..CallOptions::default() };
    let mut stream = node.raw(To::Node(server.identity()), SINK, Bytes::new(), options).await?;
    let chunk = Bytes::from(vec![0; 64 << 10]);
    let send = async { while stream.send(chunk.clone()).await.is_ok() {} };
    // That the time is over is the plan.
    drop(tokio::time::timeout(within, send).await);
    Ok(())
}

/// The service of the experiments: it answers with what it got, and swallows whole streams.
#[derive(Debug, Default)]
pub(super) struct Bench {
    swallowed: Arc<AtomicU64>,
}

impl Bench {
    /// Bytes of streams that arrived.
    pub(super) fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Relaxed)
    }
}

impl Service for Bench {
    fn descriptor(&self) -> Descriptor {
        BENCH
    }

    fn handle(&self, call: Call) -> Answer {
        match call.method {
            1 => Answer::ready(call.body),
            2 => {
                let swallowed = self.swallowed.clone();
                Answer::raw(|mut stream| async move {
                    while let Ok(Some(bytes)) = stream.receive(1 << 20).await {
                        swallowed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    }
                })
            }
            _ => Answer::failed(Failure::new(code::NO_SUCH_METHOD, "no such method")),
        }
    }
}

const BENCH: Descriptor = Descriptor {
    id: ECHO.service,
    name: "bench",
    methods: &[
        MethodDescriptor { id: ECHO.method, name: "echo", callers: Caller::ANY },
        MethodDescriptor { id: SINK.method, name: "sink", callers: Caller::ANY },
    ],
};

pub(super) fn beginning() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(BEGINNING_MICROS.unsigned_abs())
}

const ECHO: MethodId = MethodId { service: 900, method: 1 };
const SINK: MethodId = MethodId { service: 900, method: 2 };

const DOMAIN: &str = "lab.test";
const SITE: &str = "lab";
const PORT_FIRST: u64 = 10_000;

/// How many machines there are at each side.
const FAR: u8 = 8;

/// Nobody gives up early in an experiment.
const PATIENCE: Duration = Duration::from_secs(120);
