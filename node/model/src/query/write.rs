//! Filters and orders as somebody would type them.

use std::fmt;
use std::ops::Bound;

use super::text::{quoted, written};
use super::{Condition, Filter, Order, PatternKind, Test};
use crate::Value;

/// What the parser reads back as the same filter, except that no one has words for some values (bytes, entries, numbers that are none) and
/// that a number with a point reads back as a float.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The filter of which nothing is demanded has no words; a condition with no way to fail says the same where it needs some.
            Self::All => Ok(()),
            Self::Where(condition) => condition.write(f, &mut String::new(), false),
            Self::Text(words) => write!(f, "text {}", quoted(&words.to_string())),
            Self::Through { .. } => write_through(self, f, false),
            Self::And(filters) => join(f, filters, " and ", "always"),
            Self::Or(filters) => join(f, filters, " or ", "never"),
            Self::Not(filter) => match &**filter {
                Self::Where(condition) if condition.has_negative() => condition.write(f, &mut String::new(), true),
                Self::Through { .. } if ends_in_negative(filter) => write_through(filter, f, true),
                Self::And(_) | Self::Or(_) => write!(f, "not ({filter})"),
                filter => write!(f, "not {filter}"),
            },
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.attribute, if self.descending { " desc" } else { "" })
    }
}

impl Condition {
    /// Whether the language has words for its contrary.
    fn has_negative(&self) -> bool {
        match &self.test {
            Test::Present | Test::Equal(_) | Test::In(_) | Test::Like(_) | Test::Words(_) => true,
            Test::Range { from, to } => is_between(from, to),
            Test::FromNow { from, to } => is_between(from, to),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, path: &mut String, negated: bool) -> fmt::Result {
        let key = self.key.as_ref().map(|key| format!("[{}]", quoted(key))).unwrap_or_default();
        let subject = format!("{path}{}{key}", self.attribute);
        let not = if negated { " not" } else { "" };
        match &self.test {
            Test::Present => write!(f, "{} {subject}", if negated { "empty" } else { "has" }),
            Test::Equal(value) => write!(f, "{subject} {} {}", if negated { "!=" } else { "=" }, written(value)),
            Test::In(values) => {
                let values: Vec<String> = values.iter().map(written).collect();
                write!(f, "{subject}{not} in ({})", values.join(", "))
            }
            Test::Range { from, to } => write_range(f, &subject, not, &from.as_ref().map(written), &to.as_ref().map(written)),
            Test::FromNow { from, to } => write_range(f, &subject, not, &from.map(from_now), &to.map(from_now)),
            Test::Like(pattern) => {
                let word = match pattern.kind() {
                    PatternKind::Like => "like",
                    PatternKind::LikeAnyCase => "ilike",
                    PatternKind::Regex => "matches",
                };
                write!(f, "{subject}{not} {word} {}", quoted(pattern.source()))
            }
            Test::Words(words) => write!(f, "{subject}{not} about {}", quoted(&words.to_string())),
        }
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, subject: &str, not: &str, from: &Bound<String>, to: &Bound<String>) -> fmt::Result {
    if let (Bound::Included(from), Bound::Included(to)) = (from, to) {
        return write!(f, "{subject}{not} between {from} and {to}");
    }
    let lower = match from {
        Bound::Included(value) => Some(format!("{subject} >= {value}")),
        Bound::Excluded(value) => Some(format!("{subject} > {value}")),
        Bound::Unbounded => None,
    };
    let upper = match to {
        Bound::Included(value) => Some(format!("{subject} <= {value}")),
        Bound::Excluded(value) => Some(format!("{subject} < {value}")),
        Bound::Unbounded => None,
    };
    f.write_str(&lower.into_iter().chain(upper).collect::<Vec<_>>().join(" and "))
}

fn from_now(offset_us: i64) -> String {
    match offset_us {
        0 => "now".to_owned(),
        1.. => format!("now + {}", Value::Timespan(offset_us)),
        ..0 => format!("now - {}us", offset_us.unsigned_abs()),
    }
}

/// `a.b = 1` where one condition stands at the end of the way, `a.b.(..)` otherwise.
fn write_through(filter: &Filter, f: &mut fmt::Formatter<'_>, negated: bool) -> fmt::Result {
    let mut path = String::new();
    let mut filter = filter;
    while let Filter::Through { attribute, filter: inner, .. } = filter {
        path.push_str(attribute.as_str());
        path.push('.');
        filter = inner;
    }
    match filter {
        Filter::Where(condition) => condition.write(f, &mut path, negated),
        other => write!(f, "{path}({other})"),
    }
}

fn ends_in_negative(filter: &Filter) -> bool {
    match filter {
        Filter::Through { filter, .. } => ends_in_negative(filter),
        Filter::Where(condition) => condition.has_negative(),
        _ => false,
    }
}

fn is_between<T>(from: &Bound<T>, to: &Bound<T>) -> bool {
    matches!((from, to), (Bound::Included(_), Bound::Included(_)))
}

fn join(f: &mut fmt::Formatter<'_>, filters: &[Filter], word: &str, none: &str) -> fmt::Result {
    if filters.is_empty() {
        return f.write_str(none);
    }
    for (place, filter) in filters.iter().enumerate() {
        let before = if place == 0 { "" } else { word };
        match filter {
            Filter::And(_) | Filter::Or(_) => write!(f, "{before}({filter})")?,
            filter => write!(f, "{before}{filter}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "a = 1",
            "a != open",
            "a = 'two words'",
            "a = 'true' and b = true",
            "a between 1 and 5",
            "a >= 1 and (b < 'x y' or c in (1, 2, 3))",
            "a not in (1, 2)",
            "not (a = 1 and b = 2)",
            "has a and empty b",
            "a like 'x''%' or a not ilike 'Y%' or a matches '^[0-9]+$'",
            "customer.country = SE and customer.site.name != Lund",
            "customer.(country = SE and (kind = b2b or name like 'A%')) and not customer.site.(name = x and has y)",
            "names['sv'] about 'pump läck*'",
            "text 'leaking pump*' and due < now + 2d and due >= now",
            "not due < 1970-01-02",
            "a not between now - 1h and now + 1h",
        ] {
            let filter: Filter = text.parse().unwrap();
            let written = filter.to_string();
            assert_eq!(written.parse::<Filter>().as_ref(), Ok(&filter), "{text} became {written}");
        }
    }
}
