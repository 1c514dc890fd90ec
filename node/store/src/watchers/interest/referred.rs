//! Watchers whose query says something about what its objects refer to: any change of that may concern them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use caps_model::{Filter, Name};

use crate::state::Changed;
use crate::watchers::WatcherId;

/// Watchers by the entities of the objects that theirs refer to.
#[derive(Debug, Default)]
pub(super) struct Referred {
    by_entity: BTreeMap<Name, BTreeSet<WatcherId>>,
    /// Nobody said which entity it is.
    anything: BTreeSet<WatcherId>,
    entities: HashMap<WatcherId, BTreeSet<Option<Name>>>,
}

impl Referred {
    pub(super) fn add(&mut self, id: WatcherId, filter: &Filter) {
        let mut entities = BTreeSet::new();
        gather(filter, &mut entities);
        for entity in &entities {
            match entity {
                Some(entity) => self.by_entity.entry(entity.clone()).or_default().insert(id),
                None => self.anything.insert(id),
            };
        }
        if !entities.is_empty() {
            self.entities.insert(id, entities);
        }
    }

    pub(super) fn remove(&mut self, id: WatcherId) {
        for entity in self.entities.remove(&id).into_iter().flatten() {
            let Some(entity) = entity else {
                self.anything.remove(&id);
                continue;
            };
            if let Some(ids) = self.by_entity.get_mut(&entity) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_entity.remove(&entity);
                }
            }
        }
    }

    /// Adds those whose objects may refer to what changed.
    pub(super) fn concerned(&self, change: &Changed, found: &mut Vec<WatcherId>) {
        if self.entities.is_empty() {
            return;
        }
        found.extend(&self.anything);
        for entity in change.after.entities() {
            found.extend(self.by_entity.get(entity).into_iter().flatten());
        }
    }
}

/// Filters come from the wire and are at most `DEPTH_MAX` deep, so this recursion is bounded.
fn gather(filter: &Filter, entities: &mut BTreeSet<Option<Name>>) {
    match filter {
        Filter::All | Filter::Where(_) | Filter::Text(_) => {}
        Filter::Through { entity, filter, .. } => {
            entities.insert(entity.clone());
            gather(filter, entities);
        }
        Filter::And(filters) | Filter::Or(filters) => filters.iter().for_each(|filter| gather(filter, entities)),
        Filter::Not(filter) => gather(filter, entities),
    }
}
