//! Questions, as statements.
//!
//! A path in the indexes becomes conditions on `caps_place`: the smallest part is listed, and its objects are looked up in the others; or an order is
//! walked, and each object on the way looked up in all of them. Statements are written so that a database does just this, whatever it believes of its
//! tables. Objects come with the places that led to them, so that one statement answers a page of a query.

use std::ops::Bound;

use caps_adapters::sql::Cell;
use caps_model::{CommitId, Name, ObjectId, Position};

use crate::state::key;
use crate::state::path::counted;
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

/// The last object that there is before an id.
pub(super) fn last_object_before(id: u128) -> Question {
    let mut question = Question::text("SELECT object FROM caps_version WHERE object < ");
    question.bind(object(ObjectId(id))).order("object", true).limit(1);
    question
}

/// The first object that there is from an id on.
pub(super) fn first_object_from(id: u128) -> Question {
    let mut question = Question::text("SELECT object FROM caps_version WHERE object >= ");
    question.bind(object(ObjectId(id))).order("object", false).limit(1);
    question
}

/// The key of the last commit's fate before an id.
pub(super) fn last_fate_before(id: u128) -> Question {
    fate_between(0, Some(id), true)
}

/// The key of the first commit's fate from an id on.
pub(super) fn first_fate_from(id: u128) -> Question {
    fate_between(id, None, false)
}

fn fate_between(from: u128, before: Option<u128>, backwards: bool) -> Question {
    let key = |id| Cell::Bytes(key::fate(CommitId(id)).as_bytes().to_vec());
    let mut question = Question::text("SELECT k FROM caps_entry WHERE k >= ");
    question.bind(key(from));
    match before {
        Some(before) => question.then(" AND k < ").bind(key(before)),
        None => question.then(" AND k <= ").bind(key(u128::MAX)),
    };
    question.order("k", backwards).limit(1);
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

/// The first places in a part of an index, with their objects, each of which stands within a path.
pub(super) fn placed(sought: Sought<'_>, index: &Index, span: &Span, backwards: bool, limit: usize) -> Question {
    let mut question =
        Question::text(&format!("SELECT f.place, {PRESENT} FROM (SELECT p.place, p.object FROM caps_place p{BY_PLACE} WHERE "));
    question.of_index("p.", sought.entity, index).then(" AND ").spanned("p.", span).narrowed("p.object", sought);
    question.order("p.place", backwards).limit(limit).then(") f").order("f.place", backwards);
    question
}

/// How many objects stand in each span of a path, none counted further than to `most`; one row, a column for each span in the order of the path.
pub(super) fn span_counts(entity: &Name, within: &Path, most: usize) -> Question {
    let mut question = Question::text("SELECT ");
    question.span_counts(entity, within, most);
    question
}

/// Objects that stand within a path, as they are now.
pub(super) fn listed(entity: &Name, within: &Path, counts: &[usize], limit: usize) -> Question {
    let mut question = Question::text(&format!("SELECT {PRESENT} FROM ("));
    question.listing(entity, within, counts, &[]).limit(limit).then(") f");
    question
}

/// The ids of all objects that stand within a path.
pub(super) fn candidates(entity: &Name, within: &Path, counts: &[usize]) -> Question {
    let mut question = Question::text("SELECT f.object FROM (");
    question.listing(entity, within, counts, &[]).then(") f");
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

    fn span_counts(&mut self, entity: &Name, path: &Path, most: usize) -> &mut Self {
        match path {
            Path::Span { span, .. } if span.is_empty() => self.column("0"),
            Path::Span { index, span, .. } => {
                self.column("(SELECT COUNT(*) FROM (SELECT 1 FROM caps_place q").then(BY_PLACE).then(" WHERE ");
                self.of_index("q.", entity, index).then(" AND ").spanned("q.", span).limit(most).then(") c)")
            }
            Path::Any(paths) | Path::All(paths) => paths.iter().fold(self, |question, path| question.span_counts(entity, path, most)),
        }
    }

    /// The next of several columns.
    fn column(&mut self, text: &str) -> &mut Self {
        let is_first = self.statement == "SELECT ";
        self.then(if is_first { "" } else { ", " }).then(text)
    }

    /// The objects of the smallest part of a path, of which each is looked up in the others and in `besides`.
    fn listing(&mut self, entity: &Name, path: &Path, counts: &[usize], besides: &[&Path]) -> &mut Self {
        match path {
            Path::Span { index, span, .. } => {
                self.then("SELECT p.object FROM caps_place p").then(BY_PLACE).then(" WHERE ");
                self.of_index("p.", entity, index).then(" AND ").spanned("p.", span);
                besides.iter().fold(self, |question, path| question.then(" AND ").within("p.object", path))
            }
            Path::Any(paths) if paths.is_empty() => self.then("SELECT p.object FROM caps_place p WHERE 1 = 0"),
            Path::Any(paths) => {
                for (number, (path, counts)) in counted(paths, counts).enumerate() {
                    self.then(if number == 0 { "" } else { " UNION " }).listing(entity, path, counts, besides);
                }
                self
            }
            Path::All(paths) => {
                let parts: Vec<(&Path, &[usize])> = counted(paths, counts).collect();
                let smallest = (0..parts.len()).min_by_key(|number| parts[*number].0.at_most(parts[*number].1));
                let others = (0..parts.len()).filter(|number| Some(*number) != smallest).map(|number| parts[number].0);
                let besides: Vec<&Path> = besides.iter().copied().chain(others).collect();
                match smallest.map(|number| parts[number]) {
                    Some((path, counts)) => self.listing(entity, path, counts, &besides),
                    None => {
                        self.then("SELECT o.object FROM caps_object o WHERE o.died IS NULL AND o.entity = ").bind(name(entity));
                        besides.iter().fold(self, |question, path| question.then(" AND ").within("o.object", path))
                    }
                }
            }
        }
    }

    fn narrowed(&mut self, object: &str, sought: Sought<'_>) -> &mut Self {
        if let Some(path) = sought.within {
            self.then(" AND ").within(object, path);
        }
        if let Some(lacking) = sought.lacking {
            self.then(" AND NOT ").looked_up(object, &Index::Attribute(lacking.clone()), &Span::all());
        }
        self
    }

    /// Paths are as deep as filters may be, so this recursion is bounded.
    fn within(&mut self, object: &str, path: &Path) -> &mut Self {
        match path {
            Path::Span { span, .. } if span.is_empty() => self.then("1 = 0"),
            Path::Span { index, span, .. } => self.looked_up(object, index, span),
            Path::Any(paths) => self.joined(" OR ", "1 = 0", object, paths),
            Path::All(paths) => self.joined(" AND ", "1 = 1", object, paths),
        }
    }

    /// An object has the same places under each of its entities: nothing is said of them, so that no database goes through the index of one.
    fn looked_up(&mut self, object: &str, index: &Index, span: &Span) -> &mut Self {
        self.then(&format!("EXISTS (SELECT 1 FROM caps_place q{BY_OBJECT} WHERE q.object = {object} AND q.idx = ")).bind(index_name(index));
        // With an offset it is what it says, and not made a join of.
        self.then(" AND ").spanned("q.", span).then(" LIMIT 1 OFFSET 0)")
    }

    fn joined(&mut self, word: &str, none: &str, object: &str, paths: &[Path]) -> &mut Self {
        if paths.is_empty() {
            return self.then(none);
        }
        for (place, path) in paths.iter().enumerate() {
            self.then(if place == 0 { "(" } else { word }).within(object, path);
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

/// For MariaDB, which reads what others take for a comment: the index that is to be used. The others are told otherwise, or know it by themselves.
const BY_PLACE: &str = " /*M! FORCE INDEX (PRIMARY) */";
const BY_OBJECT: &str = " /*M! FORCE INDEX (caps_place_object) */";

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
