//! Changes of membership and of leadership, from whoever asks to the leader and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caps_model::codec;
use caps_model::messages::cabinet::{self, Admission, Founder, Join, Members, Order, OrderKind};
use caps_overlay::{CallError, Failure, Identity, Retry};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::commits::Origin;
use super::shared::Shared;
use crate::replication::{ChangeRefused, Role, Standing, Wish};
use crate::service::failure;

/// A wish on its way to the driver.
#[derive(Debug)]
pub(crate) struct OrderAsk {
    /// What is wished.
    pub(crate) wish: Wish,
    /// Who wants to know what became of it.
    pub(crate) reply: oneshot::Sender<Result<(), OrderFailed>>,
}

/// An order was not carried out here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OrderFailed {
    /// It was refused; nothing happened.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// The leadership ended: a later leader may still bring it to an end.
    #[error("the leadership ended before the change was made")]
    LeadershipLost,
    /// The voter that was to lead did not take over in time; the leader goes on.
    #[error("{node} did not take the leadership in time: is it far behind?")]
    NotTaken { node: String },
}

/// Sees to it that a node becomes what is asked, through whoever leads. Asking again for what is so already changes nothing.
pub(crate) async fn order(shared: &Arc<Shared>, order: Order, origin: Origin, deadline: Instant) -> Result<Members, Failure> {
    let node = Identity::parse(&order.node).map_err(|error| failure::malformed(&error))?;
    let left = deadline.saturating_duration_since(Instant::now());
    let until = deadline - (left / 10).min(MARGIN);
    let late = || Failure::new(failure::UNDECIDED, "time ran out; look with `caps cabinet` whether it has happened").retry(Retry::No);
    timeout_at(until, search(shared, &order, &node, origin, deadline)).await.unwrap_or_else(|_| Err(late()))
}

/// Lets a replica in that has no number: tells it the one that its journal was given, and gives a new one to a member that lost its journal.
/// Tells a replica with a number whether it still has it.
pub(crate) async fn admit(shared: &Arc<Shared>, join: &Join, node: Identity) -> Result<Admission, Failure> {
    // A leader that has not applied what its predecessors decided could deny a member.
    if !shared.leads() {
        return Err(Failure::new(failure::NOT_LEADER, "this replica is not the leader").retry(Retry::Elsewhere));
    }
    // The cabinet was restored to an earlier point since, or is another one of the same name. What that journal holds must not be served, and
    // would never be brought into line: a replica does not take back what it knows to be committed.
    if shared.journal().term(join.committed) != Some(join.committed_term) {
        let message = format!("entry {} of that replica's journal is not in the history of this cabinet", join.committed);
        return Err(Failure::new(failure::OTHER_HISTORY, message));
    }
    let (number, member) = shared.with_table(|table| {
        let membership = table.membership();
        let number = match join.number {
            0 => membership.number_of(&node, join.incarnation),
            number => membership.member(number).filter(|member| member.identity == node).map(|_| number),
        };
        (number, membership.of_identity(&node).is_some())
    });
    match number {
        Some(number) => {
            let founders = shared.founders().into_iter();
            let founders =
                founders.map(|founder| Founder { number: founder.number, node: founder.identity, votes: founder.votes }).collect();
            Ok(Admission { number, founders })
        }
        None if member && join.number == 0 => {
            tracing::warn!(cabinet = %shared.cabinet_name, node = node.name(), "a member has lost its journal: letting it in under another number");
            let admitted = ask(shared, Wish::Admit { identity: node, incarnation: join.incarnation }).await;
            let told = admitted.err().map_or_else(|| "it was given another number".to_owned(), |failed| failed.to_string());
            Err(Failure::new(failure::NOT_YET, format!("ask again: {told}")).retry(Retry::After(PAUSE)))
        }
        None => Err(Failure::new(failure::NOT_A_MEMBER, "it does not belong to this cabinet")),
    }
}

async fn search(shared: &Arc<Shared>, order: &Order, node: &Identity, origin: Origin, deadline: Instant) -> Result<Members, Failure> {
    let mut standing = shared.standing();
    loop {
        if shared.has_stopped() {
            return Err(failure::stopped());
        }
        let now = *standing.borrow_and_update();
        let done = match now {
            Standing { role: Role::Leader, .. } => here(shared, order, node).await?,
            _ if origin == Origin::Replica => {
                return Err(Failure::new(failure::NOT_LEADER, "this replica is not the leader").retry(Retry::Elsewhere));
            }
            Standing { leader: Some(leader), .. } => forward(shared, leader, order, deadline).await?,
            Standing { leader: None, .. } => None,
        };
        if let Some(members) = done {
            return Ok(members);
        }
        if origin == Origin::Replica {
            return Err(Failure::new(failure::NOT_LEADER, "this replica is not the leader any more").retry(Retry::Elsewhere));
        }
        tokio::select! {
            // News first: the pause is only for the case that there is none.
            biased;
            _ = standing.changed() => {}
            () = sleep(PAUSE) => {}
        }
    }
}

/// Does it as the leader. `None`: this replica turned out not to lead, or lets somebody else lead first.
async fn here(shared: &Arc<Shared>, order: &Order, node: &Identity) -> Result<Option<Members>, Failure> {
    let wish = match order.kind {
        OrderKind::AddLearner => match newcomer(shared, node).await? {
            Some(incarnation) => Wish::Admit { identity: node.clone(), incarnation },
            None => return Ok(Some(shared.members())),
        },
        OrderKind::Promote => Wish::Promote(node.clone()),
        OrderKind::Demote => Wish::Demote(node.clone()),
        OrderKind::Remove => Wish::Remove(node.clone()),
        OrderKind::Transfer => Wish::Lead(node.clone()),
    };
    match ask(shared, wish).await {
        Ok(()) => Ok(Some(shared.members())),
        Err(OrderFailed::LeadershipLost | OrderFailed::Refused(ChangeRefused::NotLeader)) => Ok(None),
        Err(failed) => Err(Failure::new(failure::CHANGE_REFUSED, failed.to_string())),
    }
}

/// The incarnation of a node that is to be added; `None`: it belongs to the group already.
async fn newcomer(shared: &Arc<Shared>, node: &Identity) -> Result<Option<u64>, Failure> {
    let refused = |why: String| Failure::new(failure::CHANGE_REFUSED, why);
    let Some(peers) = shared.peers() else { return Err(failure::stopped()) };
    let name = node.name();
    if *node == shared.identity {
        return Ok(None);
    }
    let body = peers.call(node, cabinet::MEMBERS, Bytes::new(), Instant::now() + ASK_NEWCOMER).await;
    let body = body.map_err(|error| refused(format!("{name} does not answer: start it first ({error})")))?;
    let told: Members = codec::decode(&body).map_err(|error| failure::broken(&error))?;
    if told.cabinet != shared.cabinet_name.as_str() {
        return Err(refused(format!("{name} keeps the cabinet {}, not this one", told.cabinet)));
    }
    let (known, next) = shared.with_table(|table| {
        let membership = table.membership();
        (membership.of_identity(node).map(|(number, _)| number), membership.next_number())
    });
    match (told.number, known) {
        (0, _) => Ok(Some(told.incarnation)),
        (number, Some(known)) if number == known => Ok(None),
        // It was removed, and has not noticed yet.
        (number, None) if number < next => Ok(Some(told.incarnation)),
        (number, _) => Err(refused(format!(
            "{name} says that it is number {number} of this cabinet, which it is not: does its data belong to another deployment?"
        ))),
    }
}

async fn ask(shared: &Arc<Shared>, wish: Wish) -> Result<(), OrderFailed> {
    let (reply, done) = oneshot::channel();
    if shared.orders.send(OrderAsk { wish, reply }).await.is_err() {
        return Err(OrderFailed::LeadershipLost);
    }
    done.await.unwrap_or(Err(OrderFailed::LeadershipLost))
}

/// Asks the leader. `None`: look again for one.
async fn forward(shared: &Arc<Shared>, leader: u64, order: &Order, deadline: Instant) -> Result<Option<Members>, Failure> {
    let (Some(peers), Some(leader)) = (shared.peers(), shared.identity_of(leader)) else { return Ok(None) };
    let body = codec::encode(order).map_err(|error| failure::malformed(&error))?;
    match peers.call(&leader, cabinet::ORDER, body.into(), deadline).await {
        Ok(body) => codec::decode(&body).map(Some).map_err(|error| failure::broken(&error)),
        Err(CallError::Failed(failure)) if !matches!(failure.code, failure::NOT_LEADER | failure::STOPPED) => Err(failure),
        Err(error) => {
            tracing::debug!(leader = leader.name(), %error, "the leader did not take an order; looking again");
            Ok(None)
        }
    }
}

/// How long to wait for news of a leader before asking again.
const PAUSE: Duration = Duration::from_millis(200);

/// Time left to the answer on its way back.
const MARGIN: Duration = Duration::from_millis(100);

/// A node that is to be added answers within this, or is not there.
const ASK_NEWCOMER: Duration = Duration::from_secs(3);
