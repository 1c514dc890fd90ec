//! The verdict: what was promised against what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caps_model::messages::cabinet::ReplicaStatus;
use serde_json::{Value as Json, json};

use super::gateway::Filed;
use super::watcher::Seen;
use crate::output::{self, hex};

/// Everything that the story measured.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Mails acknowledged as durably filed.
    pub(super) acknowledged: usize,
    /// Mails that were refused as malformed.
    pub(super) refused: usize,
    /// Acknowledged commits that the cabinet does not have, or has elsewhere than it said.
    pub(super) lost: usize,
    /// Message-IDs that exist twice, and positions that two commits were told of.
    pub(super) doubled: usize,
    /// Changes that a watcher was not told of.
    pub(super) watch_gaps: u64,
    /// Changes that a watcher was told of twice or out of order.
    pub(super) watch_repeats: u64,
    /// Calls that failed although hosts to fail over to were there.
    pub(super) failed_calls: usize,
    /// The longest pause between two acknowledgements around each kill of a leader.
    pub(super) write_gaps: Vec<Duration>,
    /// The same around the kill of a host: those of its front ends that wait for it find another one.
    pub(super) host_gap: Duration,
    /// Latencies by operation.
    pub(super) latencies: BTreeMap<&'static str, Latency>,
    /// The replicas at the end.
    pub(super) replicas: BTreeMap<String, ReplicaStatus>,
    /// Objects at the end: cases and messages.
    pub(super) cases: usize,
    /// Messages at the end.
    pub(super) messages: usize,
    /// How long the story took.
    pub(super) took: Duration,
}

/// How long an operation took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) count: usize,
}

impl Latency {
    /// The latency of these samples; all zero when there are none.
    pub(super) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self { p50: percentile(&samples, 50), p99: percentile(&samples, 99), count: samples.len() }
    }
}

impl Verdict {
    /// Why the deployment did not keep its promises; `None`: it did.
    pub(super) fn broken_promise(&self) -> Option<String> {
        let mut broken = Vec::new();
        let mut must_be_zero = |count: u64, what: &str| {
            if count > 0 {
                broken.push(format!("{count} {what}"));
            }
        };
        must_be_zero(self.lost as u64, "acknowledged commits are lost");
        must_be_zero(self.doubled as u64, "commits happened twice");
        must_be_zero(self.watch_gaps, "changes were not seen by a watcher");
        must_be_zero(self.watch_repeats, "changes were seen twice or out of order");
        must_be_zero(self.failed_calls as u64, "calls failed");
        if !self.equal_heads() {
            broken.push("the replicas differ".to_owned());
        }
        (!broken.is_empty()).then(|| broken.join(", "))
    }

    /// Whether all replicas have the same history.
    fn equal_heads(&self) -> bool {
        let heads: BTreeSet<_> = self.replicas.values().map(|replica| (replica.position, replica.chain_head)).collect();
        heads.len() == 1
    }

    /// One object; programs read it.
    pub(super) fn json(&self) -> Json {
        let gaps: Vec<u128> = self.write_gaps.iter().map(Duration::as_millis).collect();
        let mut sorted = self.write_gaps.clone();
        sorted.sort_unstable();
        let latency = |latency: &Latency| json!({"p50": latency.p50.as_micros(), "p99": latency.p99.as_micros(), "count": latency.count});
        let replica = |replica: &ReplicaStatus| json!({"position": replica.position.0, "chain_head": hex(&replica.chain_head)});
        json!({
            "acknowledged": self.acknowledged,
            "refused": self.refused,
            "lost": self.lost,
            "doubled": self.doubled,
            "watch_gaps": self.watch_gaps,
            "watch_repeats": self.watch_repeats,
            "failed_calls": self.failed_calls,
            "write_gap_ms": {"p50": percentile(&sorted, 50).as_millis(), "max": percentile(&sorted, 100).as_millis(), "each": gaps},
            "host_gap_ms": self.host_gap.as_millis(),
            "latency_us": self.latencies.iter().map(|(name, l)| ((*name).to_owned(), latency(l))).collect::<serde_json::Map<_, _>>(),
            "replicas": self.replicas.iter().map(|(name, r)| (name.clone(), replica(r))).collect::<serde_json::Map<_, _>>(),
            "equal_heads": self.equal_heads(),
            "cases": self.cases,
            "messages": self.messages,
            "seconds": self.took.as_secs_f64(),
        })
    }

    /// The same for people.
    pub(super) fn table(&self) -> String {
        let mut table = output::table(&["QUESTION", "ANSWER", ""]);
        let mut ask = |question: &str, answer: String, good: Option<bool>| {
            let mark = good.map_or("", |good| if good { "ok" } else { "BROKEN" });
            table.add_row([question.to_owned(), answer, mark.to_owned()]);
        };
        let zero = |count: u64| Some(count == 0);
        ask("mails acknowledged", self.acknowledged.to_string(), None);
        ask("malformed mails refused", self.refused.to_string(), None);
        ask("cases, messages", format!("{}, {}", self.cases, self.messages), None);
        ask("acknowledged and lost", self.lost.to_string(), zero(self.lost as u64));
        ask("happened twice", self.doubled.to_string(), zero(self.doubled as u64));
        ask("changes that a watcher missed", self.watch_gaps.to_string(), zero(self.watch_gaps));
        ask("changes seen twice or out of order", self.watch_repeats.to_string(), zero(self.watch_repeats));
        ask("failed calls", self.failed_calls.to_string(), zero(self.failed_calls as u64));
        for (name, replica) in &self.replicas {
            let head = &hex(&replica.chain_head)[..16];
            ask(&format!("{name}: position, chain head"), format!("{}, {head}", replica.position), Some(self.equal_heads()));
        }
        let gaps: Vec<String> = self.write_gaps.iter().map(|gap| output::Compact(*gap).to_string()).collect();
        ask("writes paused when the leader was killed", gaps.join(", "), None);
        ask("writes paused when a host was killed", output::Compact(self.host_gap).to_string(), None);
        for (name, latency) in &self.latencies {
            let answer = format!("p50 {}, p99 {} of {}", output::Compact(latency.p50), output::Compact(latency.p99), latency.count);
            ask(name, answer, None);
        }
        ask("the story took", output::Compact(self.took).to_string(), None);
        table.to_string()
    }
}

/// The longest pause between two acknowledgements from just before a moment until `within` after it.
pub(super) fn longest_pause(acknowledged_at_us: &[i64], killed_at_us: i64, within: Duration) -> Duration {
    let within_us = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
    let before = acknowledged_at_us.iter().copied().filter(|at| *at <= killed_at_us).max().unwrap_or(killed_at_us);
    let after = acknowledged_at_us.iter().copied().filter(|at| *at > killed_at_us && *at - killed_at_us <= within_us);
    let mut moments: Vec<i64> = std::iter::once(before).chain(after).collect();
    moments.sort_unstable();
    if moments.len() == 1 {
        return within;
    }
    let longest = moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    Duration::from_micros(longest.unsigned_abs())
}

/// Changes that a watcher was not told of, and those it was told of too often, against every version that the objects really had.
pub(super) fn gaps_and_repeats(seen: &Seen, truth: &BTreeSet<(String, u64)>, until: u64) -> (u64, u64) {
    let start = seen.start.unwrap_or(0);
    let expected = truth.iter().filter(|(_, version)| (start + 1..=until).contains(version));
    let gaps = expected.filter(|version| !seen.versions.contains_key(*version)).count() as u64;
    let told_twice: u64 = seen.versions.values().map(|times| times - 1).sum();
    (gaps, told_twice + seen.disordered)
}

/// Positions that more than one acknowledged commit was told of.
pub(super) fn shared_positions<'a>(filed: impl Iterator<Item = &'a Filed>) -> usize {
    let mut commits: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for mail in filed {
        commits.entry(mail.position).or_default().insert(&mail.commit);
    }
    commits.values().filter(|commits| commits.len() > 1).count()
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_spans_the_kill() {
        let second = Duration::from_secs(1);
        assert_eq!(longest_pause(&[100, 200, 900, 950], 300, second), Duration::from_micros(700));
        assert_eq!(longest_pause(&[100], 300, second), second);
    }

    #[test]
    fn gaps_and_repeats_are_counted_from_the_watchers_start() {
        let version = |id: &str, at| (id.to_owned(), at);
        let truth = BTreeSet::from([version("a", 1), version("a", 5), version("b", 6), version("b", 9)]);
        let seen = Seen { start: Some(3), position: 8, versions: BTreeMap::from([(version("a", 5), 2)]), disordered: 1 };
        assert_eq!(gaps_and_repeats(&seen, &truth, 8), (1, 2));
    }
}
