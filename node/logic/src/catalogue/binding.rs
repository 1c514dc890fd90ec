//! Queries of front ends, held against what the modules declare.

use caps_model::messages::Subscribe;
use caps_model::query::{Condition, ORDERS_MAX, Test};
use caps_model::schema::Attribute;
use caps_model::value::Decimal;
use caps_model::{Filter, Query, Value, ValueKind};

use super::{Catalogue, DeclaredEntity};

impl Catalogue {
    /// The query of a front end, if it may ask that: every entity and attribute is declared, and values are of the attributes' kinds. Secrets
    /// are unknown, or a condition on a range would spell them out bit by bit. Values are brought to the attributes' kinds where a person would
    /// expect it, now becomes `now_us`, and objects that others refer to count only if `rights` let the asker see them.
    pub(crate) fn bind(&self, query: Query, rights: &Filter, now_us: i64) -> Result<Query, String> {
        self.bind_timeless(query.at(now_us), rights)
    }

    /// What a front end follows, if it may: as for [`bind`](Self::bind), but now stays now, and the attributes that it names are declared, too.
    pub(crate) fn bind_followed(&self, subscribe: Subscribe) -> Result<Subscribe, String> {
        // Bound to any moment, conditions on now show whether they are about moments.
        self.bind(subscribe.query.clone(), &Filter::All, 0)?;
        let query = self.bind_timeless(subscribe.query, &Filter::All)?;
        let declared = self.entities.get(&query.entity).ok_or_else(|| format!("no module declares the entity {}", query.entity))?;
        for attribute in &subscribe.attributes {
            public(declared, attribute.as_str())?;
        }
        Ok(Subscribe { query, ..subscribe })
    }

    fn bind_timeless(&self, query: Query, rights: &Filter) -> Result<Query, String> {
        let declared = self.entities.get(&query.entity).ok_or_else(|| format!("no module declares the entity {}", query.entity))?;
        if query.order.len() > ORDERS_MAX {
            return Err(format!("an answer is ordered by at most {ORDERS_MAX} attributes"));
        }
        for order in &query.order {
            public(declared, order.attribute.as_str())?;
        }
        let filter = self.bind_filter(declared, query.filter, rights)?;
        Ok(Query { filter: filter.and(rights.clone()), ..query })
    }

    /// Filters come from the wire and are at most `DEPTH_MAX` deep, so this recursion is bounded.
    fn bind_filter(&self, declared: &DeclaredEntity, filter: Filter, rights: &Filter) -> Result<Filter, String> {
        let each = |filters: Vec<Filter>| {
            filters.into_iter().map(|filter| self.bind_filter(declared, filter, rights)).collect::<Result<_, String>>()
        };
        Ok(match filter {
            Filter::All => Filter::All,
            Filter::Where(condition) => Filter::Where(bind_condition(declared, condition)?),
            Filter::Text(_) if !declared.secrets.is_empty() => {
                return Err(format!("{} is not searched as a whole: name the attributes", declared.entity.name));
            }
            Filter::Text(words) => Filter::Text(words),
            Filter::Through { attribute, filter, .. } => {
                let found = public(declared, attribute.as_str())?;
                let target = found.target().and_then(|entity| self.entities.get(entity));
                let target = target.ok_or_else(|| format!("{}.{attribute} refers to no other object", declared.entity.name))?;
                let filter = self.bind_filter(target, *filter, rights)?.and(rights.clone());
                Filter::Through { attribute, entity: Some(target.entity.name.clone()), filter: Box::new(filter) }
            }
            Filter::And(filters) => Filter::And(each(filters)?),
            Filter::Or(filters) => Filter::Or(each(filters)?),
            Filter::Not(filter) => Filter::Not(Box::new(self.bind_filter(declared, *filter, rights)?)),
        })
    }
}

fn public<'a>(declared: &'a DeclaredEntity, attribute: &str) -> Result<&'a Attribute, String> {
    let found = declared.entity.attribute(attribute).filter(|found| !declared.secrets.contains(&found.name));
    found.ok_or_else(|| format!("{} has no attribute {attribute}", declared.entity.name))
}

fn bind_condition(declared: &DeclaredEntity, condition: Condition) -> Result<Condition, String> {
    let attribute = public(declared, condition.attribute.as_str())?;
    let name = &attribute.name;
    match (&condition.key, attribute.is_map, &condition.test) {
        (Some(_), false, _) => return Err(format!("{name} is no map: it has no keys")),
        (None, true, test) if *test != Test::Present => return Err(format!("{name} is a map: say which key, as in {name}['key']")),
        _ => {}
    }
    let is_text = attribute.kind == ValueKind::Text;
    if matches!(condition.test, Test::Like(_) | Test::Words(_)) && !is_text {
        return Err(format!("{name} is of kind {}, and only texts are compared like that", attribute.kind));
    }
    let bound = Filter::Where(condition).with_values(&mut |value| Ok::<_, String>(vec![bind_value(attribute, value)?]))?;
    match bound {
        Filter::Where(condition) => Ok(condition),
        // `with_values` puts a condition in the place of a condition.
        _ => Err(format!("{name} cannot be compared")),
    }
}

/// The value as one of the attribute's kind.
fn bind_value(attribute: &Attribute, value: Value) -> Result<Value, String> {
    let name = &attribute.name;
    let bound = match (attribute.kind, &value) {
        (ValueKind::Choice, Value::Choice(_)) => None,
        (ValueKind::Choice, Value::Text(word)) => {
            let choice = attribute.choices.iter().find(|choice| choice.word == **word);
            let words = || attribute.choices.iter().map(|choice| choice.word.as_str()).collect::<Vec<_>>().join(", ");
            Some(Value::Choice(choice.cloned().ok_or_else(|| format!("{name} has no choice {word}: there are {}", words()))?))
        }
        (ValueKind::Decimal, Value::Int(number)) => Some(Value::Decimal(Decimal::from(*number))),
        // What was typed with a point, as it is printed: not what its bits stand for.
        (ValueKind::Decimal, Value::Float(number)) => number.to_string().parse().ok().map(Value::Decimal),
        (ValueKind::Float, Value::Int(number)) => number.to_string().parse().ok().map(Value::Float),
        (kind, value) if kind != value.kind() && matches!(kind, ValueKind::Timestamp | ValueKind::Timespan | ValueKind::Reference) => {
            let read = value.as_text().and_then(|text| text.parse().ok());
            read.filter(|read: &Value| read.kind() == kind)
        }
        _ => None,
    };
    let value = bound.unwrap_or(value);
    if value.kind() == attribute.kind {
        return Ok(value);
    }
    let hint = if attribute.kind == ValueKind::Text { ": put it in quotes" } else { "" };
    Err(format!("{name} is of kind {}, {value} of kind {}{hint}", attribute.kind, value.kind()))
}
