//! What the modules declare, arranged as pages and services look it up.

use std::collections::BTreeMap;

use caps_model::schema::{Attribute, Constraint, Entity, Method};
use caps_model::{Name, Object, Schema, Value, ValueKind};

/// The schemas of a host, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    schemas: Vec<Schema>,
    entities: BTreeMap<Name, Kind>,
}

/// An entity with everything it has: what it inherits, and what modules add to it.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// As declared, all attributes included.
    pub(crate) entity: Entity,
    /// The attribute that people know its objects by.
    title: Option<Name>,
}

impl Catalogue {
    pub(crate) fn new(schemas: Vec<Schema>) -> Self {
        let declared: BTreeMap<&Name, &Entity> =
            schemas.iter().flat_map(|schema| schema.entities.iter().map(|entity| (&entity.name, entity))).collect();
        let entities = declared.values().map(|entity| (entity.name.clone(), Kind::new(entity, &declared, &schemas)));
        let entities = entities.collect();
        Self { schemas, entities }
    }

    pub(crate) fn schemas(&self) -> &[Schema] {
        &self.schemas
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.entities.values()
    }

    pub(crate) fn kind(&self, entity: &str) -> Option<&Kind> {
        self.entities.get(entity)
    }

    pub(crate) fn method(&self, module: &str, method: &str) -> Option<(&Schema, &Method)> {
        let schema = self.schemas.iter().find(|schema| schema.module == module)?;
        Some((schema, schema.method(method)?))
    }

    pub(crate) fn has_module(&self, module: &str) -> bool {
        self.schemas.iter().any(|schema| schema.module == module)
    }

    /// The methods that take one object of this entity, or of one that it inherits from, each with the parameter that takes it.
    pub(crate) fn methods_on<'a>(&'a self, object: &'a Object) -> impl Iterator<Item = (&'a Name, &'a Method, &'a Attribute)> {
        self.schemas.iter().flat_map(move |schema| {
            schema.methods.iter().filter_map(move |method| {
                let first = method.parameters.first()?;
                let takes = first.arity.max == 1 && first.target().is_some_and(|target| object.is_a(target));
                takes.then_some((&schema.module, method, first))
            })
        })
    }

    /// What people call an object: its name, its subject, its number; else its id.
    pub(crate) fn title(&self, object: &Object) -> String {
        let title = self.kind(object.entity.as_str()).and_then(|kind| kind.title.as_ref());
        let text = title.and_then(|title| object.value(title.as_str())).map(ToString::to_string).filter(|text| !text.trim().is_empty());
        let text = text.map(|text| shortened(&text, TITLE_CHARACTERS_MAX));
        let number = object.int("number").map(|number| format!("#{number}"));
        match (number, text) {
            (Some(number), Some(text)) if title.is_some_and(|title| *title != *"number") => format!("{number} {text}"),
            (_, Some(text)) => text,
            (Some(number), None) => number,
            (None, None) => format!("{} …{}", object.entity, &object.id.to_string()[20..]),
        }
    }
}

impl Kind {
    fn new(entity: &Entity, declared: &BTreeMap<&Name, &Entity>, schemas: &[Schema]) -> Self {
        let mut whole = entity.clone();
        let mut line = vec![&entity.name];
        let mut parent = entity.parent.as_ref();
        // A schema whose entities inherit in a circle is refused by hosts; an ancestor counts once here whatever it says.
        while let Some(ancestor) = parent.and_then(|parent| declared.get(parent)).filter(|found| !line.contains(&&found.name)) {
            line.push(&ancestor.name);
            parent = ancestor.parent.as_ref();
            add(&mut whole.attributes, &ancestor.attributes);
        }
        for extension in schemas.iter().flat_map(|schema| &schema.extensions).filter(|extension| line.contains(&&extension.entity)) {
            add(&mut whole.attributes, &extension.attributes);
        }
        let title = TITLES.iter().find_map(|title| whole.attribute(title)).map(|attribute| attribute.name.clone());
        Self { entity: whole, title }
    }

    /// The attributes that a list shows if nobody says which: short ones, the title first, rights last and only on request.
    pub(crate) fn columns(&self) -> Vec<Name> {
        let shown = |attribute: &&Attribute| {
            attribute.arity.max == 1
                && !attribute.is_map
                && !is_of_rights(&attribute.name)
                && !is_long(attribute)
                && attribute.kind != ValueKind::Bytes
        };
        let mut attributes: Vec<&Attribute> = self.entity.attributes.iter().filter(shown).collect();
        attributes.sort_by_key(|attribute| match () {
            () if attribute.name == *"number" => 0,
            () if self.title.as_ref() == Some(&attribute.name) => 1,
            () => 2,
        });
        attributes.into_iter().take(COLUMNS_SHOWN).map(|attribute| attribute.name.clone()).collect()
    }
}

/// Whether an attribute says who may see and change an object: it is shown apart.
pub(crate) fn is_of_rights(name: &Name) -> bool {
    name == "readers" || name == "writers"
}

/// Whether people write more than a line into an attribute.
pub(crate) fn is_long(attribute: &Attribute) -> bool {
    attribute.kind == ValueKind::Text && size(attribute).is_none_or(|(_, max)| max > LINE_BYTES_MAX) && selection(attribute).is_none()
}

/// The bounds on an attribute's size in bytes.
pub(crate) fn size(attribute: &Attribute) -> Option<(u32, u32)> {
    attribute.rules.iter().find_map(|rule| match rule.constraint {
        Constraint::Size { min, max } => Some((min, max)),
        _ => None,
    })
}

/// The values that an attribute is one of.
pub(crate) fn selection(attribute: &Attribute) -> Option<&[Value]> {
    attribute.rules.iter().find_map(|rule| match &rule.constraint {
        Constraint::Selection(values) => Some(values.as_slice()),
        _ => None,
    })
}

/// The smallest and the largest value of an attribute.
pub(crate) fn range(attribute: &Attribute) -> Option<(&Value, &Value)> {
    attribute.rules.iter().find_map(|rule| match &rule.constraint {
        Constraint::Range { from, to } => Some((from, to)),
        _ => None,
    })
}

/// A text of so many characters at most, with a sign that it was longer.
pub(crate) fn shortened(text: &str, characters_max: usize) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(characters_max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

fn add(attributes: &mut Vec<Attribute>, more: &[Attribute]) {
    for attribute in more {
        if attributes.iter().all(|known| known.name != attribute.name) {
            attributes.push(attribute.clone());
        }
    }
}

/// Attributes that people know objects by, the best first.
const TITLES: [&str; 8] = ["subject", "title", "name", "login", "label", "message_id", "key", "number"];

const TITLE_CHARACTERS_MAX: usize = 80;

/// Columns of a list if nobody says which.
const COLUMNS_SHOWN: usize = 7;

/// What is longer gets an area instead of a line.
const LINE_BYTES_MAX: u32 = 1_000;
