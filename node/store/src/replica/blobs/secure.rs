//! Seeing to it that a majority of the voters has a blob on disk before a commit names it.
//!
//! Applying a commit must not depend on which blobs a replica happens to have; so this is looked at when a commit is admitted to the log, by the
//! leader, and never again.
//!
//! An obliteration takes blobs away that nothing in the log before it names. So that it never takes one that a commit behind it names, and a
//! majority was found to have: only those voters count that have carried out all obliterations that are in the leader's log, and if another
//! one enters the log before the commit does, the voters are asked again ([`Ask::after`](super::super::waiting::Ask)).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use caps_model::messages::blobs::{Answer, Question, Secured};
use caps_model::{BlobId, Commit};
use caps_overlay::{Failure, Identity};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::super::shared::Shared;
use super::fetch::ask_until;
use super::holds;
use crate::blobs::limits::NAMED_MAX;
use crate::service::failure;

/// Looks for a majority that has the blob, and lets those who have not got it fetch it, until `until`.
///
/// Who has not carried out the obliterations that are known of here does not count.
pub(super) async fn secure(shared: &Arc<Shared>, blob: BlobId, until: Instant) -> Result<Secured, Failure> {
    secure_after(shared, blob, shared.journal().last_obliteration(), until).await
}

/// The same, after the obliterations up to an entry.
async fn secure_after(shared: &Arc<Shared>, blob: BlobId, settled: u64, until: Instant) -> Result<Secured, Failure> {
    let mut secured = count(shared, blob, settled, false, until).await;
    let is_anywhere = |secured: &Secured| secured.voters > 0 || shared.blobs.holds(blob, Instant::now());
    // Where an obliteration is under way it is too early to say that nobody has it.
    if !is_anywhere(&secured) && shared.blobs.settled() >= settled {
        return Err(Failure::new(failure::BLOB_ABSENT, format!("no replica that could be asked has {blob}: upload it first")));
    }
    while !secured.is_enough() && Instant::now() < until {
        secured = count(shared, blob, settled, true, until).await;
        if !secured.is_enough() && Instant::now() + PAUSE < until {
            sleep(PAUSE).await;
        }
    }
    Ok(secured)
}

/// Whether another voter has the blob already: then nobody needs to send it again.
pub(super) async fn is_elsewhere(shared: &Arc<Shared>, blob: BlobId) -> bool {
    let until = Instant::now() + ELSEWHERE_WITHIN;
    let voters = shared.with_table(|table| {
        let numbers = table.membership().voters().clone();
        numbers.iter().filter_map(|number| table.identity(*number).cloned()).collect::<Vec<_>>()
    });
    let others = voters.into_iter().filter(|voter| *voter != shared.identity);
    let mut asked: FuturesUnordered<_> =
        others.map(|voter| async move { ask_until(shared, &voter, &Question::Want { blob, wait: false }, until).await }).collect();
    while let Ok(Some(answer)) = timeout_at(until, asked.next()).await {
        if matches!(answer, Ok(Answer::Held(true))) {
            return true;
        }
    }
    false
}

/// Refuses a commit that names more blobs than one may.
pub(crate) fn within_limits(blobs: &BTreeSet<BlobId>) -> Result<(), Failure> {
    match blobs.len() {
        count if count > NAMED_MAX => {
            Err(Failure::new(failure::REFUSED, format!("the commit names {count} blobs, at most {NAMED_MAX} are allowed: split it")))
        }
        _ => Ok(()),
    }
}

/// Refuses a commit that names a blob which no majority has; waits a little for those who are about to have it. One that happened already is let
/// through to be given its first answer.
/// The obliterations that it was looked at after are those up to `settled`.
pub(crate) async fn admit_blobs(
    shared: &Arc<Shared>,
    commit: &Commit,
    blobs: &BTreeSet<BlobId>,
    settled: u64,
    deadline: Instant,
) -> Result<(), Failure> {
    if blobs.is_empty() || shared.read(|cabinet| Ok(cabinet.state().fate(commit.id)?)).is_ok_and(|fate| fate.is_some()) {
        return Ok(());
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let until = Instant::now() + (left / 2).min(ADMIT_WITHIN);
    let mut all = FuturesUnordered::new();
    for blob in blobs {
        all.push(async move { (*blob, secure_after(shared, *blob, settled, until).await) });
    }
    while let Some((blob, secured)) = all.next().await {
        match secured {
            Ok(secured) if secured.is_enough() => {}
            Ok(Secured { voters, needed }) => {
                let message = format!("{blob} is on {voters} voters and {needed} must have it: try again when its upload has ended");
                return Err(Failure::new(failure::BLOB_UNSECURED, message));
            }
            Err(absent) => return Err(Failure::new(failure::BLOB_UNSECURED, absent.message)),
        }
    }
    Ok(())
}

/// How many voters have the blob. With `wait` each is given time to fetch it, until a majority has it.
async fn count(shared: &Arc<Shared>, blob: BlobId, settled: u64, wait: bool, until: Instant) -> Secured {
    let (voters, me) = shared.with_table(|table| {
        let numbers = table.membership().voters().clone();
        let voters: Vec<Identity> = numbers.iter().filter_map(|number| table.identity(*number).cloned()).collect();
        (voters, shared.identity.clone())
    });
    let majority = voters.len() / 2 + 1;
    let needed = u32::try_from(majority).unwrap_or(u32::MAX);
    let mut secured = Secured { voters: 0, needed };
    let question = match settled {
        // Replicas of the release before this one know this question only.
        0 => Question::Want { blob, wait },
        settled => Question::Hold { blob, wait, settled },
    };
    let mut asked = FuturesUnordered::new();
    let (me_votes, others): (Vec<_>, Vec<_>) = voters.into_iter().partition(|voter| *voter == me);
    if holds(&shared.blobs, blob, settled) {
        secured.voters += u32::from(!me_votes.is_empty());
    } else if shared.blobs.settled() >= settled {
        shared.blobs.want(blob, None, Instant::now());
    }
    let until = if wait { until } else { until.min(Instant::now() + HELD_WITHIN) };
    for voter in others {
        let question = &question;
        asked.push(async move { ask_until(shared, &voter, question, until).await });
    }
    while !secured.is_enough() {
        match timeout_at(until, asked.next()).await {
            Ok(Some(Ok(Answer::Held(true)))) => secured.voters += 1,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    secured
}

/// How long an upload waits to hear that it is not needed: a voter that is down must not be felt.
const ELSEWHERE_WITHIN: Duration = Duration::from_millis(500);

/// How long a voter may take to say whether it has a blob: several round trips of the longest line.
const HELD_WITHIN: Duration = Duration::from_secs(2);

/// How long a commit waits for blobs that are on their way.
const ADMIT_WITHIN: Duration = Duration::from_secs(5);

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(100);
