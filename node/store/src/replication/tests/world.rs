//! The world of the tests: clocks, network, disks, clients, and what must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add;
use std::sync::Arc;

use bytes::Bytes;
use caps_model::messages::Outcome;
use caps_model::messages::cabinet::Committed;
use caps_model::{Author, Change, Commit, CommitId, Name, ObjectId, Position, Read, Value};
use caps_overlay::Rng;
use raft::eraftpb::Message;

use crate::cabinet::{Cabinet, Proposal, Proposed, Verdict};
use crate::journal::{self, JournalReader, JournalWriter};
use crate::replication::membership::test_node;
use crate::replication::{Consensus, HandleError, Membership, Plan, Role, Timing, Wish, Write, decode, encode, split};
use crate::state::{MemoryState, State};
use crate::storage::MemoryStorage;

/// A mistake that the harness makes on purpose, to show that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// None.
    None,
    /// Writes count as durable when they are given to the disk.
    AcknowledgeBeforeSync,
    /// Votes and terms count as durable at once; entries do not.
    UnsavedVote,
    /// Linearizable reads are answered without asking a majority.
    StaleRead,
}

/// What must never happen, happened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("term {term} had two leaders: {first} and {second}")]
    TwoLeaders { term: u64, first: u64, second: u64 },
    #[error("replicas disagree about entry {index}")]
    Diverged { index: u64 },
    #[error("replicas disagree about the cabinet at position {position}")]
    Heads { position: Position },
    #[error("{commit:?} was applied at {first} and at {second}")]
    Twice { commit: CommitId, first: Position, second: Position },
    #[error("{commit:?}, acknowledged at {position}, is {found:?} on replica {replica}")]
    Lost { commit: CommitId, position: Position, found: Outcome, replica: u64 },
    #[error("a linearizable read saw {seen}, {acknowledged} had been acknowledged before it started")]
    StaleRead { seen: Position, acknowledged: Position },
    #[error("replica {replica} could not be opened: {why}")]
    Unopened { replica: u64, why: String },
    #[error("replica {replica} stopped: {why}")]
    Stopped { replica: u64, why: String },
    #[error("the healed group does not work: {0}")]
    NotHealed(String),
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Events {
    pub(super) acknowledged: usize,
    pub(super) elections: usize,
    pub(super) crashes: usize,
    pub(super) reads: usize,
    pub(super) changes: usize,
}

impl Add for Events {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            elections: self.elections + other.elections,
            crashes: self.crashes + other.crashes,
            reads: self.reads + other.reads,
            changes: self.changes + other.changes,
        }
    }
}

/// Three replicas at first, and everything around them. Times are in microseconds.
pub(super) struct World {
    rng: Rng,
    bug: Bug,
    weather: Weather,
    now: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    replicas: BTreeMap<u64, Replica>,
    /// Pairs between which nothing passes.
    cut: BTreeSet<(u64, u64)>,
    truth: Truth,
    counted: Events,
    trace: u64,
}

/// How bad it is: drawn anew for every world, so that some are calm and others are not (swarm testing).
struct Weather {
    loss_percent: u64,
    duplicate_percent: u64,
    delay_us: u64,
    sync_us: u64,
    crash_every_us: u64,
    cut_every_us: u64,
    commit_every_us: u64,
    change_every_us: u64,
}

enum Event {
    Tick { replica: u64, life: u64 },
    Deliver { to: u64, bytes: Bytes },
    Synced { replica: u64, life: u64 },
    Commit,
    Change,
    Read,
    Crash,
    Restart { replica: u64 },
    Cut,
    Heal,
    Retire { replica: u64 },
}

struct Replica {
    disk: MemoryStorage,
    /// Counts the starts: what was meant for an earlier life is void.
    life: u64,
    /// It has seen that it was removed, and never comes back.
    retired: bool,
    up: Option<Up>,
}

struct Up {
    consensus: Consensus,
    reader: JournalReader,
    writer: JournalWriter,
    cabinet: Cabinet<MemoryState>,
    queued: Vec<Write>,
    /// The last write that the sync under way covers.
    syncing: Option<u64>,
    /// Reads that wait for their question's answer: context, what was acknowledged when they started.
    reads: BTreeMap<u64, Position>,
    /// Reads that wait until an index is applied.
    pending: Vec<(u64, Position)>,
    /// Commits proposed here in this life.
    proposed: BTreeSet<CommitId>,
}

/// What an all-knowing observer has seen.
#[derive(Default)]
struct Truth {
    leaders: BTreeMap<u64, u64>,
    entries: BTreeMap<u64, (u64, Bytes)>,
    heads: BTreeMap<Position, [u8; 32]>,
    positions: BTreeMap<CommitId, Position>,
    acknowledged: BTreeMap<CommitId, Position>,
    asked: Vec<CommitId>,
}

impl Replica {
    fn new() -> Self {
        Self { disk: MemoryStorage::new(), life: 0, retired: false, up: None }
    }
}

type Checked<T = ()> = Result<T, Violation>;

impl World {
    pub(super) fn new(seed: u64, bug: Bug) -> Self {
        let rng = Rng::seeded(seed);
        let weather = Weather {
            loss_percent: rng.below(20),
            duplicate_percent: rng.below(10),
            delay_us: 1_000 + rng.below(40_000),
            sync_us: 200 + rng.below(20_000),
            crash_every_us: 500_000 + rng.below(4_000_000),
            cut_every_us: 500_000 + rng.below(4_000_000),
            commit_every_us: 2_000 + rng.below(60_000),
            change_every_us: 300_000 + Rng::seeded(!seed).below(4_000_000),
        };
        let replicas = VOTERS.map(|id| (id, Replica::new())).into();
        let mut world = Self {
            rng,
            bug,
            weather,
            now: 0,
            sequence: 0,
            events: BTreeMap::new(),
            replicas,
            cut: BTreeSet::new(),
            truth: Truth::default(),
            counted: Events::default(),
            trace: seed,
        };
        for replica in VOTERS {
            world.at(0, Event::Restart { replica });
        }
        world.soon(1_000_000, Event::Commit);
        world.soon(1_000_000, Event::Read);
        // The mistakes on purpose have nothing to do with it, and are found sooner among the same three.
        if bug == Bug::None {
            world.soon(1_000_000, Event::Change);
        }
        world.soon(world.weather.crash_every_us, Event::Crash);
        world.soon(world.weather.cut_every_us, Event::Cut);
        world
    }

    /// Lets the world happen, heals it, and compares.
    pub(super) fn run(&mut self) -> Checked<Events> {
        self.until(STORM_US)?;
        let acknowledged = self.counted.acknowledged;
        self.calm_down();
        self.until(STORM_US + CALM_US)?;
        self.compare(acknowledged)?;
        Ok(self.counted)
    }

    /// A digest of everything that happened.
    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    fn until(&mut self, end: u64) -> Checked {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            self.now = entry.key().0;
            let event = entry.remove();
            self.happen(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Tick { replica, life } => self.tick(replica, life),
            Event::Deliver { to, bytes } => self.deliver(to, bytes),
            Event::Synced { replica, life } => self.synced(replica, life),
            // Clients fall silent before the end, so that what is under way arrives.
            Event::Commit if self.now > STORM_US + CALM_US - SILENCE_US => Ok(()),
            Event::Commit => {
                self.soon(self.weather.commit_every_us, Event::Commit);
                self.commit()
            }
            Event::Change if self.now > STORM_US => Ok(()),
            Event::Change => {
                self.soon(self.weather.change_every_us, Event::Change);
                self.change_members()
            }
            Event::Read => {
                self.soon(100_000, Event::Read);
                self.read()
            }
            Event::Crash => {
                self.soon(self.weather.crash_every_us, Event::Crash);
                self.crash();
                Ok(())
            }
            Event::Restart { replica } => self.restart(replica),
            Event::Cut => {
                self.soon(self.weather.cut_every_us, Event::Cut);
                self.cut();
                Ok(())
            }
            Event::Retire { replica } => {
                let replica = self.replicas.get_mut(&replica).expect("it was a member");
                (replica.up, replica.retired) = (None, true);
                Ok(())
            }
            Event::Heal => {
                self.cut.clear();
                Ok(())
            }
        }
    }

    fn tick(&mut self, id: u64, life: u64) -> Checked {
        let Some(up) = self.alive(id, life) else { return Ok(()) };
        up.consensus.handle_tick();
        let questions: Vec<u64> = up.reads.keys().copied().collect();
        for context in questions {
            up.consensus.read_index(context);
        }
        // Clocks drift: a tick takes 45 to 55 ms.
        let tick = 45_000 + self.rng.below(10_000);
        self.at(self.now + tick, Event::Tick { replica: id, life });
        self.work(id)
    }

    fn deliver(&mut self, to: u64, bytes: Bytes) -> Checked {
        let message = decode(&cabinet_name(), bytes).expect("the test's own messages are well-formed");
        let Some(up) = self.replicas.get_mut(&to).and_then(|replica| replica.up.as_mut()) else { return Ok(()) };
        match up.consensus.handle_message(message) {
            Ok(()) | Err(HandleError::Refused(_)) => {}
            Err(HandleError::Lost(lost)) => return Err(Violation::Stopped { replica: to, why: lost.to_string() }),
        }
        self.work(to)
    }

    fn synced(&mut self, id: u64, life: u64) -> Checked {
        let Some(up) = self.alive(id, life) else { return Ok(()) };
        let Some(last) = up.syncing.take() else { return Ok(()) };
        if up.writer.sync().is_err() {
            // The disk was told to die in the middle of things, and the machine with it.
            self.die(id);
            return Ok(());
        }
        up.consensus.handle_persisted(last);
        self.work(id)
    }

    /// A client asks some replica that thinks it leads; sometimes for the same thing again.
    fn commit(&mut self) -> Checked {
        let Some(leader) = self.some_leader() else { return Ok(()) };
        let again = !self.truth.asked.is_empty() && self.rng.below(4) == 0;
        let id = match again {
            true => self.truth.asked[usize::try_from(self.rng.below(self.truth.asked.len() as u64)).unwrap()],
            false => CommitId(u128::from(self.rng.next_u64())),
        };
        self.truth.asked.push(id);
        let payload: Bytes = Proposal::Commit(self.change(leader, id)).encode(0, &Rng::seeded(1)).expect("it is small").into();
        let up = self.replicas.get_mut(&leader).and_then(|replica| replica.up.as_mut()).expect("it leads");
        if up.consensus.propose(vec![payload]) == (1, None) {
            up.proposed.insert(id);
        }
        self.work(leader)
    }

    /// A new object, and now and then a count that everybody wants to raise.
    fn change(&self, leader: u64, id: CommitId) -> Commit {
        let mut reads = Vec::new();
        let mut changes = vec![Change::Create {
            object: ObjectId(id.0),
            entity: Name::fixed("thing"),
            ancestors: Vec::new(),
            attributes: BTreeMap::new(),
        }];
        if id.0.is_multiple_of(3) {
            let up = self.replicas[&leader].up.as_ref().expect("it leads");
            let counter = up.cabinet.state().object(COUNTER).expect("memory does not fail");
            let version = counter.as_ref().map_or(Position::ZERO, |object| object.version);
            let count = counter.as_ref().and_then(|object| object.int("count")).unwrap_or(0);
            let attributes = BTreeMap::from([(Name::fixed("count"), vec![Value::Int(count + 1)])]);
            reads.push(Read::Object { object: COUNTER, version });
            changes.push(match counter {
                None => Change::Create { object: COUNTER, entity: Name::fixed("counter"), ancestors: Vec::new(), attributes },
                Some(_) => Change::Update { object: COUNTER, attributes },
            });
        }
        Commit { id, author: author(), time: 0, reads, changes, effects: Vec::new(), result: BTreeMap::new() }
    }

    /// An administrator asks whoever leads for another membership: a new member, a vote more or less, a member less.
    fn change_members(&mut self) -> Checked {
        let Some(leader) = self.some_leader() else { return Ok(()) };
        let consensus = &self.replicas[&leader].up.as_ref().expect("it leads").consensus;
        let members: Vec<u64> = consensus.membership().members().map(|(number, _)| number).collect();
        let some = members[usize::try_from(self.rng.below(members.len() as u64)).unwrap()];
        let next = consensus.membership().next_number();
        let wish = match self.rng.below(5) {
            0 if members.len() < MEMBERS_MAX => Wish::Admit { identity: test_node(next), incarnation: next },
            0 | 1 => Wish::Remove(test_node(some)),
            2 => Wish::Demote(test_node(some)),
            3 => Wish::Lead(test_node(some)),
            _ => Wish::Promote(test_node(some)),
        };
        let up = self.replicas.get_mut(&leader).and_then(|replica| replica.up.as_mut()).expect("it leads");
        match up.consensus.plan(&wish) {
            Ok(Plan::Change(change)) => {
                up.consensus.propose_change(&change).ok();
            }
            Ok(Plan::Transfer(to)) => up.consensus.transfer(to),
            Ok(Plan::StepAside) => {
                up.consensus.hand_over();
            }
            Ok(Plan::Nothing) | Err(_) => {}
        }
        if let Wish::Admit { .. } = wish {
            // It stands ready before it is admitted, and is not heard of if it never is.
            self.replicas.entry(next).or_insert_with(Replica::new);
            self.at(self.now, Event::Restart { replica: next });
        }
        self.work(leader)
    }

    fn read(&mut self) -> Checked {
        let id = self.some_voter();
        let context = self.rng.next_u64();
        let acknowledged = self.truth.acknowledged.values().max().copied().unwrap_or_default();
        let Some(up) = self.replicas.get_mut(&id).and_then(|replica| replica.up.as_mut()) else { return Ok(()) };
        if self.bug == Bug::StaleRead {
            let index = up.cabinet.mark().index;
            up.pending.push((index, acknowledged));
        } else if up.reads.len() < 16 {
            up.reads.insert(context, acknowledged);
            up.consensus.read_index(context);
        }
        self.work(id)
    }

    /// The power goes: at once, or in the middle of one of the next things that the disk does.
    fn crash(&mut self) {
        let id = self.some_voter();
        if self.replicas[&id].up.is_none() {
            return;
        }
        match self.rng.below(2) {
            0 => self.die(id),
            _ => self.replicas[&id].disk.halt_after(self.rng.below(6)),
        }
    }

    fn die(&mut self, id: u64) {
        self.counted.crashes += 1;
        let rng = self.rng.clone();
        let replica = self.replicas.get_mut(&id).expect("it is a voter");
        replica.up = None;
        replica.life += 1;
        replica.disk.power_cut(|| rng.below(2) == 0);
        self.soon(1_500_000, Event::Restart { replica: id });
    }

    fn restart(&mut self, id: u64) -> Checked {
        let fork = self.rng.fork();
        let replica = self.replicas.get_mut(&id).expect("it is a voter");
        if replica.up.is_some() || replica.retired {
            return Ok(());
        }
        let unopened = |why: String| Violation::Unopened { replica: id, why };
        let mut options = journal::Options::new(cabinet_name());
        options.segment_bytes = 32 << 10;
        options.cache_bytes = 16 << 10;
        let opened = match journal::open(Arc::new(replica.disk.clone()), options) {
            Ok(opened) => opened,
            Err(error) => return Err(unopened(format!("{error:?}"))),
        };
        let mut cabinet = Cabinet::new(MemoryState::new());
        let committed = opened.recovered.hard_state.commit.min(opened.recovered.last_index);
        for entry in read_all(&opened.reader, committed) {
            match entry.payload.is_empty() || entry.kind != journal::EntryKind::Normal {
                true => cabinet.skip(entry.index),
                false => {
                    let proposed = Proposed::decode(&entry.payload, entry.index, entry.term);
                    let proposed = proposed.expect("the test's own entries are well-formed");
                    cabinet.apply(entry.index, &proposed).expect("memory does not fail");
                }
            }
        }
        let draw = Box::new(move |below| fork.below(below));
        let applied = cabinet.mark().index;
        let membership = Membership::of_voters(&VOTERS).after(&opened.reader.changes(applied)).expect("the test's own changes make sense");
        let consensus = Consensus::new(id, membership, Timing::default(), opened.reader.clone(), applied, draw)
            .map_err(|error| unopened(error.to_string()))?;
        replica.up = Some(Up {
            consensus,
            reader: opened.reader,
            writer: opened.writer,
            cabinet,
            queued: Vec::new(),
            syncing: None,
            reads: BTreeMap::new(),
            pending: Vec::new(),
            proposed: BTreeSet::new(),
        });
        let life = replica.life;
        self.at(self.now, Event::Tick { replica: id, life });
        Ok(())
    }

    /// One replica cannot be heard, or cannot hear, or both; or two cannot hear each other.
    fn cut(&mut self) {
        let one = self.some_voter();
        let other = self.some_voter();
        let kind = self.rng.below(4);
        for peer in self.everybody() {
            if kind == 3 && peer != other {
                continue;
            }
            if kind != 1 {
                self.cut.insert((one, peer));
            }
            if kind != 0 {
                self.cut.insert((peer, one));
            }
        }
        self.soon(2_000_000, Event::Heal);
    }

    /// The storm ends: no more crashes, losses and cuts; what is down comes up.
    fn calm_down(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Crash | Event::Cut | Event::Restart { .. }));
        self.cut.clear();
        self.weather.loss_percent = 0;
        for id in self.everybody() {
            if self.replicas[&id].up.is_some() {
                // A disk that was told to halt later is told otherwise.
                self.replicas[&id].disk.halt_after(1 << 60);
            }
            self.at(self.now, Event::Restart { replica: id });
        }
    }

    /// Does what consensus asks for, as the driver does.
    fn work(&mut self, id: u64) -> Checked {
        loop {
            let bug = self.bug;
            let Some(up) = self.replicas.get_mut(&id).and_then(|replica| replica.up.as_mut()) else { return Ok(()) };
            let standing = up.consensus.standing();
            let output = match up.consensus.poll() {
                Ok(Some(output)) => output,
                Ok(None) => break,
                // A disk that halts fails reads, too.
                Err(_) => {
                    self.die(id);
                    return Ok(());
                }
            };
            for fetch in output.fetches {
                let fetched = fetch.read(&up.reader);
                up.consensus.handle_fetched(fetched);
            }
            if let Some(write) = output.write {
                let number = write.number;
                let at_once = bug == Bug::AcknowledgeBeforeSync || (bug == Bug::UnsavedVote && write.entries == 0);
                up.queued.push(write);
                if at_once {
                    up.consensus.handle_persisted(number);
                }
            }
            for (context, index) in output.reads {
                if let Some(acknowledged) = up.reads.remove(&context) {
                    up.pending.push((index, acknowledged));
                }
            }
            if standing.role == Role::Leader {
                self.note_leader(id, standing.term)?;
            }
            self.send(output.messages);
            self.apply(id, output.committed)?;
        }
        self.answer_reads(id)?;
        self.start_sync(id);
        Ok(())
    }

    fn note_leader(&mut self, id: u64, term: u64) -> Checked {
        match self.truth.leaders.insert(term, id) {
            Some(first) if first != id => Err(Violation::TwoLeaders { term, first, second: id }),
            Some(_) => Ok(()),
            None => {
                self.counted.elections += 1;
                Ok(())
            }
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages.into_iter().flat_map(|message| split(message, 4 << 10)) {
            if self.cut.contains(&(message.from, message.to)) || self.rng.below(100) < self.weather.loss_percent {
                continue;
            }
            let bytes = encode(&cabinet_name(), &message).expect("only such messages are sent");
            let copies = 1 + u64::from(self.rng.below(100) < self.weather.duplicate_percent);
            for _ in 0..copies {
                // Each copy takes its own time, so that they overtake each other; now and then one is very late.
                let very_late = if self.rng.below(50) == 0 { self.rng.below(3_000_000) } else { 0 };
                let delay = 100 + self.rng.below(self.weather.delay_us) + very_late;
                self.at(self.now + delay, Event::Deliver { to: message.to, bytes: bytes.clone() });
            }
        }
    }

    fn apply(&mut self, id: u64, entries: Vec<journal::Entry>) -> Checked {
        let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(()) };
        let up = self.replicas.get_mut(&id).and_then(|replica| replica.up.as_mut()).expect("it works");
        for entry in entries {
            let before = self.truth.entries.entry(entry.index).or_insert((entry.term, entry.payload.clone()));
            if *before != (entry.term, entry.payload.clone()) {
                return Err(Violation::Diverged { index: entry.index });
            }
            self.trace = mix(self.trace, self.now ^ (id << 56) ^ entry.index);
            if entry.kind != journal::EntryKind::Normal {
                up.consensus.apply_change(&entry).expect("the test's own changes make sense");
                self.counted.changes += 1;
            }
            if entry.kind != journal::EntryKind::Normal || entry.payload.is_empty() {
                up.cabinet.skip(entry.index);
                continue;
            }
            let proposed = Proposed::decode(&entry.payload, entry.index, entry.term);
            let proposed = proposed.expect("the test's own entries are well-formed");
            let applied = up.cabinet.apply(entry.index, &proposed).expect("memory does not fail");
            let mark = up.cabinet.mark();
            if *self.truth.heads.entry(mark.position).or_insert(mark.chain_head) != mark.chain_head {
                return Err(Violation::Heads { position: mark.position });
            }
            let Verdict::Commit(Committed::Accepted { position, .. }) = applied.verdict else { continue };
            let first = *self.truth.positions.entry(applied.commit).or_insert(position);
            if first != position {
                return Err(Violation::Twice { commit: applied.commit, first, second: position });
            }
            if up.proposed.remove(&applied.commit) {
                self.truth.acknowledged.insert(applied.commit, position);
                self.counted.acknowledged += 1;
            }
        }
        up.consensus.handle_applied(last);
        let membership = up.consensus.membership();
        if membership.member(id).is_none() && id < membership.next_number() {
            self.at(self.now + FAREWELL_US, Event::Retire { replica: id });
        }
        Ok(())
    }

    fn answer_reads(&mut self, id: u64) -> Checked {
        let Some(up) = self.replicas.get_mut(&id).and_then(|replica| replica.up.as_mut()) else { return Ok(()) };
        let mark = up.cabinet.mark();
        let mut stale = None;
        let counted = &mut self.counted.reads;
        up.pending.retain(|(index, acknowledged)| {
            if *index > mark.index {
                return true;
            }
            *counted += 1;
            if mark.position < *acknowledged {
                stale = Some(*acknowledged);
            }
            false
        });
        match stale {
            Some(acknowledged) => Err(Violation::StaleRead { seen: mark.position, acknowledged }),
            None => Ok(()),
        }
    }

    /// Gives the disk what waits for it; the sync takes its time, and meanwhile the next batch collects.
    fn start_sync(&mut self, id: u64) {
        let delay = 50 + self.rng.below(self.weather.sync_us);
        let replica = self.replicas.get_mut(&id).expect("it is a voter");
        let life = replica.life;
        let Some(up) = replica.up.as_mut() else { return };
        if up.syncing.is_some() || up.queued.is_empty() {
            return;
        }
        let mut failed = false;
        for write in std::mem::take(&mut up.queued) {
            up.syncing = Some(write.number);
            failed |= up.writer.append(write.batch).is_err();
        }
        match failed {
            true => self.die(id),
            false => self.at(self.now + delay, Event::Synced { replica: id, life }),
        }
    }

    /// What must hold once the world is at rest.
    fn compare(&mut self, acknowledged_in_storm: usize) -> Checked {
        let not_healed = |why: &str| Err(Violation::NotHealed(why.to_owned()));
        let all: Vec<(u64, &Up)> = self.replicas.iter().filter_map(|(id, replica)| Some((*id, replica.up.as_ref()?))).collect();
        let Some((_, furthest)) = all.iter().max_by_key(|(_, up)| up.cabinet.mark().index) else { return not_healed("nobody is there") };
        let membership = furthest.consensus.membership();
        let up: Vec<(u64, &Up)> = all.iter().filter(|(id, _)| membership.member(*id).is_some()).copied().collect();
        if up.len() != membership.members().count() || membership.is_joint() {
            return not_healed("a member is down, or a change has not ended");
        }
        if up.iter().any(|(_, up)| up.consensus.membership() != membership) {
            return not_healed("the replicas do not agree on the membership");
        }
        for (replica, up) in &up {
            for (&commit, &position) in &self.truth.acknowledged {
                let found = up.cabinet.outcome(commit).expect("memory does not fail");
                if !matches!(found, Outcome::Accepted { position: at, .. } if at == position) {
                    return Err(Violation::Lost { commit, position, found, replica: *replica });
                }
            }
        }
        let first = up[0].1;
        if up.iter().any(|(_, up)| up.cabinet.mark().position != first.cabinet.mark().position) {
            return not_healed("the replicas are not at one position");
        }
        if up.iter().any(|(_, up)| up.cabinet.mark().chain_head != first.cabinet.mark().chain_head) {
            return Err(Violation::Heads { position: first.cabinet.mark().position });
        }
        if up.iter().any(|(_, up)| up.reader.last_index() != first.reader.last_index()) {
            return not_healed("the logs have different lengths");
        }
        if self.counted.acknowledged == acknowledged_in_storm {
            return not_healed("nothing is acknowledged any more");
        }
        Ok(())
    }

    fn alive(&mut self, id: u64, life: u64) -> Option<&mut Up> {
        let replica = self.replicas.get_mut(&id)?;
        if replica.life == life { replica.up.as_mut() } else { None }
    }

    fn some_leader(&self) -> Option<u64> {
        let leaders: Vec<u64> = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.up.as_ref().is_some_and(|up| up.consensus.standing().role == Role::Leader))
            .map(|(id, _)| *id)
            .collect();
        let chosen = usize::try_from(self.rng.below(leaders.len() as u64)).ok()?;
        leaders.get(chosen).copied()
    }

    fn some_voter(&self) -> u64 {
        let everybody = self.everybody();
        everybody[usize::try_from(self.rng.below(everybody.len() as u64)).unwrap()]
    }

    /// Whoever was ever a member, or was about to be.
    fn everybody(&self) -> Vec<u64> {
        self.replicas.keys().copied().collect()
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    /// Around that long from now.
    fn soon(&mut self, about_us: u64, event: Event) {
        let delay = about_us / 2 + self.rng.below(about_us);
        self.at(self.now + delay, event);
    }
}

fn read_all(reader: &JournalReader, last: u64) -> Vec<journal::Entry> {
    let mut entries = Vec::new();
    while (entries.len() as u64) < last {
        let next = entries.len() as u64 + 1;
        entries.extend(reader.entries(next, last + 1, 1 << 20).expect("what was recovered can be read"));
    }
    entries
}

fn author() -> Author {
    Author {
        user: None,
        front_end: "test".to_owned(),
        host: "test".to_owned(),
        module: Name::fixed("test"),
        module_version: 1,
        method: Name::fixed("test"),
        reason: None,
    }
}

fn cabinet_name() -> Name {
    Name::fixed("main")
}

/// Folds a number into a digest (the finaliser of SplitMix64).
fn mix(digest: u64, number: u64) -> u64 {
    let mut z = (digest ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Who votes at first.
const VOTERS: [u64; 3] = [1, 2, 3];

/// Members at the same time.
const MEMBERS_MAX: usize = 5;

/// The object that everybody wants to change.
const COUNTER: ObjectId = ObjectId(1);

/// How long it storms, and how long it is calm afterwards: an election, and time to catch up.
const STORM_US: u64 = 15_000_000;
const CALM_US: u64 = 12_000_000;

/// How long a replica goes on that was removed.
const FAREWELL_US: u64 = 2_000_000;

/// How long before the end nobody asks for anything any more.
const SILENCE_US: u64 = 4_000_000;
