//! Which watchers a change may concern: an index over their queries, so that a commit pays for the subscriptions that it touches.

use std::collections::{BTreeMap, BTreeSet};

use caps_model::{Condition, Filter, Name, Object, Query, Test, Value};

use super::WatcherId;
use crate::state::Changed;

/// The queries of all watchers, by what an object must be or have to match them.
#[derive(Debug, Default)]
pub(super) struct Interests {
    entities: BTreeMap<Name, EntityInterests>,
}

#[derive(Debug, Default)]
struct EntityInterests {
    /// Queries that one value decides: attribute, value, watchers.
    equal: BTreeMap<Name, BTreeMap<Value, BTreeSet<WatcherId>>>,
    /// All other queries.
    any: BTreeSet<WatcherId>,
}

impl Interests {
    pub(super) fn add(&mut self, id: WatcherId, query: &Query) {
        let entity = self.entities.entry(query.entity.clone()).or_default();
        match required_value(&query.filter) {
            Some((attribute, value)) => {
                entity.equal.entry(attribute.clone()).or_default().entry(value.clone()).or_default().insert(id);
            }
            None => {
                entity.any.insert(id);
            }
        }
    }

    /// Forgets a watcher, and the places that only it needed.
    pub(super) fn remove(&mut self, id: WatcherId, query: &Query) {
        let Some(entity) = self.entities.get_mut(&query.entity) else { return };
        match required_value(&query.filter) {
            Some((attribute, value)) => entity.remove_equal(id, attribute, value),
            None => {
                entity.any.remove(&id);
            }
        }
        if entity.any.is_empty() && entity.equal.is_empty() {
            self.entities.remove(&query.entity);
        }
    }

    /// The watchers whose queries may match one of these objects before or after the change, in order.
    pub(super) fn concerned(&self, changes: &[Changed]) -> BTreeSet<WatcherId> {
        let mut concerned = BTreeSet::new();
        for change in changes {
            for entity in change.after.entities().filter_map(|entity| self.entities.get(entity)) {
                concerned.extend(&entity.any);
                entity.holding(&change.after, &mut concerned);
                if let Some(before) = &change.before {
                    entity.holding(before, &mut concerned);
                }
            }
        }
        concerned
    }
}

impl EntityInterests {
    fn remove_equal(&mut self, id: WatcherId, attribute: &Name, value: &Value) {
        let Some(values) = self.equal.get_mut(attribute) else { return };
        let Some(ids) = values.get_mut(value) else { return };
        ids.remove(&id);
        if ids.is_empty() {
            values.remove(value);
        }
        if values.is_empty() {
            self.equal.remove(attribute);
        }
    }

    fn holding(&self, object: &Object, concerned: &mut BTreeSet<WatcherId>) {
        for (attribute, values) in &self.equal {
            for ids in object.values(attribute.as_str()).iter().filter_map(|value| values.get(value)) {
                concerned.extend(ids);
            }
        }
    }
}

/// A value that every match holds, if the filter says so plainly.
fn required_value(filter: &Filter) -> Option<(&Name, &Value)> {
    match filter {
        Filter::Where(Condition { attribute, key: None, test: Test::Equal(value) }) => Some((attribute, value)),
        Filter::And(all) => all.iter().find_map(required_value),
        Filter::All | Filter::Where(_) | Filter::Text(_) | Filter::Through { .. } | Filter::Or(_) | Filter::Not(_) => None,
    }
}
