//! After a round: is everything there that was acknowledged, once, and the same everywhere?

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caps_model::messages::Outcome;
use caps_model::messages::cabinet::ReplicaStatus;
use caps_model::{Name, ObjectId, Query, Value};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::client::{AskError, CabinetClient, Fate};
use super::ledger::{Book, Entry, Mail};
use super::load::Load;
use crate::history::{self, Judgement};

/// What a round came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reckoning {
    /// Commits that were acknowledged, those of front ends and of the history included.
    pub acknowledged: u64,
    /// Commits whose first attempt had no answer, and of which it was then found out that they never happen.
    pub never: u64,
    /// Commits of which nobody could tell in time, when they were asked for, and which were asked after now.
    pub asked_after: u64,
    /// Operations of the recorded history.
    pub operations: u64,
    /// Objects that followers were told of.
    pub told: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which promise it breaks.
    pub kind: ProblemKind,
    /// What was seen.
    pub what: String,
}

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// What was acknowledged is not there.
    Lost,
    /// Whoever asked was told something else than what happened: another position, or an answer that was none of that commit.
    Untrue,
    /// Something is there twice, or is there although it was said never to happen.
    Doubled,
    /// A node did not open what it had left.
    NotOpened,
    /// A node ended by itself.
    Ended,
    /// Replicas at the same position differ.
    Unequal,
    /// A follower was not told of something, or told twice.
    Follower,
    /// The history has an anomaly.
    History,
    /// Something did not come to an end in time.
    Late,
}

/// What was seen of the chain heads, over all rounds.
#[derive(Debug, Default)]
pub struct Heads {
    seen: BTreeMap<u64, ([u8; 32], String)>,
}

impl Reckoning {
    /// Notes something wrong, unless enough of the kind is known.
    pub fn wrong(&mut self, kind: ProblemKind, what: impl Into<String>) {
        if self.problems.iter().filter(|problem| problem.kind == kind).count() < TOLD_MAX {
            self.problems.push(Problem { kind, what: what.into() });
        }
    }

    /// Holds a round against what was promised. Every replica answers and is at `position`.
    pub async fn of(load: &Load, position: u64) -> Self {
        let mut reckoning = Self::default();
        reckoning.followers(load, position).await;
        let book = load.ledger.open().clone();
        reckoning.entries(&load.clients[0], &book.entries, position).await;
        reckoning.mails(load, &book.mails).await;
        reckoning.told(&book);
        reckoning.history(load);
        reckoning
    }

    /// Waits until every follower has come as far as the replicas.
    async fn followers(&mut self, load: &Load, position: u64) {
        let until = Instant::now() + FOLLOWER_PATIENCE;
        loop {
            let behind: Vec<usize> =
                load.ledger.open().told.iter().filter(|(_, told)| told.position < position).map(|(number, _)| *number).collect();
            if behind.is_empty() {
                return;
            }
            if Instant::now() > until {
                return self.wrong(ProblemKind::Late, format!("followers {behind:?} did not come to position {position}"));
            }
            sleep(POLL).await;
        }
    }

    /// Asks for the outcome of every commit, and for every object at every replica.
    pub async fn entries(&mut self, client: &CabinetClient, entries: &[Entry], position: u64) {
        let outcomes = stream::iter(entries.iter().cloned()).map(|entry| async move {
            let outcome = repeat(client, |replica| client.outcome(replica, entry.commit, entry.fate == Fate::Unknown)).await;
            (entry, outcome)
        });
        let mut outcomes = outcomes.buffer_unordered(AT_ONCE);
        let mut there: BTreeMap<ObjectId, (u64, i64)> = BTreeMap::new();
        let mut positions: BTreeMap<u64, ObjectId> = BTreeMap::new();
        while let Some((entry, outcome)) = outcomes.next().await {
            let at = match &outcome {
                Ok(Outcome::Accepted { position, .. }) => Some(position.0),
                _ => None,
            };
            match (entry.fate, &outcome) {
                (Fate::Accepted(said), _) => {
                    self.acknowledged += 1;
                    if at != Some(said) {
                        self.wrong(
                            ProblemKind::Lost,
                            format!("{} was acknowledged at {said}, and its outcome is {outcome:?}", entry.commit),
                        );
                    }
                }
                (Fate::Unknown, Ok(_)) => self.asked_after += 1,
                (Fate::Unknown, Err(error)) => self.wrong(ProblemKind::Late, format!("nobody can tell about {}: {error}", entry.commit)),
                (Fate::Never, Ok(Outcome::Sealed)) => self.never += 1,
                (Fate::Never, _) => self.wrong(ProblemKind::Doubled, format!("{} was to happen never: {outcome:?}", entry.commit)),
                (Fate::Conflict, _) => self.wrong(ProblemKind::Lost, format!("{} relied on nothing and was refused", entry.commit)),
            }
            let Some(at) = at else { continue };
            there.insert(entry.object, (at, entry.value));
            if let Some(other) = positions.insert(at, entry.object) {
                self.wrong(ProblemKind::Doubled, format!("{other} and {} are both at {at}", entry.object));
            }
        }
        let absent: Vec<ObjectId> = entries.iter().map(|entry| entry.object).filter(|object| !there.contains_key(object)).collect();
        self.objects(client, &there, &absent, position).await;
    }

    async fn objects(&mut self, client: &CabinetClient, there: &BTreeMap<ObjectId, (u64, i64)>, absent: &[ObjectId], position: u64) {
        let (small, large): (Vec<_>, Vec<_>) = there.iter().partition(|(_, (_, value))| *value >= 0);
        for (replica, identity) in client.replicas().iter().enumerate() {
            let name = identity.name();
            for some in small.chunks(OBJECTS_AT_ONCE).chain(large.chunks(1)) {
                let ids: Vec<ObjectId> = some.iter().map(|(id, _)| **id).collect();
                let got = match patient(|| client.get(replica, &ids, position)).await {
                    Ok(got) => got,
                    Err(error) => return self.wrong(ProblemKind::Late, format!("{name} does not answer: {error}")),
                };
                for ((id, (at, value)), object) in some.iter().zip(&got.objects) {
                    let held = object.as_ref().map(|object| (object.created.0, object.version.0, object.int("value").unwrap_or_default()));
                    if held != Some((*at, *at, *value)) {
                        let what = format!("{name} has {id} as {held:?} (made, changed, value); it was made at {at} with {value}");
                        self.wrong(ProblemKind::Lost, what);
                    }
                }
            }
            for some in absent.chunks(OBJECTS_AT_ONCE) {
                let Ok(got) = patient(|| client.get(replica, some, position)).await else { continue };
                for object in got.objects.iter().flatten() {
                    self.wrong(ProblemKind::Doubled, format!("{name} has {}, which never was to be made", object.id));
                }
            }
        }
    }

    async fn mails(&mut self, load: &Load, mails: &[Mail]) {
        let ask = |mail: Mail| {
            let client = load.gateways[mail.by].clone();
            async move {
                let outcome = client.outcome(mail.commit, true).await;
                let message_id = Value::text(mail.message_id.trim_matches(['<', '>']));
                let found = client.query(Query::equal(Name::fixed("message"), Name::fixed("message_id"), message_id)).await;
                (mail, outcome, found)
            }
        };
        let mut answers = stream::iter(mails.iter().cloned()).map(ask).buffer_unordered(MAILS_AT_ONCE);
        while let Some((mail, outcome, found)) = answers.next().await {
            let (Ok(outcome), Ok(found)) = (&outcome, &found) else {
                self.wrong(ProblemKind::Late, format!("nobody can tell about the mail {}: {outcome:?}, {found:?}", mail.message_id));
                continue;
            };
            let at = match outcome {
                Outcome::Accepted { position, .. } => Some(position.0),
                _ => None,
            };
            let times = found.objects.len();
            self.acknowledged += u64::from(mail.acknowledged.is_some());
            self.never += u64::from(at.is_none());
            let what = format!("{} was acknowledged at {:?}, is at {at:?}, {times} times", mail.message_id, mail.acknowledged);
            if times == 0 && (mail.acknowledged.is_some() || at.is_some()) {
                self.wrong(ProblemKind::Lost, what);
            } else if mail.acknowledged.is_some_and(|said| at != Some(said)) {
                self.wrong(ProblemKind::Untrue, what);
            }
            if times > usize::from(at.is_some()) {
                self.wrong(ProblemKind::Doubled, format!("{} is at {at:?} and there {times} times", mail.message_id));
            }
        }
    }

    /// Every follower was told of every object that is there, once, and of nothing else.
    fn told(&mut self, book: &Book) {
        let accepted: BTreeSet<ObjectId> =
            book.entries.iter().filter(|entry| matches!(entry.fate, Fate::Accepted(_))).map(|entry| entry.object).collect();
        let open: BTreeSet<ObjectId> = book.entries.iter().filter(|entry| entry.fate == Fate::Unknown).map(|entry| entry.object).collect();
        for (number, told) in &book.told {
            self.told += told.objects.len() as u64;
            let missed = accepted.iter().filter(|object| !told.objects.contains_key(object)).count();
            let twice = told.objects.values().filter(|times| **times > 1).count();
            let strange = told.objects.keys().filter(|object| !accepted.contains(object) && !open.contains(object)).count();
            if missed + twice + strange > 0 || told.disordered > 0 {
                let what = format!(
                    "follower {number} missed {missed}, was told {twice} twice, {strange} that were not made, {} out of order; it went on {} times",
                    told.disordered, told.resumed
                );
                self.wrong(ProblemKind::Follower, what);
            }
        }
    }

    fn history(&mut self, load: &Load) {
        let history = load.recorder.history();
        let Judgement { findings, undecided, operations, .. } = history::judge(&history);
        self.operations = operations as u64;
        self.acknowledged += history.iter().filter(|operation| operation.commit.is_some() && operation.position().is_some()).count() as u64;
        for finding in findings {
            self.wrong(ProblemKind::History, finding.to_string());
        }
        for object in undecided {
            self.wrong(ProblemKind::Late, format!("the history of {object} is too entangled to be judged"));
        }
    }
}

impl Heads {
    /// Takes in how a replica is; what is wrong with it.
    pub fn take(&mut self, name: &str, status: &ReplicaStatus) -> Option<String> {
        let seen = self.seen.entry(status.position.0);
        let (head, first) = seen.or_insert_with(|| (status.chain_head, name.to_owned()));
        let differs = *head != status.chain_head;
        let problem = differs.then(|| format!("{first} and {name} differ at position {}", status.position));
        while self.seen.len() > HEADS_KEPT {
            self.seen.pop_first();
        }
        problem
    }

    /// Forgets everything: another cabinet begins.
    pub fn clear(&mut self) {
        self.seen.clear();
    }
}

/// Asks one replica after the other until one answers.
async fn repeat<T, F>(client: &CabinetClient, ask: impl Fn(usize) -> F) -> Result<T, AskError>
where
    F: Future<Output = Result<T, AskError>>,
{
    let first = client.any();
    let next = std::cell::Cell::new(first);
    patient(|| {
        let replica = next.get();
        next.set((replica + 1) % client.replicas().len());
        ask(replica)
    })
    .await
}

/// Asks until there is an answer, some seconds long.
async fn patient<T, F>(ask: impl Fn() -> F) -> Result<T, AskError>
where
    F: Future<Output = Result<T, AskError>>,
{
    let until = Instant::now() + ANSWER_PATIENCE;
    loop {
        match ask().await {
            Err(_) if Instant::now() < until => sleep(POLL).await,
            answer => return answer,
        }
    }
}

impl ProblemKind {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Untrue => "untrue",
            Self::Doubled => "doubled",
            Self::NotOpened => "not opened",
            Self::Ended => "ended by itself",
            Self::Unequal => "unequal replicas",
            Self::Follower => "follower",
            Self::History => "history",
            Self::Late => "late",
        }
    }
}

/// How long followers may take to come as far as the replicas.
const FOLLOWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a question may go unanswered.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(10);

const AT_ONCE: usize = 64;
const MAILS_AT_ONCE: usize = 16;

/// Small objects, well within a frame.
const OBJECTS_AT_ONCE: usize = 500;

const HEADS_KEPT: usize = 100_000;

const TOLD_MAX: usize = 5;
