use caps_model::messages::Get;
use caps_model::{CommitId, Effect, Query};
use proptest::prelude::*;

use super::*;
use crate::cabinet::workload::*;
use crate::cabinet::{Became, Proposal, StateError};
use crate::journal::envelope;
use crate::state::MemoryState;
use crate::state::conformance::sled_state;

/// A log, and a cabinet that lived through it.
struct Life<S> {
    cabinet: Cabinet<S>,
    log: Vec<Vec<u8>>,
    orders: Vec<Obliteration>,
}

impl<S: State> Life<S> {
    fn new(state: S) -> Self {
        Self { cabinet: Cabinet::new(state), log: Vec::new(), orders: Vec::new() }
    }

    fn propose(&mut self, proposal: &Proposal) -> Applied {
        let index = self.log.len() as u64 + 1;
        let data = data(proposal, index);
        let applied = self.cabinet.apply(index, &Proposed::decode(&data, index, TERM).unwrap()).unwrap();
        self.log.push(data);
        applied
    }

    fn obliterate(&mut self, order: Obliteration) -> Verdict {
        let verdict = self.propose(&Proposal::Obliterate(order.clone())).verdict;
        self.orders.push(order);
        verdict
    }

    /// Takes out of the log what was obliterated, of the entries from `first` on.
    fn redact(&mut self, first: u64) {
        let redaction = self.cabinet.redaction(&self.orders).unwrap();
        for (index, data) in (1..).zip(&mut self.log).filter(|(index, _)| *index >= first) {
            let digest = envelope::digest(data);
            redaction.redact(data, (index, TERM), |id| self.cabinet.became(id, index).map_err(Failed::from)).unwrap();
            assert_eq!(envelope::digest(data), digest);
        }
    }

    fn holds(&self, text: &str) -> bool {
        self.log.iter().any(|data| data.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Proposal(#[from] crate::cabinet::BadProposal),
}

fn replayed(log: &[Vec<u8>]) -> Cabinet<MemoryState> {
    let mut cabinet = Cabinet::new(MemoryState::new());
    for (index, data) in (1..).zip(log) {
        cabinet.apply(index, &Proposed::decode(data, index, TERM).unwrap()).unwrap();
    }
    cabinet
}

fn order(id: u128, targets: &[(u128, &'static str, u64, u64)]) -> Obliteration {
    let target = |(object, attribute, from, to): &(u128, &'static str, u64, u64)| Target {
        object: ObjectId(*object),
        attribute: Name::fixed(attribute),
        from: Position(*from),
        to: Position(*to),
    };
    let mut author = commit(1, vec![]).author;
    author.reason = Some("it had to be".to_owned());
    Obliteration { id: CommitId(id), author, time: 5, targets: targets.iter().map(target).collect() }
}

fn text(text: &str) -> Vec<Value> {
    vec![Value::text(text)]
}

const SECRET: &str = "Rumpelstilzchen";

#[test]
fn obliterated_values_are_gone_from_every_version_and_every_index() {
    let (_directory, sled) = sled_state();
    for state in [Box::new(MemoryState::new()) as Box<dyn State>, Box::new(sled)] {
        let mut life = Life::new(state);
        life.propose(&Proposal::Commit(commit(1, vec![create(1, "case", vec![("name", text("harmless")), ("state", text("open"))])])));
        let mut telling = commit(2, vec![update(1, vec![("name", text(SECRET))])]);
        telling.author.reason = Some(format!("is called {SECRET}"));
        telling.result = record(vec![("name", text(SECRET))]);
        let arguments = record(vec![("to", text(SECRET))]);
        telling.effects.push(Effect { kind: Name::fixed("mail"), object: ObjectId(1), key: "k".to_owned(), arguments });
        life.propose(&Proposal::Commit(telling));
        life.propose(&Proposal::Commit(commit(3, vec![update(1, vec![("state", text("closed"))])])));
        // One that was refused, and has it too.
        life.propose(&Proposal::Commit(commit(4, vec![create(1, "case", vec![("name", text(SECRET))])])));
        assert!(life.holds(SECRET));
        let head = life.cabinet.mark();

        let verdict = life.obliterate(order(9, &[(1, "name", 2, u64::MAX)]));
        assert!(matches!(verdict, Verdict::Commit(Committed::Accepted { position: Position(4), .. })), "{verdict:?}");
        let again = life.obliterate(order(9, &[(1, "name", 1, 1)]));
        assert!(matches!(again, Verdict::Commit(Committed::Accepted { position: Position(4), repeated: true, .. })), "{again:?}");
        let state = life.cabinet.state();
        let name = Name::fixed("name");
        let versions = state.versions(ObjectId(1), None, 9).unwrap();
        let seen: Vec<_> =
            versions.iter().rev().map(|version| (version.version.0, version.text("name"), version.is_obliterated(&name))).collect();
        assert_eq!(seen, [(1, Some("harmless"), false), (2, None, true), (3, None, true), (4, None, true)]);
        assert_eq!(life.cabinet.query(&Query::equal(Name::fixed("case"), name, Value::text(SECRET))).unwrap().objects, []);
        let made = state.commit_at(Position(2)).unwrap().unwrap();
        assert!(made.obliterated && made.result.is_empty() && made.author.reason.is_none() && made.effects[0].arguments.is_empty());
        assert!(!state.commit_at(Position(3)).unwrap().unwrap().obliterated);
        assert_eq!(state.commit_at(Position(4)).unwrap().unwrap().author.reason.as_deref(), Some("it had to be"));
        assert_eq!(
            life.cabinet.get(&Get { objects: vec![ObjectId(1)] }).unwrap().objects[0].as_ref().unwrap().text("state"),
            Some("closed")
        );
        assert_eq!((life.cabinet.counts().objects, life.cabinet.counts().deleted), (1, 0));
        assert_ne!(life.cabinet.mark().chain_head, head.chain_head);

        life.redact(1);
        assert!(!life.holds(SECRET));
        let replayed = replayed(&life.log);
        assert_eq!(replayed.mark(), life.cabinet.mark());
        assert_eq!(replayed.state().versions(ObjectId(1), None, 9).unwrap(), versions);
    }
}

#[test]
fn what_cannot_be_obliterated_is_refused_in_words() {
    let mut life = Life::new(MemoryState::new());
    let owner = vec![Value::Reference(ObjectId(2))];
    life.propose(&Proposal::Commit(commit(1, vec![create(1, "case", vec![("owner", owner), ("name", text("a"))])])));
    let mut refused = |order: Obliteration, words: &str| {
        let why = life.cabinet.may_obliterate(&order).unwrap().unwrap_err();
        assert!(why.to_string().contains(words), "{why}");
        assert!(matches!(life.obliterate(order), Verdict::Commit(Committed::Conflict { .. })));
    };
    refused(order(2, &[]), "1 to 100 targets");
    refused(order(3, &[(7, "name", 0, 9)]), "there is no object");
    refused(order(4, &[(1, "name", 0, 9), (1, "number", 0, 9)]), "got no values there");
    refused(order(5, &[(1, "name", 2, 9)]), "got no values there");
    refused(order(6, &[(1, "owner", 0, 9)]), "clear the relation instead");
    let mut silent = order(7, &[(1, "name", 0, 9)]);
    silent.author.reason = None;
    refused(silent, "needs a reason");
    assert_eq!(life.cabinet.mark().position, Position(1));
}

#[test]
fn a_deleted_object_is_obliterated_and_stays_deleted() {
    let mut life = Life::new(MemoryState::new());
    life.propose(&Proposal::Commit(commit(1, vec![create(1, "case", vec![("name", text(SECRET))])])));
    life.propose(&Proposal::Commit(commit(2, vec![delete(1)])));
    life.obliterate(order(3, &[(1, "name", 0, 9)]));
    let object = life.cabinet.state().object(ObjectId(1)).unwrap().unwrap();
    assert!(object.deleted && object.attributes.is_empty() && object.version == Position(3));
    assert_eq!((life.cabinet.counts().objects, life.cabinet.counts().deleted), (1, 1));
}

/// A query that was relied on finds other objects once values are gone: what was decided then must not be decided anew.
#[test]
fn decisions_stand_although_what_they_rested_on_is_gone() {
    let mut life = Life::new(MemoryState::new());
    life.propose(&Proposal::Commit(commit(1, vec![create(1, "case", vec![])])));
    life.propose(&Proposal::Commit(commit(2, vec![update(1, vec![("name", text(SECRET))])])));
    let query = Query::equal(Name::fixed("case"), Name::fixed("name"), Value::text(SECRET));
    let mut relying = commit(3, vec![create(2, "case", vec![])]);
    relying.reads.push(caps_model::Read::Query { query, at: Position(1) });
    assert!(matches!(life.propose(&Proposal::Commit(relying)).verdict, Verdict::Commit(Committed::Conflict { .. })));
    life.obliterate(order(4, &[(1, "name", 0, 9)]));
    life.redact(1);
    let replayed = replayed(&life.log);
    assert_eq!((replayed.mark(), replayed.counts()), (life.cabinet.mark(), life.cabinet.counts()));
}

#[derive(Clone, Debug)]
enum Step {
    Propose(Box<Plan>),
    Obliterate {
        object: u128,
        attribute: &'static str,
        from: u64,
        length: u64,
    },
    /// Of the entries from this fraction of the log on, as a crash in the middle leaves it.
    Redact(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let attribute = prop::sample::select(vec!["state", "number", "owner", "due", "open", "weight"]);
    prop_oneof![
        8 => plan().prop_map(|plan| Step::Propose(Box::new(plan))),
        3 => (1..9_u128, attribute, 0..20_u64, 0..30_u64)
            .prop_map(|(object, attribute, from, length)| Step::Obliterate { object, attribute, from, length }),
        1 => (0..4_u64).prop_map(Step::Redact),
    ]
}

proptest! {
    #![proptest_config(seeded(150))]

    /// Whatever happened, whenever it was redacted, and however far a crash let that come.
    #[test]
    fn a_state_rebuilt_from_a_redacted_log_is_the_one_that_lived_through_it(steps in prop::collection::vec(step(), 0..60)) {
        let mut life = Life::new(MemoryState::new());
        for (number, step) in (1_000..).zip(steps) {
            match step {
                Step::Propose(plan) => drop(life.propose(&plan.proposal(&life.cabinet))),
                Step::Obliterate { object, attribute, from, length } => {
                    let Verdict::Commit(verdict) = life.obliterate(order(number, &[(object, attribute, from, from + length)])) else { panic!() };
                    if matches!(verdict, Committed::Accepted { .. }) {
                        prop_assert_eq!(life.cabinet.counts().objects > 0, true);
                    }
                }
                Step::Redact(quarters) => {
                    let first = life.log.len() as u64 * quarters / 4 + 1;
                    // Redacting is done up to an obliteration, right after it was applied.
                    if !life.orders.is_empty() {
                        life.redact(first);
                    }
                    let replayed = replayed(&life.log);
                    prop_assert_eq!(format!("{:?}", replayed.state()), format!("{:?}", life.cabinet.state()));
                }
            }
        }
        life.redact(1);
        let replayed = replayed(&life.log);
        prop_assert_eq!(replayed.mark(), life.cabinet.mark());
        prop_assert_eq!(format!("{:?}", replayed.state()), format!("{:?}", life.cabinet.state()));
        // Doing it again changes nothing.
        let before = life.log.clone();
        life.redact(1);
        prop_assert_eq!(before, life.log);
    }
}

#[test]
fn became_tells_repetitions_from_what_happened() {
    let mut life = Life::new(MemoryState::new());
    let proposal = Proposal::Commit(commit(1, vec![create(1, "case", vec![])]));
    life.propose(&proposal);
    life.propose(&proposal);
    assert_eq!(life.cabinet.became(CommitId(1), 1).unwrap(), Became::Made(Position(1), false));
    assert_eq!(life.cabinet.became(CommitId(1), 2).unwrap(), Became::Nothing);
}
