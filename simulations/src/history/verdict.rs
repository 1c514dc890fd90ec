//! What the judge found.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything that a history was held against, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Operations looked at.
    pub operations: usize,
    /// Objects whose operations were put into an order.
    pub objects: usize,
    /// Transactions among which cycles were looked for.
    pub transactions: usize,
    /// What broke a promise; at most a few of each kind.
    pub findings: Vec<Finding>,
    /// Objects for which the search was given up: nothing is said about them.
    pub undecided: Vec<String>,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is called.
    pub anomaly: Anomaly,
    /// Who did what.
    pub what: String,
}

/// What can be wrong with a history. The names are Adya's ("Weak Consistency", MIT 1999), where he has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anomaly {
    /// No order of the operations on one object explains what they saw.
    NotLinearizable,
    /// A process saw something older than it had seen, or than it had written.
    SessionWentBack,
    /// A value was read that nobody wrote.
    PhantomValue,
    /// A version's position is not the position of the commit that wrote it, or two commits have one position.
    FalsePosition,
    /// G1a: a value was read that was written by a transaction that did not happen.
    DirtyRead,
    /// G1b: a value was read that its transaction had overwritten itself.
    IntermediateRead,
    /// G1c: transactions that each depend on what another one wrote.
    CircularFlow,
    /// G-single on one object: two read the same version, and both wrote.
    LostUpdate,
    /// G-single: a transaction saw one effect of another one and missed the other.
    ReadSkew,
    /// G2, two transactions: each read what the other one then overwrote.
    WriteSkew,
    /// G2: a longer cycle of that kind.
    AntiDependencyCycle,
    /// Everything has an order, but none in which what ended before something else began comes first.
    OrderAgainstTime,
}

impl Judgement {
    /// Whether no promise was broken.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// Notes a finding, unless there are enough of its kind.
    pub(super) fn find(&mut self, anomaly: Anomaly, what: String) {
        if self.findings.iter().filter(|finding| finding.anomaly == anomaly).count() < TOLD_MAX {
            self.findings.push(Finding { anomaly, what });
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.anomaly, self.what)
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLinearizable => "not linearizable",
            Self::SessionWentBack => "session went back",
            Self::PhantomValue => "phantom value",
            Self::FalsePosition => "false position",
            Self::DirtyRead => "dirty read (G1a)",
            Self::IntermediateRead => "intermediate read (G1b)",
            Self::CircularFlow => "circular flow (G1c)",
            Self::LostUpdate => "lost update",
            Self::ReadSkew => "read skew (G-single)",
            Self::WriteSkew => "write skew (G2)",
            Self::AntiDependencyCycle => "cycle of anti-dependencies (G2)",
            Self::OrderAgainstTime => "order against time",
        })
    }
}

/// Findings of one kind that are told: the first few say it all.
const TOLD_MAX: usize = 5;
