//! Questions, as statements.
//!
//! A path in the indexes becomes conditions on `caps_place`; which of its parts the database begins with is its own business. Objects come with the
//! places that led to them, so that one statement answers a page of a query.

use std::ops::Bound;

use caps_adapters::sql::Cell;
use caps_model::{Name, ObjectId, Position};

use crate::state::{Index, Path, Sought, Span};

/// A statement with the values of its places. Each `?` stands for one.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    pub(super) statement: String,
    pub(super) cells: Vec<Cell>,
}

/// The last version of an object at or before a position.
pub(super) fn version(id: ObjectId, position: Position) -> Question {
    let mut question = Question::text("SELECT body FROM caps_version WHERE object = ");
    question.bind(object(id)).then(" AND since <= ").bind(at(position)).then(" ORDER BY since DESC LIMIT 1");
    question
}

/// The versions of an object before a position, newest first.
pub(super) fn versions(id: ObjectId, before: Option<Position>, limit: usize) -> Question {
    let mut question = Question::text("SELECT body FROM caps_version WHERE object = ");
    question.bind(object(id));
    if let Some(before) = before {
        question.then(" AND since < ").bind(at(before));
    }
    question.then(" ORDER BY since DESC").limit(limit);
    question
}

/// The objects that an entity ever had.
pub(super) fn members(entity: &Name, after: Option<ObjectId>, backwards: bool, limit: usize) -> Question {
    let mut question = Question::text("SELECT object FROM caps_object WHERE entity = ");
    question.bind(name(entity));
    question.beyond("object", after, backwards).order("object", backwards).limit(limit);
    question
}

/// The places in a part of an index.
pub(super) fn places(entity: &Name, index: &Index, span: &Span, backwards: bool, limit: usize) -> Question {
    let mut question = Question::text("SELECT place FROM caps_place WHERE ");
    question.of_index("", entity, index).then(" AND ").spanned("", span).order("place", backwards).limit(limit);
    question
}

/// How many places there are in a part of an index.
pub(super) fn count(entity: &Name, index: &Index, span: &Span, limit: usize) -> Question {
    let mut question = Question::text("SELECT COUNT(*) FROM (SELECT 1 FROM caps_place WHERE ");
    question.of_index("", entity, index).then(" AND ").spanned("", span).limit(limit).then(") p");
    question
}

/// The first live objects.
pub(super) fn objects(sought: Sought<'_>, after: Option<ObjectId>, backwards: bool, limit: usize) -> Question {
    let mut question =
        Question::text(&format!("SELECT {PRESENT} FROM (SELECT o.object FROM caps_object o WHERE o.died IS NULL AND o.entity = "));
    question.bind(name(sought.entity)).narrowed("o.object", sought).beyond("o.object", after, backwards);
    question.order("o.object", backwards).limit(limit).then(") f").order("f.object", backwards);
    question
}

/// The first places in a part of an index, with their objects.
pub(super) fn placed(sought: Sought<'_>, index: &Index, span: &Span, backwards: bool, limit: usize) -> Question {
    let mut question = Question::text(&format!("SELECT f.place, {PRESENT} FROM (SELECT p.place, p.object FROM caps_place p WHERE "));
    question.of_index("p.", sought.entity, index).then(" AND ").spanned("p.", span).narrowed("p.object", sought);
    question.order("p.place", backwards).limit(limit).then(") f").order("f.place", backwards);
    question
}

/// Objects that stand within a path.
pub(super) fn candidates(entity: &Name, within: &Path, limit: usize) -> Question {
    let sought = Sought { entity, within: Some(within), lacking: None };
    let mut question = Question::text("SELECT o.object FROM caps_object o WHERE o.died IS NULL AND o.entity = ");
    question.bind(name(entity)).narrowed("o.object", sought).limit(limit);
    question
}

/// The first objects that an entity had then, as they were.
pub(super) fn objects_then(entity: &Name, position: Position, after: Option<ObjectId>, limit: usize) -> Question {
    let mut question = Question::text("SELECT (SELECT n.body FROM caps_version n WHERE n.object = f.object AND n.since <= ");
    question.bind(at(position)).then(" ORDER BY n.since DESC LIMIT 1) FROM (SELECT object FROM caps_object WHERE entity = ");
    question.bind(name(entity)).then(" AND born <= ").bind(at(position));
    question.beyond("object", after, false).order("object", false).limit(limit).then(") f").order("f.object", false);
    question
}

impl Question {
    fn text(text: &str) -> Self {
        Self { statement: text.to_owned(), cells: Vec::new() }
    }

    fn then(&mut self, text: &str) -> &mut Self {
        self.statement.push_str(text);
        self
    }

    fn bind(&mut self, cell: Cell) -> &mut Self {
        self.cells.push(cell);
        self.then("?")
    }

    fn of_index(&mut self, of: &str, entity: &Name, index: &Index) -> &mut Self {
        self.then(of).then("entity = ").bind(name(entity)).then(" AND ").then(of).then("idx = ").bind(index_name(index))
    }

    fn spanned(&mut self, of: &str, span: &Span) -> &mut Self {
        self.then("1 = 1");
        for (bound, included, excluded) in [(&span.from, ">=", ">"), (&span.to, "<=", "<")] {
            let (compared, bytes) = match bound {
                Bound::Included(bytes) => (included, bytes),
                Bound::Excluded(bytes) => (excluded, bytes),
                Bound::Unbounded => continue,
            };
            self.then(&format!(" AND {of}place {compared} ")).bind(Cell::Bytes(bytes.clone()));
        }
        self
    }

    fn narrowed(&mut self, object: &str, sought: Sought<'_>) -> &mut Self {
        if let Some(path) = sought.within {
            self.then(" AND ").within(object, sought.entity, path);
        }
        if let Some(lacking) = sought.lacking {
            self.then(&format!(" AND {object} NOT IN (SELECT q.object FROM caps_place q WHERE "));
            self.of_index("q.", sought.entity, &Index::Attribute(lacking.clone())).then(")");
        }
        self
    }

    /// Paths are as deep as filters may be, so this recursion is bounded.
    fn within(&mut self, object: &str, entity: &Name, path: &Path) -> &mut Self {
        match path {
            Path::Span { span, .. } if span.is_empty() => self.then("1 = 0"),
            Path::Span { index, span, .. } => {
                self.then(&format!("{object} IN (SELECT q.object FROM caps_place q WHERE "));
                self.of_index("q.", entity, index).then(" AND ").spanned("q.", span).then(")")
            }
            Path::Any(paths) => self.joined(" OR ", "1 = 0", object, entity, paths),
            Path::All(paths) => self.joined(" AND ", "1 = 1", object, entity, paths),
        }
    }

    fn joined(&mut self, by: &str, none: &str, object: &str, entity: &Name, paths: &[Path]) -> &mut Self {
        if paths.is_empty() {
            return self.then(none);
        }
        for (place, path) in paths.iter().enumerate() {
            self.then(if place == 0 { "(" } else { by }).within(object, entity, path);
        }
        self.then(")")
    }

    fn beyond(&mut self, column: &str, after: Option<ObjectId>, backwards: bool) -> &mut Self {
        match after {
            Some(after) => self.then(&format!(" AND {column} {} ", if backwards { "<" } else { ">" })).bind(object(after)),
            None => self,
        }
    }

    fn order(&mut self, column: &str, backwards: bool) -> &mut Self {
        self.then(&format!(" ORDER BY {column} {}", if backwards { "DESC" } else { "ASC" }))
    }

    /// Not bound: it is a number of ours, and the plan depends on it.
    fn limit(&mut self, limit: usize) -> &mut Self {
        self.then(&format!(" LIMIT {limit}"))
    }
}

/// The object of `f.object` as it is now.
const PRESENT: &str = "(SELECT n.body FROM caps_version n WHERE n.object = f.object ORDER BY n.since DESC LIMIT 1)";

pub(super) fn object(id: ObjectId) -> Cell {
    Cell::Text(id.to_string())
}

pub(super) fn name(name: &Name) -> Cell {
    Cell::Text(name.to_string())
}

/// The index of all words has no name; every attribute has one.
pub(super) fn index_name(index: &Index) -> Cell {
    match index {
        Index::Attribute(attribute) => name(attribute),
        Index::Words => Cell::Text(String::new()),
    }
}

/// A position, as databases have numbers. There is none beyond what they have.
pub(super) fn at(position: Position) -> Cell {
    Cell::Int(i64::try_from(position.0).unwrap_or(i64::MAX))
}
