//! A world: the machines of a deployment, the network between them, and the nodes that run on them, built as `caps run` builds them.

mod door;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use caps_certs_gen::{Authority, Identity, Key, Layer, NodeCredentials, TrustAnchors};
use caps_model::Name;
use caps_model::messages::cabinet::ReplicaRole;
use caps_node::deployment::network::{HopId, LinkFigures};
use caps_node::deployment::{Cabinet, Deployment, FrontEnd, Node, StateKind};
use caps_node::node::{self, Place, Running};
use caps_overlay::{Environment, Overlay, Rng, Tasks};
use caps_store::Store;
use caps_store::storage::{MemoryStorage, Storage};

pub(crate) use door::Door;
use door::Processes;

use crate::clock::Clock;
use crate::crypto;
use crate::machine::{BEGINNING_MICROS, MachineClock, MachineWorkers, Speed};
use crate::network::{Counts, Filtering, MachineId, Nat, Network, TraceHash};

/// A deployment in a world of its own. It lives on the thread that [`World::run`] makes.
#[derive(Debug)]
pub struct World {
    deployment: Arc<Deployment>,
    network: Network,
    clock: Clock,
    rng: Rng,
    papers: Papers,
    machines: BTreeMap<String, Machine>,
    speed: Speed,
    /// How many addresses NATs were given so far.
    outsides: u32,
}

/// One machine and what runs on it.
#[derive(Debug)]
struct Machine {
    node: Node,
    id: MachineId,
    address: SocketAddr,
    clock: Arc<MachineClock>,
    /// A disk for each cabinet that it may keep, in the file's order.
    disks: Vec<(Name, MemoryStorage)>,
    server: Option<Running>,
    /// Its other processes: front ends are in the hands of whoever started them.
    processes: Processes,
    /// How many of those there were.
    opened: Arc<AtomicU64>,
    speed: Speed,
}

impl World {
    /// Runs `main` in a world made of a deployment. Everything that happens is decided by the deployment, `main`, and the seed.
    ///
    /// The deployment's own addresses are replaced by ones that differ by machine; state is kept in memory, journals on simulated disks.
    pub fn run<T, F>(deployment: Deployment, seed: u64, speed: Speed, main: impl FnOnce(Self) -> F + Send + 'static) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>>,
    {
        Self::run_bent(deployment, seed, speed, Box::new(|_, _, hops| hops), main)
    }

    /// The same, with other lines than the deployment's: `bend` gives what really lies between two nodes.
    pub(crate) fn run_bent<T, F>(
        deployment: Deployment,
        seed: u64,
        speed: Speed,
        bend: Bend,
        main: impl FnOnce(Self) -> F + Send + 'static,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>>,
    {
        let clock = Clock::default();
        let network = Network::new(seed, clock.clone());
        let agenda = Arc::new(network.clone());
        crate::clock::simulate(seed, clock.clone(), agenda, move || async move {
            let world = Self::new(deployment, seed, speed, bend, network, clock)?;
            main(world).await
        })
    }

    fn new(deployment: Deployment, seed: u64, speed: Speed, bend: Bend, network: Network, clock: Clock) -> anyhow::Result<Self> {
        let rng = Rng::seeded(seed);
        let deployment = Arc::new(settled(deployment));
        let papers = Papers::new(&deployment, rng.fork())?;
        let mut world = Self {
            deployment: deployment.clone(),
            network: network.clone(),
            clock,
            rng,
            papers,
            machines: BTreeMap::new(),
            speed,
            outsides: 0,
        };
        let mut by_id = BTreeMap::new();
        for (place, node) in deployment.nodes.iter().enumerate() {
            let address = node.listen.unwrap_or_else(|| address(place));
            let id = network.add_machine(address.ip(), speed.datagram);
            let clock = Arc::new(MachineClock::new(world.clock.clone()));
            let machine = Machine {
                node: node.clone(),
                id,
                address,
                clock,
                disks: deployment.cabinets_of(node).map(|cabinet| (cabinet.name.clone(), MemoryStorage::new())).collect(),
                server: None,
                processes: Processes::default(),
                opened: Arc::default(),
                speed,
            };
            world.machines.insert(node.name.clone(), machine);
            by_id.insert(id, node.clone());
        }
        for (from, to) in deployment.nodes.iter().flat_map(|a| deployment.sites.iter().map(move |b| (a, b))) {
            // A gap in the map is found before anything runs: one node of each site is enough.
            if let Some(other) = deployment.nodes.iter().find(|node| node.site == *to && node.name != from.name) {
                deployment.network.hops(from, other)?;
            }
        }
        network.set_map(Box::new(move |from, to| hops(&deployment, &bend, &by_id, from, to)));
        Ok(world)
    }

    /// The deployment as it is simulated.
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns())
    }

    /// The hash over all that was sent and arrived so far.
    pub fn trace_hash(&self) -> TraceHash {
        self.network.trace_hash()
    }

    /// What became of the datagrams so far.
    pub fn counts(&self) -> Counts {
        self.network.counts()
    }

    /// A source of randomness that depends on the seed alone.
    pub fn fork_rng(&self) -> Rng {
        self.rng.fork()
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The names of the nodes of a layer, in the file's order.
    pub fn names(&self, layer: Layer) -> Vec<String> {
        self.deployment.layer(layer).map(|node| node.name.clone()).collect()
    }

    /// Starts every server.
    pub async fn start_servers(&mut self) -> anyhow::Result<()> {
        for name in self.names(Layer::Cabinet).into_iter().chain(self.names(Layer::Host)) {
            self.start(&name).await?;
        }
        Ok(())
    }

    /// Starts the server of this name, on what its machine's disk has.
    pub async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let place = self.place(name)?;
        let machine = self.machine(name)?;
        let disk = |cabinet: &Cabinet| {
            let disk = machine.disks.iter().find(|(name, _)| *name == cabinet.name);
            let (_, disk) = disk.with_context(|| format!("{name} has no disk for {}", cabinet.name))?;
            Ok(Arc::new(disk.clone()) as Arc<dyn Storage>)
        };
        let server = node::start_in(&self.deployment, &machine.node, place, disk).await;
        let server = server.with_context(|| format!("{name} does not start"))?;
        self.machine_mut(name)?.server = Some(server);
        Ok(())
    }

    /// Makes the front end of this name join the overlay; whatever ran on its machine before is dead.
    pub async fn front_end(&mut self, name: &str) -> anyhow::Result<Overlay> {
        self.crash(name)?;
        self.door(name)?.open().await
    }

    /// Where front ends of this name come from.
    pub(crate) fn door(&mut self, name: &str) -> anyhow::Result<Door> {
        let identity = self.machine(name)?.node.identity.clone();
        let (credentials, anchors) = (self.papers.credentials(&identity)?, self.papers.anchors.clone());
        let (deployment, network, speed, rng) = (self.deployment.clone(), self.network.clone(), self.speed, self.rng.fork());
        let Machine { id, address, clock, opened, processes, .. } = self.machine(name)?;
        let (machine, address, clock) = (*id, *address, clock.clone());
        let (opened, processes) = (opened.clone(), processes.clone());
        Ok(Door {
            name: name.to_owned(),
            deployment,
            network,
            machine,
            address,
            clock,
            speed,
            rng,
            credentials,
            anchors,
            opened,
            processes,
        })
    }

    /// Joins as the administrator, from a machine at the first site.
    pub async fn administrator(&mut self) -> anyhow::Result<Overlay> {
        self.front_end(ADMIN).await
    }

    /// Kills a process as `kill -9` does; the power of its machine stays on.
    pub fn crash(&mut self, name: &str) -> anyhow::Result<bool> {
        let network = self.network.clone();
        let machine = self.machine_mut(name)?;
        let server = machine.server.take().map(|server| (machine.address, server.overlay().environment().tasks.clone()));
        let processes: Vec<(SocketAddr, Tasks)> = door::lock(&machine.processes).drain(..).chain(server).collect();
        for (address, tasks) in &processes {
            tasks.abort_all();
            tasks.resume();
            network.unbind(*address);
        }
        Ok(!processes.is_empty())
    }

    /// Cuts the power of a machine: the process dies, and what the disk had not got to is lost, or not, sector by sector.
    pub fn power_cut(&mut self, name: &str) -> anyhow::Result<bool> {
        let ran = self.crash(name)?;
        let rng = self.rng.fork();
        for disk in self.disks(name)? {
            disk.power_cut(|| rng.below(2) == 0);
        }
        Ok(ran)
    }

    /// Ends a server in good order.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<bool> {
        let network = self.network.clone();
        let machine = self.machine_mut(name)?;
        let Some(server) = machine.server.take() else { return Ok(false) };
        let address = machine.address;
        server.stop().await;
        network.unbind(address);
        Ok(true)
    }

    /// Holds a process, or lets it go on.
    pub fn set_paused(&mut self, name: &str, paused: bool) -> anyhow::Result<()> {
        let machine = self.machine(name)?;
        let server = machine.server.as_ref().map(|server| server.overlay().environment().tasks.clone());
        let others: Vec<Tasks> = door::lock(&machine.processes).iter().map(|(_, tasks)| tasks.clone()).collect();
        for tasks in others.iter().chain(&server) {
            if paused { tasks.pause() } else { tasks.resume() }
        }
        Ok(())
    }

    /// Makes a machine faster or slower than the others; what runs on it already keeps its disk's pace.
    pub(crate) fn set_speed(&mut self, name: &str, speed: Speed) -> anyhow::Result<()> {
        self.network.set_reading(self.machine(name)?.id, speed.datagram);
        self.machine_mut(name)?.speed = speed;
        Ok(())
    }

    /// Puts a machine behind a NAT.
    pub(crate) fn put_behind_nat(&mut self, name: &str, filtering: Filtering, timeout: Duration) -> anyhow::Result<()> {
        let id = self.machine(name)?.id;
        let outside = self.next_outside();
        self.network.set_nat(id, Some(Nat::new(outside, filtering, timeout)));
        Ok(())
    }

    /// Gives what a machine sends another source port from now on, as a NAT does that has forgotten it.
    pub(crate) fn rebind(&mut self, name: &str) -> anyhow::Result<()> {
        let id = self.machine(name)?.id;
        if !self.network.rebind_nat(id) {
            self.put_behind_nat(name, Filtering::AddressAndPort, NAT_TIMEOUT)?;
        }
        Ok(())
    }

    /// Gives a machine another address; what is sent to the old one is lost.
    pub(crate) fn move_away(&mut self, name: &str) -> anyhow::Result<()> {
        self.put_behind_nat(name, Filtering::Endpoint, Duration::from_secs(86_400))
    }

    fn next_outside(&mut self) -> IpAddr {
        self.outsides += 1;
        let [_, b, c, d] = self.outsides.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(100, 64 + b % 64, c, d))
    }

    /// Whether a process runs on the machine of this name.
    pub fn is_up(&self, name: &str) -> bool {
        self.machines.get(name).is_some_and(|machine| machine.server.is_some() || !door::lock(&machine.processes).is_empty())
    }

    /// The replica of the first cabinet that the node of this name keeps, if it runs.
    pub fn store(&self, name: &str) -> Option<&Store> {
        self.server(name)?.stores().first()
    }

    /// The replica that leads the cabinet, as far as it knows. One that was overtaken and has not heard of it has an older term.
    pub fn leader(&self) -> Option<String> {
        let standing = |name: String| self.store(&name).map(|store| store.status()).map(|status| (status.term, status.role, name));
        let leaders = self.names(Layer::Cabinet).into_iter().filter_map(standing).filter(|(_, role, _)| *role == ReplicaRole::Leader);
        leaders.max_by_key(|(term, ..)| *term).map(|(_, _, name)| name)
    }

    /// The server of this name, if it runs.
    pub fn server(&self, name: &str) -> Option<&Running> {
        self.machines.get(name)?.server.as_ref()
    }

    /// The disk of a machine that its first cabinet is on.
    pub fn disk(&self, name: &str) -> anyhow::Result<&MemoryStorage> {
        self.disks(name)?.next().with_context(|| format!("{name} has no disk"))
    }

    /// All disks of a machine, one for each cabinet.
    pub fn disks(&self, name: &str) -> anyhow::Result<impl Iterator<Item = &MemoryStorage>> {
        Ok(self.machine(name)?.disks.iter().map(|(_, disk)| disk))
    }

    pub(crate) fn machine_clock(&self, name: &str) -> anyhow::Result<&MachineClock> {
        Ok(&self.machine(name)?.clock)
    }

    pub(crate) fn machine_id(&self, name: &str) -> anyhow::Result<MachineId> {
        Ok(self.machine(name)?.id)
    }

    /// What the server of this name gets from its machine, for its next life.
    fn place(&mut self, name: &str) -> anyhow::Result<Place> {
        let (rng, network, speed) = (self.rng.fork(), self.network.clone(), self.machine(name)?.speed);
        let anchors = self.papers.anchors.clone();
        let machine = self.machine(name)?;
        let environment = Environment {
            socket: network.bind(machine.id, machine.address),
            provider: crypto::provider(),
            rng: rng.fork(),
            wall_clock: machine.clock.clone(),
            workers: Arc::new(MachineWorkers { network, rng, speed }),
            tasks: Tasks::default(),
        };
        let identity = machine.node.identity.clone();
        Ok(Place { environment, credentials: self.papers.credentials(&identity)?, anchors })
    }

    fn machine(&self, name: &str) -> anyhow::Result<&Machine> {
        self.machines.get(name).with_context(|| format!("there is no node {name:?} in this world"))
    }

    fn machine_mut(&mut self, name: &str) -> anyhow::Result<&mut Machine> {
        self.machines.get_mut(name).with_context(|| format!("there is no node {name:?} in this world"))
    }
}

/// The world's certificates: Ed25519, all from the seed.
#[derive(Debug)]
struct Papers {
    root: Authority,
    sites: BTreeMap<String, Authority>,
    anchors: TrustAnchors,
    issued: BTreeMap<Identity, NodeCredentials>,
    rng: Rng,
}

impl Papers {
    fn new(deployment: &Deployment, rng: Rng) -> anyhow::Result<Self> {
        let seed = || {
            let mut seed = [0; 32];
            rng.fill(&mut seed);
            seed
        };
        let mut random = |bytes: &mut [u8]| rng.fill(bytes);
        let root = Authority::from_seed(&deployment.domain, &seed(), beginning(), &mut random)?;
        let mut sites = BTreeMap::new();
        for site in &deployment.sites {
            sites.insert(site.clone(), root.site(site, Key::from_seed(&seed()), beginning(), &mut random)?);
        }
        let anchors = TrustAnchors::new(vec![root.certificate().clone()], Vec::new())?;
        Ok(Self { root, sites, anchors, issued: BTreeMap::new(), rng })
    }

    /// A node's certificate, issued once: a restart finds it where it was.
    fn credentials(&mut self, identity: &Identity) -> anyhow::Result<NodeCredentials> {
        if let Some(issued) = self.issued.get(identity) {
            return Ok(issued.clone());
        }
        let authority = match identity.site() {
            Some(site) => self.sites.get(site).with_context(|| format!("there is no site {site}"))?,
            None => &self.root,
        };
        let rng = self.rng.clone();
        let credentials = authority.credentials(identity, beginning(), &mut |bytes: &mut [u8]| rng.fill(bytes))?;
        self.issued.insert(identity.clone(), credentials.clone());
        Ok(credentials)
    }
}

/// The deployment with addresses of the world, states in memory, and the administrator's machine.
fn settled(mut deployment: Deployment) -> Deployment {
    for cabinet in &mut deployment.cabinets {
        cabinet.state = StateKind::Memory;
    }
    for (place, node) in deployment.nodes.iter_mut().enumerate() {
        node.announce = None;
        if node.listen.is_some() {
            node.listen = Some(address(place));
        }
    }
    let admin = Identity::admin(&deployment.domain, ADMIN).expect("the domain was checked when the deployment was read");
    let site = deployment.sites[0].clone();
    let node = Node {
        name: ADMIN.to_owned(),
        identity: admin,
        site,
        layer: Layer::FrontEnd,
        listen: None,
        announce: None,
        cabinets: Vec::new(),
        front_end: FrontEnd::default(),
    };
    deployment.nodes.push(node);
    deployment
}

fn hops(
    deployment: &Deployment,
    bend: &Bend,
    nodes: &BTreeMap<MachineId, Node>,
    from: MachineId,
    to: MachineId,
) -> Vec<(HopId, LinkFigures)> {
    let Some((from, to)) = nodes.get(&from).zip(nodes.get(&to)) else { return Vec::new() };
    let hops = deployment.network.hops(from, to).unwrap_or_default();
    bend(from, to, hops.into_iter().map(|hop| (hop.id, hop.figures)).collect())
}

/// Changes what lies between two nodes.
pub(crate) type Bend = Box<dyn Fn(&Node, &Node, Vec<(HopId, LinkFigures)>) -> Vec<(HopId, LinkFigures)> + Send>;

/// The address of the machine at this place in the file.
fn address(place: usize) -> SocketAddr {
    let [_, b, c, d] = u32::try_from(place + 1).expect("a deployment has fewer nodes than there are addresses").to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), PORT)
}

fn beginning() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(BEGINNING_MICROS.unsigned_abs())
}

/// The administrator's name.
pub(crate) const ADMIN: &str = "admin";

const PORT: u16 = 4433;

/// What home routers keep a silent UDP binding for: RFC 4787 asks for two minutes, many give half a minute.
const NAT_TIMEOUT: Duration = Duration::from_secs(30);
