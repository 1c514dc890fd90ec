//! The simulated network: machines with addresses, links between them, and sockets that quinn takes for real ones.
//!
//! A datagram's way: [`socket`] → the links of its way, one after the other, each at the moment it gets there ([`Link`]) → the
//! address it is for, looked up on arrival, so that a NAT that has moved loses what was under way ([`nat`]) → the machine that reads it.

mod nat;
mod socket;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use caps_node::deployment::network::{HopId, LinkFigures};
use quinn::udp::EcnCodepoint;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) use nat::{Filtering, Nat};
pub(crate) use socket::SimulatedSocket;
pub use trace::TraceHash;

use crate::clock::{Agenda, Clock};
use crate::link::{Fate, Link, LinkStats, Loss};
use crate::timeline::Timeline;
use trace::Trace;

/// A machine's number in its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MachineId(pub(crate) u32);

/// The network of one world; clones are the same one.
#[derive(Clone)]
pub(crate) struct Network {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

/// What became of the datagrams that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes in them, headers of UDP and IP not counted.
    pub sent_bytes: u64,
    /// Datagrams that reached a socket.
    pub delivered: u64,
    /// Lost at random on a link.
    pub lost: u64,
    /// Dropped by a full queue.
    pub queue_full: u64,
    /// Larger than a link takes.
    pub too_large: u64,
    /// Stopped by a cut link or between machines that are kept apart.
    pub cut: u64,
    /// For an address that nobody has, or that a NAT does not let through.
    pub unroutable: u64,
    /// Dropped because their reader did not read.
    pub unread: u64,
}

struct Inner {
    timeline: Timeline<Event>,
    rng: ChaCha8Rng,
    trace: Trace,
    counts: Counts,
    links: Vec<Link>,
    link_ids: BTreeMap<HopId, usize>,
    machines: Vec<Machine>,
    /// Who has an address, NATs included.
    owners: HashMap<IpAddr, MachineId>,
    sockets: HashMap<SocketAddr, Inbox>,
    map: Map,
    /// Pairs whose datagrams are stopped, in this direction.
    apart: BTreeSet<(MachineId, MachineId)>,
}

/// Gives the links from one machine to another, in order.
pub(crate) type Map = Box<dyn Fn(MachineId, MachineId) -> Vec<(HopId, LinkFigures)> + Send>;

/// What one machine means to the network.
#[derive(Default)]
struct Machine {
    /// The links to each other machine, in order.
    ways: HashMap<MachineId, Arc<[usize]>>,
    /// Nothing arrives before this time.
    clogged_until_ns: u64,
    /// How long reading one datagram keeps the machine's core busy.
    reading_ns: u64,
    busy_until_ns: u64,
    nat: Option<Nat>,
    /// Bytes of IP packets that it sent, and that reached it.
    carried_bytes: u64,
}

#[derive(Default)]
struct Inbox {
    machine: Option<MachineId>,
    waiting: VecDeque<Parcel>,
    waiting_bytes: usize,
    reader: Option<Waker>,
}

enum Event {
    /// A datagram comes to its next link, or to its end.
    Hop(Parcel),
    /// A machine has read a datagram.
    Read(Parcel),
    /// Somebody wanted to be woken.
    Alarm(Waker),
}

#[derive(Clone)]
struct Parcel {
    from: SocketAddr,
    to: SocketAddr,
    sender: MachineId,
    receiver: MachineId,
    ecn: Option<EcnCodepoint>,
    bytes: Bytes,
    way: Arc<[usize]>,
    hops_done: usize,
}

impl Network {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        let inner = Inner {
            timeline: Timeline::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            trace: Trace::default(),
            counts: Counts::default(),
            map: Box::new(|_, _| Vec::new()),
            links: Vec::new(),
            link_ids: BTreeMap::new(),
            machines: Vec::new(),
            owners: HashMap::new(),
            sockets: HashMap::new(),
            apart: BTreeSet::new(),
        };
        Self { clock, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Puts a machine with this address into the network. Reading a datagram takes it `reading`.
    pub(crate) fn add_machine(&self, address: IpAddr, reading: Duration) -> MachineId {
        let mut inner = self.lock();
        let id = MachineId(u32::try_from(inner.machines.len()).expect("a world has fewer than 2^32 machines"));
        inner.machines.push(Machine { reading_ns: nanos(reading), ..Machine::default() });
        inner.owners.insert(address, id);
        id
    }

    /// Makes reading a datagram take a machine this long.
    pub(crate) fn set_reading(&self, machine: MachineId, reading: Duration) {
        self.lock().machine(machine).reading_ns = nanos(reading);
    }

    /// Tells the network how to find the way between two machines. It asks once for each pair; links of the same id are one link, with one
    /// queue.
    pub(crate) fn set_map(&self, map: Map) {
        self.lock().map = map;
    }

    /// Opens a socket, after whatever had the address before.
    pub(crate) fn bind(&self, machine: MachineId, address: SocketAddr) -> Arc<SimulatedSocket> {
        self.lock().sockets.insert(address, Inbox { machine: Some(machine), ..Inbox::default() });
        Arc::new(SimulatedSocket::new(self.clone(), machine, address))
    }

    /// Closes a socket; its reader is dead, and datagrams for it go nowhere.
    pub(crate) fn unbind(&self, address: SocketAddr) {
        self.lock().sockets.remove(&address);
    }

    /// Puts a machine behind a NAT, or takes the NAT away.
    pub(crate) fn set_nat(&self, machine: MachineId, nat: Option<Nat>) {
        let mut inner = self.lock();
        if let Some(old) = &inner.machine(machine).nat {
            let outside = old.outside();
            inner.owners.remove(&outside);
        }
        if let Some(nat) = &nat {
            inner.owners.insert(nat.outside(), machine);
        }
        inner.machine(machine).nat = nat;
    }

    /// Makes a NAT forget its bindings: the next datagrams go out from new ports. `false`: there is none.
    pub(crate) fn rebind_nat(&self, machine: MachineId) -> bool {
        let mut inner = self.lock();
        let nat = &mut inner.machine(machine).nat;
        nat.as_mut().map(Nat::forget).is_some()
    }

    /// Stops, or lets through again, what one machine sends to another.
    pub(crate) fn set_apart(&self, from: MachineId, to: MachineId, apart: bool) {
        let mut inner = self.lock();
        if apart {
            inner.apart.insert((from, to));
        } else {
            inner.apart.remove(&(from, to));
        }
    }

    /// Ends every separation.
    pub(crate) fn reunite(&self) {
        self.lock().apart.clear();
    }

    /// Holds back whatever arrives at a machine until this much later.
    pub(crate) fn clog(&self, machine: MachineId, within: Duration) {
        let until = self.clock.now_ns() + nanos(within);
        self.lock().machine(machine).clogged_until_ns = until;
    }

    /// Changes what a link does from now on.
    pub(crate) fn change_link(&self, id: &HopId, change: impl FnOnce(&mut LinkFigures)) {
        let now = self.clock.now_ns();
        let mut inner = self.lock();
        if let Some(&place) = inner.link_ids.get(id) {
            let mut figures = *inner.links[place].figures();
            change(&mut figures);
            inner.links[place].set_figures(now, figures);
        }
    }

    /// Puts another link where this one is, whether anything has passed it yet or not.
    pub(crate) fn set_link(&self, id: &HopId, figures: LinkFigures) {
        let now = self.clock.now_ns();
        let mut inner = self.lock();
        let place = inner.link(id.clone(), figures);
        inner.links[place].set_figures(now, figures);
    }

    /// The links, with what passed them.
    pub(crate) fn links(&self) -> BTreeMap<HopId, (LinkFigures, LinkStats)> {
        let inner = self.lock();
        inner.link_ids.iter().map(|(id, &place)| (id.clone(), (*inner.links[place].figures(), inner.links[place].stats()))).collect()
    }

    /// Bytes of IP packets that a machine has sent and received.
    pub(crate) fn carried_bytes(&self, machine: MachineId) -> u64 {
        self.lock().machine(machine).carried_bytes
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The hash over everything that was sent and everything that arrived until now.
    pub(crate) fn trace_hash(&self) -> TraceHash {
        self.lock().trace.hash()
    }

    /// Puts something into the trace that is no datagram.
    pub(crate) fn note(&self, event: &str) {
        let now = self.clock.now_ns();
        self.lock().trace.note(now, event);
    }

    /// Waits until this much later, to the nanosecond.
    pub(crate) async fn wait(&self, within: Duration) {
        let at = self.clock.now_ns() + nanos(within);
        std::future::poll_fn(|context| {
            if self.clock.now_ns() >= at {
                return std::task::Poll::Ready(());
            }
            self.lock().timeline.plan(at, Event::Alarm(context.waker().clone()));
            std::task::Poll::Pending
        })
        .await;
    }

    fn send(&self, sender: MachineId, inside: SocketAddr, to: SocketAddr, ecn: Option<EcnCodepoint>, datagram: &[u8]) {
        let now = self.clock.now_ns();
        self.lock().send(now, sender, inside, to, ecn, datagram);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agenda for Network {
    fn next_ns(&self) -> Option<u64> {
        self.lock().timeline.next_ns()
    }

    fn happen(&self, now_ns: u64) -> bool {
        let mut woken = Vec::new();
        let mut inner = self.lock();
        while let Some(event) = inner.timeline.pop_due(now_ns) {
            match event {
                Event::Hop(parcel) => inner.hop(now_ns, parcel),
                Event::Read(parcel) => woken.extend(inner.deliver(now_ns, parcel)),
                Event::Alarm(waker) => woken.push(waker),
            }
        }
        drop(inner);
        let any = !woken.is_empty();
        woken.into_iter().for_each(Waker::wake);
        any
    }
}

impl Inner {
    fn machine(&mut self, id: MachineId) -> &mut Machine {
        &mut self.machines[id.0 as usize]
    }

    fn way(&mut self, from: MachineId, to: MachineId) -> Arc<[usize]> {
        if let Some(way) = self.machine(from).ways.get(&to) {
            return way.clone();
        }
        let hops = (self.map)(from, to);
        let way: Arc<[usize]> = hops.into_iter().map(|(id, figures)| self.link(id, figures)).collect();
        self.machine(from).ways.insert(to, way.clone());
        way
    }

    fn link(&mut self, id: HopId, figures: LinkFigures) -> usize {
        let links = &mut self.links;
        *self.link_ids.entry(id).or_insert_with(|| {
            links.push(Link::new(figures));
            links.len() - 1
        })
    }

    fn send(&mut self, now: u64, sender: MachineId, inside: SocketAddr, to: SocketAddr, ecn: Option<EcnCodepoint>, datagram: &[u8]) {
        let from = self.machine(sender).nat.as_mut().map_or(inside, |nat| nat.outgoing(now, inside, to));
        self.trace.datagram(now, from, to, datagram);
        self.machine(sender).carried_bytes += (datagram.len() + HEADER_BYTES) as u64;
        self.counts.sent += 1;
        self.counts.sent_bytes += datagram.len() as u64;
        let Some(&receiver) = self.owners.get(&to.ip()) else {
            self.counts.unroutable += 1;
            return;
        };
        let way = self.way(sender, receiver);
        let bytes = Bytes::copy_from_slice(datagram);
        self.hop(now, Parcel { from, to, sender, receiver, ecn, bytes, way, hops_done: 0 });
    }

    /// Takes a datagram over its next link; at the end of its way, to the machine that it is for.
    fn hop(&mut self, now: u64, mut parcel: Parcel) {
        if self.apart.contains(&(parcel.sender, parcel.receiver)) {
            self.counts.cut += 1;
            return;
        }
        let Some(&link) = parcel.way.get(parcel.hops_done) else { return self.arrive(now, parcel) };
        parcel.hops_done += 1;
        let may_be_marked = parcel.ecn.is_some();
        match self.links[link].offer(now, parcel.bytes.len() + HEADER_BYTES, may_be_marked, &mut self.rng) {
            Fate::Passes { at_ns, copy_at_ns, marked } => {
                if marked {
                    parcel.ecn = Some(EcnCodepoint::Ce);
                }
                if let Some(copy_at) = copy_at_ns {
                    self.timeline.plan(copy_at, Event::Hop(parcel.clone()));
                }
                self.timeline.plan(at_ns, Event::Hop(parcel));
            }
            Fate::Lost(Loss::Random) => self.counts.lost += 1,
            Fate::Lost(Loss::QueueFull) => self.counts.queue_full += 1,
            Fate::Lost(Loss::TooLarge) => self.counts.too_large += 1,
            Fate::Lost(Loss::Cut) => self.counts.cut += 1,
        }
    }

    /// The machine reads one datagram after the other, and none while it is clogged.
    fn arrive(&mut self, now: u64, parcel: Parcel) {
        let machine = self.machine(parcel.receiver);
        let start = now.max(machine.clogged_until_ns).max(machine.busy_until_ns);
        machine.busy_until_ns = start + machine.reading_ns;
        let read = machine.busy_until_ns;
        self.timeline.plan(read, Event::Read(parcel));
    }

    fn deliver(&mut self, now: u64, parcel: Parcel) -> Option<Waker> {
        let inside = match &mut self.machines[parcel.receiver.0 as usize].nat {
            Some(nat) => nat.incoming(now, parcel.from, parcel.to),
            None => Some(parcel.to),
        };
        let inbox = inside.and_then(|inside| self.sockets.get_mut(&inside)).filter(|inbox| inbox.machine == Some(parcel.receiver));
        let Some(inbox) = inbox else {
            self.counts.unroutable += 1;
            return None;
        };
        if inbox.waiting_bytes + parcel.bytes.len() > INBOX_BYTES_MAX {
            self.counts.unread += 1;
            return None;
        }
        self.counts.delivered += 1;
        self.machines[parcel.receiver.0 as usize].carried_bytes += (parcel.bytes.len() + HEADER_BYTES) as u64;
        self.trace.datagram(now, parcel.from, parcel.to, &parcel.bytes);
        inbox.waiting_bytes += parcel.bytes.len();
        inbox.waiting.push_back(parcel);
        inbox.reader.take()
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The headers of UDP and IPv4.
const HEADER_BYTES: usize = 28;

/// What a socket holds for a reader that does not read: what the overlay asks a real one to hold.
const INBOX_BYTES_MAX: usize = 4 << 20;
