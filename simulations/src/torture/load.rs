//! Those who work while their servers are killed.
//!
//! - writers make objects, each by a commit of its own: what was acknowledged must be there, once;
//! - processes of the recorded history read and change a few objects that they share;
//! - followers are told of every object that is made;
//! - front ends file mail through the hosts;
//! - when a round wants it, somebody makes objects so large that the journal begins a new segment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use caps_frontend::Client;
use caps_model::commit::{Change, Read};
use caps_model::messages::{From, Got, ObjectChange, Subscribe, Update};
use caps_model::{Commit, Name, Object, ObjectId, Position, Query, Record, Value, codec};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{CabinetClient, Fate, create};
use super::ledger::{Entry, Ledger, Mail};
use crate::history::{Answer, Asked, Operation, Recorder, Seen};

/// Who works in a round, and what they write down.
#[derive(Clone, Debug)]
pub struct Load {
    /// The number of the round, which is in everything that it makes.
    pub round: u64,
    /// Those who speak with the replicas themselves.
    pub clients: Vec<CabinetClient>,
    /// The front ends.
    pub gateways: Vec<Client>,
    /// Where it is written down.
    pub ledger: Ledger,
    /// Where what the processes of the history do is written down.
    pub recorder: Recorder,
    /// Whether the journal is to begin new segments.
    pub large: bool,
    stop: Arc<AtomicBool>,
}

/// The load at work.
#[derive(Debug)]
pub struct Working {
    stop: Arc<AtomicBool>,
    workers: JoinSet<()>,
    followers: JoinSet<()>,
}

/// The objects that the processes of a history share, by name.
type Shared = Arc<BTreeMap<String, ObjectId>>;

impl Load {
    /// A load for a round.
    pub fn new(round: u64, clients: Vec<CabinetClient>, gateways: Vec<Client>, large: bool) -> Self {
        let (ledger, recorder, stop) = (Ledger::default(), Recorder::new(), Arc::default());
        Self { round, clients, gateways, ledger, recorder, large, stop }
    }

    /// Everybody begins. The objects of the history are made first.
    pub async fn begin(&self, from: Position) -> anyhow::Result<Working> {
        let shared = Arc::new(self.make_shared().await?);
        let (mut workers, mut followers) = (JoinSet::new(), JoinSet::new());
        for number in 0..self.clients[0].replicas().len() {
            followers.spawn(self.clone().follow(number, from));
        }
        for number in 0..WRITERS {
            workers.spawn(self.clone().write(number));
        }
        for number in 1..=PROCESSES {
            workers.spawn(self.clone().take_part(number, shared.clone()));
        }
        for number in 0..self.gateways.len() {
            workers.spawn(self.clone().file(number));
        }
        if self.large {
            workers.spawn(self.clone().write_large());
        }
        Ok(Working { stop: self.stop.clone(), workers, followers })
    }

    fn client(&self, number: usize) -> &CabinetClient {
        &self.clients[number % self.clients.len()]
    }

    fn over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn make_shared(&self) -> anyhow::Result<BTreeMap<String, ObjectId>> {
        let client = self.client(0);
        let names = (0..REGISTERS).map(|n| format!("r{n}")).chain((0..COUNTERS).map(|n| format!("c{n}")));
        let shared: BTreeMap<String, ObjectId> = names.map(|name| (name, client.new_object())).collect();
        let changes: Vec<Change> = shared.values().map(|object| create(*object, "shared", holding(0))).collect();
        let writes: Vec<(String, i64)> = shared.keys().map(|name| (name.clone(), 0)).collect();
        for _ in 0..ATTEMPTS_MAX {
            let commit = client.commit_of(Vec::new(), changes.clone());
            let start = self.recorder.now();
            let fate = client.settle(&commit, PATIENCE).await;
            if let Fate::Accepted(_) = fate {
                let asked = Asked::Transaction { reads: Vec::new(), writes };
                self.note(0, asked, answer(fate, BTreeMap::new()), start, Some(&commit));
                return Ok(shared);
            }
            // Whoever asked for the outcome had it sealed: it happens under another id, or not at all.
            anyhow::ensure!(fate == Fate::Never, "the objects of the history could not be made: {fate:?}");
        }
        anyhow::bail!("the objects of the history could not be made in {ATTEMPTS_MAX} attempts")
    }

    async fn write(self, number: usize) {
        let client = self.client(number).clone();
        let mut value = i64::try_from(number << 32).unwrap_or(0);
        while !self.over() {
            value += 1;
            self.make(&client, value, 40).await;
            sleep(WRITER_PAUSE).await;
        }
    }

    async fn write_large(self) {
        let client = self.client(0).clone();
        for value in 0..LARGE_OBJECTS_MAX {
            if self.over() {
                return;
            }
            self.make(&client, -1 - value, LARGE_BYTES).await;
        }
    }

    async fn make(&self, client: &CabinetClient, value: i64, size_bytes: usize) {
        let object = client.new_object();
        let mut attributes = holding(value);
        attributes.insert(Name::fixed("round"), vec![Value::Int(i64::try_from(self.round).unwrap_or(i64::MAX))]);
        attributes.insert(Name::fixed("text"), vec![Value::text("x".repeat(size_bytes))]);
        let commit = client.commit_of(Vec::new(), vec![create(object, ENTRY, attributes)]);
        let fate = client.settle(&commit, PATIENCE).await;
        self.ledger.open().entries.push(Entry { commit: commit.id, object, value, fate });
    }

    async fn file(self, by: usize) {
        let client = self.gateways[by].clone();
        let mut number = 0;
        while !self.over() {
            number += 1;
            let message_id = format!("<{}.{by}.{number}@torture.example>", self.round);
            let pairs = [("message_id", message_id.as_str()), ("from_address", "ada@torture.example"), ("subject", "Pump")];
            let arguments: Record = pairs.iter().map(|(name, text)| (Name::fixed(name), vec![Value::text(*text)])).collect();
            let commit = client.new_commit();
            let called = client.call_as(commit, Name::fixed("casedesk"), Name::fixed("file_mail"), arguments).await;
            let acknowledged = called.ok().map(|called| called.position.0);
            self.ledger.open().mails.push(Mail { commit, message_id, acknowledged, by });
            sleep(GATEWAY_PAUSE).await;
        }
    }

    async fn follow(self, number: usize, from: Position) {
        let client = self.client(number).clone();
        let mut subscribe = Subscribe::new(Query::all(Name::fixed(ENTRY)), From::After(from)).every_change();
        self.ledger.open().told.entry(number).or_default().position = from.0;
        let mut replica = number;
        loop {
            if let Ok(mut replies) = client.follow(replica, &subscribe).await {
                while let Some(Ok(bytes)) = replies.next().await {
                    let Ok(update) = codec::decode::<Update>(&bytes) else { break };
                    if let Some(position) = update.resume() {
                        subscribe.from = From::After(position);
                    }
                    self.told(number, &update);
                }
            }
            self.ledger.open().told.entry(number).or_default().resumed += 1;
            replica = (replica + 1) % client.replicas().len();
            sleep(FOLLOWER_PAUSE).await;
        }
    }

    fn told(&self, number: usize, update: &Update) {
        let mut book = self.ledger.open();
        let told = book.told.entry(number).or_default();
        let Some(position) = update.resume() else { return };
        if let Update::Changes { changes, .. } = update {
            told.disordered += u64::from(position.0 <= told.position);
            for object in changes.iter().map(ObjectChange::id) {
                *told.objects.entry(object).or_default() += 1;
            }
        }
        told.position = told.position.max(position.0);
    }

    /// A process of the history: one thing after the other, drawn by lot.
    async fn take_part(self, process: u32, shared: Shared) {
        let client = self.client(process as usize).clone();
        let names: Vec<String> = shared.keys().cloned().collect();
        let registers: Vec<&String> = names.iter().filter(|name| name.starts_with('r')).collect();
        let counters: Vec<&String> = names.iter().filter(|name| name.starts_with('c')).collect();
        let mut part = Part { load: &self, process, client: &client, shared: &shared, seen: 0, last: i64::from(process) << 32 };
        while !self.over() {
            let register = registers[client.draw(registers.len())];
            let other = registers[client.draw(registers.len())];
            let counter = counters[client.draw(counters.len())];
            match client.draw(8) {
                0 | 1 => part.read(if client.draw(3) == 0 { counter } else { register }).await,
                2 => part.look(&names).await,
                3 => part.write(register).await,
                4 => part.compare_and_set(register).await,
                5 => part.add(counter).await,
                _ => part.transact(register, other).await,
            }
            sleep(PROCESS_PAUSE).await;
        }
    }

    fn note(&self, process: u32, asked: Asked, result: Answer, start: u64, commit: Option<&Commit>) {
        let end = (!matches!(result, Answer::Unknown { .. })).then(|| self.recorder.now());
        let commit = commit.map(|commit| commit.id.to_string());
        self.recorder.note(Operation { process, asked, result, start, end, commit });
    }
}

impl Working {
    /// Lets everybody finish what they are at; followers go on. Fails when somebody does not come to an end.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let finished = async { while self.workers.join_next().await.is_some() {} };
        timeout(2 * PATIENCE, finished).await.map_err(|_| anyhow::anyhow!("somebody works on and on"))
    }

    /// The followers go home.
    pub async fn dismiss(mut self) {
        self.followers.shutdown().await;
    }
}

/// One process of the history.
struct Part<'a> {
    load: &'a Load,
    process: u32,
    client: &'a CabinetClient,
    shared: &'a BTreeMap<String, ObjectId>,
    /// The position that it has seen.
    seen: u64,
    /// The value that it wrote last: each is its own.
    last: i64,
}

impl Part<'_> {
    async fn read(&mut self, object: &str) {
        let start = self.load.recorder.now();
        let got = self.client.get_newest(self.client.any(), &[self.shared[object]]).await;
        self.note_read(Asked::Read { object: object.to_owned() }, got.ok(), &[object], start);
    }

    /// All objects at once, fresh enough for this process.
    async fn look(&mut self, names: &[String]) {
        let start = self.load.recorder.now();
        let objects: Vec<ObjectId> = names.iter().map(|name| self.shared[name]).collect();
        let got = self.client.get(self.client.any(), &objects, self.seen).await;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let asked = Asked::Snapshot { objects: names.iter().map(|name| (*name).to_owned()).collect(), at_least: self.seen };
        self.note_read(asked, got.ok(), &names, start);
    }

    fn note_read(&mut self, asked: Asked, got: Option<Got>, names: &[&str], start: u64) {
        let result = match got {
            Some(got) => {
                self.seen = self.seen.max(got.position.0);
                Answer::Happened { position: got.position.0, seen: seen(names, &got) }
            }
            None => Answer::Failed,
        };
        self.load.note(self.process, asked, result, start, None);
    }

    async fn write(&mut self, object: &str) {
        let (start, value) = (self.load.recorder.now(), self.next());
        let asked = Asked::Write { object: object.to_owned(), value };
        self.change(asked, Vec::new(), BTreeMap::new(), &[(object, value)], start).await;
    }

    async fn compare_and_set(&mut self, object: &str) {
        // What it compares with it has read before, outside of the operation.
        let Some(before) = self.before(&[object]).await else { return };
        let Some(expected) = before[object].value else { return };
        let (start, value) = (self.load.recorder.now(), self.next());
        let asked = Asked::CompareAndSet { object: object.to_owned(), expected, value };
        let reads = self.reads(&before);
        self.change(asked, reads, BTreeMap::new(), &[(object, value)], start).await;
    }

    async fn add(&mut self, object: &str) {
        let start = self.load.recorder.now();
        let Some(before) = self.before(&[object]).await else { return };
        let Some(value) = before[object].value else { return };
        let asked = Asked::Add { object: object.to_owned(), amount: 1 };
        let reads = self.reads(&before);
        self.change(asked, reads, before, &[(object, value + 1)], start).await;
    }

    /// Reads two registers and writes one: what write skew is made of.
    async fn transact(&mut self, one: &str, other: &str) {
        let start = self.load.recorder.now();
        let Some(before) = self.before(&[one, other]).await else { return };
        let value = self.next();
        let written = if self.client.draw(2) == 0 { one } else { other };
        let mut reads = vec![one.to_owned(), other.to_owned()];
        reads.dedup();
        let asked = Asked::Transaction { reads, writes: vec![(written.to_owned(), value)] };
        let reads = self.reads(&before);
        self.change(asked, reads, before, &[(written, value)], start).await;
    }

    /// What a transaction reads first: anything that the session allows, the newest or not.
    async fn before(&mut self, names: &[&str]) -> Option<BTreeMap<String, Seen>> {
        let objects: Vec<ObjectId> = names.iter().map(|name| self.shared[*name]).collect();
        let got = self.client.get(self.client.any(), &objects, self.seen).await.ok()?;
        self.seen = self.seen.max(got.position.0);
        Some(seen(names, &got))
    }

    fn reads(&self, before: &BTreeMap<String, Seen>) -> Vec<Read> {
        before.iter().map(|(name, seen)| Read::Object { object: self.shared[name], version: Position(seen.version) }).collect()
    }

    async fn change(&mut self, asked: Asked, reads: Vec<Read>, seen: BTreeMap<String, Seen>, writes: &[(&str, i64)], start: u64) {
        let changes = writes.iter().map(|(name, value)| Change::Update { object: self.shared[*name], attributes: holding(*value) });
        let commit = self.client.commit_of(reads, changes.collect());
        let fate = self.client.settle(&commit, PATIENCE).await;
        if let Fate::Accepted(position) = fate {
            self.seen = self.seen.max(position);
        }
        self.load.note(self.process, asked, answer(fate, seen), start, Some(&commit));
    }

    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }
}

fn answer(fate: Fate, seen: BTreeMap<String, Seen>) -> Answer {
    match fate {
        Fate::Accepted(position) => Answer::Happened { position, seen },
        Fate::Conflict => Answer::Conflict,
        Fate::Never => Answer::Failed,
        Fate::Unknown => Answer::Unknown { seen },
    }
}

fn seen(names: &[&str], got: &Got) -> BTreeMap<String, Seen> {
    let seen = |object: &Option<Object>| {
        let value = object.as_ref().and_then(|object| object.int("value"));
        Seen { value, version: object.as_ref().map_or(0, |object| object.version.0) }
    };
    names.iter().zip(&got.objects).map(|(name, object)| ((*name).to_owned(), seen(object))).collect()
}

fn holding(value: i64) -> Record {
    Record::from([(Name::fixed("value"), vec![Value::Int(value)])])
}

/// The entity of what writers make.
pub const ENTRY: &str = "entry";

/// Those who make objects.
const WRITERS: usize = 8;

/// Those whose history is recorded.
const PROCESSES: u32 = 6;

/// Objects of the history that are written.
const REGISTERS: usize = 3;

/// Objects of the history that are counted up.
const COUNTERS: usize = 2;

/// A large object and what surrounds it fit a log entry; a segment of 16 MiB is full after 32 of them.
const LARGE_BYTES: usize = 512 << 10;

/// Two segments' worth and some.
const LARGE_OBJECTS_MAX: i64 = 72;

/// How often the objects of the history are tried to be made.
const ATTEMPTS_MAX: usize = 5;

/// How long it is asked what became of a commit.
const PATIENCE: Duration = Duration::from_secs(20);

const WRITER_PAUSE: Duration = Duration::from_millis(4);
const PROCESS_PAUSE: Duration = Duration::from_millis(2);
const GATEWAY_PAUSE: Duration = Duration::from_millis(25);
const FOLLOWER_PAUSE: Duration = Duration::from_millis(20);
