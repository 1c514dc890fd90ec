//! What one process sees never goes back: positions, versions of each object, and its own writes.

use std::collections::BTreeMap;

use super::{Anomaly, Asked, Judgement, Operation};

/// What a process has seen so far.
#[derive(Default)]
struct Session<'a> {
    position: u64,
    /// The newest version of each object that it has seen or written.
    versions: BTreeMap<&'a str, u64>,
}

/// Follows each process through the history.
pub fn check(history: &[Operation], judgement: &mut Judgement) {
    let mut sessions: BTreeMap<u32, Session<'_>> = BTreeMap::new();
    for operation in history {
        let session = sessions.entry(operation.process).or_default();
        let Some(position) = operation.position() else { continue };
        if let Some(problem) = session.problem(operation, position) {
            judgement.find(Anomaly::SessionWentBack, format!("{operation}, {problem}"));
        }
        session.take(operation, position);
    }
}

impl<'a> Session<'a> {
    fn problem(&self, operation: &Operation, position: u64) -> Option<String> {
        if position < self.position {
            return Some(format!("and had been at {}", self.position));
        }
        if let Asked::Snapshot { at_least, .. } = &operation.asked
            && position < *at_least
        {
            return Some(format!("and had asked for {at_least} at least"));
        }
        operation.seen()?.iter().find_map(|(object, seen)| {
            let before = *self.versions.get(object.as_str())?;
            (seen.version < before).then(|| format!("and had seen or written {object} @{before}"))
        })
    }

    fn take(&mut self, operation: &'a Operation, position: u64) {
        self.position = self.position.max(position);
        for (object, seen) in operation.seen().into_iter().flatten() {
            let version = self.versions.entry(object).or_default();
            *version = seen.version.max(*version);
        }
        for (object, _) in operation.writes() {
            self.versions.insert(object, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::serializability::tests::{Told, found};
    use crate::history::{Anomaly, Asked};

    #[test]
    fn forward_is_good() {
        let told = [Told::new(1).writes(&[("x", 1)]).at(1), Told::new(1).sees(&[("x", 1, 1)]).at(1), Told::new(2).sees(&[]).at(0)];
        assert_eq!(found(&told), []);
    }

    #[test]
    fn going_back_is_found() {
        let position = [Told::new(1).sees(&[]).at(5), Told::new(1).sees(&[]).at(4)];
        assert_eq!(found(&position), [Anomaly::SessionWentBack]);
        let own = [Told::new(1).writes(&[("x", 1)]).at(1), Told::new(2).writes(&[("x", 2)]).at(2), Told::new(2).sees(&[("x", 1, 1)]).at(3)];
        assert!(found(&own).contains(&Anomaly::SessionWentBack));
    }

    #[test]
    fn less_than_asked_for_is_found() {
        let mut told = Told::new(1).sees(&[]).at(5);
        told.0.asked = Asked::Snapshot { objects: Vec::new(), at_least: 6 };
        assert_eq!(found(&[told]), [Anomaly::SessionWentBack]);
    }
}
