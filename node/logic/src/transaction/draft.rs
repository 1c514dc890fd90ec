//! An object as it would be.

use std::sync::Arc;

use caps_model::{Change, Name, Object, ObjectId, Position, Record, Value};

/// An object that a transaction changes: as it is in the cabinet, and as it would be.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    before: Option<Arc<Object>>,
    object: Arc<Object>,
    /// Something of it was written with the module's own authority: its references may name what only the module sees.
    pub(super) as_module: bool,
}

impl Draft {
    /// A new object.
    pub(super) fn created(id: ObjectId, entity: Name, ancestors: Vec<Name>, mut attributes: Record) -> Self {
        attributes.retain(|_, values| !values.is_empty());
        let object = Object { ancestors, ..Object::new(id, entity, Position::ZERO, attributes) };
        Self { before: None, object: Arc::new(object), as_module: false }
    }

    /// An object of the cabinet, not changed yet.
    pub(super) fn of(object: Arc<Object>) -> Self {
        Self { before: Some(object.clone()), object, as_module: false }
    }

    /// The object as it is in the cabinet; `None` for a new one.
    pub(super) fn before(&self) -> Option<&Arc<Object>> {
        self.before.as_ref()
    }

    /// The object as it would be. A change makes another `Arc` of it whenever somebody holds this one, so that whoever keeps one sees by the
    /// pointer whether anything changed since.
    pub(super) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    pub(super) fn is_created(&self) -> bool {
        self.before.is_none()
    }

    pub(super) fn put(&mut self, attribute: &Name, values: Vec<Value>) {
        if self.object.values(attribute.as_str()) == values {
            return;
        }
        let object = Arc::make_mut(&mut self.object);
        if values.is_empty() {
            object.attributes.remove(attribute);
        } else {
            object.attributes.insert(attribute.clone(), values);
        }
    }

    pub(super) fn delete(&mut self) {
        Arc::make_mut(&mut self.object).deleted = true;
    }

    /// The attributes that differ from `then`, or from nothing; also those that it no longer has.
    pub(super) fn changed_since(&self, then: Option<&Object>) -> Vec<Name> {
        let now = &self.object.attributes;
        let Some(then) = then else { return now.keys().cloned().collect() };
        let gone = then.attributes.keys().filter(|name| !now.contains_key(*name));
        let differs = now.iter().filter(|(name, values)| then.values(name.as_str()) != values.as_slice()).map(|(name, _)| name);
        differs.chain(gone).cloned().collect()
    }

    /// The change that makes it so; `None` when nothing remains of it.
    pub(super) fn into_change(self) -> Option<Change> {
        let object = self.object.id;
        match (&self.before, self.object.deleted) {
            (None, true) => None,
            (None, false) => {
                let Object { entity, ancestors, attributes, .. } = Arc::unwrap_or_clone(self.object);
                Some(Change::Create { object, entity, ancestors, attributes })
            }
            (Some(_), true) => Some(Change::Delete { object }),
            (Some(before), false) => {
                let changed = self.changed_since(Some(before));
                let attributes: Record =
                    changed.into_iter().map(|name| (name.clone(), self.object.values(name.as_str()).to_vec())).collect();
                (!attributes.is_empty()).then_some(Change::Update { object, attributes })
            }
        }
    }
}
