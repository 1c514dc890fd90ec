//! Commits, sealings and linearizable reads, from the caller to the leader's log and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caps_model::messages::cabinet::{self, Committed};
use caps_model::messages::{AskOutcome, Outcome, audit};
use caps_model::{BlobId, Commit, Position, Wire, codec};
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{CallError, Failure, Identity, Layer, Retry};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::blobs::{admit_blobs, within_limits};
use super::shared::Shared;
use super::waiting::{Ask, NotDecided, Subject};
use crate::cabinet::{Obliteration, Proposal, ReadError, Verdict, admit, stamp};
use crate::replication::{Role, Standing};
use crate::service::failure;

/// Who asks: what comes from another replica was forwarded once and is not forwarded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A host, an administrator, or this node itself.
    Client,
    /// Another replica, which believes that this one leads.
    Replica,
}

impl Origin {
    /// What a peer is.
    pub(crate) fn of(peer: &Identity) -> Self {
        match peer.layer() {
            Some(Layer::Cabinet) => Self::Replica,
            _ => Self::Client,
        }
    }
}

/// Brings a commit to its end: on the leader through the log, elsewhere through the leader, wherever that is and becomes until `deadline`.
pub(crate) async fn commit(shared: &Arc<Shared>, commit: Commit, origin: Origin, deadline: Instant) -> Result<Committed, Failure> {
    let payload = admit(&commit, &shared.rng).map_err(|refusal| Failure::new(failure::REFUSED, refusal.to_string()))?;
    let named = commit.blobs();
    within_limits(&named)?;
    let mut attempt = Attempt::new(shared, Asked::Commit(commit), payload, origin);
    attempt.naming = (!named.is_empty()).then_some(named);
    committed(attempt, deadline).await
}

/// Takes values away for ever, like a commit: in the log, once, through whoever leads.
pub(crate) async fn obliterate(
    shared: &Arc<Shared>,
    order: audit::Obliterate,
    origin: Origin,
    deadline: Instant,
) -> Result<Committed, Failure> {
    let proposal = Obliteration::asked(&order, shared.wall_clock.now_micros());
    // The leader says why not, as things are; what counts is how they are when it is applied.
    let is_new = shared.leads() && shared.read(|cabinet| Ok(cabinet.outcome(order.id)? == Outcome::Unknown))?;
    if is_new && let Err(why) = shared.read(|cabinet| Ok(cabinet.may_obliterate(&proposal)?))? {
        return Err(Failure::new(failure::REFUSED, why.to_string()));
    }
    let payload = Proposal::Obliterate(proposal).encode(0, &shared.rng).map_err(|error| failure::malformed(&error))?;
    committed(Attempt::new(shared, Asked::Obliterate(order), payload, origin), deadline).await
}

async fn committed(attempt: Attempt<'_>, deadline: Instant) -> Result<Committed, Failure> {
    match attempt.within(deadline).await? {
        Decided::Here(Verdict::Commit(committed)) => Ok(committed),
        Decided::There(body) => decode(&body),
        Decided::Here(Verdict::Seal(_)) => Err(failure::broken(&"a commit was answered as a sealing")),
    }
}

/// What became of a commit, as of now: every commit acknowledged before is known. With `seal` the answer is final.
pub(crate) async fn outcome(shared: &Arc<Shared>, ask: AskOutcome, origin: Origin, deadline: Instant) -> Result<Outcome, Failure> {
    if !ask.seal {
        linearizable(shared, deadline).await?;
        return shared.read(|cabinet| cabinet.outcome(ask.commit).map_err(ReadError::from));
    }
    let payload = Proposal::Seal(ask.commit).encode(0, &shared.rng).map_err(|error| failure::malformed(&error))?;
    let attempt = Attempt::new(shared, Asked::Seal(ask), payload, origin);
    match attempt.within(deadline).await? {
        Decided::Here(Verdict::Seal(outcome)) => Ok(outcome),
        Decided::There(body) => decode(&body),
        Decided::Here(Verdict::Commit(_)) => Err(failure::broken(&"a sealing was answered as a commit")),
    }
}

/// Waits until this replica has everything that was acknowledged anywhere before this was called; how far it is then.
pub(crate) async fn linearizable(shared: &Arc<Shared>, deadline: Instant) -> Result<Position, Failure> {
    if bugs::has(Bug::UnconfirmedRead) {
        return Ok(shared.cabinet().mark().position);
    }
    let reached = async {
        let (ask, index) = oneshot::channel();
        shared.reads.send(ask).await.map_err(|_| failure::stopped())?;
        let index = index.await.map_err(|_| failure::stopped())?;
        let applied = shared.applied(index).map_err(|_| failure::overloaded("too many readers wait for this replica"))?;
        applied.await.map_err(|_| failure::stopped())?;
        Ok(shared.cabinet().mark().position)
    };
    let late = || Failure::new(failure::NO_LEADER, "no majority of the replicas confirmed a leader in time").retry(Retry::Elsewhere);
    timeout_at(latest(deadline), reached).await.map_err(|_| late())?
}

/// One proposal and the search for the leader that takes it.
struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    asked: Asked,
    payload: Vec<u8>,
    origin: Origin,
    /// Whether it may have entered some log: then nobody may say that it did not happen.
    may_have_run: bool,
    /// The blobs that the commit names, if it does.
    naming: Option<BTreeSet<BlobId>>,
}

/// What is asked for, as it is passed on to another replica.
enum Asked {
    Commit(Commit),
    Seal(AskOutcome),
    Obliterate(audit::Obliterate),
}

impl Asked {
    fn subject(&self) -> Subject {
        match self {
            Self::Commit(commit) => Subject::Commit(commit.id),
            Self::Seal(ask) => Subject::Seal(ask.commit),
            Self::Obliterate(order) => Subject::Commit(order.id),
        }
    }

    fn method(&self) -> u16 {
        match self {
            Self::Commit(_) => cabinet::COMMIT,
            Self::Seal(_) => cabinet::OUTCOME,
            Self::Obliterate(_) => audit::OBLITERATE,
        }
    }

    fn body(&self) -> Result<Bytes, Failure> {
        match self {
            Self::Commit(commit) => encode(commit),
            Self::Seal(ask) => encode(ask),
            Self::Obliterate(order) => encode(order),
        }
    }
}

/// Where it was decided, and how.
enum Decided {
    Here(Verdict),
    There(Bytes),
}

impl<'a> Attempt<'a> {
    fn new(shared: &'a Arc<Shared>, asked: Asked, payload: Vec<u8>, origin: Origin) -> Self {
        Self { shared, asked, payload, origin, may_have_run: false, naming: None }
    }

    async fn within(mut self, deadline: Instant) -> Result<Decided, Failure> {
        let decided = timeout_at(latest(deadline), self.search(deadline)).await;
        match decided {
            Ok(decided) => decided,
            Err(_) => Err(self.give_up(failure::NO_LEADER, "no leader was found in time")),
        }
    }

    async fn search(&mut self, deadline: Instant) -> Result<Decided, Failure> {
        let mut standing = self.shared.standing();
        loop {
            if self.shared.has_stopped() {
                return Err(self.give_up(failure::STOPPED, "this replica is not serving"));
            }
            let now = *standing.borrow_and_update();
            let decided = match now {
                Standing { role: Role::Leader, .. } => self.propose(deadline).await?,
                _ if self.origin == Origin::Replica => return Err(self.give_up(failure::NOT_LEADER, "this replica is not the leader")),
                Standing { leader: Some(leader), .. } => tokio::select! {
                    // News of another leader first: the one that was asked may be dead, and silent for long.
                    biased;
                    _ = standing.changed() => continue,
                    decided = self.forward(leader, deadline) => decided?,
                },
                Standing { leader: None, .. } => None,
            };
            if let Some(decided) = decided {
                return Ok(decided);
            }
            tokio::select! {
                // News first: the pause is only for the case that there is none.
                biased;
                _ = standing.changed() => {}
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Proposes it here. `None`: this replica turned out not to lead, or not to lead any more.
    async fn propose(&mut self, deadline: Instant) -> Result<Option<Decided>, Failure> {
        let after = self.naming.is_some().then(|| self.shared.journal().last_obliteration());
        if let (Asked::Commit(commit), Some(named), Some(after)) = (&self.asked, &self.naming, after)
            && let Err(refusal) = admit_blobs(self.shared, commit, named, after, deadline).await
        {
            return Err(if self.may_have_run { self.give_up(refusal.code, &refusal.message) } else { refusal });
        }
        let (reply, decided) = oneshot::channel();
        let mut payload = self.payload.clone();
        stamp(&mut payload, self.shared.wall_clock.now_micros());
        let ask = Ask { subject: self.asked.subject(), payload: payload.into(), after, reply };
        let before = std::mem::replace(&mut self.may_have_run, true);
        if self.shared.asks.send(ask).await.is_err() {
            self.may_have_run = before;
            return Err(self.give_up(failure::STOPPED, "this replica is not serving"));
        }
        match decided.await {
            Ok(Ok(verdict)) => Ok(Some(Decided::Here(verdict))),
            Ok(Err(NotDecided::LeadershipLost)) => Ok(None),
            Ok(Err(NotDecided::NotLeader | NotDecided::Obliterated)) => {
                self.may_have_run = before;
                Ok(None)
            }
            Ok(Err(refused @ (NotDecided::Overloaded | NotDecided::NearlyFull))) => {
                self.may_have_run = before;
                match refused {
                    // An earlier attempt may have been taken in: go on until its outcome is known.
                    _ if before => Ok(None),
                    NotDecided::NearlyFull => Err(failure::nearly_full(self.shared.identity.name())),
                    _ => Err(failure::overloaded("too many commits are waiting for a majority")),
                }
            }
            Err(_) => Err(self.give_up(failure::STOPPED, "this replica stopped while the commit was on its way")),
        }
    }

    /// Asks the leader. `None`: look again for one.
    async fn forward(&mut self, leader: u64, deadline: Instant) -> Result<Option<Decided>, Failure> {
        let (Some(peers), Some(identity)) = (self.shared.peers(), self.shared.identity_of(leader)) else { return Ok(None) };
        let body = self.asked.body()?;
        let before = std::mem::replace(&mut self.may_have_run, true);
        let error = match peers.call(&identity, self.asked.method(), body, deadline).await {
            Ok(body) => return Ok(Some(Decided::There(body))),
            Err(error) => error,
        };
        if error.certainly_not_run() {
            self.may_have_run = before;
        }
        match error {
            CallError::Failed(failure) if !matches!(failure.code, failure::NOT_LEADER | failure::STOPPED | failure::UNDECIDED) => {
                Err(failure)
            }
            error => {
                tracing::debug!(leader, %error, "the leader did not take a commit; looking again");
                Ok(None)
            }
        }
    }

    /// The failure that tells the caller the truth: what may have run is never said not to have.
    fn give_up(&self, code: u16, message: &str) -> Failure {
        match self.may_have_run {
            true => Failure::new(failure::UNDECIDED, format!("{message}; the commit may have happened: ask for its outcome")),
            false => Failure::new(code, message).retry(Retry::Elsewhere),
        }
    }
}

/// The latest moment for an answer of our own, a little before the caller hangs up.
fn latest(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(MARGIN)
}

fn encode<T: Wire>(message: &T) -> Result<Bytes, Failure> {
    codec::encode(message).map(Bytes::from).map_err(|error| failure::malformed(&error))
}

fn decode<T: Wire>(body: &[u8]) -> Result<T, Failure> {
    codec::decode(body).map_err(|error| failure::broken(&error))
}

/// How long to wait for news of a leader before asking again.
const PAUSE: Duration = Duration::from_millis(50);

/// Time left to the answer on its way back.
const MARGIN: Duration = Duration::from_millis(100);
