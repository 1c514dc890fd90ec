//! A cabinet in memory with the rules of layer 1: read sets are validated, ids are used once, positions are dense.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use caps_model::messages::blobs::{Answer, Question};
use caps_model::messages::cabinet::{Committed, ReplicaRole, ReplicaStatus};
use caps_model::messages::host::Peer;
use caps_model::messages::inspect::{Counted, Inspect, Inspected};
use caps_model::messages::{
    AskOutcome, Event, Get, Got, History, Latest, ObjectChange, Objects, Outcome, Subscribe, Timeline, Update, projected,
};
use caps_model::{Commit, CommitId, Name, Object, ObjectId, Position, Query, Read};
use caps_overlay::{Rng, watch};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::blobs::MemoryBlobs;
use crate::cabinet::{Ask, CabinetError, CabinetPort, Updates};

/// A cabinet in memory. Before and after everything it yields a random number of times, so that whoever runs at once is shuffled by the seed.
#[derive(Debug)]
pub struct MemoryCabinet {
    shared: Arc<Shared>,
    rng: Rng,
    counts: Counts,
    /// Answers of this many of the next commits get lost after the commit was made.
    lose_answers: AtomicU64,
}

/// How often what was asked.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reads: queries and look-ups.
    pub reads: AtomicU64,
    /// Commits that were accepted for the first time.
    pub accepted: AtomicU64,
    /// Commits that conflicted.
    pub conflicts: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    position: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Books {
    objects: BTreeMap<ObjectId, Object>,
    events: Vec<Event>,
    /// For each commit, the objects before and after.
    log: Vec<Vec<(Option<Object>, Object)>>,
    outcomes: BTreeMap<CommitId, Outcome>,
    commits: Vec<Commit>,
    blobs: MemoryBlobs,
}

impl MemoryCabinet {
    /// An empty cabinet.
    pub fn new(rng: Rng) -> Self {
        let shared = Arc::new(Shared { books: Mutex::default(), position: watch::Sender::new(Position::ZERO) });
        Self { shared, rng, counts: Counts::default(), lose_answers: AtomicU64::new(0) }
    }

    /// The last commit.
    pub fn position(&self) -> Position {
        *self.shared.position.borrow()
    }

    /// How often what was asked.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Loses the answers of the next `count` commits: they happen, and whoever asked does not learn it.
    pub fn lose_answers(&self, count: u64) {
        self.lose_answers.store(count, Ordering::Relaxed);
    }

    /// Every object of an entity as it is, whoever may read it.
    pub fn all(&self, entity: &str) -> Vec<Object> {
        self.books().objects.values().filter(|object| object.entity == entity && !object.deleted).cloned().collect()
    }

    /// Every commit in order.
    pub fn commits(&self) -> Vec<Commit> {
        self.books().commits.clone()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.shared.books()
    }

    /// Lets others run, as often as the seed says.
    async fn travel(&self) {
        for _ in 0..self.rng.below(4) {
            tokio::task::yield_now().await;
        }
    }

    fn apply(&self, commit: Commit) -> Committed {
        let mut books = self.books();
        let committed = books.apply(commit);
        if let Committed::Accepted { position, repeated: false, .. } = &committed {
            self.counts.accepted.fetch_add(1, Ordering::Relaxed);
            self.shared.position.send_replace(*position);
        }
        if let Committed::Conflict { .. } = &committed {
            self.counts.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        committed
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("nothing panics while it holds this lock")
    }
}

impl Books {
    fn position(&self) -> Position {
        Position(self.log.len() as u64)
    }

    fn apply(&mut self, commit: Commit) -> Committed {
        match self.outcomes.get(&commit.id) {
            Some(Outcome::Accepted { position, result }) => {
                return Committed::Accepted { position: *position, result: result.clone(), repeated: true };
            }
            Some(_) => return Committed::Sealed,
            None => {}
        }
        let broken: Vec<ObjectId> = commit.reads.iter().filter_map(|read| self.broken(read)).collect();
        if !broken.is_empty() {
            return Committed::Conflict { position: self.position(), objects: broken };
        }
        let position = self.position().next();
        let mut changed = Vec::new();
        for change in &commit.changes {
            let before = self.objects.get(&change.object());
            match Object::after(before, change, position) {
                Some(after) => changed.push((before.cloned(), after)),
                None => return Committed::Conflict { position: self.position(), objects: vec![change.object()] },
            }
        }
        for (_, after) in &changed {
            self.objects.insert(after.id, after.clone());
            self.events.push(Event {
                object: after.clone(),
                commit: commit.id,
                time: commit.time,
                user: commit.author.user,
                front_end: commit.author.front_end.clone(),
                method: (commit.author.module.clone(), commit.author.method.clone()),
                reason: commit.author.reason.clone(),
            });
        }
        self.log.push(changed);
        let result = commit.result.clone();
        self.outcomes.insert(commit.id, Outcome::Accepted { position, result: result.clone() });
        self.commits.push(commit);
        Committed::Accepted { position, result, repeated: false }
    }

    /// The object over which a read no longer holds.
    fn broken(&self, read: &Read) -> Option<ObjectId> {
        match read {
            Read::Object { object, version } => {
                let now = self.objects.get(object).map_or(Position::ZERO, |object| object.version);
                (now != *version).then_some(*object)
            }
            Read::Query { query, at } => {
                self.objects.values().find(|object| query.matches(object) && object.version > *at).map(|object| object.id)
            }
        }
    }

    fn answer(&self, query: &Query) -> Objects {
        let mut objects: Vec<Object> = self.objects.values().filter(|object| query.matches(object)).cloned().collect();
        let more = query.arrange(&mut objects);
        Objects { position: self.position(), objects, more }
    }
}

impl CabinetPort for MemoryCabinet {
    fn query(&self, query: Query, _: Ask) -> BoxFuture<'_, Result<Objects, CabinetError>> {
        async move {
            self.travel().await;
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
            let answer = self.books().answer(&query);
            self.travel().await;
            Ok(answer)
        }
        .boxed()
    }

    fn get(&self, get: Get, _: Ask) -> BoxFuture<'_, Result<Got, CabinetError>> {
        async move {
            self.travel().await;
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
            let got = {
                let books = self.books();
                Got { position: books.position(), objects: get.objects.iter().map(|id| books.objects.get(id).cloned()).collect() }
            };
            self.travel().await;
            Ok(got)
        }
        .boxed()
    }

    fn history(&self, history: History, _: Ask) -> BoxFuture<'_, Result<Timeline, CabinetError>> {
        async move {
            self.travel().await;
            let books = self.books();
            let of_object = books.events.iter().rev().filter(|event| event.object.id == history.object);
            let before = of_object.filter(|event| history.before.is_none_or(|before| event.object.version < before));
            Ok(Timeline { position: books.position(), events: before.take(history.limit as usize).cloned().collect() })
        }
        .boxed()
    }

    /// Only counts: it keeps no past, and has no indexes to explain.
    fn inspect(&self, question: Inspect, _: Ask) -> BoxFuture<'_, Result<Inspected, CabinetError>> {
        async move {
            self.travel().await;
            let books = self.books();
            match question {
                Inspect::Count { query } => {
                    let count = books.objects.values().filter(|object| query.matches(object)).count() as u64;
                    Ok(Inspected::Counted(Counted { position: books.position(), count, exact: true }))
                }
                Inspect::Effect { object } => {
                    let key = books.objects.get(&object).and_then(|object| object.text("key"));
                    let mut effects = books.commits.iter().flat_map(|commit| &commit.effects);
                    Ok(Inspected::Effect(effects.find(|effect| Some(effect.key.as_str()) == key).cloned()))
                }
                _ => Err(CabinetError::Refused("this cabinet knows the present only".to_owned())),
            }
        }
        .boxed()
    }

    fn latest(&self, _: Ask) -> BoxFuture<'_, Result<Latest, CabinetError>> {
        async move {
            self.travel().await;
            Ok(Latest { position: self.position() })
        }
        .boxed()
    }

    fn commit(&self, commit: Commit, _: Ask) -> BoxFuture<'_, Result<Committed, CabinetError>> {
        async move {
            self.travel().await;
            let committed = self.apply(commit);
            self.travel().await;
            let lose = |left: u64| left.checked_sub(1);
            match self.lose_answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lose) {
                Ok(_) => Err(CabinetError::Unanswered("the answer was lost".to_owned())),
                Err(_) => Ok(committed),
            }
        }
        .boxed()
    }

    fn outcome(&self, question: AskOutcome, _: Ask) -> BoxFuture<'_, Result<Outcome, CabinetError>> {
        async move {
            self.travel().await;
            let mut books = self.books();
            match books.outcomes.get(&question.commit) {
                Some(outcome) => Ok(outcome.clone()),
                None if question.seal => {
                    books.outcomes.insert(question.commit, Outcome::Sealed);
                    Ok(Outcome::Sealed)
                }
                None => Ok(Outcome::Unknown),
            }
        }
        .boxed()
    }

    fn subscribe(&self, subscribe: Subscribe, _: Ask) -> BoxFuture<'_, Result<Box<dyn Updates>, CabinetError>> {
        async move {
            self.travel().await;
            let Subscribe { query, from, objects, attributes, window, .. } = subscribe;
            if window || !objects.is_empty() || query.filter.is_relative_to_now() {
                return Err(CabinetError::Refused("this cabinet tells of whole queries without a clock only".to_owned()));
            }
            let (told, position) = (from.position(), self.shared.position.subscribe());
            Ok(Box::new(MemoryUpdates { shared: self.shared.clone(), position, query, attributes, told }) as Box<dyn Updates>)
        }
        .boxed()
    }

    fn blob(&self, question: Question, _: Option<String>, _: Ask) -> BoxFuture<'_, Result<(Answer, String), CabinetError>> {
        async move {
            self.travel().await;
            Ok((self.books().blobs.answer(question)?, "memory".to_owned()))
        }
        .boxed()
    }

    fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }

    fn replicas(&self, _: Ask) -> BoxFuture<'_, Vec<(String, Result<ReplicaStatus, String>)>> {
        let status = ReplicaStatus {
            cabinet: "memory".to_owned(),
            node: "memory".to_owned(),
            role: ReplicaRole::Leader,
            term: 1,
            leader: Some("memory".to_owned()),
            position: self.position(),
            chain_head: [0; 32],
            committed_index: 0,
            durable_index: 0,
            objects: self.books().objects.len() as u64,
            journal_bytes: 0,
            subscriptions: 0,
            state: "memory".to_owned(),
            obliterated_index: 0,
            redacted_index: 0,
            quarantined: 0,
        };
        async move { vec![("memory".to_owned(), Ok(status))] }.boxed()
    }
}

struct MemoryUpdates {
    shared: Arc<Shared>,
    position: watch::Receiver<Position>,
    query: Query,
    attributes: Vec<Name>,
    told: Option<Position>,
}

impl MemoryUpdates {
    fn ready(&mut self) -> Option<Update> {
        let books = self.shared.books();
        let Some(told) = self.told else {
            let matching = books.objects.values().filter(|object| self.query.matches(object));
            let objects = matching.map(|object| projected(object, &self.attributes)).collect();
            self.told = Some(books.position());
            return Some(Update::Present { position: books.position(), moment: None, objects, complete: true });
        };
        if told >= books.position() {
            return None;
        }
        let position = told.next();
        self.told = Some(position);
        let index = usize::try_from(told.0).expect("a test makes few commits");
        let seen = books.log[index].iter().filter_map(|(before, after)| ObjectChange::seen(&self.query, before.as_ref(), after));
        let changes: Vec<ObjectChange> = seen.map(|change| change.shown(|object| projected(&object, &self.attributes))).collect();
        Some(match changes.is_empty() {
            true => Update::Progress { position, moment: None },
            false => Update::Changes { position, moment: None, changes, places: Vec::new(), coalesced_from: None },
        })
    }
}

impl Updates for MemoryUpdates {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Update, CabinetError>>> {
        async move {
            loop {
                self.position.borrow_and_update();
                if let Some(update) = self.ready() {
                    return Some(Ok(update));
                }
                if self.position.changed().await.is_err() {
                    return None;
                }
            }
        }
        .boxed()
    }
}
