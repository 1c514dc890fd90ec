//! Names that many queries have in common.

use std::collections::BTreeSet;

use caps_model::query::Condition;
use caps_model::{Filter, Name, Query};

/// Names, each kept once: a commit that asks many queries, or one of very many, finds them where it found them before.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<Name>);

impl Names {
    /// The same query, its names shared with others.
    pub(super) fn share(&mut self, query: Query) -> Query {
        let filter = query.filter.rewritten(&mut |condition| {
            let attribute = self.shared(condition.attribute);
            Ok::<_, std::convert::Infallible>(Filter::Where(Condition { attribute, ..condition }))
        });
        Query { entity: self.shared(query.entity), filter: filter.unwrap_or_else(|never| match never {}), ..query }
    }

    fn shared(&mut self, name: Name) -> Name {
        if let Some(known) = self.0.get(&name) {
            return known.clone();
        }
        if self.0.len() >= NAMES_MAX {
            // Whoever has them keeps them.
            self.0.clear();
        }
        self.0.insert(name.clone());
        name
    }
}

/// More than all schemas of a cabinet have; queries may name whatever they like.
const NAMES_MAX: usize = 4_096;
