//! What modules declare, and what the steps before one leave behind: enough to find most mistakes before anything runs.

use caps_model::schema::{Attribute, Entity, Method};
use caps_model::{Filter, Name, Query, Schema, Value, ValueKind};

use super::template::{Source, Template};
use crate::modules;

/// What the modules of a deployment declare.
pub(super) struct Declared {
    schemas: Vec<Schema>,
}

/// What a step can refer to.
#[derive(Default)]
pub(super) struct Before<'a> {
    /// Whether something was asked for, and of which entity it is, if that is known.
    pub(super) found: Option<Option<&'a Entity>>,
    /// The method that was called last.
    pub(super) result: Option<&'a Method>,
}

impl Declared {
    pub(super) fn by(names: &[String]) -> Self {
        Self { schemas: modules::schemas(names) }
    }

    pub(super) fn entity(&self, name: &str) -> Result<&Entity, String> {
        let mut entities = self.schemas.iter().flat_map(|schema| &schema.entities);
        entities.clone().find(|entity| entity.name == name).ok_or_else(|| {
            let known = list(entities.by_ref().map(|entity| &entity.name));
            format!("no module declares an entity {name:?}; there are {known}")
        })
    }

    pub(super) fn module(&self, name: &str) -> Result<&Schema, String> {
        self.schemas.iter().find(|schema| schema.module == *name).ok_or_else(|| {
            let known = list(self.schemas.iter().map(|schema| &schema.module));
            format!("this deployment has no module {name:?}; it has {known}")
        })
    }

    /// The entity that a reference leads to, if that is declared.
    pub(super) fn referred_by(&self, attribute: &Attribute) -> Option<&Entity> {
        self.entity(attribute.target()?.as_str()).ok()
    }

    /// Whether a query asks for what is declared, in a way that something can satisfy.
    pub(super) fn check(&self, query: &Query, before: &Before<'_>) -> Result<(), String> {
        let entity = self.entity(query.entity.as_str())?;
        self.check_filter(entity, &query.filter, before)?;
        query.order.iter().try_for_each(|order| attribute_of(entity, &order.attribute).map(drop))
    }

    fn check_filter(&self, entity: &Entity, filter: &Filter, before: &Before<'_>) -> Result<(), String> {
        match filter {
            Filter::All | Filter::Text(_) => Ok(()),
            Filter::Where(condition) => {
                let attribute = attribute_of(entity, &condition.attribute)?;
                let check = &mut |value: Value| check_compared(attribute, &value, before).map(|()| vec![value]);
                Filter::Where(condition.clone()).with_values(check).map(drop)
            }
            Filter::Through { attribute, filter, .. } => {
                let attribute = attribute_of(entity, attribute)?;
                let target = self.referred_by(attribute);
                let target = target.ok_or_else(|| format!("{} refers to no other object", attribute.name))?;
                self.check_filter(target, filter, before)
            }
            Filter::And(filters) | Filter::Or(filters) => filters.iter().try_for_each(|filter| self.check_filter(entity, filter, before)),
            Filter::Not(filter) => self.check_filter(entity, filter, before),
        }
    }
}

impl<'a> Before<'a> {
    /// The attribute or result that a source stands for; `None` when it is the found object itself, a number, or not known yet.
    pub(super) fn attribute(&self, source: &Source) -> Result<Option<&'a Attribute>, String> {
        match source {
            Source::Number => Ok(None),
            Source::Found(name) => {
                let entity = self.found.ok_or_else(|| format!("{source} stands for nothing yet: a query or get must come before"))?;
                match (entity, name) {
                    (Some(entity), Some(name)) => attribute_of(entity, name).map(Some),
                    _ => Ok(None),
                }
            }
            Source::Result(name) => {
                let method = self.result.ok_or_else(|| format!("{source} stands for nothing yet: a call must come before"))?;
                let result = method.results.iter().find(|result| result.name == *name);
                let known = || list(method.results.iter().map(|result| &result.name));
                result.map(Some).ok_or_else(|| format!("{} does not answer {name:?}; it answers {}", method.name, known()))
            }
        }
    }

    /// The kind of the values that a source gives, if that is known.
    pub(super) fn kind(&self, source: &Source) -> Result<Option<ValueKind>, String> {
        let attribute = self.attribute(source)?;
        Ok(match (source, attribute) {
            (Source::Number, _) => Some(ValueKind::Int),
            (Source::Found(None), _) => Some(ValueKind::Reference),
            (_, attribute) => attribute.map(|attribute| attribute.kind),
        })
    }
}

/// A method of a module.
pub(super) fn method<'a>(module: &'a Schema, name: &str) -> Result<&'a Method, String> {
    module.method(name).ok_or_else(|| {
        let known = list(module.methods.iter().map(|method| &method.name));
        format!("the module {} has no method {name:?}; it has {known}", module.module)
    })
}

fn attribute_of<'a>(entity: &'a Entity, name: &Name) -> Result<&'a Attribute, String> {
    let known = || list(entity.attributes.iter().map(|attribute| &attribute.name));
    entity.attribute(name.as_str()).ok_or_else(|| format!("{} has no attribute {name}; it has {}", entity.name, known()))
}

/// Whether the host takes a value of one kind for one of another.
fn becomes(kind: ValueKind, other: ValueKind) -> bool {
    use ValueKind::{Choice, Decimal, Float, Int, Text};
    matches!((kind, other), (Text, Choice) | (Int | Float, Decimal) | (Int, Float))
}

fn check_compared(attribute: &Attribute, value: &Value, before: &Before<'_>) -> Result<(), String> {
    let kind = match value {
        Value::Text(text) => match Template::of_text(text)? {
            Template::Source(source) => before.kind(&source)?,
            template => template.sources().try_for_each(|source| before.kind(source).map(drop)).map(|()| Some(ValueKind::Text))?,
        },
        other => Some(other.kind()),
    };
    match kind {
        Some(kind) if kind != attribute.kind && !becomes(kind, attribute.kind) => {
            Err(format!("{} is of kind {}, and {value} is of kind {kind}: nothing satisfies that", attribute.name, attribute.kind))
        }
        _ => Ok(()),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    names.map(Name::as_str).collect::<Vec<_>>().join(", ")
}
