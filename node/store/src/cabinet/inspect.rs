//! What a cabinet answers about its past, about how many there are, and about how it finds them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use caps_model::messages::Objects;
use caps_model::messages::inspect::{At, Circumstances, Counted, Difference, Differences, Explained, Inspect, Inspected};
use caps_model::{Effect, Filter, Name, Object, ObjectId, Position, Query};

use super::Cabinet;
use super::read::{ANSWER_BYTES_MAX, Best, ReadError, object_bytes};
use crate::state::{Among, State, StateError, plan, search, search_all, search_at};

impl<S: State> Cabinet<S> {
    /// The answer to a question that looks further than at the present.
    pub fn inspect(&self, question: &Inspect) -> Result<Inspected, ReadError> {
        Ok(match question {
            Inspect::Find { query, at, today } => Inspected::Found(self.find(query, *at, today)?),
            Inspect::Count { query } => Inspected::Counted(self.count(query)?),
            Inspect::Explain { query } => Inspected::Explained(self.explain(query)?),
            Inspect::Compare { query, from, to, today } => Inspected::Compared(self.compare(query, *from, *to, today)?),
            Inspect::Why { position } => Inspected::Because(self.why(*position)?),
            Inspect::Effect { object } => Inspected::Effect(self.effect(*object)?),
        })
    }

    /// The objects that satisfied a query at a moment, as they were then, if they satisfy `today` as they are now.
    pub fn find(&self, query: &Query, at: At, today: &Filter) -> Result<Objects, ReadError> {
        let position = self.position_at(at)?;
        let query = query.clone().limit(query.limit);
        let mut best = Best::new(&query, query.order.is_empty());
        let mut failure = None;
        search_at(&self.state, &query, position, |object| match self.satisfies_today(object.id, today) {
            Ok(true) => best.take(object),
            Ok(false) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        best.arrange();
        Ok(Objects { position, objects: best.objects, more: best.more })
    }

    /// How many objects satisfy a query now, its order, cursor and limit aside; counting ends at [`COUNT_MAX`].
    pub fn count(&self, query: &Query) -> Result<Counted, ReadError> {
        let mut count = 0;
        search_all(&self.state, query, |_| {
            count += 1;
            if count < COUNT_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(Counted { position: self.mark().position, count, exact: count < COUNT_MAX })
    }

    /// How a query is answered, and what that takes.
    pub fn explain(&self, query: &Query) -> Result<Explained, ReadError> {
        let query = query.clone().limit(query.limit);
        let plan = plan(&self.state, &query, false)?;
        let mut best = Best::new(&query, plan.is_in_order(&query));
        let mut matched = 0;
        let looked_at = search(&self.state, &query, &plan, |object| {
            matched += 1;
            best.take(object)
        })?;
        best.arrange();
        let sorted = !plan.is_in_order(&query);
        let answered = best.objects.len() as u64;
        Ok(Explained { position: self.mark().position, plan: plan.describe(&query), looked_at, matched, sorted, answered })
    }

    /// What differs between two moments, among the objects that satisfied a query at one of them.
    pub fn compare(&self, query: &Query, from: At, to: At, today: &Filter) -> Result<Differences, ReadError> {
        let (from, to) = (self.position_at(from)?, self.position_at(to)?);
        let after = query.after.as_ref().map(|cursor| cursor.object);
        let limit = query.clone().limit(query.limit).limit as usize;
        let mut differences = Differences { from, to, objects: Vec::new(), more: false };
        let mut bytes = 0;
        for id in self.changed_between(from.min(to), from.max(to))? {
            if after.is_some_and(|after| id <= after) {
                continue;
            }
            let (before, then) = (self.seen(query, id, from)?, self.seen(query, id, to)?);
            if before.as_ref().map(|object| object.version) == then.as_ref().map(|object| object.version)
                || !self.satisfies_today(id, today)?
            {
                continue;
            }
            bytes += before.iter().chain(&then).map(object_bytes).sum::<usize>();
            if differences.objects.len() == limit || bytes > ANSWER_BYTES_MAX && !differences.objects.is_empty() {
                differences.more = true;
                break;
            }
            differences.objects.push(Difference { object: id, before, after: then });
        }
        Ok(differences)
    }

    /// Who made a commit, through what, when and why.
    pub fn why(&self, position: Position) -> Result<Option<Circumstances>, ReadError> {
        let Some(record) = self.state.commit_at(position)? else { return Ok(None) };
        let mut objects: Vec<(ObjectId, Name)> = Vec::new();
        for id in record.objects {
            if let Some(object) = self.state.object_at(id, position)? {
                objects.push((id, object.entity));
            }
        }
        Ok(Some(Circumstances { position, commit: record.id, time: record.time, author: record.author, objects }))
    }

    /// The effect that an object stands for: of those of the commit that made the object, the one with the same kind and key.
    pub fn effect(&self, object: ObjectId) -> Result<Option<Effect>, ReadError> {
        let mut first: Option<Object> = None;
        loop {
            let before = first.as_ref().map(|object| object.version);
            let page = self.state.versions(object, before, VERSIONS_PAGE)?;
            let Some(oldest) = page.into_iter().next_back() else { break };
            first = Some(oldest);
        }
        let Some(first) = first else { return Ok(None) };
        let (kind, key) = (first.text("kind"), first.text("key"));
        let effects = self.record(first.version)?.effects;
        Ok(effects.into_iter().find(|effect| Some(effect.kind.as_str()) == kind && Some(effect.key.as_str()) == key))
    }

    /// The position of a moment: of a time, that of the last commit up to it.
    fn position_at(&self, at: At) -> Result<Position, ReadError> {
        let now = self.mark().position;
        match at {
            At::Present => Ok(now),
            At::Position(position) if position > now => Err(ReadError::Future { asked: position, now }),
            At::Position(position) => Ok(position),
            At::Time(time) => {
                // Moments never go back from one commit to the next, whatever the clocks did.
                let (mut low, mut high) = (0, now.0);
                while low < high {
                    let middle = low + (high - low).div_ceil(2);
                    match self.record(Position(middle))?.moment <= time {
                        true => low = middle,
                        false => high = middle - 1,
                    }
                }
                Ok(Position(low))
            }
        }
    }

    fn changed_between(&self, from: Position, to: Position) -> Result<BTreeSet<ObjectId>, ReadError> {
        let commits = to.0 - from.0;
        if commits > COMMITS_COMPARED_MAX {
            let asked = usize::try_from(commits).unwrap_or(usize::MAX);
            let most = usize::try_from(COMMITS_COMPARED_MAX).unwrap_or(usize::MAX);
            return Err(ReadError::TooMany { asked, what: "commits between the two moments", most });
        }
        let mut changed = BTreeSet::new();
        for position in (from.0 + 1..=to.0).map(Position) {
            changed.extend(self.record(position)?.objects);
        }
        Ok(changed)
    }

    /// The object as it was at a position, if it satisfied the query.
    fn seen(&self, query: &Query, id: ObjectId, position: Position) -> Result<Option<Object>, StateError> {
        let Some(object) = self.state.object_at(id, position)? else { return Ok(None) };
        Ok(query.matches_among(&object, &Among::at(&self.state, position))?.then_some(object))
    }

    fn satisfies_today(&self, id: ObjectId, today: &Filter) -> Result<bool, StateError> {
        Ok(*today == Filter::All || self.state.object(id)?.is_some_and(|object| today.matches(&object)))
    }
}

/// Versions of an object taken at once.
const VERSIONS_PAGE: usize = 64;

/// Objects counted: more than that is many.
pub const COUNT_MAX: u64 = 100_000;

/// Commits gone through to find what differs between two moments.
pub const COMMITS_COMPARED_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use caps_model::{CommitId, Value};

    use super::*;
    use crate::cabinet::workload::{commit, create, delete, update};
    use crate::state::MemoryState;

    fn number(number: i64) -> Vec<(&'static str, Vec<Value>)> {
        vec![("number", vec![Value::Int(number)])]
    }

    /// Five commits at the times 10, 30, 20, 40 and 50.
    fn cabinet() -> Cabinet<MemoryState> {
        let mut cabinet = Cabinet::new(MemoryState::new());
        let changes =
            [create(1, "case", number(1)), create(2, "case", number(2)), update(1, number(5)), delete(2), create(3, "case", number(3))];
        for ((id, time), change) in (1..).zip([10, 30, 20, 40, 50]).zip(changes) {
            let mut commit = commit(id, vec![change]);
            commit.time = time;
            commit.author.reason = Some(format!("reason {id}"));
            cabinet.commit(commit);
        }
        cabinet
    }

    fn cases(filter: &str) -> Query {
        Query::all(Name::fixed("case")).and(filter.parse().unwrap())
    }

    fn found(at: At, filter: &str) -> Vec<(u128, Option<i64>)> {
        let found = cabinet().find(&cases(filter), at, &Filter::All).unwrap();
        found.objects.iter().map(|object| (object.id.0, object.int("number"))).collect()
    }

    #[test]
    fn a_query_of_the_past_finds_what_was_there() {
        let at = |position| At::Position(Position(position));
        assert_eq!(found(at(0), ""), []);
        assert_eq!(found(at(2), ""), [(1, Some(1)), (2, Some(2))]);
        assert_eq!(found(at(3), "number = 1"), []);
        assert_eq!(found(at(2), "number = 1"), [(1, Some(1))]);
        assert_eq!(found(at(3), "number >= 2"), [(1, Some(5)), (2, Some(2))]);
        assert_eq!(found(At::Present, ""), [(1, Some(5)), (3, Some(3))]);
        let future = cabinet().find(&cases(""), at(6), &Filter::All);
        assert!(matches!(future, Err(ReadError::Future { asked: Position(6), now: Position(5) })));
        let today = "number = 5".parse().unwrap();
        assert_eq!(cabinet().find(&cases(""), at(2), &today).unwrap().objects.len(), 1, "the other one is not 5 today");
    }

    #[test]
    fn times_go_on_whatever_clocks_say() {
        let position = |time| cabinet().position_at(At::Time(time)).unwrap().0;
        // The third commit says 20, and comes after the one that says 30.
        assert_eq!([9, 10, 29, 30, 39, 40, 1_000].map(position), [0, 1, 1, 3, 3, 4, 5]);
    }

    #[test]
    fn what_differs_between_two_moments_is_listed_once() {
        let compare = |from, to, query: Query| {
            let differences = cabinet().compare(&query, At::Position(Position(from)), At::Position(Position(to)), &Filter::All).unwrap();
            let shown = |object: &Option<Object>| object.as_ref().and_then(|object| object.int("number"));
            let listed = differences.objects.iter().map(|d| (d.object.0, shown(&d.before), shown(&d.after)));
            (listed.collect::<Vec<_>>(), differences.more)
        };
        assert_eq!(compare(2, 5, cases("")), (vec![(1, Some(1), Some(5)), (2, Some(2), None), (3, None, Some(3))], false));
        assert_eq!(compare(5, 2, cases("")).0, [(1, Some(5), Some(1)), (2, None, Some(2)), (3, Some(3), None)]);
        assert_eq!(compare(2, 5, cases("number < 4")).0, [(1, Some(1), None), (2, Some(2), None), (3, None, Some(3))]);
        let (first, more) = compare(2, 5, cases("").limit(1));
        assert_eq!((first, more), (vec![(1, Some(1), Some(5))], true));
        assert_eq!(compare(3, 3, cases("")).0, []);
    }

    #[test]
    fn a_commit_says_why() {
        let because = cabinet().why(Position(3)).unwrap().unwrap();
        assert_eq!((because.commit, because.author.reason.as_deref()), (CommitId(3), Some("reason 3")));
        assert_eq!(because.objects, [(ObjectId(1), Name::fixed("case"))]);
        assert_eq!(cabinet().why(Position(6)).unwrap(), None);
    }

    #[test]
    fn counting_and_explaining_agree_with_asking() {
        assert_eq!(cabinet().count(&cases("number > 3")).unwrap().count, 1);
        let explained = cabinet().explain(&cases("number = 5")).unwrap();
        assert_eq!((explained.looked_at, explained.matched, explained.answered), (1, 1, 1));
        assert_eq!(explained.plan, "1 objects found by the index for: number = 5");
    }
}
