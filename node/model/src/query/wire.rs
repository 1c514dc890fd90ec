//! Filters on the wire: a flat list in postfix order, because recursive wire types can exhaust the stack of whoever decodes them.

use std::ops::Bound;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use super::{CONDITIONS_MAX, DEPTH_MAX, Filter};
use crate::{Name, Value};

#[derive(Encode, Decode)]
enum Step {
    All,
    Equal { attribute: Name, value: Value },
    Range { attribute: Name, from: Bound<Value>, to: Bound<Value> },
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
        Filter::Equal { attribute, value } => Step::Equal { attribute: attribute.clone(), value: value.clone() },
        Filter::Range { attribute, from, to } => Step::Range { attribute: attribute.clone(), from: from.clone(), to: to.clone() },
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
    let mut stack: Vec<(Filter, usize)> = Vec::new();
    for step in steps {
        let (filter, depth) = match step {
            Step::All => (Filter::All, 1),
            Step::Equal { attribute, value } => (Filter::Equal { attribute, value }, 1),
            Step::Range { attribute, from, to } => (Filter::Range { attribute, from, to }, 1),
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

const INCOMPLETE: DecodeError = DecodeError::Other("a filter that does not add up");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Query;
    use crate::codec::{decode, encode};

    fn filters() -> impl Strategy<Value = Filter> {
        let name = || prop_oneof![Just(Name::fixed("a")), Just(Name::fixed("b"))];
        let value = || prop_oneof![any::<i64>().prop_map(Value::Int), ".{0,5}".prop_map(Value::Text)];
        let leaf = prop_oneof![
            Just(Filter::All),
            (name(), value()).prop_map(|(attribute, value)| Filter::Equal { attribute, value }),
            (name(), value()).prop_map(|(attribute, value)| Filter::Range {
                attribute,
                from: Bound::Excluded(value),
                to: Bound::Unbounded
            }),
        ];
        leaf.prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
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
    fn wire_format_is_fixed() {
        let filter = "status = open and n >= 300".parse::<Filter>().unwrap();
        let query = Query::all(Name::fixed("case")).and(filter).limit(20);
        let bytes = encode(&query).unwrap();
        let expected = [
            &[1, 4][..],
            b"case", // schema version, entity
            &[3, 1, 6],
            b"status",
            &[3, 4],
            b"open", // three steps: equal, attribute, text
            &[2, 1],
            b"n",
            &[1, 1, 251, 88, 2, 0], // range: attribute, included, int 300 (zigzag 600), unbounded
            &[3, 2, 0, 20],         // and of two; no order; limit
        ]
        .concat();
        assert_eq!(bytes, expected);
    }
}
