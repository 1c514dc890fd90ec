//! Objects.

use bincode::{Decode, Encode};

use crate::{Change, Name, ObjectId, Position, Record, Value};

/// One object as it was after the commit at `version`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Object {
    /// Its name for ever.
    pub id: ObjectId,
    /// What it is.
    pub entity: Name,
    /// What its entity inherits from, nearest first: it is all of these too. As it was when the object was made.
    pub ancestors: Vec<Name>,
    /// The commit that made it.
    pub created: Position,
    /// The commit that changed it last.
    pub version: Position,
    /// Whether it is deleted: it keeps its values and its history, and no query of the present finds it.
    pub deleted: bool,
    /// Its values. An attribute without values has no entry.
    pub attributes: Record,
    /// Attributes that had values then which were obliterated since, in order, each once. They have no entry in `attributes`.
    pub obliterated: Vec<Name>,
}

impl Object {
    /// An object as the commit at `position` makes it, of an entity that inherits from none.
    pub fn new(id: ObjectId, entity: Name, position: Position, attributes: Record) -> Self {
        Self {
            id,
            entity,
            ancestors: Vec::new(),
            created: position,
            version: position,
            deleted: false,
            attributes,
            obliterated: Vec::new(),
        }
    }

    /// Whether it is of this entity, or of one that inherits from it.
    pub fn is_a(&self, entity: &Name) -> bool {
        self.entity == *entity || self.ancestors.contains(entity)
    }

    /// Its entity and what that inherits from.
    pub fn entities(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.entity).chain(&self.ancestors)
    }

    /// The values of an attribute: empty when it has none.
    pub fn values(&self, attribute: &str) -> &[Value] {
        self.attributes.get(attribute).map_or(&[], Vec::as_slice)
    }

    /// The first value of an attribute.
    pub fn value(&self, attribute: &str) -> Option<&Value> {
        self.values(attribute).first()
    }

    /// The first value of an attribute, if it is text.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.value(attribute).and_then(Value::as_text)
    }

    /// The first value of an attribute, if it is a whole number.
    pub fn int(&self, attribute: &str) -> Option<i64> {
        self.value(attribute).and_then(Value::as_int)
    }

    /// The first value of an attribute, if it is a reference.
    pub fn reference(&self, attribute: &str) -> Option<ObjectId> {
        self.value(attribute).and_then(Value::as_reference)
    }

    /// Takes the values of an attribute away, and remembers that there were some.
    pub fn obliterate(&mut self, attribute: &Name) {
        self.attributes.remove(attribute);
        if let Err(place) = self.obliterated.binary_search(attribute) {
            self.obliterated.insert(place, attribute.clone());
        }
    }

    /// Whether the values that an attribute had then were obliterated.
    pub fn is_obliterated(&self, attribute: &Name) -> bool {
        self.obliterated.binary_search(attribute).is_ok()
    }

    /// The object after `change` at `position`, given the object before it.
    ///
    /// `None` when the change does not fit: creating what exists, changing or deleting what does not.
    pub fn after(before: Option<&Self>, change: &Change, position: Position) -> Option<Self> {
        match (before, change) {
            (None, Change::Create { object, entity, ancestors, attributes }) => {
                let mut attributes = attributes.clone();
                attributes.retain(|_, values| !values.is_empty());
                Some(Self { ancestors: ancestors.clone(), ..Self::new(*object, entity.clone(), position, attributes) })
            }
            (Some(before), Change::Update { attributes, .. }) if !before.deleted => {
                let mut after = Self { version: position, ..before.clone() };
                after.obliterated.retain(|name| !attributes.contains_key(name));
                for (name, values) in attributes {
                    if values.is_empty() {
                        after.attributes.remove(name);
                    } else {
                        after.attributes.insert(name.clone(), values.clone());
                    }
                }
                Some(after)
            }
            (Some(before), Change::Delete { .. }) if !before.deleted => Some(Self { version: position, deleted: true, ..before.clone() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pairs: &[(&'static str, i64)]) -> Record {
        pairs.iter().map(|(name, number)| (Name::fixed(name), vec![Value::Int(*number)])).collect()
    }

    #[test]
    fn changes_follow_one_another() {
        let id = ObjectId(1);
        let create =
            Change::Create { object: id, entity: Name::fixed("case"), ancestors: Vec::new(), attributes: record(&[("a", 1), ("b", 2)]) };
        let first = Object::after(None, &create, Position(1)).unwrap();
        let mut attributes = record(&[("a", 3)]);
        attributes.insert(Name::fixed("b"), Vec::new());
        let second = Object::after(Some(&first), &Change::Update { object: id, attributes }, Position(5)).unwrap();
        assert_eq!((second.int("a"), second.int("b"), second.created, second.version), (Some(3), None, Position(1), Position(5)));
        let third = Object::after(Some(&second), &Change::Delete { object: id }, Position(6)).unwrap();
        assert!(third.deleted);
        assert_eq!(Object::after(Some(&third), &Change::Delete { object: id }, Position(7)), None);
        assert_eq!(Object::after(Some(&first), &create, Position(7)), None);
    }

    #[test]
    fn what_was_obliterated_is_remembered_until_there_are_new_values() {
        let id = ObjectId(1);
        let mut object = Object::new(id, Name::fixed("case"), Position(1), record(&[("a", 1), ("b", 2), ("c", 3)]));
        for name in ["c", "a", "c"] {
            object.obliterate(&Name::fixed(name));
        }
        assert_eq!((object.int("a"), object.obliterated.as_slice()), (None, &[Name::fixed("a"), Name::fixed("c")][..]));
        let change = |name, values| Change::Update { object: id, attributes: Record::from([(Name::fixed(name), values)]) };
        let other = Object::after(Some(&object), &change("b", vec![]), Position(2)).unwrap();
        assert!(other.is_obliterated(&Name::fixed("a")));
        let renewed = Object::after(Some(&object), &change("a", vec![Value::Int(4)]), Position(2)).unwrap();
        let cleared = Object::after(Some(&object), &change("a", vec![]), Position(2)).unwrap();
        assert!(!renewed.is_obliterated(&Name::fixed("a")) && !cleared.is_obliterated(&Name::fixed("a")));
    }
}
