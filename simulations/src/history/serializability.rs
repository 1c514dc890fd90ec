//! Transactions: is there an order of them that explains what they saw, and one that agrees with the clock?
//!
//! Adya's dependency graph ("Weak Consistency", MIT 1999), as Elle builds it (Kingsbury and Alvaro, VLDB 2020): a transaction comes after those
//! whose writes it read (write-read) or overwrote (write-write), and before those who overwrote what it read (read-write). The versions of an
//! object are in the order of the positions of their commits. A cycle is an anomaly, and the kinds of its edges say which. When there is none,
//! edges from what ended to what began later are added: a cycle then says that the order cannot be one in time (strict serializability).

use std::collections::BTreeMap;

use super::graph::Graph;
use super::{Anomaly, Answer, Judgement, Operation, Seen};

/// Why one transaction comes before another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Because {
    /// The other one read what it wrote.
    WriteRead,
    /// The other one overwrote what it wrote.
    WriteWrite,
    /// The other one overwrote what it read.
    ReadWrite,
    /// It had ended when the other one began.
    Time,
}

/// A whole history as transactions.
struct Transactions<'a> {
    all: Vec<&'a Operation>,
    /// Where each one is; none: it did not happen, or nobody saw that it did, or it wrote nothing.
    positions: Vec<Option<u64>>,
    /// Who wrote a value to an object, and whether it stayed; several only if somebody is at fault.
    writers: BTreeMap<(&'a str, i64), Vec<(usize, bool)>>,
    /// The writers of each object, by position.
    versions: BTreeMap<&'a str, BTreeMap<u64, usize>>,
}

/// Looks for everything that an order of all transactions would exclude.
pub fn check(history: &[Operation], judgement: &mut Judgement) {
    let mut transactions = Transactions::of(history);
    transactions.place(judgement);
    judgement.transactions += transactions.all.len();
    let mut graph = transactions.dependencies(judgement);
    if !transactions.cycles(&graph, judgement) {
        transactions.add_time(&mut graph);
        transactions.cycle_in_time(&graph, judgement);
    }
}

impl<'a> Transactions<'a> {
    fn of(history: &'a [Operation]) -> Self {
        let all: Vec<&Operation> = history.iter().collect();
        let mut writers: BTreeMap<(&str, i64), Vec<(usize, bool)>> = BTreeMap::new();
        for (number, operation) in all.iter().enumerate() {
            let writes = operation.writes();
            for (at, (object, value)) in writes.iter().enumerate() {
                let stays = !writes[at + 1..].iter().any(|(other, _)| other == object);
                writers.entry((object, *value)).or_default().push((number, stays));
            }
        }
        Self { positions: vec![None; all.len()], all, writers, versions: BTreeMap::new() }
    }

    /// Finds out where each transaction is: the cabinet said so, or somebody saw what it wrote.
    fn place(&mut self, judgement: &mut Judgement) {
        for (number, operation) in self.all.iter().enumerate() {
            if !operation.writes().is_empty() {
                self.positions[number] = operation.position();
            }
        }
        for operation in &self.all {
            for (object, seen) in operation.seen().into_iter().flatten() {
                let Some(value) = seen.value else { continue };
                for (writer, _) in self.writers.get(&(object.as_str(), value)).into_iter().flatten() {
                    if matches!(self.all[*writer].result, Answer::Unknown { .. }) && self.positions[*writer].is_none() {
                        self.positions[*writer] = Some(seen.version);
                    }
                }
            }
        }
        let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
        for (number, position) in self.positions.iter().enumerate().filter_map(|(number, position)| Some((number, (*position)?))) {
            if let Some(other) = owners.insert(position, number) {
                let what = format!("two commits at {position}: {}; and: {}", self.all[other], self.all[number]);
                judgement.find(Anomaly::FalsePosition, what);
            }
            for (object, _) in self.all[number].writes() {
                self.versions.entry(object).or_default().insert(position, number);
            }
        }
    }

    fn dependencies(&self, judgement: &mut Judgement) -> Graph<Because> {
        let mut graph = Graph::new(self.all.len());
        for versions in self.versions.values() {
            for (before, after) in versions.values().zip(versions.values().skip(1)) {
                graph.join(*before, *after, Because::WriteWrite);
            }
        }
        for (reader, operation) in self.all.iter().enumerate() {
            // What did not happen asserts nothing about what it read.
            let counts = operation.position().is_some() || self.positions[reader].is_some();
            for (object, seen) in operation.seen().into_iter().flatten().filter(|_| counts) {
                if let Some(writer) = self.writer(operation, object, *seen, judgement) {
                    graph.join(writer, reader, Because::WriteRead);
                }
                let next = self.versions.get(object.as_str()).and_then(|versions| versions.range(seen.version + 1..).next());
                if let Some((_, next)) = next {
                    graph.join(reader, *next, Because::ReadWrite);
                }
            }
        }
        graph
    }

    /// Who wrote what was read; whatever is wrong with it is told.
    fn writer(&self, reader: &Operation, object: &str, seen: Seen, judgement: &mut Judgement) -> Option<usize> {
        let Some(value) = seen.value else {
            if seen.version != 0 {
                judgement.find(Anomaly::FalsePosition, format!("nothing has a version: {reader}"));
            }
            return None;
        };
        let candidates = self.writers.get(&(object, value)).map(Vec::as_slice).unwrap_or_default();
        let at = candidates.iter().find(|(writer, _)| self.positions[*writer] == Some(seen.version));
        match (at, candidates.first()) {
            (Some((writer, true)), _) => return Some(*writer),
            (Some((writer, false)), _) => {
                judgement.find(Anomaly::IntermediateRead, format!("{reader}; but {}", self.all[*writer]));
                return Some(*writer);
            }
            (None, None) => judgement.find(Anomaly::PhantomValue, format!("nobody wrote {value} to {object}: {reader}")),
            (None, Some((writer, _))) if self.positions[*writer].is_none() => {
                judgement.find(Anomaly::DirtyRead, format!("{reader}; but {}", self.all[*writer]));
            }
            (None, Some((writer, _))) => {
                judgement.find(Anomaly::FalsePosition, format!("{reader}; but {}", self.all[*writer]));
                return Some(*writer);
            }
        }
        None
    }

    /// Tells the cycles, one for each knot and kind; whether there are any.
    fn cycles(&self, graph: &Graph<Because>, judgement: &mut Judgement) -> bool {
        let flow = |because| matches!(because, Because::WriteRead | Because::WriteWrite);
        let knots = graph.knots(|_| true);
        if knots.is_empty() {
            return false;
        }
        let flowing = graph.knots(flow);
        let inside = |(from, to, _): &(usize, usize, Because)| flowing.get(from).is_some_and(|knot| flowing.get(to) == Some(knot));
        if let Some((from, to, because)) = graph.edges(flow).find(inside) {
            self.tell(Anomaly::CircularFlow, graph, (from, to, because), flow, judgement);
        }
        // One edge against the flow first: what is found with it needs no other explanation.
        let against = |(from, to, _): &(usize, usize, Because)| knots.get(from).is_some_and(|knot| knots.get(to) == Some(knot));
        let mut single = false;
        for edge @ (reader, writer, _) in graph.edges(|because| because == Because::ReadWrite).filter(against) {
            if graph.way(writer, reader, flow).is_some() {
                single = true;
                let anomaly = if self.both_changed(reader, writer) { Anomaly::LostUpdate } else { Anomaly::ReadSkew };
                self.tell(anomaly, graph, edge, flow, judgement);
            }
        }
        if !single && flowing.is_empty() {
            for edge @ (reader, writer, _) in graph.edges(|because| because == Because::ReadWrite).filter(against) {
                let back = graph.way(writer, reader, |_| true).unwrap_or_default();
                let anomaly = if back.len() == 1 { Anomaly::WriteSkew } else { Anomaly::AntiDependencyCycle };
                self.tell(anomaly, graph, edge, |_| true, judgement);
            }
        }
        true
    }

    /// Whether both read the same version of some object and both wrote that object.
    fn both_changed(&self, one: usize, other: usize) -> bool {
        let (Some(a), Some(b)) = (self.all[one].seen(), self.all[other].seen()) else { return false };
        let writes = |number: usize, object: &str| self.all[number].writes().iter().any(|(written, _)| *written == object);
        a.iter().any(|(object, seen)| {
            b.get(object).is_some_and(|other| other.version == seen.version) && writes(one, object) && writes(other, object)
        })
    }

    fn tell(
        &self,
        anomaly: Anomaly,
        graph: &Graph<Because>,
        edge: (usize, usize, Because),
        wanted: impl Fn(Because) -> bool,
        judgement: &mut Judgement,
    ) {
        let (from, to, because) = edge;
        let mut story = vec![self.all[from].to_string(), because.to_string(), self.all[to].to_string()];
        for (_, to, because) in graph.way(to, from, wanted).unwrap_or_default() {
            story.extend([because.to_string(), if to == from { "the first".to_owned() } else { self.all[to].to_string() }]);
        }
        judgement.find(anomaly, story.join("; "));
    }

    /// Adds edges from what had ended to what then began: only from those who ended last, which suffices.
    fn add_time(&self, graph: &mut Graph<Because>) {
        let counted = |operation: &Operation| !operation.may_be_old() && operation.position().is_some();
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (number, operation) in self.all.iter().enumerate().filter(|(_, operation)| counted(operation)) {
            // At the same nanosecond beginnings come first: such operations are taken for concurrent.
            moments.push((operation.start, false, number));
            moments.extend(operation.end.map(|end| (end, true, number)));
        }
        moments.sort_unstable();
        let mut last: Vec<usize> = Vec::new();
        for (_, is_end, number) in moments {
            if is_end {
                let began = self.all[number].start;
                last.retain(|other| self.all[*other].end.is_none_or(|end| end >= began));
                last.push(number);
            } else {
                last.iter().for_each(|before| graph.join(*before, number, Because::Time));
            }
        }
    }

    fn cycle_in_time(&self, graph: &Graph<Because>, judgement: &mut Judgement) {
        let knots = graph.knots(|_| true);
        let inside = |(from, to, _): &(usize, usize, Because)| knots.get(from).is_some_and(|knot| knots.get(to) == Some(knot));
        if let Some(edge) = graph.edges(|because| because == Because::Time).find(inside) {
            self.tell(Anomaly::OrderAgainstTime, graph, edge, |_| true, judgement);
        }
    }
}

impl std::fmt::Display for Because {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WriteRead => "read by",
            Self::WriteWrite => "overwritten by",
            Self::ReadWrite => "and what it read was overwritten by",
            Self::Time => "ended before",
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::history::{Asked, judge};

    /// A transaction, told in a few words. Each is over before the next one begins, unless it is [`long`](Self::long).
    #[derive(Clone)]
    pub(in crate::history) struct Told(pub(in crate::history) Operation);

    impl Told {
        pub(in crate::history) fn new(process: u32) -> Self {
            let asked = Asked::Transaction { reads: Vec::new(), writes: Vec::new() };
            let result = Answer::Unknown { seen: BTreeMap::new() };
            Self(Operation { process, asked, result, start: 0, end: None, commit: None })
        }

        pub(in crate::history) fn sees(mut self, values: &[(&str, i64, u64)]) -> Self {
            let seen = values.iter().map(|(object, value, version)| (object.to_string(), Seen { value: Some(*value), version: *version }));
            self.0.result = Answer::Unknown { seen: seen.collect() };
            self
        }

        pub(in crate::history) fn writes(mut self, values: &[(&str, i64)]) -> Self {
            let writes = values.iter().map(|(object, value)| (object.to_string(), *value)).collect();
            self.0.asked = Asked::Transaction { reads: Vec::new(), writes };
            self
        }

        pub(in crate::history) fn at(mut self, position: u64) -> Self {
            let seen = self.0.seen().cloned().unwrap_or_default();
            self.0.result = Answer::Happened { position, seen };
            self
        }

        fn refused(mut self) -> Self {
            self.0.result = Answer::Conflict;
            self
        }

        fn long(mut self) -> Self {
            self.0.end = Some(u64::MAX);
            self
        }
    }

    /// The anomalies in a history, each once.
    pub(in crate::history) fn found(told: &[Told]) -> Vec<Anomaly> {
        let mut history: Vec<Operation> = told.iter().map(|told| told.0.clone()).collect();
        for (number, operation) in (1..).zip(&mut history) {
            let ends = operation.end.is_some();
            operation.start = if ends { 0 } else { number * 10 };
            operation.end = Some(if ends { 10_000 } else { number * 10 + 5 });
        }
        let mut anomalies: Vec<Anomaly> = judge(&history).findings.into_iter().map(|finding| finding.anomaly).collect();
        anomalies.sort_unstable();
        anomalies.dedup();
        anomalies
    }

    /// x = 1 and y = 1 at position 1.
    fn base() -> Told {
        Told::new(9).writes(&[("x", 1), ("y", 1)]).at(1)
    }

    #[test]
    fn one_after_the_other_is_good() {
        let told = [
            base(),
            Told::new(1).sees(&[("x", 1, 1)]).writes(&[("y", 2)]).at(2),
            Told::new(2).sees(&[("x", 1, 1), ("y", 2, 2)]).writes(&[("x", 3)]).at(3),
            Told::new(3).sees(&[("x", 3, 3), ("y", 2, 2)]).at(3),
        ];
        assert_eq!(found(&told), []);
    }

    #[test]
    fn write_skew_is_found() {
        // Both looked at both, and each changed what the other one had relied on.
        let told = [
            base(),
            Told::new(1).sees(&[("x", 1, 1), ("y", 1, 1)]).writes(&[("x", 2)]).at(2).long(),
            Told::new(2).sees(&[("x", 1, 1), ("y", 1, 1)]).writes(&[("y", 3)]).at(3).long(),
        ];
        // Each object by itself is fine.
        assert_eq!(found(&told), [Anomaly::WriteSkew]);
    }

    #[test]
    fn longer_cycles_of_anti_dependencies_are_found() {
        let told = [
            Told::new(9).writes(&[("x", 1), ("y", 1), ("z", 1)]).at(1),
            Told::new(1).sees(&[("x", 1, 1)]).writes(&[("y", 2)]).at(2).long(),
            Told::new(2).sees(&[("y", 1, 1)]).writes(&[("z", 3)]).at(3).long(),
            Told::new(3).sees(&[("z", 1, 1)]).writes(&[("x", 4)]).at(4).long(),
        ];
        assert_eq!(found(&told), [Anomaly::AntiDependencyCycle]);
    }

    #[test]
    fn lost_update_is_found() {
        let told = [
            base(),
            Told::new(1).sees(&[("x", 1, 1)]).writes(&[("x", 2)]).at(2).long(),
            Told::new(2).sees(&[("x", 1, 1)]).writes(&[("x", 3)]).at(3).long(),
        ];
        let found = found(&told);
        assert!(found.contains(&Anomaly::LostUpdate) && !found.contains(&Anomaly::WriteSkew), "{found:?}");
        assert!(found.contains(&Anomaly::NotLinearizable), "{found:?}");
    }

    #[test]
    fn read_skew_is_found() {
        // It saw the new y of the transfer and the old x.
        let told = [
            base(),
            Told::new(1).sees(&[("x", 1, 1), ("y", 1, 1)]).writes(&[("x", 2), ("y", 0)]).at(2).long(),
            Told::new(2).sees(&[("x", 1, 1), ("y", 0, 2)]).at(2).long(),
        ];
        assert_eq!(found(&told), [Anomaly::ReadSkew]);
    }

    #[test]
    fn read_skew_of_a_snapshot_is_found() {
        let mut snapshot = Told::new(2).sees(&[("x", 1, 1), ("y", 0, 2)]).at(2);
        snapshot.0.asked = Asked::Snapshot { objects: vec!["x".to_owned(), "y".to_owned()], at_least: 0 };
        let told = [base(), Told::new(1).writes(&[("x", 2), ("y", 0)]).at(2), snapshot];
        assert_eq!(found(&told), [Anomaly::ReadSkew]);
    }

    #[test]
    fn dirty_reads_are_found() {
        let told = [base(), Told::new(1).writes(&[("x", 2)]).refused(), Told::new(2).sees(&[("x", 2, 2)]).at(2)];
        assert!(found(&told).contains(&Anomaly::DirtyRead));
    }

    #[test]
    fn intermediate_reads_are_found() {
        let told = [base(), Told::new(1).writes(&[("x", 2), ("x", 3)]).at(2), Told::new(2).sees(&[("x", 2, 2)]).at(2)];
        assert!(found(&told).contains(&Anomaly::IntermediateRead));
    }

    #[test]
    fn circular_flow_is_found() {
        // Each read what the other one wrote.
        let told = [
            base(),
            Told::new(1).sees(&[("y", 3, 3)]).writes(&[("x", 2)]).at(2).long(),
            Told::new(2).sees(&[("x", 2, 2)]).writes(&[("y", 3)]).at(3).long(),
        ];
        assert_eq!(found(&told), [Anomaly::CircularFlow]);
    }

    #[test]
    fn values_out_of_nowhere_and_false_positions_are_found() {
        let phantom = [base(), Told::new(2).sees(&[("x", 7, 1)]).at(2)];
        assert!(found(&phantom).contains(&Anomaly::PhantomValue));
        let elsewhere = [base(), Told::new(2).sees(&[("x", 1, 5)]).at(5)];
        assert!(found(&elsewhere).contains(&Anomaly::FalsePosition));
        let twice = [base(), Told::new(1).writes(&[("x", 2)]).at(2), Told::new(2).writes(&[("y", 2)]).at(2)];
        assert!(found(&twice).contains(&Anomaly::FalsePosition));
    }

    #[test]
    fn positions_against_the_clock_are_found() {
        // The second began when the first had ended, and has an earlier position; nobody reads, so that only time is against it.
        let told = [base(), Told::new(1).writes(&[("x", 2)]).at(3), Told::new(2).writes(&[("x", 3)]).at(2)];
        assert_eq!(found(&told), [Anomaly::OrderAgainstTime]);
    }

    #[test]
    fn old_reads_are_against_the_clock_unless_they_may_be_old() {
        // Two objects, each of which is fine by itself for a snapshot, and none of which is for a read.
        let stale = Told::new(2).sees(&[("x", 1, 1)]).at(1);
        let mut snapshot = stale.clone();
        snapshot.0.asked = Asked::Snapshot { objects: vec!["x".to_owned()], at_least: 0 };
        let write = Told::new(1).writes(&[("x", 2)]).at(2);
        assert!(found(&[base(), write.clone(), stale]).contains(&Anomaly::OrderAgainstTime));
        assert_eq!(found(&[base(), write, snapshot]), []);
    }

    #[test]
    fn what_nobody_knows_counts_when_somebody_saw_it() {
        let unknown = Told::new(1).sees(&[("x", 1, 1), ("y", 1, 1)]).writes(&[("x", 2)]).long();
        let other = Told::new(2).sees(&[("x", 1, 1), ("y", 1, 1)]).writes(&[("y", 3)]).at(3).long();
        assert_eq!(found(&[base(), unknown.clone(), other.clone()]), []);
        let witness = Told::new(3).sees(&[("x", 2, 2)]).at(4);
        assert_eq!(found(&[base(), unknown, other, witness]), [Anomaly::WriteSkew]);
    }
}
