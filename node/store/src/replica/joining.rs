//! A replica without a number: it has not been added yet, was removed, or lost its journal. It serves nothing, votes for nobody and acknowledges
//! nothing; it asks the others, again and again, whether its journal has a number.
//!
//! And one whose journal is empty though the deployment gives it a number: either the group begins, or the disk was replaced. It asks before it
//! takes part, because whoever forgot its votes and acknowledgements must not go on under the number that gave them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caps_model::codec;
use caps_model::messages::cabinet::{Admission, JOIN, Join, MEMBERS, Members};
use caps_overlay::{CallError, Identity, Rng};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::peers::Peers;
use super::shared::{Shared, Stopped};
use crate::journal::{Founder, Seat};
use crate::service::failure;

/// Asks until there is an answer; the seat that it gives. `history`: the last entry that is committed here, and its term.
///
/// Ends without one when the replica is told to stop, or when its journal is of another history than the group's.
pub(crate) async fn admission(
    shared: &Arc<Shared>,
    peers: &Arc<dyn Peers>,
    seat: &Seat,
    history: (u64, u64),
    stop: &mut mpsc::Receiver<Instant>,
    rng: &Rng,
) -> Result<Seat, Stopped> {
    tracing::warn!(
        cabinet = %shared.cabinet_name,
        "this node belongs to no group yet: asking the others; add it with `caps cabinet add-learner {}`",
        shared.identity.name()
    );
    loop {
        let asked = async {
            let admission = ask_all(shared, peers, seat, history).await?;
            if admission.is_none() {
                sleep(rng.jitter(ASK_EVERY)).await;
            }
            Ok::<_, Stopped>(admission)
        };
        tokio::select! {
            // The wish to stop first: the others may be silent for long.
            biased;
            _ = stop.recv() => return Err(Stopped::Asked),
            admission = asked => {
                if let Some(Admission { number, founders }) = admission? {
                    tracing::info!(cabinet = %shared.cabinet_name, number, "admitted");
                    let founders = founders.into_iter();
                    let founders = founders.map(|founder| Founder { number: founder.number, votes: founder.votes, identity: founder.node });
                    return Ok(Seat { number, founders: founders.collect(), ..*seat });
                }
            }
        }
    }
}

/// Asks one after the other: only the leader answers.
async fn ask_all(shared: &Shared, peers: &Arc<dyn Peers>, seat: &Seat, history: (u64, u64)) -> Result<Option<Admission>, Stopped> {
    for node in &shared.others {
        match ask(peers, node, seat, history).await {
            Ok(admission) => return Ok(Some(admission)),
            Err(CallError::Failed(refusal)) if refusal.code == failure::NOT_YET => return Ok(None),
            Err(CallError::Failed(refusal)) if refusal.code == failure::OTHER_HISTORY => {
                return Err(Stopped::OtherHistory { index: history.0, node: node.name().to_owned() });
            }
            Err(error) => tracing::debug!(node = node.name(), %error, "not admitted"),
        }
    }
    Ok(None)
}

/// Whether this replica was removed and has not heard of it: nobody sends anything any more to a number that is nobody's. The leader alone
/// answers; as long as nobody does, nothing is known.
pub(crate) async fn was_removed(shared: Arc<Shared>, peers: Arc<dyn Peers>) -> bool {
    let seat = shared.seat();
    for node in &shared.others {
        // Only the number is in question: what is in the journal is looked at when it is to get another one.
        match ask(&peers, node, &seat, (0, 0)).await {
            Ok(_) => return false,
            Err(CallError::Failed(refusal)) if refusal.code == failure::NOT_A_MEMBER => return true,
            Err(_) => {}
        }
    }
    false
}

/// Whether the group was begun without this replica, or with an earlier one at its node: somebody with whom it began holds entries.
///
/// Waits until all of them have answered, because any one may be the only other that knows; but not for ever, so that a group can begin while
/// one of its nodes is down. What this cannot tell, then: that a disk was replaced while just those who know are out of reach.
pub(crate) async fn is_founded(shared: &Shared, peers: &Arc<dyn Peers>, seat: &Seat, stop: &mut mpsc::Receiver<Instant>) -> Option<bool> {
    let others = shared.others.iter().filter(|other| seat.founders.iter().any(|founder| founder.identity == other.uri()));
    let asked = others.map(|other| holds_entries(peers, other));
    let mut answers: FuturesUnordered<_> = asked.collect();
    let deadline = sleep(FOUNDING_PATIENCE);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            // The wish to stop first, then what is known, and last that it has taken too long.
            biased;
            _ = stop.recv() => return None,
            answer = answers.next() => match answer {
                Some(true) => return Some(true),
                Some(false) => {}
                None => return Some(false),
            },
            () = &mut deadline => {
                tracing::warn!(cabinet = %shared.cabinet_name, silent = answers.len(), "the group begins without having heard all of it");
                return Some(false);
            }
        }
    }
}

/// Asks one node until it answers.
async fn holds_entries(peers: &Arc<dyn Peers>, node: &Identity) -> bool {
    loop {
        let answer = peers.call(node, MEMBERS, Bytes::new(), Instant::now() + ANSWER_WITHIN).await;
        if let Some(members) = answer.ok().and_then(|body| codec::decode::<Members>(&body).ok()) {
            return members.last_index > 0;
        }
        sleep(FOUNDING_PAUSE).await;
    }
}

async fn ask(peers: &Arc<dyn Peers>, node: &Identity, seat: &Seat, history: (u64, u64)) -> Result<Admission, CallError> {
    let (committed, committed_term) = history;
    let join = Join { number: seat.number, incarnation: seat.incarnation, committed, committed_term };
    let body = codec::encode(&join).expect("four numbers can be encoded");
    let answer = peers.call(node, JOIN, body.into(), Instant::now() + ANSWER_WITHIN).await?;
    codec::decode(&answer).map_err(|error| CallError::Failed(failure::broken(&error)))
}

/// How long a group that begins waits for those of its nodes that do not answer.
pub(super) const FOUNDING_PATIENCE: Duration = Duration::from_secs(5);

/// Between two questions to a node that is not there yet.
pub(super) const FOUNDING_PAUSE: Duration = Duration::from_millis(50);

/// Between two rounds of questions: short against what a repair takes, long against what a question costs.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A leader that is reached answers within this, the commit of a change included.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
