//! What many rounds came to.

use std::collections::BTreeMap;
use std::time::Duration;

use caps_node::output::{Compact, table};
use serde::{Deserialize, Serialize};

use super::plan;
use super::reckoning::{ProblemKind, Reckoning};

/// One round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Its number.
    pub number: u64,
    /// What happened.
    pub what: String,
    /// Processes that were killed.
    pub kills: u64,
    /// Processes that were held for a while.
    pub holds: u64,
    /// Points at which a process died.
    pub reached: Vec<String>,
    /// Points to which none came in time; it was killed then.
    pub missed: Vec<String>,
    /// What it came to.
    pub reckoning: Reckoning,
    /// How long it took.
    pub took: Duration,
}

/// Many rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// Rounds that came to an end.
    pub rounds: u64,
    /// Rounds with something wrong.
    pub bad: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Processes that were held for a while.
    pub holds: u64,
    /// How often a process died at each point.
    pub reached: BTreeMap<String, u64>,
    /// How often none came to it in time.
    pub missed: BTreeMap<String, u64>,
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// Commits that never happened, and whose clients know it.
    pub never: u64,
    /// Commits whose clients did not learn in time what became of them, and which were asked after later.
    pub asked_after: u64,
    /// Operations of recorded histories.
    pub operations: u64,
    /// Objects that followers were told of.
    pub told: u64,
    /// What is wrong, by promise.
    pub problems: BTreeMap<ProblemKind, u64>,
    /// Time, in seconds.
    pub seconds: f64,
}

impl Round {
    /// Takes in what was found at the end, beside what was found on the way.
    pub fn take(&mut self, reckoning: Reckoning) {
        let before = std::mem::take(&mut self.reckoning.problems);
        self.reckoning = reckoning;
        self.reckoning.problems.splice(0..0, before);
    }
}

impl Sum {
    /// Takes in a round.
    pub fn take(&mut self, round: &Round) {
        let Reckoning { acknowledged, never, asked_after, operations, told, problems } = &round.reckoning;
        self.rounds += 1;
        self.bad += u64::from(!problems.is_empty());
        self.kills += round.kills;
        self.holds += round.holds;
        self.acknowledged += acknowledged;
        self.never += never;
        self.asked_after += asked_after;
        self.operations += operations;
        self.told += told;
        for (counts, points) in [(&mut self.reached, &round.reached), (&mut self.missed, &round.missed)] {
            for point in points {
                *counts.entry(point.clone()).or_default() += 1;
            }
        }
        for problem in problems {
            *self.problems.entry(problem.kind).or_default() += 1;
        }
        self.seconds += round.took.as_secs_f64();
    }

    /// Takes in what was found at the very end, which is no round.
    pub fn take_last(&mut self, last: &Round) {
        let rounds = self.rounds;
        self.take(last);
        self.rounds = rounds;
    }

    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.bad == 0
    }

    /// The same for people.
    pub fn told(&self) -> String {
        let mut table = table(&["QUESTION", "ANSWER"]);
        let none = |count: u64| match count {
            // The rule of three: with 95 % certainty the rate is lower.
            0 if self.rounds > 0 => format!("0 (at most {:.2} % of rounds at 95 %)", 300.0 / self.rounds as f64),
            count => count.to_string(),
        };
        let wrong = |kind: ProblemKind| none(self.problems.get(&kind).copied().unwrap_or_default());
        let took = Compact(Duration::from_secs_f64(self.seconds));
        table.add_row(["rounds", &format!("{} in {took}", self.rounds)]);
        table.add_row(["processes killed", &self.kills.to_string()]);
        table.add_row(["processes held, to go on later", &self.holds.to_string()]);
        let reached: u64 = self.reached.values().sum();
        table.add_row([
            "of them at a write, sync or the like",
            &format!("{reached}, at {} different points of {}", self.reached.len(), plan::points()),
        ]);
        table.add_row(["points that nobody came to in time", &self.missed.values().sum::<u64>().to_string()]);
        table.add_row(["commits acknowledged", &self.acknowledged.to_string()]);
        table.add_row(["commits that never happened, known to who asked", &self.never.to_string()]);
        table.add_row(["commits asked after later", &self.asked_after.to_string()]);
        table.add_row(["objects told to followers", &self.told.to_string()]);
        table.add_row(["operations of histories judged", &self.operations.to_string()]);
        table.add_row(["acknowledged and lost", &wrong(ProblemKind::Lost)]);
        table.add_row(["doubled", &wrong(ProblemKind::Doubled)]);
        table.add_row(["told something else than what happened", &wrong(ProblemKind::Untrue)]);
        table.add_row(["failed opens", &wrong(ProblemKind::NotOpened)]);
        table.add_row(["processes that ended by themselves", &wrong(ProblemKind::Ended)]);
        table.add_row(["unequal replicas", &wrong(ProblemKind::Unequal)]);
        table.add_row(["followers with gaps or repeats", &wrong(ProblemKind::Follower)]);
        table.add_row(["anomalies in histories", &wrong(ProblemKind::History)]);
        table.add_row(["late, or nobody can tell", &wrong(ProblemKind::Late)]);
        table.to_string()
    }
}
