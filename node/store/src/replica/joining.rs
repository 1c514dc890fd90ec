//! A replica without a number: it has not been added yet, was removed, or lost its journal. It serves nothing, votes for nobody and acknowledges
//! nothing; it asks the others, again and again, whether its journal has a number.

use std::sync::Arc;
use std::time::Duration;

use caps_model::codec;
use caps_model::messages::cabinet::{Admission, JOIN, Join};
use caps_overlay::{CallError, Identity, Rng};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::peers::Peers;
use super::shared::Shared;
use crate::journal::{Founder, Seat};
use crate::service::failure;

/// Asks until there is an answer; the seat that it gives. `None`: the replica was told to stop.
pub(crate) async fn admission(
    shared: &Arc<Shared>,
    peers: &Arc<dyn Peers>,
    seat: &Seat,
    stop: &mut mpsc::Receiver<Instant>,
    rng: &Rng,
) -> Option<Seat> {
    tracing::warn!(
        cabinet = %shared.cabinet_name,
        "this node belongs to no group yet: asking the others; add it with `caps cabinet add-learner {}`",
        shared.identity.name()
    );
    loop {
        let asked = async {
            let admission = ask_all(shared, peers, seat).await;
            if admission.is_none() {
                sleep(rng.jitter(ASK_EVERY)).await;
            }
            admission
        };
        tokio::select! {
            // The wish to stop first: the others may be silent for long.
            biased;
            _ = stop.recv() => return None,
            admission = asked => {
                if let Some(Admission { number, founders }) = admission {
                    tracing::info!(cabinet = %shared.cabinet_name, number, "admitted");
                    let founders = founders.into_iter();
                    let founders = founders.map(|founder| Founder { number: founder.number, votes: founder.votes, identity: founder.node });
                    return Some(Seat { number, founders: founders.collect(), ..*seat });
                }
            }
        }
    }
}

/// Asks one after the other: only the leader answers.
async fn ask_all(shared: &Shared, peers: &Arc<dyn Peers>, seat: &Seat) -> Option<Admission> {
    for node in &shared.others {
        match ask(peers, node, seat).await {
            Ok(admission) => return Some(admission),
            Err(CallError::Failed(refusal)) if refusal.code == failure::NOT_YET => return None,
            Err(error) => tracing::debug!(node = node.name(), %error, "not admitted"),
        }
    }
    None
}

/// Whether this replica was removed and has not heard of it: nobody sends anything any more to a number that is nobody's. The leader alone
/// answers; as long as nobody does, nothing is known.
pub(crate) async fn was_removed(shared: Arc<Shared>, peers: Arc<dyn Peers>) -> bool {
    let seat = shared.seat();
    for node in &shared.others {
        match ask(&peers, node, &seat).await {
            Ok(_) => return false,
            Err(CallError::Failed(refusal)) if refusal.code == failure::NOT_A_MEMBER => return true,
            Err(_) => {}
        }
    }
    false
}

async fn ask(peers: &Arc<dyn Peers>, node: &Identity, seat: &Seat) -> Result<Admission, CallError> {
    let join = Join { number: seat.number, incarnation: seat.incarnation };
    let body = codec::encode(&join).expect("two numbers can be encoded");
    let answer = peers.call(node, JOIN, body.into(), Instant::now() + ANSWER_WITHIN).await?;
    codec::decode(&answer).map_err(|error| CallError::Failed(failure::broken(&error)))
}

/// Between two rounds of questions: short against what a repair takes, long against what a question costs.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A leader that is reached answers within this, the commit of a change included.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
