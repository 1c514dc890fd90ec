//! States that answer many questions at once.
//!
//! Where each question costs a round trip, as it does to a database, indexes are not walked by asking for one place after the other. The state is told
//! where every match stands, and gives objects together with their places. It may give too many: the evaluator still decides. Which way is the shorter
//! one is not left to it: what a database knows of its columns says nothing of the part of one index, so [`plan`](super::plan) counts, and chooses.

use caps_model::{Name, Object, ObjectId, Position};

use super::StateError;
use super::index::{Index, Place, Span};
use super::path::Path;

/// A state with an engine of its own.
pub trait Engine {
    /// The first live objects of an entity, in the order of ids, or backwards.
    fn objects(&self, sought: Sought<'_>, after: Option<ObjectId>, backwards: bool, limit: usize) -> Result<Vec<Object>, StateError>;

    /// The first places in a part of an index, in order or backwards, each with its object.
    fn places(
        &self,
        sought: Sought<'_>,
        index: &Index,
        span: &Span,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(Place, Object)>, StateError>;

    /// How many objects stand in each span of a path, in its order; none is counted further than to `most`.
    fn span_counts(&self, entity: &Name, within: &Path, most: usize) -> Result<Vec<usize>, StateError>;

    /// Objects that stand within a path, as they are now, in no order; one may come several times. Its spans hold as many as was counted.
    fn listed(&self, entity: &Name, within: &Path, counts: &[usize], limit: usize) -> Result<Vec<Object>, StateError>;

    /// The same, by their ids.
    fn candidates(&self, entity: &Name, within: &Path, counts: &[usize]) -> Result<Vec<ObjectId>, StateError>;

    /// The first objects that an entity had after the commit at `position`, deleted ones included, as they were then, in the order of ids.
    fn objects_then(&self, entity: &Name, position: Position, after: Option<ObjectId>, limit: usize) -> Result<Vec<Object>, StateError>;
}

/// What is sought.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// The entity.
    pub entity: &'a Name,
    /// Only what stands there.
    pub within: Option<&'a Path>,
    /// Only what has no value of this attribute.
    pub lacking: Option<&'a Name>,
}
