//! Filters on the wire: a flat list in postfix order, because recursive wire types can exhaust the stack of whoever decodes them.

use std::ops::Bound;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use super::{CONDITIONS_MAX, Condition, DEPTH_MAX, Filter, PATTERNS_MAX, Test, VALUES_MAX, Words};
use crate::{Name, Value};

#[derive(Encode, Decode)]
enum Step {
    All,
    Where(Condition),
    Text(Words),
    Through(Name, Option<Name>),
    And(u16),
    Or(u16),
    Not,
}

impl Encode for Filter {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let mut steps = Vec::new();
        flatten(self, &mut steps, 0)?;
        steps.encode(encoder)
    }
}

impl<Context> Decode<Context> for Filter {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        build(Vec::<Step>::decode(decoder)?)
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Filter {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

fn flatten(filter: &Filter, steps: &mut Vec<Step>, depth: usize) -> Result<(), EncodeError> {
    if depth >= DEPTH_MAX || steps.len() >= CONDITIONS_MAX {
        return Err(EncodeError::Other("the filter has too many conditions or is too deep"));
    }
    let count = |list: &Vec<Filter>| u16::try_from(list.len()).map_err(|_| EncodeError::Other("the filter has too many conditions"));
    let step = match filter {
        Filter::All => Step::All,
        Filter::Where(condition) => Step::Where(condition.clone()),
        Filter::Text(words) => Step::Text(words.clone()),
        Filter::Through { attribute, entity, filter } => {
            flatten(filter, steps, depth + 1)?;
            Step::Through(attribute.clone(), entity.clone())
        }
        Filter::And(all) => {
            for filter in all {
                flatten(filter, steps, depth + 1)?;
            }
            Step::And(count(all)?)
        }
        Filter::Or(any) => {
            for filter in any {
                flatten(filter, steps, depth + 1)?;
            }
            Step::Or(count(any)?)
        }
        Filter::Not(filter) => {
            flatten(filter, steps, depth + 1)?;
            Step::Not
        }
    };
    steps.push(step);
    Ok(())
}

/// Rebuilds the tree with a stack of our own; each entry carries the depth of its tree.
fn build(steps: Vec<Step>) -> Result<Filter, DecodeError> {
    if steps.len() > CONDITIONS_MAX {
        return Err(DecodeError::Other("a filter with too many conditions"));
    }
    let is_pattern = |step: &&Step| matches!(step, Step::Where(Condition { test: Test::Like(_), .. }));
    if steps.iter().filter(is_pattern).count() > PATTERNS_MAX {
        return Err(DecodeError::Other("a filter with too many patterns"));
    }
    let mut stack: Vec<(Filter, usize)> = Vec::new();
    for step in steps {
        let (filter, depth) = match step {
            Step::All => (Filter::All, 1),
            Step::Where(condition) => (Filter::Where(sound(condition)?), 1),
            Step::Text(words) if words.is_sound() => (Filter::Text(words), 1),
            Step::Text(_) => return Err(UNSOUND),
            Step::Through(attribute, entity) => {
                let (filter, depth) = stack.pop().ok_or(INCOMPLETE)?;
                (Filter::Through { attribute, entity, filter: Box::new(filter) }, depth + 1)
            }
            Step::And(count) => {
                let (all, depth) = take(&mut stack, count.into())?;
                (Filter::And(all), depth + 1)
            }
            Step::Or(count) => {
                let (any, depth) = take(&mut stack, count.into())?;
                (Filter::Or(any), depth + 1)
            }
            Step::Not => {
                let (filter, depth) = stack.pop().ok_or(INCOMPLETE)?;
                (Filter::Not(Box::new(filter)), depth + 1)
            }
        };
        if depth > DEPTH_MAX {
            return Err(DecodeError::Other("a filter that is too deep"));
        }
        stack.push((filter, depth));
    }
    match (stack.pop(), stack.is_empty()) {
        (Some((filter, _)), true) => Ok(filter),
        _ => Err(INCOMPLETE),
    }
}

fn take(stack: &mut Vec<(Filter, usize)>, count: usize) -> Result<(Vec<Filter>, usize), DecodeError> {
    let start = stack.len().checked_sub(count).ok_or(INCOMPLETE)?;
    let depth = stack[start..].iter().map(|(_, depth)| *depth).max().unwrap_or(0);
    Ok((stack.drain(start..).map(|(filter, _)| filter).collect(), depth))
}

/// What a condition promises to whoever evaluates it.
fn sound(condition: Condition) -> Result<Condition, DecodeError> {
    let sound = match &condition.test {
        Test::Present | Test::Equal(_) | Test::Like(_) => true,
        Test::In(values) => values.len() <= VALUES_MAX && values.is_sorted_by(|a, b| a < b),
        Test::Range { from, to } => match (kind(from), kind(to)) {
            (Some(from), Some(to)) => from == to,
            (from, to) => from.is_some() || to.is_some(),
        },
        Test::FromNow { from, to } => !matches!((from, to), (Bound::Unbounded, Bound::Unbounded)),
        Test::Words(words) => words.is_sound(),
    };
    if sound { Ok(condition) } else { Err(UNSOUND) }
}

fn kind(bound: &Bound<Value>) -> Option<crate::ValueKind> {
    match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(value.kind()),
        Bound::Unbounded => None,
    }
}

const UNSOUND: DecodeError = DecodeError::Other("a condition that nobody can test");

const INCOMPLETE: DecodeError = DecodeError::Other("a filter that does not add up");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Pattern, PatternKind};
    use super::*;
    use crate::Query;
    use crate::codec::{decode, encode};

    fn filters() -> impl Strategy<Value = Filter> {
        let name = || prop_oneof![Just(Name::fixed("a")), Just(Name::fixed("b"))];
        let value = || prop_oneof![any::<i64>().prop_map(Value::Int), ".{0,5}".prop_map(Value::Text)];
        let test = prop_oneof![
            Just(Test::Present),
            value().prop_map(Test::Equal),
            prop::collection::vec(value(), 0..4).prop_map(Test::one_of),
            value().prop_map(|value| Test::Range { from: Bound::Excluded(value), to: Bound::Unbounded }),
            any::<i64>().prop_map(|to| Test::FromNow { from: Bound::Unbounded, to: Bound::Included(to) }),
            "[a%_]{0,4}".prop_map(|like| Test::Like(Pattern::new(PatternKind::LikeAnyCase, &like).unwrap())),
            "[a-c]{1,4}".prop_map(|words| Test::Words(Words::new(&words).unwrap())),
        ];
        let leaf = prop_oneof![
            1 => Just(Filter::All),
            1 => "[a-c]{1,4}".prop_map(|words| Filter::Text(Words::new(&words).unwrap())),
            8 => (name(), prop::option::of("[a-c]{0,2}"), test)
                .prop_map(|(attribute, key, test)| Filter::Where(Condition { attribute, key, test })),
        ];
        leaf.prop_recursive(6, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.clone().prop_map(|filter| Filter::Not(Box::new(filter))),
                (name(), prop::option::of(name()), inner).prop_map(|(attribute, entity, filter)| Filter::Through {
                    attribute,
                    entity,
                    filter: Box::new(filter)
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn filters_survive_the_wire(filter in filters()) {
            let query = Query::all(Name::fixed("case")).and(filter);
            let bytes = encode(&query).unwrap();
            prop_assert_eq!(decode::<Query>(&bytes).unwrap(), query);
        }

        #[test]
        fn garbage_is_an_error_not_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode::<Query>(&bytes).ok();
            bytes.insert(0, 1);
            decode::<Query>(&bytes).ok();
        }
    }

    #[test]
    fn deep_filters_are_refused_on_both_sides() {
        let mut filter = Filter::All;
        for _ in 0..DEPTH_MAX {
            filter = Filter::Not(Box::new(filter));
        }
        assert!(encode(&Query { filter, ..Query::all(Name::fixed("case")) }).is_err());
        let mut steps = vec![Step::All];
        steps.extend((0..DEPTH_MAX).map(|_| Step::Not));
        assert!(build(steps).is_err());
        assert!(build(vec![Step::All, Step::All]).is_err());
        assert!(build(vec![Step::Not]).is_err());
    }

    #[test]
    fn lists_out_of_order_are_refused() {
        let of = |values: &[i64]| Test::In(values.iter().copied().map(Value::Int).collect());
        for (values, expected) in [(&[1, 2][..], true), (&[2, 1], false), (&[1, 1], false)] {
            let condition = Condition { attribute: Name::fixed("n"), key: None, test: of(values) };
            assert_eq!(build(vec![Step::Where(condition)]).is_ok(), expected, "{values:?}");
        }
        let none = Test::Range { from: Bound::Unbounded, to: Bound::Unbounded };
        assert!(build(vec![Step::Where(Condition { attribute: Name::fixed("n"), key: None, test: none })]).is_err());
    }

    #[test]
    fn wire_format_is_fixed() {
        let filter = "status = open and n >= 300".parse::<Filter>().unwrap();
        let query = Query::all(Name::fixed("case")).and(filter).limit(20);
        let bytes = encode(&query).unwrap();
        let expected = [
            &[1, 4][..],
            b"case", // schema version, entity
            &[3, 1, 6],
            b"status", // three steps: where, attribute
            &[0, 1, 3, 4],
            b"open", // no key, equal, text
            &[1, 1],
            b"n",
            &[0, 3, 1, 1, 251, 88, 2, 0], // no key, range: included, int 300 (zigzag 600), unbounded
            &[4, 2, 0, 0, 20],            // and of two; no order; no cursor; limit
        ]
        .concat();
        assert_eq!(bytes, expected);
    }
}
