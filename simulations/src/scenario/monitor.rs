//! The invariants of layer 1, looked at after every step.

use std::collections::BTreeMap;
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_model::messages::cabinet::{ReplicaRole, ReplicaStatus};
use futures_util::FutureExt;

use super::ledger::Ledger;
use super::outcome::Violation;
use super::panics;
use crate::world::World;

/// What was seen of the replicas so far.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    /// Who led in each term.
    leaders: BTreeMap<u64, String>,
    /// The chain head at each position that was seen, and who had it.
    heads: BTreeMap<u64, ([u8; 32], String)>,
    /// The last position of each replica in its present life.
    positions: BTreeMap<String, u64>,
    broken: usize,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) violations: Vec<Violation>,
    /// Servers that have stopped by themselves, and why.
    pub(super) stopped: Vec<(String, String)>,
    /// A term's leader that was not known before.
    pub(super) new_leader: Option<(u64, String)>,
}

impl Monitor {
    /// Holds the world against the invariants.
    pub(super) fn look(&mut self, world: &World, ledger: &Ledger) -> Found {
        let (mut found, now) = (Found::default(), world.now());
        let mut broken = |invariant: &str, what: String| {
            found.violations.push(Violation { at: now.as_secs_f64(), invariant: invariant.to_owned(), what });
        };
        for panic in panics::take() {
            broken("no-panic", panic);
        }
        let book = ledger.open();
        for (at, what) in book.broken.iter().skip(self.broken) {
            broken("front-ends", format!("at {at:?}: {what}"));
        }
        self.broken = book.broken.len();
        drop(book);
        for name in world.names(Layer::Cabinet) {
            let Some(store) = world.store(&name) else {
                self.positions.remove(&name);
                continue;
            };
            let status = store.status();
            if let Some(problem) = self.one_leader(&name, &status, &mut found.new_leader) {
                broken("one-leader-a-term", problem);
            }
            if let Some(problem) = self.equal_heads(&name, &status) {
                broken("equal-replicas", problem);
            }
            if let Some(problem) = self.forward(&name, &status) {
                broken("never-back", problem);
            }
        }
        for node in &world.deployment().nodes {
            let Some(server) = world.server(&node.name) else { continue };
            let tasks = server.overlay().environment().tasks.count();
            if tasks > TASKS_MAX {
                broken("bounded", format!("{} has {tasks} tasks", node.name));
            }
            if let Some(reason) = server.failed().now_or_never() {
                found.stopped.push((node.name.clone(), format!("{reason:#}")));
            }
        }
        found
    }

    /// How many terms had a leader.
    pub(super) fn terms(&self) -> usize {
        self.leaders.len()
    }

    fn one_leader(&mut self, name: &str, status: &ReplicaStatus, new: &mut Option<(u64, String)>) -> Option<String> {
        if status.role != ReplicaRole::Leader {
            return None;
        }
        let leader = self.leaders.entry(status.term).or_insert_with(|| {
            *new = Some((status.term, name.to_owned()));
            name.to_owned()
        });
        (leader != name).then(|| format!("{leader} and {name} both led in term {}", status.term))
    }

    fn equal_heads(&mut self, name: &str, status: &ReplicaStatus) -> Option<String> {
        let (head, first) = self.heads.entry(status.position.0).or_insert_with(|| (status.chain_head, name.to_owned()));
        let differs = *head != status.chain_head;
        let problem = differs.then(|| format!("{first} and {name} differ at position {}", status.position));
        while self.heads.len() > HEADS_KEPT {
            self.heads.pop_first();
        }
        problem
    }

    fn forward(&mut self, name: &str, status: &ReplicaStatus) -> Option<String> {
        let last = self.positions.insert(name.to_owned(), status.position.0).unwrap_or(0);
        (status.position.0 < last).then(|| format!("{name} went back from position {last} to {}", status.position))
    }
}

/// Far more than the calls and connections of a server come to.
const TASKS_MAX: usize = 20_000;

/// Positions that are remembered: replicas are not further apart.
const HEADS_KEPT: usize = 100_000;

/// How often the invariants are looked at when nothing else happens.
pub(super) const STEP: Duration = Duration::from_millis(200);
