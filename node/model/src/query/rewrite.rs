//! The same filter with something put in place of something else.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{Condition, Filter, Query, Test};
use crate::{Name, Value};

impl Query {
    /// The query with its conditions relative to now bound to this moment: microseconds since 1970.
    #[must_use]
    pub fn at(mut self, now_us: i64) -> Self {
        self.filter = self.filter.at(now_us);
        self
    }
}

impl Filter {
    /// The filter with its conditions relative to now bound to this moment: microseconds since 1970.
    #[must_use]
    pub fn at(self, now_us: i64) -> Self {
        if !self.is_relative_to_now() {
            return self;
        }
        let moment = |bound: Bound<i64>| bound.map(|offset| Value::Timestamp(now_us.saturating_add(offset)));
        self.rewritten(&mut |condition| {
            let test = match condition.test {
                Test::FromNow { from, to } => Test::Range { from: moment(from), to: moment(to) },
                test => test,
            };
            Ok::<_, std::convert::Infallible>(Self::Where(Condition { test, ..condition }))
        })
        .unwrap_or_else(|never| match never {})
    }

    /// The filter with something in the place of each condition; conditions on objects that others refer to included. The first failure is
    /// the outcome.
    pub fn rewritten<E>(self, put: &mut impl FnMut(Condition) -> Result<Self, E>) -> Result<Self, E> {
        let each = |filters: Vec<Self>, put: &mut _| filters.into_iter().map(|filter| filter.rewritten(put)).collect::<Result<_, E>>();
        Ok(match self {
            Self::All | Self::Text(_) => self,
            Self::Where(condition) => put(condition)?,
            Self::Through { attribute, entity, filter } => Self::Through { attribute, entity, filter: Box::new(filter.rewritten(put)?) },
            Self::And(filters) => Self::And(each(filters, put)?),
            Self::Or(filters) => Self::Or(each(filters, put)?),
            Self::Not(filter) => Self::Not(Box::new(filter.rewritten(put)?)),
        })
    }

    /// The filter with other values to compare with; `put` gives none or several where one stood: a condition on several holds for any.
    pub fn with_values<E>(self, put: &mut impl FnMut(Value) -> Result<Vec<Value>, E>) -> Result<Self, E> {
        self.rewritten(&mut |condition| {
            let test = match condition.test {
                Test::Equal(value) => Test::one_of(put(value)?),
                Test::In(values) => {
                    let mut all = Vec::new();
                    for value in values {
                        all.append(&mut put(value)?);
                    }
                    Test::one_of(all)
                }
                Test::Range { from, to } => Test::Range { from: bound(from, put)?, to: bound(to, put)? },
                test => test,
            };
            Ok(Self::Where(Condition { test, ..condition }))
        })
    }

    /// Whether it says something about now.
    pub fn is_relative_to_now(&self) -> bool {
        self.any(&mut |filter| matches!(filter, Self::Where(Condition { test: Test::FromNow { .. }, .. })))
    }

    /// Whether it says something about objects that others refer to.
    pub fn reaches_through(&self) -> bool {
        self.any(&mut |filter| matches!(filter, Self::Through { .. }))
    }

    /// Whether it compares objects that others refer to with now.
    pub fn compares_others_with_now(&self) -> bool {
        self.any(&mut |filter| matches!(filter, Self::Through { filter, .. } if filter.is_relative_to_now()))
    }

    /// The filter with this conjoined to what each object that others refer to satisfies, and to nothing else.
    #[must_use]
    pub fn of_others(self, also: &Self) -> Self {
        let each = |filters: Vec<Self>| filters.into_iter().map(|filter| filter.of_others(also)).collect();
        match self {
            Self::All | Self::Where(_) | Self::Text(_) => self,
            Self::Through { attribute, entity, filter } => {
                Self::Through { attribute, entity, filter: Box::new(filter.of_others(also).and(also.clone())) }
            }
            Self::And(filters) => Self::And(each(filters)),
            Self::Or(filters) => Self::Or(each(filters)),
            Self::Not(filter) => Self::Not(Box::new(filter.of_others(also))),
        }
    }

    /// The attributes of the object itself that it names; those of objects that it refers to are not among them.
    pub fn attributes(&self) -> BTreeSet<&Name> {
        let mut found = BTreeSet::new();
        self.gather(&mut found);
        found
    }

    fn gather<'a>(&'a self, found: &mut BTreeSet<&'a Name>) {
        match self {
            Self::All | Self::Text(_) => {}
            Self::Where(Condition { attribute, .. }) | Self::Through { attribute, .. } => {
                found.insert(attribute);
            }
            Self::And(filters) | Self::Or(filters) => filters.iter().for_each(|filter| filter.gather(found)),
            Self::Not(filter) => filter.gather(found),
        }
    }

    fn any(&self, is: &mut impl FnMut(&Self) -> bool) -> bool {
        is(self)
            || match self {
                Self::All | Self::Where(_) | Self::Text(_) => false,
                Self::Through { filter, .. } | Self::Not(filter) => filter.any(is),
                Self::And(filters) | Self::Or(filters) => filters.iter().any(|filter| filter.any(is)),
            }
    }
}

/// Of several values a bound takes the first; of none it becomes no bound.
fn bound<E>(bound: Bound<Value>, put: &mut impl FnMut(Value) -> Result<Vec<Value>, E>) -> Result<Bound<Value>, E> {
    Ok(match bound {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(value) => put(value)?.into_iter().next().map_or(Bound::Unbounded, Bound::Included),
        Bound::Excluded(value) => put(value)?.into_iter().next().map_or(Bound::Unbounded, Bound::Excluded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_conjoined_for_others_is_for_all_of_them_and_for_nobody_else() {
        let filter: Filter = "number = 1 and (customer.country = SE or not agent.group.name = desk)".parse().unwrap();
        let rights: Filter = "readers = g".parse().unwrap();
        let Filter::And(all) = filter.of_others(&rights) else { panic!("it was a conjunction") };
        assert_eq!(all[0].to_string(), "number = 1");
        let expected = ["customer.(country = SE and readers = g)", "not agent.(group.(name = desk and readers = g) and readers = g)"];
        let Filter::Or(any) = &all[1] else { panic!("it was a disjunction") };
        assert_eq!(any.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }
}
