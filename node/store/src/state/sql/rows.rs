//! What a step comes to as rows of objects, versions, values and commits.
//!
//! A value is a row with the positions between which it holds. Values and the words of commits are for reports; the state itself reads them nowhere.

use std::collections::BTreeMap;

use caps_adapters::sql::{Cell, Connection, SqlError};
use caps_model::{Name, Object, ObjectId, Position, Value, ValueKind};

use super::questions::{at, object};
use super::schema::insert;
use crate::state::{Changed, CommitRecord, Step, Transaction};

/// Versions of objects, as bytes.
pub(super) type Bodies = BTreeMap<(ObjectId, Position), Vec<u8>>;

/// The rows of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    commit: Option<Vec<Cell>>,
    born: Vec<Vec<Cell>>,
    died: Vec<(String, i64)>,
    /// Objects of which another version begins, with it.
    versions: Vec<(String, i64, bool, Vec<u8>)>,
    /// Versions that are replaced, in the order of a row's columns.
    replaced: Vec<Vec<Cell>>,
    /// Attributes whose values end.
    ended: Vec<(String, String, i64)>,
    values: Vec<Vec<Cell>>,
    /// Values that are to be taken away: object, attribute, and a position at which they held.
    obliterated: Vec<(String, String, i64)>,
    /// Attributes that were seen, by entity, with the kind of their first value.
    pub(super) attributes: BTreeMap<(Name, Name), ValueKind>,
}

impl Rows {
    /// The rows of a step whose versions have these bytes.
    pub(super) fn of(transaction: &Transaction<'_>, mut bodies: Bodies) -> Self {
        let mut rows = Self::default();
        let position = i64::try_from(transaction.mark.position.0).unwrap_or(i64::MAX);
        match transaction.step {
            Step::Commit { record, changes } => {
                rows.commit = Some(commit(position, record));
                changes.iter().for_each(|change| rows.change(change, position, &mut bodies));
            }
            Step::Seal(_) => {}
            Step::Obliterate { record, changes, versions, .. } => {
                rows.commit = Some(commit(position, record));
                changes.iter().for_each(|change| rows.change(change, position, &mut bodies));
                for version in changes.iter().map(|change| &change.after).chain(versions) {
                    let at = i64::try_from(version.version.0).unwrap_or(i64::MAX);
                    let attributes = version.obliterated.iter().map(|attribute| (version.id.to_string(), attribute.to_string(), at));
                    rows.obliterated.extend(attributes);
                }
            }
        }
        // What is left was there before.
        rows.replaced = bodies.into_iter().map(|((id, version), body)| vec![Cell::Bytes(body), object(id), at(version)]).collect();
        rows
    }

    /// Whether it replaces versions that were there before.
    pub(super) fn replaces(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// The version of an object that begins here, if not after a position.
    pub(super) fn version(&self, id: ObjectId, position: Position) -> Option<&[u8]> {
        let id = id.to_string();
        let mut versions = self.versions.iter().rev();
        let found = versions.find(|(object, since, ..)| *object == id && u64::try_from(*since).is_ok_and(|since| since <= position.0))?;
        Some(&found.3)
    }

    fn change(&mut self, change: &Changed, position: i64, bodies: &mut Bodies) {
        let (before, after) = (change.live_before(), change.live_after());
        let object = &change.after;
        let id = object.id.to_string();
        if change.before.is_none() {
            for entity in object.entities() {
                self.born.push(vec![Cell::Text(entity.to_string()), Cell::Text(id.clone()), Cell::Int(position), Cell::NoInt]);
            }
        }
        if object.deleted {
            self.died.push((id.clone(), position));
        }
        let body = bodies.remove(&(object.id, object.version)).unwrap_or_default();
        self.versions.push((id.clone(), position, object.deleted, body));
        let names = before.into_iter().chain(after).flat_map(|object| object.attributes.keys());
        let mut names: Vec<&Name> = names.collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let values = |object: Option<&Object>| object.map_or(Vec::new(), |object| object.values(name.as_str()).to_vec());
            let (old, new) = (values(before), values(after));
            if old == new {
                continue;
            }
            if !old.is_empty() {
                self.ended.push((id.clone(), name.to_string(), position));
            }
            self.values.extend((0..).zip(&new).map(|(ordinal, value)| row(&id, name, position, ordinal, value)));
            if let Some(value) = new.first() {
                for entity in object.entities() {
                    self.attributes.entry((entity.clone(), name.clone())).or_insert_with(|| inner(value).1.kind());
                }
            }
        }
    }
}

/// Puts the rows of several steps into the open transaction, in their order.
pub(super) async fn put<'r>(connection: &mut Connection, steps: impl Iterator<Item = &'r Rows> + Clone) -> Result<(), SqlError> {
    let dialect = connection.dialect();
    let (begin, end) = dialect.inserting_new();
    let commits: Vec<_> = steps.clone().filter_map(|rows| rows.commit.clone()).collect();
    insert(connection, &format!("{begin} caps_commit (position, moment, author, front_end, site, module, method) VALUES "), end, &commits)
        .await?;
    let born: Vec<_> = steps.clone().flat_map(|rows| rows.born.iter().cloned()).collect();
    insert(connection, &format!("{begin} caps_object (entity, object, born, died) VALUES "), end, &born).await?;
    let died = dialect.numbered("UPDATE caps_object SET died = ? WHERE object = ?");
    for (object, position) in steps.clone().flat_map(|rows| &rows.died) {
        connection.execute(&died, &[Cell::Int(*position), Cell::Text(object.clone())]).await?;
    }
    let mut open = Open::default();
    for rows in steps.clone() {
        open.take(rows);
    }
    open.put(connection).await?;
    let replace = dialect.numbered("UPDATE caps_version SET body = ? WHERE object = ? AND since = ?");
    for cells in steps.clone().flat_map(|rows| &rows.replaced) {
        connection.execute(&replace, cells).await?;
    }
    let obliterate = dialect.numbered(
        "UPDATE caps_value SET whole = NULL, floating = NULL, words = NULL, map_key = NULL \
         WHERE object = ? AND attribute = ? AND since <= ? AND (til IS NULL OR til > ?)",
    );
    for (object, attribute, at) in steps.flat_map(|rows| &rows.obliterated) {
        connection
            .execute(&obliterate, &[Cell::Text(object.clone()), Cell::Text(attribute.clone()), Cell::Int(*at), Cell::Int(*at)])
            .await?;
    }
    Ok(())
}

/// Rows that begin in these steps, and those that end: a row that does both is written once.
#[derive(Default)]
struct Open {
    values: Vec<Vec<Cell>>,
    of_attribute: BTreeMap<(String, String), Vec<usize>>,
    ended: Vec<Vec<Cell>>,
    versions: Vec<Vec<Cell>>,
    of_object: BTreeMap<String, usize>,
    superseded: Vec<Vec<Cell>>,
}

impl Open {
    fn take(&mut self, rows: &Rows) {
        for (object, position, is_deleted, body) in &rows.versions {
            match self.of_object.insert(object.clone(), self.versions.len()) {
                Some(last) => self.versions[last][2] = Cell::Int(*position),
                None => self.superseded.push(vec![Cell::Int(*position), Cell::Text(object.clone()), Cell::Int(*position)]),
            }
            self.versions.push(vec![
                Cell::Text(object.clone()),
                Cell::Int(*position),
                Cell::NoInt,
                Cell::Int((*is_deleted).into()),
                Cell::Bytes(body.clone()),
            ]);
        }
        for (object, attribute, position) in &rows.ended {
            match self.of_attribute.remove(&(object.clone(), attribute.clone())) {
                Some(rows) => rows.into_iter().for_each(|row| self.values[row][TIL] = Cell::Int(*position)),
                None => self.ended.push(vec![Cell::Int(*position), Cell::Text(object.clone()), Cell::Text(attribute.clone())]),
            }
        }
        for row in &rows.values {
            if let (Cell::Text(object), Cell::Text(attribute)) = (&row[0], &row[1]) {
                self.of_attribute.entry((object.clone(), attribute.clone())).or_default().push(self.values.len());
            }
            self.values.push(row.clone());
        }
    }

    async fn put(self, connection: &mut Connection) -> Result<(), SqlError> {
        let dialect = connection.dialect();
        let end = dialect.numbered("UPDATE caps_value SET til = ? WHERE object = ? AND attribute = ? AND til IS NULL");
        for cells in &self.ended {
            connection.execute(&end, cells).await?;
        }
        let supersede = dialect.numbered("UPDATE caps_version SET til = ? WHERE object = ? AND til IS NULL AND since < ?");
        for cells in &self.superseded {
            connection.execute(&supersede, cells).await?;
        }
        let (begin, after) = dialect.inserting_new();
        insert(connection, &format!("{begin} caps_version (object, since, til, is_deleted, body) VALUES "), after, &self.versions).await?;
        let columns = "object, attribute, since, ordinal, til, kind, map_key, whole, floating, words";
        insert(connection, &format!("{begin} caps_value ({columns}) VALUES "), after, &self.values).await
    }
}

fn commit(position: i64, record: &CommitRecord) -> Vec<Cell> {
    let author = record.author.user.map_or(Cell::NoText, |user: ObjectId| Cell::Text(user.to_string()));
    // An identity is checked before it comes here; what is none has no site.
    let front_end = record.author.front_end.split('\0').next().unwrap_or_default();
    vec![
        Cell::Int(position),
        Cell::Int(record.moment),
        author,
        Cell::Text(front_end.to_owned()),
        Cell::Text(site_of(front_end).to_owned()),
        Cell::Text(record.author.module.to_string()),
        Cell::Text(record.author.method.to_string()),
    ]
}

/// The site of `spiffe://DOMAIN/site/SITE/layer/4/NODE`.
fn site_of(front_end: &str) -> &str {
    front_end.split_once("/site/").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default())
}

/// The row of a value: numbers, moments and truths are whole numbers, everything else that has words is words. Bytes are not for reports.
fn row(object: &str, attribute: &Name, position: i64, ordinal: i64, value: &Value) -> Vec<Cell> {
    let (key, value) = inner(value);
    let (mut whole, mut floating, mut words) = (Cell::NoInt, Cell::NoReal, Cell::NoText);
    match value {
        Value::Bool(truth) => whole = Cell::Int((*truth).into()),
        Value::Int(number) | Value::Timestamp(number) | Value::Timespan(number) => whole = Cell::Int(*number),
        // A database may know no other than finite ones.
        Value::Float(number) if number.is_finite() => floating = Cell::Real(*number),
        Value::Float(_) | Value::Bytes(_) | Value::Entry(_) => {}
        Value::Text(text) => words = Cell::Text(without_nul(text)),
        Value::Reference(id) => words = Cell::Text(id.to_string()),
        Value::Decimal(number) => words = Cell::Text(number.to_string()),
        Value::Choice(choice) => words = Cell::Text(choice.word.to_string()),
        Value::Blob(blob) => {
            words = Cell::Text(blob.to_string());
            whole = Cell::Int(i64::try_from(blob.size_bytes).unwrap_or(i64::MAX));
        }
    }
    vec![
        Cell::Text(object.to_owned()),
        Cell::Text(attribute.to_string()),
        Cell::Int(position),
        Cell::Int(ordinal),
        Cell::NoInt,
        Cell::Int(kind_number(value.kind())),
        key.map_or(Cell::NoText, |key| Cell::Text(without_nul(key))),
        whole,
        floating,
        words,
    ]
}

fn inner(value: &Value) -> (Option<&str>, &Value) {
    value.as_entry().map_or((None, value), |entry| (Some(entry.key()), entry.value()))
}

/// What PostgreSQL cannot keep, a report can do without.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The numbers of kinds, as the tables have them.
pub(super) fn kind_number(kind: ValueKind) -> i64 {
    match kind {
        ValueKind::Bool => 1,
        ValueKind::Int => 2,
        ValueKind::Float => 3,
        ValueKind::Text => 4,
        ValueKind::Timestamp => 5,
        ValueKind::Timespan => 6,
        ValueKind::Bytes => 7,
        ValueKind::Reference => 8,
        ValueKind::Decimal => 9,
        ValueKind::Choice => 10,
        ValueKind::Blob => 11,
        ValueKind::Entry => 12,
    }
}

/// The column in which a row of values ends.
const TIL: usize = 4;
