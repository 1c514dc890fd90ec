//! What one reader follows, and how it sees an object change.

use caps_model::messages::{ObjectChange, Subscribe, projected};
use caps_model::{Filter, Name, Object, ObjectId, Query};

use crate::state::Changed;

/// The objects and attributes that a subscription is about.
#[derive(Debug)]
pub(super) struct Sought {
    /// The query, bound to the moment that stands for now.
    query: Query,
    /// The filter before it was bound; `None` if it says nothing about now.
    unbound: Option<Box<Filter>>,
    /// Sorted, each once; none: whatever matches.
    objects: Box<[ObjectId]>,
    /// None: all.
    attributes: Box<[Name]>,
    reaches_through: bool,
}

impl Sought {
    /// What `subscribe` asks for; `now_us` stands for now where that matters.
    pub(super) fn new(subscribe: Subscribe, now_us: i64) -> Self {
        let Subscribe { query, mut objects, attributes, .. } = subscribe;
        objects.sort_unstable();
        objects.dedup();
        let unbound = query.filter.is_relative_to_now().then(|| Box::new(query.filter.clone()));
        let reaches_through = query.filter.reaches_through();
        Self { query: query.at(now_us), unbound, objects: objects.into(), attributes: attributes.into(), reaches_through }
    }

    /// The query, bound to the present moment of the reader.
    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// The filter as it was asked for.
    pub(super) fn filter(&self) -> &Filter {
        self.unbound.as_deref().unwrap_or(&self.query.filter)
    }

    /// Whether it says something about what its objects refer to, which no object shows by itself.
    pub(super) fn reaches_through(&self) -> bool {
        self.reaches_through
    }

    /// The objects it is limited to; none: it is not.
    pub(super) fn objects(&self) -> &[ObjectId] {
        &self.objects
    }

    /// Lets another moment stand for now.
    pub(super) fn bind(&mut self, now_us: i64) {
        if let Some(filter) = &self.unbound {
            self.query.filter = Filter::clone(filter).at(now_us);
        }
    }

    /// Whether it could hold for this object, whatever its values and the moment.
    pub(super) fn admits(&self, object: &Object) -> bool {
        !object.deleted && object.is_a(&self.query.entity) && self.is_named(object.id)
    }

    /// Whether the reader sees this object.
    pub(super) fn matches(&self, object: &Object) -> bool {
        self.is_named(object.id) && self.query.matches(object)
    }

    /// Whether the reader sees the object before or after the change.
    pub(super) fn concerns(&self, change: &Changed) -> bool {
        self.matches(&change.after) || change.before.as_ref().is_some_and(|before| self.may_have_seen(before))
    }

    /// Whether the reader saw this version when it was new. What matched by values that were obliterated since, nobody can say: a reader is then
    /// told once too often rather than left with what must not be kept.
    fn may_have_seen(&self, before: &Object) -> bool {
        self.matches(before) || (!before.obliterated.is_empty() && self.admits(before))
    }

    /// How the reader sees a change; `None`: not at all.
    pub(super) fn seen(&self, before: Option<&Object>, after: &Object) -> Option<ObjectChange> {
        let was = before.filter(|before| self.may_have_seen(before));
        match (was, self.matches(after)) {
            (None, false) => None,
            (None, true) => Some(ObjectChange::Added(self.shown(after))),
            (Some(before), true) => self.differs(before, after).then(|| ObjectChange::Changed(self.shown(after))),
            (Some(_), false) => Some(ObjectChange::Removed(after.id)),
        }
    }

    /// Whether two versions of an object look different to the reader.
    pub(super) fn differs(&self, before: &Object, after: &Object) -> bool {
        match &*self.attributes {
            [] => before.version != after.version,
            attributes => {
                attributes.iter().any(|name| before.attributes.get(name) != after.attributes.get(name) || before.is_obliterated(name))
            }
        }
    }

    /// The object as the reader is told it.
    pub(super) fn shown(&self, object: &Object) -> Object {
        projected(object, &self.attributes)
    }

    fn is_named(&self, id: ObjectId) -> bool {
        self.objects.is_empty() || self.objects.binary_search(&id).is_ok()
    }
}
