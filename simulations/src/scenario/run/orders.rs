//! What administrators want of the replicas: asked of whoever leads, again and again until it is so.

use std::time::Duration;

use caps_certs_gen::Layer;
use caps_model::messages::cabinet::{Members, Order, OrderKind, ReplicaRole};
use caps_overlay::Failure;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Run;

/// An order that is not carried out yet.
#[derive(Debug)]
pub(super) struct Standing {
    kind: OrderKind,
    node: String,
    until: Instant,
    under_way: Option<JoinHandle<Result<Members, Failure>>>,
}

impl Run {
    /// Takes an order.
    pub(super) fn take_order(&mut self, kind: OrderKind, node: &str) {
        match kind {
            OrderKind::AddLearner => {
                self.outside.remove(node);
            }
            OrderKind::Remove => {
                // It stops by itself, and waits outside when it is started again.
                self.sick.insert(node.to_owned());
                self.outside.insert(node.to_owned());
            }
            OrderKind::Promote | OrderKind::Demote | OrderKind::Transfer => {}
        }
        self.orders.push_back(Standing { kind, node: node.to_owned(), until: Instant::now() + PATIENCE, under_way: None });
    }

    /// Goes on with the first order, one at a time as administrators do. What is not carried out in time is a promise broken.
    pub(super) async fn carry_out(&mut self) -> anyhow::Result<()> {
        let Some(mut order) = self.orders.pop_front() else { return Ok(()) };
        let refusal = match order.under_way.take() {
            Some(asked) if !asked.is_finished() => {
                order.under_way = Some(asked);
                self.orders.push_front(order);
                return Ok(());
            }
            Some(asked) => match asked.await? {
                Ok(members) => {
                    self.tell(&format!("done: {:?} {}; {}", order.kind, order.node, voters(&members)));
                    return Ok(());
                }
                Err(refusal) => Some(refusal),
            },
            None => None,
        };
        if Instant::now() >= order.until {
            let why = refusal.map_or("nobody leads".to_owned(), |refusal| refusal.message);
            self.broken("membership", format!("{:?} {} was not carried out in {PATIENCE:?}: {why}", order.kind, order.node));
            return Ok(());
        }
        if let Some(refusal) = &refusal {
            self.tell(&format!("{:?} {}: {}", order.kind, order.node, refusal.message));
        }
        order.under_way = self.ask(&order)?;
        self.orders.push_front(order);
        Ok(())
    }

    fn ask(&self, order: &Standing) -> anyhow::Result<Option<JoinHandle<Result<Members, Failure>>>> {
        let Some(store) = self.world.leader().and_then(|leader| self.world.store(&leader).cloned()) else { return Ok(None) };
        let identity = &self.world.deployment().node(&order.node)?.identity;
        let request = Order { kind: order.kind, node: identity.uri().to_owned() };
        Ok(Some(tokio::spawn(async move { store.order(request, Instant::now() + ATTEMPT).await })))
    }

    /// The replicas that belong to the cabinet, or are to.
    pub(super) fn replicas(&self) -> Vec<String> {
        self.world.names(Layer::Cabinet).into_iter().filter(|name| !self.outside.contains(name)).collect()
    }

    /// What is missing until the membership is as it was ordered.
    pub(super) fn unordered(&self) -> Option<String> {
        if let Some(order) = self.orders.front() {
            return Some(format!("{:?} {} is not carried out", order.kind, order.node));
        }
        let Some(members) = self.world.leader().and_then(|leader| self.world.store(&leader)).map(caps_store::Store::members) else {
            return Some("nobody leads".to_owned());
        };
        let mut nodes: Vec<&str> = members.members.iter().map(|member| member.node.as_str()).collect();
        nodes.sort_unstable();
        let all = nodes.len();
        nodes.dedup();
        if members.changing || nodes.len() < all {
            return Some(format!("a repair or a change has not ended: {}", voters(&members)));
        }
        let outside = |name: &String| self.world.store(name).is_some_and(|store| store.status().role == ReplicaRole::Outside);
        self.replicas().into_iter().find(outside).map(|name| format!("{name} has not been let in"))
    }
}

/// The members in words.
fn voters(members: &Members) -> String {
    let name = |uri: &str| uri.rsplit('/').next().unwrap_or(uri).to_owned();
    let word = |votes| if votes { "votes" } else { "learns" };
    let all = members.members.iter().map(|member| format!("{} ({}) {}", name(&member.node), member.number, word(member.votes)));
    all.collect::<Vec<_>>().join(", ")
}

/// How long an administrator tries.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one attempt takes at most.
const ATTEMPT: Duration = Duration::from_secs(5);
