//! The tasks around membership: gossip among server nodes, and the directory for leaves.
//!
//! A server node (one that announces an address) runs one task that feeds the [`Membership`] with what the connections bring, sends what it
//! wants sent, and publishes the directory. It also says which connections are wanted: to every server node that the policy
//! lets this node dial, seeds first. A leaf (a front end, an administrator) does not gossip: it subscribes to the directory at one
//! server node, and elsewhere when that one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::{Identity, Layer, Role};
use futures_util::future::BoxFuture;
use rand::seq::SliceRandom;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::config::Seed;
use crate::directory::{Directory, Member, MemberState};
use crate::environment::{Environment, Rng};
use crate::failure::{CallError, Failure, Retry, code};
use crate::membership::{Adjacency, Announced, Config, DatagramError, Membership, Notice};
use crate::offers::Offers;
use crate::policy::Policy;
use crate::stream::{Replies, ReplySink};
use crate::watch;

/// What gossip needs of the connections.
pub(crate) trait Links: Send + Sync + 'static {
    /// The peers with a live connection that announce an address, and its smoothed round trip.
    fn connected(&self) -> Vec<(Identity, Duration)>;
    /// Sends an unreliable datagram over the live connection to a peer. Never dials, never waits; drops it if it must.
    fn send_datagram(&self, to: &Identity, datagram: Bytes);
    /// Takes the peers that should be connected from now on, in place of those named before.
    fn keep(&self, wanted: BTreeMap<Identity, SocketAddr>);
}

/// What the connections tell gossip. When their queue is full, events are dropped: datagrams may be lost anyway, and connections
/// are surveyed every [`SURVEY_EVERY`].
#[derive(Debug)]
pub(crate) enum GossipEvent {
    /// A connection to a peer that announces an address is up.
    Connected(Identity),
    /// It is gone.
    Disconnected(Identity),
    /// A datagram arrived over it.
    Datagram(Identity, Bytes),
}

/// What a server node's gossip starts from.
#[derive(Debug)]
pub(crate) struct GossipSettings {
    pub(crate) me: Identity,
    /// Where peers dial this node.
    pub(crate) address: SocketAddr,
    pub(crate) policy: Policy,
    pub(crate) seeds: Vec<Seed>,
    /// The services of this node.
    pub(crate) offers: Offers,
    /// The zero of the node's own clock.
    pub(crate) epoch: Instant,
}

/// A server node's handle on its gossip.
#[derive(Debug)]
pub(crate) struct Gossip {
    directory: watch::Receiver<Arc<Directory>>,
    said: watch::Sender<Said>,
    leave: mpsc::Sender<oneshot::Sender<()>>,
}

/// What this node says of itself; the latest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    load: u8,
    offers: Offers,
    leaving: bool,
}

impl Gossip {
    /// Starts the gossip of a server node as a task of the environment.
    pub(crate) fn start(
        settings: GossipSettings,
        links: Arc<dyn Links>,
        events: mpsc::Receiver<GossipEvent>,
        environment: &Environment,
    ) -> Self {
        // Grows with every start, as long as the clock is not set back; membership finds its way if it was.
        let generation = u64::try_from(environment.wall_clock.now_micros()).unwrap_or_default();
        let (gossip, task) = Self::prepare(settings, generation, environment.rng.next_u64(), links, events);
        environment.tasks.spawn(task);
        gossip
    }

    fn prepare(
        settings: GossipSettings,
        generation: u64,
        seed: u64,
        links: Arc<dyn Links>,
        events: mpsc::Receiver<GossipEvent>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let me = Announced::new(settings.me.clone(), generation, settings.address);
        let adjacency = Adjacency::of_policy(|from, to| settings.policy.may_dial(of_layer(from), of_layer(to)));
        let membership = Membership::new(me, adjacency, Config::default(), seed, settings.epoch.elapsed());
        let (publish, directory) = watch::channel(Arc::new(membership.directory().clone()));
        let (said, hear) = watch::channel(Said { offers: settings.offers.clone(), ..Said::default() });
        let (leave, leaves) = mpsc::channel(1);
        let shell =
            Shell { membership, settings, links, publish, wanted: BTreeMap::new(), survey_at: Instant::now(), doubles: BTreeSet::new() };
        (Self { directory, said, leave }, shell.run(events, hear, leaves))
    }

    /// What this node believes, and every change of it.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.clone()
    }

    /// Says how busy this node is and how far its services are. Cheap; the latest counts.
    pub(crate) fn report(&self, load: u8, positions: &[(u16, u64)]) {
        self.said.send_if_modified(|said| {
            let now = Said { load, offers: said.offers.at(positions), leaving: said.leaving };
            let differs = *said != now;
            *said = now;
            differs
        });
    }

    /// Says that this node wants no new work, because it is about to stop.
    pub(crate) fn drain(&self) {
        self.said.send_modify(|said| said.leaving = true);
    }

    /// Says that this node stops, and returns when that has left. The task ends.
    pub(crate) async fn leave(&self) {
        let (left, done) = oneshot::channel();
        if self.leave.send(left).await.is_ok() {
            // The task may have been aborted meanwhile: then nothing more is said.
            done.await.ok();
        }
    }
}

/// The task of a server node.
struct Shell {
    membership: Membership,
    settings: GossipSettings,
    links: Arc<dyn Links>,
    publish: watch::Sender<Arc<Directory>>,
    wanted: BTreeMap<Identity, SocketAddr>,
    survey_at: Instant,
    /// Names whose double use was logged, each once.
    doubles: BTreeSet<(Identity, SocketAddr)>,
}

impl Shell {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<GossipEvent>,
        mut said: watch::Receiver<Said>,
        mut leaves: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let seeds = self.settings.seeds.iter().map(|seed| (seed.identity.clone(), seed.address));
        self.membership.join(seeds, self.now());
        let first = said.borrow_and_update().clone();
        self.say(first);
        self.flush();
        let mut batch = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let wake_at = self.wake_at();
            tokio::select! {
                // What has arrived goes before timers: after a pause of the process the answers that wait in the queue must be
                // heard before silence is judged. Batches are bounded, and what is due is done after each, so none starves.
                biased;
                Some(left) = leaves.recv() => return self.leave(left),
                count = events.recv_many(&mut batch, EVENTS_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    batch.drain(..).for_each(|event| self.handle_event(event));
                }
                Ok(()) = said.changed() => {
                    let said = said.borrow_and_update().clone();
                    self.say(said);
                }
                () = sleep_until(wake_at) => {}
            }
            self.do_what_is_due();
            self.flush();
        }
    }

    fn handle_event(&mut self, event: GossipEvent) {
        match event {
            GossipEvent::Connected(peer) => {
                debug!(%peer, "gossip has a connection");
                self.survey_at = Instant::now();
            }
            GossipEvent::Disconnected(peer) => {
                debug!(%peer, "gossip lost a connection");
                self.survey_at = Instant::now();
            }
            GossipEvent::Datagram(peer, datagram) => {
                let now = self.now();
                if let Err(error) = self.membership.handle_datagram(&peer, datagram, now) {
                    self.note_refusal(&peer, &error);
                }
            }
        }
    }

    fn say(&mut self, said: Said) {
        let now = self.now();
        self.membership.report(said.load, said.offers, now);
        if said.leaving {
            self.membership.drain(now);
        }
    }

    fn leave(mut self, left: oneshot::Sender<()>) {
        self.membership.leave(self.now());
        self.flush();
        // Whoever asked may have given up waiting.
        left.send(()).ok();
    }

    fn do_what_is_due(&mut self) {
        if self.survey_at <= Instant::now() {
            self.survey_at = Instant::now() + SURVEY_EVERY;
            let connected = self.links.connected().into_iter().collect();
            self.membership.handle_connections(connected, self.now());
        }
        if self.membership.poll_timeout().is_some_and(|at| at <= self.now()) {
            self.membership.handle_timeout(self.now());
        }
    }

    fn flush(&mut self) {
        while let Some(transmit) = self.membership.poll_transmit() {
            self.links.send_datagram(&transmit.to, transmit.datagram);
        }
        while let Some(notice) = self.membership.poll_notice() {
            log(&notice);
        }
        if let Some(directory) = self.membership.poll_directory() {
            self.keep_wanted(&directory);
            self.publish.send_replace(directory);
        }
    }

    /// Wants a connection to every seed and every member that is not down, as far as the policy lets this node dial them.
    fn keep_wanted(&mut self, directory: &Directory) {
        let me = &self.settings.me;
        let seeds = self.settings.seeds.iter().map(|seed| (&seed.identity, seed.address));
        let members = directory.members().filter(|member| member.is_active()).map(|member| (&member.identity, member.address));
        // Where a member says it is counts more than where it was said to be.
        let wanted: BTreeMap<Identity, SocketAddr> = seeds
            .chain(members)
            .filter(|(peer, _)| *peer != me && self.settings.policy.may_dial(me.role(), peer.role()))
            .map(|(peer, address)| (peer.clone(), address))
            .collect();
        if wanted != self.wanted {
            self.wanted = wanted.clone();
            self.links.keep(wanted);
        }
    }

    fn note_refusal(&mut self, peer: &Identity, error: &DatagramError) {
        if let DatagramError::NameTaken { identity, claimed, .. } = error
            && self.doubles.len() < DOUBLES_LOGGED_MAX
            && self.doubles.insert((identity.clone(), *claimed))
        {
            warn!(%peer, %error, "gossip refused");
        } else {
            debug!(%peer, %error, "gossip refused");
        }
    }

    fn wake_at(&self) -> Instant {
        let timer = self.membership.poll_timeout().map(|at| self.settings.epoch + at);
        timer.map_or(self.survey_at, |timer| timer.min(self.survey_at))
    }

    fn now(&self) -> Duration {
        self.settings.epoch.elapsed()
    }
}

/// Answers a subscription to the directory: first the whole, then the whole again when it changed, until the reader or this node stops.
///
/// A reader gets the members that it may call and the names of the other sites. Changes of state are sent within
/// [`PUSH_EVERY`], mere changes of load and positions within [`QUIET_PUSH_EVERY`], and something at least every
/// [`REPEAT_EVERY`], so that a reader can tell silence from peace.
pub(crate) async fn serve_directory(
    mut directory: watch::Receiver<Arc<Directory>>,
    reader: Identity,
    policy: Policy,
    epoch: Instant,
    mut sink: ReplySink,
) -> Result<(), Failure> {
    let mut pushes = Pushes::default();
    loop {
        let view = directory.borrow_and_update().view(|layer| policy.may_dial(reader.role(), of_layer(layer)));
        let now = epoch.elapsed();
        if pushes.is_due(&view, now) {
            let snapshot = view.encode(now);
            pushes.last = Some((view, now));
            if sink.send(snapshot).await.is_err() {
                return Ok(());
            }
        }
        sleep(PUSH_EVERY).await;
        // Whichever comes first leads to the same look.
        if let Ok(Err(_)) = timeout(QUIET_PUSH_EVERY, directory.changed()).await {
            return Err(Failure::new(code::DRAINING, "the node is stopping").retry(Retry::Elsewhere));
        }
    }
}

/// What one reader was sent last.
#[derive(Debug, Default)]
struct Pushes {
    last: Option<(Directory, Duration)>,
}

impl Pushes {
    fn is_due(&self, view: &Directory, now: Duration) -> bool {
        let Some((last, sent_at)) = &self.last else { return true };
        let quiet_for = now.saturating_sub(*sent_at);
        quiet_for >= REPEAT_EVERY || !agree_on_members(last, view) || (quiet_for >= QUIET_PUSH_EVERY && last != view)
    }
}

/// Opens the subscription to the directory at a peer: the streaming method `directory` of the overlay's own service.
pub(crate) trait Subscribe: Send + Sync + 'static {
    /// Dials if it must. Dropping the replies ends the subscription.
    fn subscribe(&self, to: Identity) -> BoxFuture<'static, Result<Replies, CallError>>;
}

/// Starts the task by which a leaf follows the directory, and returns what it publishes: empty until the first answer.
pub(crate) fn follow_directory(
    me: Identity,
    policy: Policy,
    seeds: Vec<Seed>,
    epoch: Instant,
    subscribe: Arc<dyn Subscribe>,
    environment: &Environment,
) -> watch::Receiver<Arc<Directory>> {
    let (publish, directory) = watch::channel(Arc::new(Directory::default()));
    let follower = Follower { me, policy, seeds, epoch, publish, last_host: None };
    environment.tasks.spawn(follower.run(subscribe, environment.rng.fork()));
    directory
}

/// The task of a leaf.
struct Follower {
    me: Identity,
    policy: Policy,
    seeds: Vec<Seed>,
    epoch: Instant,
    publish: watch::Sender<Arc<Directory>>,
    /// Where the last subscription was, which has ended for some reason: the last to be asked again.
    last_host: Option<Identity>,
}

impl Follower {
    async fn run(mut self, subscribe: Arc<dyn Subscribe>, mut rng: Rng) {
        let mut pause = PAUSE_MIN;
        while !self.publish.is_closed() {
            for host in self.hosts(&mut rng) {
                match self.follow(&host, subscribe.as_ref()).await {
                    Followed::Never => {}
                    Followed::ForAWhile => {
                        self.last_host = Some(host);
                        pause = PAUSE_MIN;
                        break;
                    }
                }
            }
            // Jittered, and longer each time: after a restart all leaves come back at once.
            sleep(rng.jitter(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Where the directory may be asked for, in the order in which to try: members that are well before others, own site before others,
    /// then at random, seeds that are no members behind them, and the one that just failed at the very end.
    fn hosts(&self, rng: &mut Rng) -> Vec<Identity> {
        let directory = self.publish.borrow().clone();
        let members = directory.members().map(|member| (rank(member), &member.identity));
        let unheard = self.seeds.iter().map(|seed| &seed.identity).filter(|seed| directory.get(seed).is_none());
        let mut hosts: Vec<_> = members
            .chain(unheard.map(|seed| (SEED_RANK, seed)))
            .filter(|(_, host)| **host != self.me && self.policy.may_dial(self.me.role(), host.role()))
            .map(|(rank, host)| (self.last_host.as_ref() == Some(host), rank, host.site() != self.me.site(), host.clone()))
            .collect();
        hosts.shuffle(rng);
        hosts.sort_by_key(|(failed, rank, is_elsewhere, _)| (*failed, *rank, *is_elsewhere));
        hosts.into_iter().map(|(_, _, _, host)| host).collect()
    }

    async fn follow(&self, host: &Identity, subscribe: &dyn Subscribe) -> Followed {
        let mut replies = match subscribe.subscribe(host.clone()).await {
            Ok(replies) => replies,
            Err(error) => {
                debug!(%host, %error, "directory not available there");
                return Followed::Never;
            }
        };
        let mut followed = Followed::Never;
        // A host that says nothing for three repetitions does not stand for peace.
        while let Ok(Some(reply)) = timeout(3 * REPEAT_EVERY, replies.next()).await {
            let snapshot = match reply {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    debug!(%host, %error, "directory ended there");
                    return followed;
                }
            };
            if !self.take(host, &snapshot) {
                return followed;
            }
            followed = Followed::ForAWhile;
        }
        followed
    }

    fn take(&self, host: &Identity, snapshot: &[u8]) -> bool {
        match Directory::decode(snapshot, self.me.domain(), self.epoch.elapsed()) {
            Ok(newcomer) => {
                let mut merged = (**self.publish.borrow()).clone();
                merged.merge(newcomer);
                self.publish.send_replace(Arc::new(merged));
                true
            }
            Err(error) => {
                warn!(%host, %error, "malformed directory");
                false
            }
        }
    }
}

/// How a subscription went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    /// Nothing came of it: the next host is asked at once.
    Never,
    /// At least one snapshot came.
    ForAWhile,
}

fn rank(member: &Member) -> u8 {
    match member.state {
        MemberState::Up => 0,
        MemberState::Suspect => 1,
        MemberState::Leaving => 2,
        MemberState::Down => SEED_RANK + 1,
    }
}

fn agree_on_members(a: &Directory, b: &Directory) -> bool {
    let facts = |member: &Member| (member.identity.clone(), member.generation, member.address, member.state);
    a.len() == b.len() && a.sites() == b.sites() && a.members().map(facts).eq(b.members().map(facts))
}

fn log(notice: &Notice) {
    let Notice { identity, before, now } = notice;
    match now {
        MemberState::Suspect => debug!(%identity, "member suspected"),
        _ => info!(%identity, ?before, ?now, "member changed"),
    }
}

/// Any node of a layer: the policy does not look at sites.
fn of_layer(layer: Layer) -> Role<'static> {
    Role::Node { site: "", layer }
}

/// How often round trips are read, and connections that were missed. The time of suspicion follows the farthest round trip.
const SURVEY_EVERY: Duration = Duration::from_secs(5);
/// How many events are handled before timers have their turn.
const EVENTS_AT_ONCE: usize = 64;
/// How many double uses of names are logged in a node's life.
const DOUBLES_LOGGED_MAX: usize = 64;
/// Four snapshots a second at most: a front end notices no less, and a thousand of them cost 4,000 frames.
const PUSH_EVERY: Duration = Duration::from_millis(250);
/// Load and position change all the time, and a choice that is two seconds old is good enough.
const QUIET_PUSH_EVERY: Duration = Duration::from_secs(2);
const REPEAT_EVERY: Duration = Duration::from_secs(15);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Seeds that are no members come after every member that may be alive.
const SEED_RANK: u8 = 3;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::directory::tests::{member, node};

    /// Connections in memory: everybody who may be connected is, at 1 ms.
    #[derive(Default)]
    struct Net {
        nodes: Mutex<BTreeMap<Identity, mpsc::Sender<GossipEvent>>>,
    }

    struct FakeLinks {
        me: Identity,
        net: Arc<Net>,
        kept: Mutex<BTreeMap<Identity, SocketAddr>>,
    }

    impl Links for FakeLinks {
        fn connected(&self) -> Vec<(Identity, Duration)> {
            let policy = Policy::layered();
            let may = |a: &Identity, b: &Identity| policy.may_dial(a.role(), b.role());
            let nodes = self.net.nodes.lock().unwrap();
            let peers = nodes.keys().filter(|peer| **peer != self.me && (may(&self.me, peer) || may(peer, &self.me)));
            peers.map(|peer| (peer.clone(), Duration::from_millis(1))).collect()
        }

        fn send_datagram(&self, to: &Identity, datagram: Bytes) {
            if let Some(node) = self.net.nodes.lock().unwrap().get(to) {
                node.try_send(GossipEvent::Datagram(self.me.clone(), datagram)).ok();
            }
        }

        fn keep(&self, wanted: BTreeMap<Identity, SocketAddr>) {
            *self.kept.lock().unwrap() = wanted;
        }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4433))
    }

    fn start(net: &Arc<Net>, me: Identity, last: u8, seed: &Identity, epoch: Instant) -> (Gossip, Arc<FakeLinks>) {
        let links = Arc::new(FakeLinks { me: me.clone(), net: net.clone(), kept: Mutex::default() });
        let (sender, events) = mpsc::channel(1_000);
        let seeds = vec![Seed { identity: seed.clone(), address: address(1) }];
        let settings =
            GossipSettings { me: me.clone(), address: address(last), policy: Policy::layered(), seeds, offers: Offers::of([9]), epoch };
        let (gossip, task) = Gossip::prepare(settings, 1, u64::from(last), links.clone(), events);
        net.nodes.lock().unwrap().insert(me, sender);
        tokio::spawn(task);
        (gossip, links)
    }

    #[tokio::test(start_paused = true)]
    async fn shells_find_each_other_want_what_they_may_dial_and_part_in_good_order() {
        let epoch = Instant::now();
        let net = Arc::new(Net::default());
        let (lund, kiruna, host) = (node("lund", 1, "store"), node("kiruna", 1, "store"), node("lund", 2, "host"));
        let (first, first_links) = start(&net, lund.clone(), 1, &lund, epoch);
        let (_second, _) = start(&net, kiruna.clone(), 2, &lund, epoch);
        let (third, third_links) = start(&net, host.clone(), 3, &lund, epoch);
        // A survey at most 5 s away shows the connections, for nobody tells of them here.
        sleep(Duration::from_secs(10)).await;
        assert_eq!(first.watch().borrow().len(), 3);
        // A cabinet dials cabinets, a host dials cabinets; nobody dials hosts from there, and nobody itself.
        assert_eq!(*first_links.kept.lock().unwrap(), [(kiruna.clone(), address(2))].into());
        assert_eq!(*third_links.kept.lock().unwrap(), [(lund.clone(), address(1)), (kiruna, address(2))].into());

        third.report(77, &[(9, 5)]);
        sleep(Duration::from_secs(3)).await;
        let seen = first.watch().borrow().get(&host).cloned().unwrap();
        assert_eq!((seen.load, seen.offers.position(9), seen.state), (77, 5, MemberState::Up));
        third.drain();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(first.watch().borrow().get(&host).unwrap().state, MemberState::Leaving);
        third.leave().await;
        sleep(Duration::from_millis(500)).await;
        assert_eq!(first.watch().borrow().get(&host).unwrap().state, MemberState::Down);
        assert!(third.watch().is_closed());
    }

    #[test]
    fn states_are_pushed_at_once_loads_later_and_silence_is_broken() {
        let at = Duration::from_millis;
        let host = node("lund", 2, "host");
        let view: Directory = [member(host.clone())].into_iter().collect();
        let mut pushes = Pushes::default();
        assert!(pushes.is_due(&view, at(0)));
        pushes.last = Some((view.clone(), at(0)));
        assert!(!pushes.is_due(&view, at(14_999)));
        assert!(pushes.is_due(&view, at(15_000)));
        let mut busier = view.clone();
        busier.get_mut(&host).unwrap().load = 9;
        assert!(!pushes.is_due(&busier, at(1_999)));
        assert!(pushes.is_due(&busier, at(2_000)));
        let mut down = view.clone();
        down.get_mut(&host).unwrap().state = MemberState::Down;
        assert!(pushes.is_due(&down, at(250)));
    }

    #[test]
    fn leaves_ask_near_and_well_hosts_first_and_never_whom_they_may_not_call() {
        let names = ["a", "b", "c", "d"].map(|name| node("lund", 2, name));
        let far = node("kiruna", 2, "far");
        let mut directory: Directory = names.iter().chain([&far, &node("lund", 1, "store")]).cloned().map(member).collect();
        directory.get_mut(&names[1]).unwrap().state = MemberState::Down;
        directory.get_mut(&names[2]).unwrap().state = MemberState::Leaving;
        let seed = |identity: Identity| Seed { identity, address: address(1) };
        let follower = Follower {
            me: node("lund", 4, "desk"),
            policy: Policy::layered(),
            seeds: vec![seed(node("goteborg", 2, "seed")), seed(node("goteborg", 1, "store"))],
            epoch: Instant::now(),
            publish: watch::channel(Arc::new(directory)).0,
            last_host: Some(names[0].clone()),
        };
        let order = follower.hosts(&mut Rng::seeded(1));
        assert_eq!(order.iter().map(Identity::name).collect::<Vec<_>>(), ["d", "far", "c", "seed", "b", "a"]);
    }
}
