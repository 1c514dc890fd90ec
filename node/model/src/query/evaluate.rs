//! The one evaluator: every state, cache and subscription asks here.

use std::cmp::Ordering;
use std::ops::{Bound, RangeBounds};

use super::{Filter, Order, Query};
use crate::{Object, Value};

impl Query {
    /// Whether a query of the present answers with this object.
    pub fn matches(&self, object: &Object) -> bool {
        !object.deleted && object.entity == self.entity && self.filter.matches(object)
    }

    /// Brings matching objects into the query's order and cuts them to its limit. `true` when something was cut off.
    pub fn arrange(&self, objects: &mut Vec<Object>) -> bool {
        match &self.order {
            Some(order) => objects.sort_by(|a, b| order.compare(a, b)),
            None => objects.sort_by_key(|o| o.id),
        }
        let limit = self.limit as usize;
        let cut = objects.len() > limit;
        objects.truncate(limit);
        cut
    }
}

impl Filter {
    /// Whether the condition holds for this object.
    pub fn matches(&self, object: &Object) -> bool {
        match self {
            Self::All => true,
            Self::Equal { attribute, value } => object.values(attribute.as_str()).contains(value),
            Self::Range { attribute, from, to } => object.values(attribute.as_str()).iter().any(|value| within(value, from, to)),
            Self::And(all) => all.iter().all(|filter| filter.matches(object)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(object)),
            Self::Not(filter) => !filter.matches(object),
        }
    }
}

impl Order {
    /// Which of two objects comes first.
    pub fn compare(&self, a: &Object, b: &Object) -> Ordering {
        let attribute = self.attribute.as_str();
        let by_value = match (a.value(attribute), b.value(attribute)) {
            (Some(a), Some(b)) if self.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_value.then(a.id.cmp(&b.id))
    }
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
    use crate::{Name, ObjectId, Position, Record};

    fn object(id: u128, attributes: &[(&'static str, Vec<Value>)]) -> Object {
        let attributes: Record = attributes.iter().map(|(n, v)| (Name::fixed(n), v.clone())).collect();
        let entity = Name::fixed("case");
        Object { id: ObjectId(id), entity, created: Position(1), version: Position(1), deleted: false, attributes }
    }

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    #[test]
    fn some_value_decides_and_kinds_do_not_mix() {
        let case = object(1, &[("tags", vec![Value::text("a"), Value::text("b")]), ("n", vec![Value::Int(5)])]);
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
        ];
        for (text, expected) in table {
            assert_eq!(filter(text).matches(&case), expected, "{text}");
        }
    }

    #[test]
    fn order_puts_objects_without_value_last_both_ways() {
        let mut objects = vec![object(1, &[]), object(2, &[("n", vec![Value::Int(1)])]), object(3, &[("n", vec![Value::Int(2)])])];
        let mut query = Query::all(Name::fixed("case"));
        for (descending, expected) in [(false, [2, 3, 1]), (true, [3, 2, 1])] {
            query.order = Some(Order { attribute: Name::fixed("n"), descending });
            query.arrange(&mut objects);
            assert_eq!(objects.iter().map(|o| o.id.0).collect::<Vec<_>>(), expected);
        }
        assert!(query.limit(2).arrange(&mut objects));
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
