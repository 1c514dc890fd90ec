//! The one evaluator: every state, cache and subscription asks here.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::{Bound, RangeBounds};

use super::{Condition, Cursor, Filter, Order, Query, Test};
use crate::value::Entry;
use crate::{Object, ObjectId, Value};

/// Where the evaluator finds objects that others refer to.
pub trait Relations {
    /// Why it may not find them.
    type Error;

    /// The object as it is at the moment that the query is about; `None` if there is none.
    fn related(&self, id: ObjectId) -> Result<Option<Cow<'_, Object>>, Self::Error>;
}

/// There are no others: conditions through relations never hold.
#[derive(Clone, Copy, Debug)]
pub struct NoObjects;

impl Relations for NoObjects {
    type Error = Infallible;

    fn related(&self, _: ObjectId) -> Result<Option<Cow<'_, Object>>, Infallible> {
        Ok(None)
    }
}

impl Query {
    /// Whether a query without conditions through relations answers with this object, cursor and limit aside.
    pub fn matches(&self, object: &Object) -> bool {
        let Ok(matches) = self.matches_among(object, &NoObjects);
        matches
    }

    /// Whether the query answers with this object, cursor and limit aside.
    pub fn matches_among<R: Relations>(&self, object: &Object, others: &R) -> Result<bool, R::Error> {
        if object.deleted || !object.is_a(&self.entity) {
            return Ok(false);
        }
        self.filter.matches_among(object, others)
    }

    /// Brings matching objects into the query's order, drops what the cursor has passed, and cuts them to its limit. `true` when something
    /// was cut off.
    pub fn arrange(&self, objects: &mut Vec<Object>) -> bool {
        if let Some(cursor) = &self.after {
            objects.retain(|object| self.is_after(object, cursor));
        }
        objects.sort_by(|a, b| self.compare(a, b));
        let limit = self.limit as usize;
        let cut = objects.len() > limit;
        objects.truncate(limit);
        cut
    }

    /// Which of two objects comes first.
    pub fn compare(&self, a: &Object, b: &Object) -> Ordering {
        let by_value = self.order.iter().map(|order| order.compare(first(a, order), first(b, order)));
        by_value.fold(Ordering::Equal, Ordering::then).then(self.compare_ids(a.id, b.id))
    }

    /// Whether an object comes after a place in the order.
    pub fn is_after(&self, object: &Object, cursor: &Cursor) -> bool {
        let none = None;
        let by_value = self.order.iter().enumerate().map(|(place, order)| {
            let there = cursor.values.get(place).unwrap_or(&none).as_ref();
            order.compare(first(object, order), there)
        });
        by_value.fold(Ordering::Equal, Ordering::then).then(self.compare_ids(object.id, cursor.object)) == Ordering::Greater
    }

    fn compare_ids(&self, a: ObjectId, b: ObjectId) -> Ordering {
        if self.order.last().is_some_and(|order| order.descending) { b.cmp(&a) } else { a.cmp(&b) }
    }
}

impl Filter {
    /// Whether a filter without conditions through relations holds for this object.
    pub fn matches(&self, object: &Object) -> bool {
        let Ok(matches) = self.matches_among(object, &NoObjects);
        matches
    }

    /// Whether the filter holds for this object. Conditions relative to now never hold: they are bound to a time first.
    ///
    /// Filters come from the wire and are at most `DEPTH_MAX` deep, so this recursion is bounded.
    pub fn matches_among<R: Relations>(&self, object: &Object, others: &R) -> Result<bool, R::Error> {
        Ok(match self {
            Self::All => true,
            Self::Where(condition) => condition.matches(object),
            Self::Text(words) => words.occur_in(object.attributes.values().flatten().filter_map(Value::text_within)),
            Self::Through { attribute, filter, .. } => {
                for id in object.values(attribute.as_str()).iter().filter_map(Value::as_reference) {
                    let found = others.related(id)?.filter(|related| !related.deleted);
                    if let Some(related) = found
                        && filter.matches_among(&related, others)?
                    {
                        return Ok(true);
                    }
                }
                false
            }
            Self::And(all) => {
                for filter in all {
                    if !filter.matches_among(object, others)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Or(any) => {
                for filter in any {
                    if filter.matches_among(object, others)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::Not(filter) => !filter.matches_among(object, others)?,
        })
    }
}

impl Condition {
    /// Whether some value of the attribute passes the test.
    pub fn matches(&self, object: &Object) -> bool {
        let values = object.values(self.attribute.as_str()).iter();
        match &self.key {
            None => values.into_iter().any(|value| self.test.passes(value)),
            Some(key) => {
                let under_key = values.filter_map(Value::as_entry).filter(|entry| entry.key() == key);
                under_key.map(Entry::value).any(|value| self.test.passes(value))
            }
        }
    }
}

impl Test {
    /// Whether a value is like this.
    pub fn passes(&self, value: &Value) -> bool {
        match self {
            Self::Present => true,
            Self::Equal(wanted) => value == wanted,
            Self::In(wanted) => wanted.binary_search(value).is_ok(),
            Self::Range { from, to } => within(value, from, to),
            Self::FromNow { .. } => false,
            Self::Like(pattern) => value.as_text().is_some_and(|text| pattern.matches(text)),
            Self::Words(words) => value.as_text().is_some_and(|text| words.occur_in([text])),
        }
    }
}

impl Order {
    /// Which of two values comes first; none comes last either way.
    fn compare(&self, a: Option<&Value>, b: Option<&Value>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

fn first<'a>(object: &'a Object, order: &Order) -> Option<&'a Value> {
    object.value(order.attribute.as_str())
}

fn within(value: &Value, from: &Bound<Value>, to: &Bound<Value>) -> bool {
    let of_kind = |bound: &Bound<Value>| match bound {
        Bound::Included(limit) | Bound::Excluded(limit) => limit.kind() == value.kind(),
        Bound::Unbounded => true,
    };
    of_kind(from) && of_kind(to) && (from.as_ref(), to.as_ref()).contains(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, Position, Record};

    fn object(id: u128, attributes: &[(&'static str, Vec<Value>)]) -> Object {
        let attributes: Record = attributes.iter().map(|(n, v)| (Name::fixed(n), v.clone())).collect();
        Object::new(ObjectId(id), Name::fixed("case"), Position(1), attributes)
    }

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    fn entry(key: &str, value: Value) -> Value {
        Value::Entry(Box::new(Entry::new(key, value).unwrap()))
    }

    #[test]
    fn some_value_decides_and_kinds_do_not_mix() {
        let names = vec![entry("en", Value::text("Pump")), entry("sv", Value::text("Pumpen läcker"))];
        let case = object(1, &[("tags", vec![Value::text("a"), Value::text("b")]), ("n", vec![Value::Int(5)]), ("names", names)]);
        let table = [
            ("tags = b", true),
            ("not tags = b", false),
            ("tags = c", false),
            ("not tags = c", true),
            ("missing = c", false),
            ("not missing = c", true),
            ("n >= 5", true),
            ("n > 5", false),
            ("n < 6 and tags = a", true),
            ("n > 5 or tags = a", true),
            ("n < 'z'", false),
            ("n = 5.0", false),
            ("has n", true),
            ("has missing", false),
            ("empty missing", true),
            ("n in (4, 5)", true),
            ("n not in (4, 5)", false),
            ("n between 4 and 5", true),
            ("tags like 'a%'", true),
            ("tags ilike 'A'", true),
            ("tags matches '[bx]'", true),
            ("has names['sv']", true),
            ("has names['de']", false),
            ("names['en'] = Pump", true),
            ("names['sv'] = Pump", false),
            ("names['sv'] about 'läcker'", true),
            ("names = Pump", false),
            ("text 'läcker pump'", true),
            ("text 'läcker pumps'", false),
        ];
        for (text, expected) in table {
            assert_eq!(filter(text).matches(&case), expected, "{text}");
        }
    }

    #[test]
    fn conditions_reach_through_relations_to_what_exists() {
        struct One(Object);
        impl Relations for One {
            type Error = Infallible;

            fn related(&self, id: ObjectId) -> Result<Option<Cow<'_, Object>>, Infallible> {
                Ok((id == self.0.id).then_some(Cow::Borrowed(&self.0)))
            }
        }
        let case = object(1, &[("customer", vec![Value::Reference(ObjectId(9)), Value::Reference(ObjectId(2))])]);
        let query = Query::all(Name::fixed("case")).and(filter("customer.name = Anna"));
        let mut customers = One(object(2, &[("name", vec![Value::text("Anna")])]));
        assert_eq!(query.matches_among(&case, &customers), Ok(true));
        assert!(!query.matches(&case));
        customers.0.deleted = true;
        assert_eq!(query.matches_among(&case, &customers), Ok(false));
    }

    #[test]
    fn order_puts_objects_without_value_last_both_ways() {
        let mut objects = vec![object(1, &[]), object(2, &[("n", vec![Value::Int(1)])]), object(3, &[("n", vec![Value::Int(2)])])];
        let query = Query::all(Name::fixed("case"));
        for (descending, expected) in [(false, [2, 3, 1]), (true, [3, 2, 1])] {
            query.clone().by(Name::fixed("n"), descending).arrange(&mut objects);
            assert_eq!(objects.iter().map(|o| o.id.0).collect::<Vec<_>>(), expected);
        }
        assert!(query.limit(2).arrange(&mut objects));
    }

    #[test]
    fn a_cursor_goes_on_where_the_page_ended() {
        let number = |id: u128| object(id, &[("n", vec![Value::Int(i64::try_from(id % 3).unwrap())])]);
        let objects: Vec<Object> = (1..=10).map(number).chain([object(11, &[]), object(12, &[])]).collect();
        for descending in [false, true] {
            let query = Query::all(Name::fixed("case")).by(Name::fixed("n"), descending).limit(5);
            let mut whole = objects.clone();
            query.clone().limit(100).arrange(&mut whole);
            let mut paged: Vec<Object> = Vec::new();
            loop {
                let mut page = objects.clone();
                let query = paged.last().map_or(query.clone(), |last| query.clone().after(last));
                let more = query.arrange(&mut page);
                paged.extend(page);
                if !more {
                    break;
                }
            }
            assert_eq!(paged, whole);
        }
    }

    #[test]
    fn deleted_objects_are_not_found() {
        let mut case = object(1, &[]);
        let query = Query::all(Name::fixed("case"));
        assert!(query.matches(&case));
        case.deleted = true;
        assert!(!query.matches(&case));
    }
}
