//! Who is there: gossip among the server nodes, without sockets, clocks or tasks.
//!
//! The protocol is SWIM (Das, Gupta, Motivala, DSN 2002) with suspicion, as the crate foca implements it. Around it this module puts
//! what an overlay of certified layers needs: members are named by identity and generation ([`Announced`]), datagrams find their
//! way over a relay where the policy lets nobody connect (`relay`), suspects are told so at once (`config`), a name that is in
//! use is not given away, members report their load, what they offer and how far that is (`report`), and all of it shows as a [`Directory`].
//!
//! Every member believes what every other server node says about third ones; records signed by their subject come later. Choosing
//! the way by measurements of whole paths comes later too: here the nearest relay that answers is taken.

pub(crate) mod wire;

mod announced;
mod config;
mod effects;
mod packet;
mod relay;
mod report;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use caps_certs_gen::Identity;
use foca::{Codec, Foca, Header, Incarnation, Message, State, Timer};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;
use tracing::debug;

pub(crate) use announced::Announced;
pub(crate) use config::{Config, DATAGRAM_BYTES_MAX};
pub(crate) use relay::Adjacency;

use crate::directory::{Directory, MEMBERS_MAX, Member, MemberState};
use crate::offers::Offers;
use effects::{Due, Effects};
use packet::{Packet, PacketCodec};
use relay::{Envelope, Hop, Routes};
use report::{Report, ReportVersion, Reports};
use wire::WireError;

/// The membership of one server node.
///
/// Inputs are `handle_*` and the verbs, each with the time `now` on the node's own clock (since any start, never running
/// backwards). After each input take the outputs until there are none: [`poll_transmit`](Self::poll_transmit),
/// [`poll_notice`](Self::poll_notice), [`poll_directory`](Self::poll_directory), and call [`handle_timeout`](Self::handle_timeout) at
/// [`poll_timeout`](Self::poll_timeout). One seed gives one behaviour: nothing else is random.
///
/// Memory is bounded by [`MEMBERS_MAX`] members, some kilobytes each at most.
pub(crate) struct Membership {
    foca: Foca<Announced, PacketCodec, ChaCha8Rng, Reports>,
    codec: PacketCodec,
    config: Config,
    effects: Effects,
    routes: Routes,
    seeds: BTreeMap<Identity, SocketAddr>,
    news: mpsc::Receiver<Report>,
    /// The last report of each member, at most [`MEMBERS_MAX`].
    reports: BTreeMap<Identity, Report>,
    mine: OwnReport,
    directory: Directory,
    directory_changed: bool,
    /// What the directory was last made from.
    shown: Option<Shown>,
    has_left: bool,
    rng: ChaCha8Rng,
    transmits: VecDeque<Transmit>,
    notices: VecDeque<Notice>,
}

/// A datagram to be sent over the connection to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transmit {
    /// The peer at the other end of the connection; not always the member it is meant for.
    pub(crate) to: Identity,
    /// The datagram, at most [`DATAGRAM_BYTES_MAX`] bytes.
    pub(crate) datagram: Bytes,
}

/// Something about a member changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The member.
    pub(crate) identity: Identity,
    /// Its state before, if it was known.
    pub(crate) before: Option<MemberState>,
    /// Its state now.
    pub(crate) now: MemberState,
}

/// Why a datagram was dropped. The peer that sent it is at fault, except where said; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum DatagramError {
    /// The bytes are no gossip.
    #[error("malformed gossip")]
    Malformed(#[from] WireError),
    /// The datagram is longer than any that a member sends.
    #[error("gossip of {0} bytes is longer than {DATAGRAM_BYTES_MAX}")]
    TooLong(usize),
    /// The peer, or somebody it tells of, is of a layer whose nodes are no members.
    #[error("{0} is of a layer that does not gossip")]
    NotAMember(Identity),
    /// The packet claims another sender than the one that the connection or the relay proves.
    #[error("a packet of {sender} claims to be of {claimed}")]
    Impersonation {
        /// Who sent it.
        sender: Identity,
        /// Who it says it is of.
        claimed: Identity,
    },
    /// The peer handed on a packet, and is of a layer that must not, or asked this node to, which must not either.
    #[error("only nodes of a relaying layer hand on gossip")]
    NotARelay,
    /// This node has no connection to the member that the packet is for. Nobody is at fault: the sender tries another relay.
    #[error("no connection to {0} to hand gossip on")]
    NoConnection(Identity),
    /// The packet tells of more members than a directory holds.
    #[error("more than {MEMBERS_MAX} members")]
    TooManyMembers,
    /// A node at another address has this name and answers. Two processes run with one certificate: stop one, or give
    /// it a name of its own. After a move the new one is let in as soon as the old one is down.
    #[error("{identity} at {claimed} is refused: the name is in use at {known}")]
    NameTaken {
        /// The name.
        identity: Identity,
        /// Where the node is that is in.
        known: SocketAddr,
        /// Where the node is that wants in.
        claimed: SocketAddr,
    },
}

/// What this node says of itself.
#[derive(Debug, Default)]
struct OwnReport {
    load: u8,
    offers: Offers,
    leaving: bool,
    /// What was said last, and when.
    said: Option<(Report, Duration)>,
    scheduled: bool,
}

impl Membership {
    /// The membership of `me`, alone at first. `seed` decides every random choice.
    ///
    /// # Panics
    /// If `me` is an administrator: only nodes are members.
    pub(crate) fn new(me: Announced, adjacency: Adjacency, config: Config, seed: u64, now: Duration) -> Self {
        assert!(me.identity().layer().is_some(), "only nodes are members");
        let codec = PacketCodec::new(me.identity().domain());
        let (handler, news) = Reports::new(codec.domain());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let foca_rng = ChaCha8Rng::seed_from_u64(rng.next_u64());
        let foca_config = config.to_foca(Duration::ZERO);
        let mut membership = Self {
            foca: Foca::with_custom_broadcast(me, foca_config, foca_rng, codec.clone(), handler),
            codec,
            config,
            effects: Effects::default(),
            routes: Routes::new(adjacency),
            seeds: BTreeMap::new(),
            news,
            reports: BTreeMap::new(),
            mine: OwnReport::default(),
            directory: Directory::default(),
            directory_changed: true,
            shown: None,
            has_left: false,
            rng,
            transmits: VecDeque::new(),
            notices: VecDeque::new(),
        };
        membership.effects.now = now;
        membership.effects.schedule(Due::Join, Duration::ZERO);
        membership.settle(now);
        membership
    }

    /// This node, in the life that its peers know.
    pub(crate) fn me(&self) -> &Announced {
        self.foca.identity()
    }

    /// What this node believes now.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Takes the nodes to be asked first, and again whenever they do not count as members.
    pub(crate) fn join(&mut self, seeds: impl IntoIterator<Item = (Identity, SocketAddr)>, now: Duration) {
        self.seeds = seeds.into_iter().filter(|(seed, _)| seed != self.me().identity()).take(MEMBERS_MAX).collect();
        self.effects.now = now;
        self.announce_to_strangers();
        self.settle(now);
    }

    /// Takes the connections that exist now and their smoothed round trips. Peers that are new and no members are asked at once.
    pub(crate) fn handle_connections(&mut self, connected: BTreeMap<Identity, Duration>, now: Duration) {
        let farthest_before = self.routes.farthest();
        let new = self.routes.set_connected(connected);
        self.effects.now = now;
        let farthest = self.routes.farthest();
        if farthest != farthest_before {
            self.foca.set_config(self.config.to_foca(farthest)).expect("only the time of suspicion changes, which foca allows");
        }
        for peer in new {
            if self.is_stranger(&peer) {
                self.announce_to(&peer);
            }
        }
        self.settle(now);
    }

    /// Takes a datagram that arrived over the connection of `peer`.
    pub(crate) fn handle_datagram(&mut self, peer: &Identity, datagram: Bytes, now: Duration) -> Result<(), DatagramError> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DatagramError::TooLong(datagram.len()));
        }
        if !self.routes.adjacency().is_server(peer) {
            return Err(DatagramError::NotAMember(peer.clone()));
        }
        match Envelope::decode(datagram, self.codec.domain())? {
            Envelope::Direct(packet) => self.handle_packet(peer, &packet, now),
            Envelope::FromRelay { from, packet } if self.routes.adjacency().is_relay(peer) => self.handle_packet(&from, &packet, now),
            Envelope::FromRelay { .. } => Err(DatagramError::NotARelay),
            Envelope::ToRelay { to, packet } => self.hand_on(peer, to, packet),
        }
    }

    /// Does what is due by `now`.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        self.effects.now = now;
        while let Some(due) = self.effects.take_due(now) {
            match due {
                Due::Foca(timer) => self.handle_foca_timer(timer),
                Due::Join => self.join_again(),
                Due::Remind => self.remind_suspects(),
                Due::Report => self.report_again(),
            }
            self.settle(now);
        }
    }

    /// Says how busy this node is, what it offers and how far that is. Cheap: peers are told at most once in
    /// [`report_every`](Config::report_every), and only of changes that matter.
    pub(crate) fn report(&mut self, load: u8, offers: Offers, now: Duration) {
        self.mine.load = load;
        self.mine.offers = offers;
        self.effects.now = now;
        self.consider_report();
        self.settle(now);
    }

    /// Says, once, that this node is about to stop and wants no new work.
    pub(crate) fn drain(&mut self, now: Duration) {
        if std::mem::replace(&mut self.mine.leaving, true) {
            return;
        }
        self.effects.now = now;
        self.say_report();
        let done = self.foca.gossip(&mut self.effects);
        note(done);
        self.settle(now);
    }

    /// Says that this node stops. After the transmits that this makes, it takes part no more.
    pub(crate) fn leave(&mut self, now: Duration) {
        self.has_left = true;
        self.effects.now = now;
        let done = self.foca.leave_cluster(&mut self.effects);
        note(done);
        self.settle(now);
    }

    /// The next datagram to be sent.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next change of a member.
    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The directory, if it changed since it was last taken.
    pub(crate) fn poll_directory(&mut self) -> Option<Arc<Directory>> {
        std::mem::take(&mut self.directory_changed).then(|| Arc::new(self.directory.clone()))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.effects.next_timeout()
    }
}

/// What arrives.
impl Membership {
    fn handle_packet(&mut self, from: &Identity, bytes: &[u8], now: Duration) -> Result<(), DatagramError> {
        let packet = self.codec.parse(bytes)?;
        self.admit(from, &packet)?;
        self.routes.heard(from);
        self.effects.now = now;
        if packet.header.dst.identity() == self.me().identity() {
            self.outlive(&packet.header.dst);
        }
        let done = self.foca.handle_data(bytes, &mut self.effects);
        note(done);
        self.settle(now);
        Ok(())
    }

    /// Refuses what foca has no opinion on: senders that are not who they say, names that are no members or in use, crowds.
    fn admit(&self, from: &Identity, packet: &Packet) -> Result<(), DatagramError> {
        let source = &packet.header.src;
        if source.identity() != from {
            return Err(DatagramError::Impersonation { sender: from.clone(), claimed: source.identity().clone() });
        }
        let told = packet.updates.iter().map(|update| update.id().identity());
        let told = told.chain(packet.reports.iter().map(|report| &report.identity));
        let mut unknown = 0;
        for identity in told.chain([from]) {
            if !self.routes.adjacency().is_server(identity) {
                return Err(DatagramError::NotAMember(identity.clone()));
            }
            unknown += usize::from(self.directory.get(identity).is_none());
        }
        if unknown > 0 && self.directory.len() + unknown > MEMBERS_MAX {
            return Err(DatagramError::TooManyMembers);
        }
        match self.directory.get(from) {
            Some(known) if known.is_active() && known.address != source.address() && known.generation < source.generation() => {
                Err(DatagramError::NameTaken { identity: from.clone(), known: known.address, claimed: source.address() })
            }
            _ => Ok(()),
        }
    }

    fn handle_foca_timer(&mut self, timer: Timer<Announced>) {
        // foca 2.0 tells a suspect that it is down when its time is over, even if it has contradicted meanwhile. The
        // suspect believes that, and starts a new life for nothing.
        let is_moot = match &timer {
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => !self.is_suspect(member_id, *incarnation),
            _ => false,
        };
        if !is_moot {
            let done = self.foca.handle_timer(timer, &mut self.effects);
            note(done);
        }
    }

    fn is_suspect(&self, announced: &Announced, incarnation: Incarnation) -> bool {
        let mut members = self.foca.iter_membership_state();
        let suspect = foca::Member::new(announced.clone(), incarnation, State::Suspect);
        members.any(|member| *member == suspect)
    }

    fn hand_on(&mut self, from: &Identity, to: Identity, packet: Bytes) -> Result<(), DatagramError> {
        let adjacency = self.routes.adjacency();
        if !adjacency.is_relay(self.foca.identity().identity()) {
            return Err(DatagramError::NotARelay);
        }
        if !adjacency.is_server(&to) {
            return Err(DatagramError::NotAMember(to));
        }
        if !self.routes.is_connected(&to) {
            return Err(DatagramError::NoConnection(to));
        }
        let datagram = Envelope::FromRelay { from: from.clone(), packet }.encode();
        self.transmits.push_back(Transmit { to, datagram });
        Ok(())
    }
}

/// What follows from an input.
impl Membership {
    fn settle(&mut self, now: Duration) {
        // Most inputs change nothing, and then nobody has to be looked up.
        let is_new = !self.is_shown();
        if is_new {
            self.outlive_own_past();
        }
        while let Some((to, packet)) = self.effects.packets.pop_front() {
            self.send(to.identity(), packet, now);
        }
        let mut is_reported = false;
        while let Ok(report) = self.news.try_recv() {
            self.reports.insert(report.identity.clone(), report);
            is_reported = true;
        }
        if is_new || is_reported {
            self.refresh_directory(now);
            self.shown = Some(self.to_show());
        }
    }

    /// Whether the directory was made from what foca and this node itself say now.
    fn is_shown(&self) -> bool {
        let Some(shown) = &self.shown else { return false };
        let same = |((announced, state), member): (&(Announced, State), &foca::Member<Announced>)| {
            announced == member.id() && *state == member.state()
        };
        let members = self.foca.iter_membership_state();
        shown.me == *self.me()
            && (shown.state, shown.load, &shown.offers) == (self.own_state(), self.mine.load, &self.mine.offers)
            && shown.others.len() == members.len()
            && shown.others.iter().zip(members).all(same)
    }

    fn to_show(&self) -> Shown {
        Shown {
            me: self.me().clone(),
            state: self.own_state(),
            load: self.mine.load,
            offers: self.mine.offers.clone(),
            others: self.foca.iter_membership_state().map(|member| (member.id().clone(), member.state())).collect(),
        }
    }

    /// Notices when this node itself is told as dead in a life that has not come yet.
    fn outlive_own_past(&mut self) {
        let own_name = self.me().identity();
        let past = self.foca.iter_membership_state().map(foca::Member::id).find(|announced| announced.identity() == own_name);
        if let Some(past) = past.cloned() {
            self.outlive(&past);
        }
    }

    /// Takes a generation above `past`, which peers remember of this name at this address, for instance from before the
    /// clock was set back. Otherwise they would take the past for the future and never listen to this life.
    fn outlive(&mut self, past: &Announced) {
        let me = self.foca.identity();
        if self.has_left || past.generation() < me.generation() || past.address() != me.address() || past == me {
            return;
        }
        if let Some(next) = me.after(past.generation()) {
            let done = self.foca.change_identity(next, &mut self.effects);
            note(done);
            self.effects.is_heard = false;
        }
    }

    fn send(&mut self, to: &Identity, packet: Bytes, now: Duration) {
        if to == self.me().identity() {
            return;
        }
        let transmit = match self.routes.hop(to, self.codec.asks(&packet), now) {
            Some(Hop::Direct) => Transmit { to: to.clone(), datagram: Envelope::Direct(packet).encode() },
            Some(Hop::Over(relay)) => Transmit { to: relay, datagram: Envelope::ToRelay { to: to.clone(), packet }.encode() },
            // Nobody is connected yet. SWIM takes it as a lost datagram.
            None => return,
        };
        self.transmits.push_back(transmit);
    }

    /// Makes the directory say what foca and the reports say.
    fn refresh_directory(&mut self, now: Duration) {
        let me = Believed { announced: self.foca.identity(), state: self.own_state() };
        let own_name = me.announced.identity().clone();
        let others = self.foca.iter_membership_state().filter(|member| *member.id().identity() != own_name);
        let mut seen = 1;
        let mut changed = false;
        for believed in std::iter::once(me).chain(others.map(Believed::of)) {
            seen += usize::from(*believed.announced.identity() != own_name);
            let own = (*believed.announced.identity() == own_name).then_some(&self.mine);
            let report = self.reports.get(believed.announced.identity());
            let member = believed.member(report, own, now);
            let known = self.directory.get_mut(&member.identity);
            changed |= take_change(known.as_deref(), &member, &mut self.notices);
            match known {
                Some(known) if known.state == member.state => *known = Member { since: known.since, ..member },
                Some(known) => *known = member,
                None => {
                    self.directory.insert(member);
                }
            }
        }
        if self.directory.len() > seen {
            let names: std::collections::BTreeSet<&Identity> =
                self.foca.iter_membership_state().map(|member| member.id().identity()).chain([&own_name]).collect();
            self.directory.retain(|identity| names.contains(identity));
            self.reports.retain(|identity, _| names.contains(identity));
            changed = true;
        }
        self.directory_changed |= changed;
    }

    fn own_state(&self) -> MemberState {
        match (self.has_left, self.mine.leaving) {
            (true, _) => MemberState::Down,
            (false, true) => MemberState::Leaving,
            (false, false) => MemberState::Up,
        }
    }
}

/// Getting in, and back in.
impl Membership {
    fn join_again(&mut self) {
        if self.has_left {
            return;
        }
        self.announce_to_strangers();
        let quarter = self.config.join_every / 4;
        let jitter = quarter.mul_f64(self.rng.random_range(0.0..2.0));
        self.effects.schedule(Due::Join, self.config.join_every - quarter + jitter);
    }

    /// Asks at most [`STRANGERS_ASKED_MAX`], chosen at random, of those who should be members and are not. A life that nobody
    /// has answered yet is a stranger to everybody.
    fn announce_to_strangers(&mut self) {
        let members = self.directory.members().filter(|member| !self.effects.is_heard && member.is_active());
        let known = self.seeds.keys().chain(self.routes.connected()).filter(|peer| self.is_stranger(peer));
        let mut strangers: Vec<Identity> = known.chain(members.map(|member| &member.identity)).cloned().collect();
        strangers.sort_unstable();
        strangers.dedup();
        for _ in 0..STRANGERS_ASKED_MAX.min(strangers.len()) {
            let stranger = strangers.swap_remove(self.rng.random_range(0..strangers.len()));
            self.announce_to(&stranger);
        }
    }

    fn is_stranger(&self, peer: &Identity) -> bool {
        self.routes.adjacency().is_server(peer) && peer != self.me().identity() && !self.directory.get(peer).is_some_and(Member::is_active)
    }

    fn announce_to(&mut self, peer: &Identity) {
        // An announcement reaches every life of a name, so neither generation nor address matter.
        let anybody = Announced::new(peer.clone(), 0, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let done = self.foca.announce(anybody, &mut self.effects);
        note(done);
    }
}

/// Telling suspects.
impl Membership {
    /// Sends a ping with the suspicion on top to every suspect that this node accuses. The suspect answers with a
    /// higher incarnation, which clears it here, and tells others.
    fn remind_suspects(&mut self) {
        let mut accused = std::mem::take(&mut self.effects.accused);
        accused.retain(|_, (suspect, incarnation)| self.is_suspect(suspect, *incarnation));
        self.effects.accused = accused;
        if self.effects.accused.is_empty() {
            return;
        }
        let accused: Vec<_> = self.effects.accused.values().cloned().collect();
        for (suspect, incarnation) in accused {
            let member = foca::Member::new(suspect.clone(), incarnation, State::Suspect);
            let packet = self.reminder(&member).expect("two or three names fit a packet");
            self.effects.packets.push_back((suspect, packet));
        }
        self.effects.schedule(Due::Remind, self.config.remind_every);
    }

    fn reminder(&mut self, suspect: &foca::Member<Announced>) -> Result<Bytes, WireError> {
        let mut packet = Vec::new();
        let header = Header {
            src: self.foca.identity().clone(),
            // foca keeps its incarnation to itself; zero says nothing new, and the suspect has heard of us before.
            src_incarnation: 0,
            dst: suspect.id().clone(),
            message: Message::Ping(0),
        };
        self.codec.encode_header(&header, &mut packet)?;
        packet.put_u16(1);
        self.codec.encode_member(suspect, &mut packet)?;
        Ok(packet.into())
    }
}

/// Telling others of this node.
impl Membership {
    /// The first report leaves at once; after that the timer runs for ever.
    fn consider_report(&mut self) {
        if self.mine.said.is_none() && !self.has_left {
            self.say_report();
        }
    }

    fn report_again(&mut self) {
        self.mine.scheduled = false;
        if self.has_left {
            return;
        }
        let due = self
            .mine
            .said
            .as_ref()
            .is_none_or(|(said, at)| self.mine.differs_from(said) || self.effects.now >= *at + self.config.report_again_every);
        if due {
            self.say_report();
        } else {
            self.schedule_report(self.config.report_every);
        }
    }

    fn say_report(&mut self) {
        let number = self.mine.said.as_ref().map_or(0, |(said, _)| said.version.number) + 1;
        let me = self.foca.identity();
        let report = Report {
            identity: me.identity().clone(),
            version: ReportVersion { generation: me.generation(), number },
            load: self.mine.load,
            leaving: self.mine.leaving,
            offers: self.mine.offers.clone(),
        };
        if let Err(error) = self.foca.add_broadcast(&report.encode()) {
            debug!(%error, "own report is not spread");
        }
        self.mine.said = Some((report, self.effects.now));
        self.schedule_report(self.config.report_every);
    }

    /// One timer at a time: when it goes off, what has changed is said, or repeated for those who joined since.
    fn schedule_report(&mut self, after: Duration) {
        if !self.mine.scheduled {
            self.mine.scheduled = true;
            self.effects.schedule(Due::Report, after);
        }
    }
}

impl OwnReport {
    /// Whether the others should know what changed since.
    fn differs_from(&self, said: &Report) -> bool {
        self.load.abs_diff(said.load) >= LOAD_STEP || self.offers != said.offers || self.leaving != said.leaving
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("me", self.me()).field("members", &self.directory.len()).finish_non_exhaustive()
    }
}

/// What a directory is made from, reports apart.
struct Shown {
    me: Announced,
    state: MemberState,
    load: u8,
    offers: Offers,
    /// In foca's order.
    others: Vec<(Announced, State)>,
}

/// A member as the protocol has it.
struct Believed<'a> {
    announced: &'a Announced,
    state: MemberState,
}

impl<'a> Believed<'a> {
    fn of(member: &'a foca::Member<Announced>) -> Self {
        let state = match member.state() {
            State::Alive => MemberState::Up,
            State::Suspect => MemberState::Suspect,
            State::Down => MemberState::Down,
        };
        Self { announced: member.id(), state }
    }

    fn member(&self, report: Option<&Report>, own: Option<&OwnReport>, now: Duration) -> Member {
        let report = report.filter(|report| report.version.generation == self.announced.generation());
        let leaving = report.is_some_and(|report| report.leaving);
        let (load, offers) = match own {
            Some(own) => (own.load, own.offers.clone()),
            None => report.map_or((0, Offers::default()), |report| (report.load, report.offers.clone())),
        };
        Member {
            identity: self.announced.identity().clone(),
            address: self.announced.address(),
            generation: self.announced.generation(),
            state: if self.state == MemberState::Up && leaving { MemberState::Leaving } else { self.state },
            since: now,
            load,
            offers,
        }
    }
}

/// Whether the directory changes when `member` takes the place of `known`; a change of state is noted.
fn take_change(known: Option<&Member>, member: &Member, notices: &mut VecDeque<Notice>) -> bool {
    let Some(known) = known else {
        notices.push_back(Notice { identity: member.identity.clone(), before: None, now: member.state });
        return true;
    };
    if known.state != member.state || known.generation != member.generation {
        notices.push_back(Notice { identity: member.identity.clone(), before: Some(known.state), now: member.state });
    }
    *known != Member { since: known.since, ..member.clone() }
}

/// foca's errors tell of peers that sent nonsense, or packets that came at an odd moment; it goes on by itself.
fn note(done: Result<(), foca::Error>) {
    if let Err(error) = done {
        debug!(%error, "gossip input ignored");
    }
}

/// How many nodes that are not members are asked at a time, so that a large deployment does not ask all at once.
const STRANGERS_ASKED_MAX: usize = 3;
/// A sixteenth: smaller changes of load do not change anybody's choice.
const LOAD_STEP: u8 = 16;

#[cfg(test)]
mod tests;
