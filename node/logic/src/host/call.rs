//! Calls of methods: run, read, run again, commit.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use caps_model::commit::REASON_BYTES_MAX;
use caps_model::messages::cabinet::Committed;
use caps_model::messages::host::{Call, Called, EXPECTED_MAX};
use caps_model::messages::{AskOutcome, Outcome};
use caps_model::{Author, Commit, CommitId, Name, ObjectId, Position, Record, Value};
use caps_overlay::Identity;
use caps_overlay::bugs::{self, Bug};
use caps_overlay::{Failure, Retry};
use tokio::time::Instant;

use super::{Host, busy, failures};
use crate::cabinet::{Ask, fetch};
use crate::catalogue::{AUTHOR, admit};
use crate::contention::Turn;
use crate::module::{Fault, Halt, Refusal};
use crate::people;
use crate::principals::Credential;
use crate::privileges::Principal;
use crate::service::codes;
use crate::transaction::{Births, Decided, Material, Transaction, Wishes, check_arguments};

/// How a call ended.
enum Ending {
    /// With a commit that is durable.
    Committed(Called),
    /// With an answer and nothing to commit.
    Unchanged(Called),
    /// With a no.
    Refused(Failure),
}

/// What one run of the module came to.
enum Decision {
    Read(Wishes),
    Commit(Decided, Record),
    /// Nothing to commit: the answer stands if what was read was ever true at once.
    Unchanged(Record, ReadSet),
    Refused(Refusal, ReadSet),
    Fault(Fault),
}

type ReadSet = (Vec<ObjectId>, Vec<usize>);

/// One call on its way.
struct Progress<'a> {
    call: &'a Call,
    peer: &'a Identity,
    credential: Credential,
    principal: Arc<Principal>,
    ask: Ask,
    material: Material,
    births: Births,
    now: i64,
    /// What commits of this call conflicted over.
    fought: BTreeSet<ObjectId>,
    turn: Turn,
    waits: u32,
}

impl Host {
    /// Calls a method of a module on behalf of whoever is behind the session, or of the peer.
    ///
    /// The answer is durable. With `again`, the outcome of the earlier call is asked for first, and an answer that is no commit is given only
    /// after the earlier call has been sealed, so that it cannot happen afterwards.
    pub async fn call(&self, call: Call, peer: &Identity, ask: Ask) -> Result<Called, Failure> {
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        let began = Instant::now();
        let answer = self.answer(call, peer, ask).await;
        self.counts.answered(began.elapsed());
        answer
    }

    async fn answer(&self, call: Call, peer: &Identity, ask: Ask) -> Result<Called, Failure> {
        if call.reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
            return Err(super::malformed(format!("a reason has at most {REASON_BYTES_MAX} bytes")));
        }
        if call.expected.len() > EXPECTED_MAX || call.expected.iter().any(|expected| expected.versions.len() > EXPECTED_MAX) {
            return Err(super::malformed(format!(
                "a call expects at most {EXPECTED_MAX} objects, of at most {EXPECTED_MAX} versions each"
            )));
        }
        let credential = Credential::of(call.session.as_ref(), peer);
        let mut principal = self.principals.presume(&credential, ask).await?;
        if call.again
            && let Some(called) = self.outcome_of(call.commit, &principal, false, ask).await?
        {
            return Ok(called);
        }
        let mut ending = self.attempt(&call, peer, &credential, &principal, ask).await?;
        if !matches!(ending, Ending::Committed(_)) {
            // No commit validated the rights that were presumed.
            let confirmed = self.principals.resolve(&credential, ask).await?;
            if !confirmed.same_rights(&principal) {
                principal = confirmed;
                ending = self.attempt(&call, peer, &credential, &principal, ask).await?;
            }
        }
        let earlier = match &ending {
            Ending::Unchanged(_) | Ending::Refused(_) if call.again => self.outcome_of(call.commit, &principal, true, ask).await?,
            _ => None,
        };
        match (earlier, ending) {
            (Some(earlier), _) => Ok(earlier),
            (None, Ending::Committed(called) | Ending::Unchanged(called)) => Ok(called),
            (None, Ending::Refused(failure)) => Err(failure),
        }
    }

    async fn attempt(
        &self,
        call: &Call,
        peer: &Identity,
        credential: &Credential,
        principal: &Arc<Principal>,
        ask: Ask,
    ) -> Result<Ending, Failure> {
        match self.prepare(call, principal).await? {
            Ok(call) => self.run(&call, peer, credential.clone(), principal.clone(), ask).await,
            Err(refusal) => Ok(Ending::Refused(refusal.into())),
        }
    }

    /// The first step: everything that can be said without the cabinet, and the work that is too heavy for module code.
    async fn prepare<'c>(&self, call: &'c Call, principal: &Principal) -> Result<Result<Cow<'c, Call>, Refusal>, Failure> {
        let method = self
            .catalogue
            .method(call.module.as_str(), call.method.as_str())
            .ok_or_else(|| Failure::new(codes::NO_SUCH_METHOD, format!("no module here has the method {}.{}", call.module, call.method)))?;
        if let Err(refusal) = admit(principal, method).and_then(|()| check_arguments(method, &call.arguments)) {
            return Ok(Err(refusal));
        }
        if call.module != people::MODULE {
            return Ok(Ok(Cow::Borrowed(call)));
        }
        let mut call = call.clone();
        self.hash_password_of(&mut call.arguments).await?;
        Ok(Ok(Cow::Owned(call)))
    }

    async fn hash_password_of(&self, arguments: &mut Record) -> Result<(), Failure> {
        let Some(Value::Text(password)) = arguments.get_mut(people::PASSWORD).and_then(|values| values.first_mut()) else {
            return Ok(());
        };
        let _room = self.login_room.try_acquire().map_err(|_| busy())?;
        let mut salt = [0; 16];
        let plain = std::mem::take(password);
        let salted = (self.environment.secrets)(&mut salt);
        let hash = self.passwords.run(move || people::hash_password(&plain, salt)).await;
        match (salted, hash) {
            (true, Ok(Some(hash))) => *password = hash,
            _ => return Err(Failure::new(codes::FAULT, "the password could not be hashed")),
        }
        Ok(())
    }

    async fn run(
        &self,
        call: &Call,
        peer: &Identity,
        credential: Credential,
        principal: Arc<Principal>,
        ask: Ask,
    ) -> Result<Ending, Failure> {
        let now = self.environment.wall_clock.now_micros();
        let mut progress = Progress {
            call,
            peer,
            credential,
            ask: ask.seeing(principal.position),
            principal,
            material: Material::default(),
            births: Births::new(now, self.environment.rng.clone()),
            now,
            fought: BTreeSet::new(),
            turn: Turn::default(),
            waits: 0,
        };
        let (mut conflicts, mut first) = (0, None);
        while conflicts < CONFLICTS_MAX {
            let (decided, result) = match self.decide(&mut progress).await? {
                Ok(commit) => commit,
                Err(ending) => return Ok(ending),
            };
            if self.had_to_wait(&mut progress, &decided).await {
                self.refresh(&mut progress).await?;
                continue;
            }
            let result = if bugs::has(Bug::StaleRerun) { first.get_or_insert(result).clone() } else { result };
            match self.commit(&progress, decided, result).await? {
                Ok(called) => return Ok(Ending::Committed(called)),
                Err((position, objects)) => {
                    conflicts += 1;
                    self.conflicted(&mut progress, position, objects, conflicts).await?;
                }
            }
        }
        let sentence = format!("others changed the same objects {CONFLICTS_MAX} times in a row");
        Err(Failure::new(codes::CONFLICT, sentence).retry(Retry::After(PAUSE_MAX)))
    }

    /// Runs the module until it needs nothing more from the cabinet: what is to be committed, or how the call ends without a commit.
    async fn decide(&self, progress: &mut Progress<'_>) -> Result<Result<(Decided, Record), Ending>, Failure> {
        for _ in 0..ROUNDS_MAX {
            let (wishes, ending) = match self.run_once(progress) {
                Decision::Commit(decided, result) => return Ok(Ok((decided, result))),
                Decision::Fault(fault) => return Err(self.fault(progress.call, &fault)),
                Decision::Read(wishes) => {
                    self.fetch(progress, wishes).await?;
                    continue;
                }
                Decision::Unchanged(result, read) => {
                    let position = progress.material.newest().max(progress.ask.at_least);
                    let called = Called { position, result, repeated: false };
                    (stale(progress, &read), Ending::Unchanged(called))
                }
                Decision::Refused(refusal, read) => (stale(progress, &read), Ending::Refused(refusal.into())),
            };
            // A commit would have been validated by layer 1; this is what validates an answer without one.
            if wishes.is_empty() || !self.fetch(progress, wishes).await? {
                return Ok(Err(ending));
            }
        }
        Err(self.fault(progress.call, &Fault::new(format!("it still reads after {ROUNDS_MAX} rounds"))))
    }

    fn run_once(&self, progress: &mut Progress<'_>) -> Decision {
        let Progress { call, principal, material, births, now, .. } = progress;
        let mut tx = Transaction::new(&self.catalogue, principal, material, births, *now);
        let expected = tx.expect(&call.expected);
        let outcome = expected.and_then(|()| self.call_module(call.module.as_str(), call.method.as_str(), &call.arguments, &mut tx));
        let outcome = outcome.and_then(|result| tx.conclude().map(|()| result));
        let wishes = tx.take_wishes();
        if !wishes.is_empty() {
            return Decision::Read(wishes);
        }
        let read = tx.read_set();
        let outcome = tx.halted().map_or(outcome, Err);
        let decided = outcome.and_then(|result| Ok((self.catalogue.checked_result(call, result)?, tx.decided()?)));
        match decided {
            Ok((result, decided)) if decided.changes.is_empty() && decided.effects.is_empty() => Decision::Unchanged(result, read),
            Ok((result, decided)) => Decision::Commit(decided, result),
            Err(Halt::Refused(refusal)) => Decision::Refused(refusal, read),
            Err(Halt::Fault(fault)) => Decision::Fault(fault),
            Err(Halt::Read) => Decision::Fault(Fault::new("it halted to read and wished for nothing")),
        }
    }

    /// Fetches what is wished for; whether something that was at hand is different now.
    async fn fetch(&self, progress: &mut Progress<'_>, wishes: Wishes) -> Result<bool, Failure> {
        let ask = progress.ask.seeing(progress.material.newest());
        let fetched = fetch(self.cabinet.as_ref(), wishes, ask).await?;
        Ok(progress.material.absorb(fetched))
    }

    /// Reads everything anew that was read before, in one round trip: a re-run reads mostly the same.
    async fn refresh(&self, progress: &mut Progress<'_>) -> Result<(), Failure> {
        let wishes = progress.material.wishes();
        progress.material = Material::default();
        progress.now = self.environment.wall_clock.now_micros();
        self.fetch(progress, wishes).await?;
        Ok(())
    }

    /// Queues before the hot objects that this changes; whether that took so long that somebody else changed them.
    async fn had_to_wait(&self, progress: &mut Progress<'_>, decided: &Decided) -> bool {
        let changes = decided.changes.iter().map(caps_model::Change::object);
        let hot = self.contention.hot_among(changes.chain(progress.fought.iter().copied()), Instant::now());
        if progress.turn.covers(&hot) || progress.waits >= WAITS_MAX {
            return false;
        }
        progress.waits += 1;
        let all = hot.union(progress.turn.objects()).copied().collect();
        // Given up before the larger set is waited for: gates are only ever taken in the order of the ids.
        let had = std::mem::take(&mut progress.turn);
        let gave_up = !had.objects().is_empty();
        drop(had);
        let (turn, waited) = self.contention.turn(all).await;
        progress.turn = turn;
        waited || gave_up
    }

    async fn commit(
        &self,
        progress: &Progress<'_>,
        decided: Decided,
        result: Record,
    ) -> Result<Result<Called, (Position, Vec<ObjectId>)>, Failure> {
        let Progress { call, principal, .. } = progress;
        let commit = Commit {
            id: call.commit,
            author: self.author(call, principal, progress.peer),
            time: progress.now,
            reads: decided.reads,
            changes: decided.changes,
            effects: decided.effects,
            result: owned_by(principal, result),
        };
        match self.cabinet.commit(commit, progress.ask).await.map_err(failures::of_commit)? {
            Committed::Accepted { position, result, repeated } => Ok(Ok(mine(principal, position, result, repeated)?)),
            Committed::Conflict { position, objects } => Ok(Err((position, objects))),
            Committed::Sealed => Err(sealed()),
        }
    }

    /// Makes ready to run again after a conflict: at once the first time, then after growing pauses, drawn so that rivals part.
    async fn conflicted(
        &self,
        progress: &mut Progress<'_>,
        position: Position,
        objects: Vec<ObjectId>,
        conflicts: u32,
    ) -> Result<(), Failure> {
        self.counts.conflicts.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(commit = %progress.call.commit, conflicts, ?objects, "conflict, running again");
        self.contention.conflicted(objects.iter().copied(), Instant::now());
        progress.fought.extend(objects);
        progress.ask = progress.ask.seeing(position);
        if conflicts > 1 {
            let pause = PAUSE_MIN.saturating_mul(1 << (conflicts - 2).min(16)).min(PAUSE_MAX);
            tokio::time::sleep(self.environment.rng.jitter(pause)).await;
        }
        // The conflict may be over the principal's own rights.
        progress.principal = self.principals.resolve(&progress.credential, progress.ask).await?;
        self.refresh(progress).await
    }

    fn author(&self, call: &Call, principal: &Principal, peer: &Identity) -> Author {
        let version = self.catalogue.version(call.module.as_str());
        Author {
            user: principal.user(),
            front_end: peer.to_string(),
            host: self.node.to_string(),
            module: call.module.clone(),
            module_version: version,
            method: call.method.clone(),
            reason: call.reason.clone(),
        }
    }

    /// What became of a commit of this principal; `None`: it has not happened, and with `seal` it never will.
    async fn outcome_of(&self, commit: CommitId, principal: &Principal, seal: bool, ask: Ask) -> Result<Option<Called>, Failure> {
        match self.cabinet.outcome(AskOutcome { commit, seal }, ask).await.map_err(failures::of_commit)? {
            Outcome::Accepted { position, result } => mine(principal, position, result, true).map(Some),
            Outcome::Sealed if seal => Ok(None),
            Outcome::Sealed => Err(sealed()),
            Outcome::Unknown if seal => Err(Failure::new(codes::OUTCOME_UNKNOWN, "the commit could not be sealed")),
            Outcome::Unknown => Ok(None),
        }
    }

    fn fault(&self, call: &Call, fault: &Fault) -> Failure {
        tracing::error!(module = %call.module, method = %call.method, commit = %call.commit, %fault, "a module is at fault");
        Failure::new(codes::FAULT, format!("{}.{} is at fault: {fault}", call.module, call.method))
    }
}

fn stale(progress: &Progress<'_>, (objects, answers): &ReadSet) -> Wishes {
    progress.material.stale(objects.iter().copied(), answers.iter().copied())
}

/// A result, with a note whose it is.
pub(super) fn owned_by(principal: &Principal, mut result: Record) -> Record {
    result.insert(Name::fixed(AUTHOR), vec![Value::Text(principal.key())]);
    result
}

/// A result without the note, if it is this principal's.
pub(super) fn without_owner(principal: &Principal, mut result: Record) -> Option<Record> {
    let author = result.remove(AUTHOR)?;
    (author.first().and_then(Value::as_text) == Some(&principal.key())).then_some(result)
}

fn mine(principal: &Principal, position: Position, result: Record, repeated: bool) -> Result<Called, Failure> {
    let result = without_owner(principal, result);
    let result = result.ok_or_else(|| Failure::new(codes::COMMIT_ID_TAKEN, "another commit has this id: choose a new one"))?;
    Ok(Called { position, result, repeated })
}

pub(super) fn sealed() -> Failure {
    Failure::new(codes::SEALED, "this commit was sealed: it has not happened and never will")
}

/// Rounds of reading in one run: each is a round trip to layer 1. Methods need one to four.
const ROUNDS_MAX: u32 = 32;

/// Conflicts of one call. Within a host rivals queue, so a call loses only to other hosts; against a handful of them twenty losses in a row
/// mean that something else is wrong.
const CONFLICTS_MAX: u32 = 20;

/// Times that one call queues. New hot objects may turn up each time; in the end it takes its chance with a conflict.
const WAITS_MAX: u32 = 8;

/// Pauses before running again, from the second conflict on, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);
