//! What a user remembers from one step to the next, and what templates become with it.

use caps_model::{Name, Object, ObjectId, Query, Record, Value};

use super::Run;
use crate::deployment::workload::{Piece, Source, Template};

/// What earlier steps of this run of the operation brought.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The objects that the last query or get found.
    pub(super) found: Vec<Object>,
    /// What the last call answered.
    pub(super) result: Record,
}

/// What templates are filled with.
#[derive(Debug)]
pub(super) struct Fill<'a> {
    pub(super) memory: &'a Memory,
    pub(super) run: &'a Run,
    /// Now, in microseconds since 1970.
    pub(super) now_micros: i64,
}

/// Something stands for no value: there is nothing to do with it.
#[derive(Debug)]
pub(super) struct Nothing(pub(super) Source);

impl Fill<'_> {
    /// The arguments of a call.
    pub(super) fn record(&self, templates: &[(Name, Vec<Template>)]) -> Result<Record, Nothing> {
        templates.iter().map(|(name, values)| Ok((name.clone(), self.all(values)?))).collect()
    }

    /// The query with everything filled in. A condition on several values holds for any of them.
    pub(super) fn query(&self, query: &Query) -> Result<Query, Nothing> {
        let filter = query.filter.clone().with_values(&mut |value| self.compared(&value))?;
        Ok(Query { filter, ..query.clone() })
    }

    /// The objects that templates stand for; `$found` for all that were found.
    pub(super) fn objects(&self, templates: &[Template]) -> Result<Vec<ObjectId>, Nothing> {
        let mut objects = Vec::new();
        for template in templates {
            match template {
                Template::Source(Source::Found(None)) => {
                    self.first_found()?;
                    objects.extend(self.memory.found.iter().map(|object| object.id));
                }
                template => objects.extend(self.values(template)?.iter().filter_map(Value::as_reference)),
            }
        }
        Ok(objects)
    }

    /// The text that a template stands for.
    pub(super) fn text(&self, template: &Template) -> Result<String, Nothing> {
        Ok(shown(&self.values(template)?))
    }

    fn all(&self, templates: &[Template]) -> Result<Vec<Value>, Nothing> {
        let mut values = Vec::new();
        for template in templates {
            values.extend(self.values(template)?);
        }
        Ok(values)
    }

    fn values(&self, template: &Template) -> Result<Vec<Value>, Nothing> {
        match template {
            Template::Fixed(value) => Ok(vec![value.clone()]),
            Template::Source(source) => self.of(source),
            Template::Now => Ok(vec![Value::Timestamp(self.now_micros)]),
            Template::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Fixed(fixed) => text.push_str(fixed),
                        Piece::Source(source) => text.push_str(&shown(&self.of(source)?)),
                    }
                }
                Ok(vec![Value::Text(text)])
            }
        }
    }

    fn of(&self, source: &Source) -> Result<Vec<Value>, Nothing> {
        let values = match source {
            Source::Number => vec![Value::Int(i64::try_from(self.run.number()).unwrap_or(i64::MAX))],
            Source::Found(None) => vec![Value::Reference(self.first_found()?.id)],
            Source::Found(Some(name)) => self.first_found()?.values(name.as_str()).to_vec(),
            Source::Result(name) => self.memory.result.get(name).cloned().unwrap_or_default(),
        };
        if values.is_empty() { Err(Nothing(source.clone())) } else { Ok(values) }
    }

    fn first_found(&self) -> Result<&Object, Nothing> {
        self.memory.found.first().ok_or(Nothing(Source::Found(None)))
    }

    /// The values on the right of a comparison; never none.
    fn compared(&self, value: &Value) -> Result<Vec<Value>, Nothing> {
        match value {
            // Operations that were not checked may have texts that are no templates: they stand for themselves.
            Value::Text(text) => self.values(&Template::of_text(text).unwrap_or_else(|_| Template::Fixed(value.clone()))),
            value => Ok(vec![value.clone()]),
        }
    }
}

fn shown(values: &[Value]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use caps_model::{Condition, Filter, Position, Test};

    use super::*;

    fn memory() -> Memory {
        let attributes = [
            (Name::fixed("number"), vec![Value::Int(7)]),
            (Name::fixed("messages"), vec![Value::Reference(ObjectId(8)), Value::Reference(ObjectId(9))]),
        ];
        let object = Object::new(ObjectId(1), Name::fixed("case"), Position(1), attributes.into());
        Memory { found: vec![object.clone(), Object { id: ObjectId(2), ..object }], result: Record::new() }
    }

    #[test]
    fn templates_are_filled_with_what_was_found() {
        let (memory, run) = (memory(), Run::new(100));
        let fill = Fill { memory: &memory, run: &run, now_micros: 5 };
        let text = |text: &str| fill.text(&Template::of_text(text).unwrap()).unwrap();
        assert_eq!(text("[#$found.number] no. $n, no. $n"), "[#7] no. 100, no. 101");
        let objects = |text: &str| fill.objects(&[Template::of_text(text).unwrap()]);
        assert_eq!(objects("$found").unwrap(), [ObjectId(1), ObjectId(2)]);
        assert_eq!(objects("$found.messages").unwrap(), [ObjectId(8), ObjectId(9)]);
        assert!(matches!(objects("$found.customer"), Err(Nothing(Source::Found(Some(_))))));
        assert!(matches!(objects("$result.case"), Err(Nothing(Source::Result(_)))));
        let query =
            |filter: &str| fill.query(&Query { filter: filter.parse().unwrap(), ..Query::all(Name::fixed("message")) }).unwrap().filter;
        assert_eq!(query("case = $found or number < $found.number"), format!("case = #{} or number < 7", ObjectId(1)).parse().unwrap());
        assert!(matches!(query("id = $found.messages"), Filter::Where(Condition { test: Test::In(any), .. }) if any.len() == 2));
    }
}
