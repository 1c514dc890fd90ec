//! A view for each entity, made from the attributes that objects of it were seen with.
//!
//! `case` has a row for each object that there is, `case_history` one for each version that there ever was, with the positions and the times between
//! which it held. A column is the first value of its attribute; all values of lists and maps are in `caps_value`. `caps_commits` has a row for each
//! commit.

use std::collections::{BTreeMap, BTreeSet};

use caps_adapters::sql::{Cell, Connection, Dialect, SqlError};
use caps_model::Name;

use super::rows::{Rows, kind_number};

/// The attributes that were seen: of each entity, with the numbers of their kinds.
#[derive(Debug, Default)]
pub(super) struct Views {
    known: BTreeMap<String, BTreeMap<String, i64>>,
    /// Entities whose views lack some of them.
    stale: BTreeSet<Name>,
}

impl Views {
    /// Those that the database knows of.
    pub(super) async fn read(connection: &mut Connection) -> Result<Self, SqlError> {
        let mut known: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        for row in connection.query("SELECT entity, attribute, kind FROM caps_attribute", &[]).await? {
            let text = |place: usize| row.get(place).and_then(Cell::as_bytes).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            if let (Some(entity), Some(attribute), Some(kind)) = (text(0), text(1), row.get(2).and_then(Cell::as_int)) {
                known.entry(entity).or_default().insert(attribute, kind);
            }
        }
        Ok(Self { known, stale: BTreeSet::new() })
    }

    /// Makes the views anew of those entities that were seen with an attribute for the first time. What fails is made the next time, also by another
    /// process: an attribute is noted in the database after the views that show it.
    pub(super) async fn follow<'r>(&mut self, connection: &mut Connection, steps: impl Iterator<Item = &'r Rows>) -> Result<(), SqlError> {
        let (begin, end) = connection.dialect().inserting_new();
        let statement = format!("{begin} caps_attribute (entity, attribute, kind) VALUES {}{end}", connection.dialect().rows(1, 3));
        for ((entity, attribute), kind) in steps.flat_map(|rows| &rows.attributes) {
            let of_entity = self.known.entry(entity.to_string()).or_default();
            if !of_entity.contains_key(attribute.as_str()) {
                of_entity.insert(attribute.to_string(), kind_number(*kind));
                self.stale.insert(entity.clone());
            }
        }
        while let Some(entity) = self.stale.first().cloned() {
            self.make(connection, &entity).await?;
            for (attribute, kind) in self.known.get(entity.as_str()).into_iter().flatten() {
                let cells = [Cell::Text(entity.to_string()), Cell::Text(attribute.clone()), Cell::Int(*kind)];
                connection.execute(&statement, &cells).await?;
            }
            self.stale.remove(&entity);
        }
        Ok(())
    }

    async fn make(&self, connection: &mut Connection, entity: &Name) -> Result<(), SqlError> {
        let Some(attributes) = self.known.get(entity.as_str()) else { return Ok(()) };
        let dialect = connection.dialect();
        let names = names(entity.as_str());
        for (name, select) in
            [(&names.present, present(dialect, entity, attributes)), (&names.history, history(dialect, entity, attributes))]
        {
            let name = dialect.quoted(name);
            connection.run(&format!("DROP VIEW IF EXISTS {name}")).await?;
            connection.run(&format!("CREATE VIEW {name} AS {select}")).await?;
        }
        Ok(())
    }
}

/// A view of all commits, with their times as times.
pub(super) async fn make_commits(connection: &mut Connection) -> Result<(), SqlError> {
    let time = connection.dialect().moment("moment");
    connection.run(&format!("DROP VIEW IF EXISTS {COMMITS}")).await?;
    let columns = format!("position, {time} AS time, author, front_end, site, module, method");
    connection.run(&format!("CREATE VIEW {COMMITS} AS SELECT {columns} FROM caps_commit")).await
}

/// The names of all views there may be.
pub(super) async fn all(connection: &mut Connection) -> Result<Vec<String>, SqlError> {
    // If there is no such table there are no views of entities.
    let views = Views::read(connection).await.unwrap_or_default();
    let of_entities = views.known.keys().flat_map(|entity| [names(entity).present, names(entity).history]);
    Ok(of_entities.chain([COMMITS.to_owned()]).collect())
}

/// The names of an entity's views.
struct Names {
    present: String,
    history: String,
}

/// The entity's own name; one that could be taken for a table of ours, or with its ending is too long, is written a little otherwise.
fn names(entity: &str) -> Names {
    let own = if entity.starts_with("caps_") { format!("entity_{entity}") } else { entity.to_owned() };
    let short: String = own.chars().take(NAME_MAX - HISTORY.len()).collect();
    Names { present: own.chars().take(NAME_MAX).collect(), history: format!("{short}{HISTORY}") }
}

fn present(dialect: Dialect, entity: &Name, attributes: &BTreeMap<String, i64>) -> String {
    format!(
        "SELECT o.object AS id, o.born AS created{} FROM caps_object o LEFT JOIN caps_value v ON v.object = o.object AND v.ordinal = 0 AND v.til IS NULL \
         WHERE o.entity = {} AND o.died IS NULL GROUP BY o.object, o.born",
        columns(dialect, attributes),
        dialect.literal(entity.as_str()),
    )
}

fn history(dialect: Dialect, entity: &Name, attributes: &BTreeMap<String, i64>) -> String {
    let (from, to) = (dialect.moment("MIN(f.moment)"), dialect.moment("MIN(t.moment)"));
    format!(
        "SELECT o.object AS id, n.since AS valid_from, n.til AS valid_to, {from} AS valid_from_time, {to} AS valid_to_time{} FROM caps_object o \
         JOIN caps_version n ON n.object = o.object AND n.is_deleted = 0 LEFT JOIN caps_commit f ON f.position = n.since \
         LEFT JOIN caps_commit t ON t.position = n.til \
         LEFT JOIN caps_value v ON v.object = o.object AND v.ordinal = 0 AND v.since <= n.since AND (v.til IS NULL OR v.til > n.since) \
         WHERE o.entity = {} GROUP BY o.object, n.since, n.til",
        columns(dialect, attributes),
        dialect.literal(entity.as_str()),
    )
}

fn columns(dialect: Dialect, attributes: &BTreeMap<String, i64>) -> String {
    let column = |(attribute, kind): (&String, &i64)| {
        let of = |column: &str| format!("MAX(CASE WHEN v.attribute = {} THEN v.{column} END)", dialect.literal(attribute));
        let value = match kind {
            1 if dialect == Dialect::PostgreSql => format!("{} = 1", of("whole")),
            1 | 2 | 6 => of("whole"),
            3 => of("floating"),
            5 => dialect.moment(&of("whole")),
            9 if dialect != Dialect::Sqlite => format!("CAST({} AS DECIMAL(38, 18))", of("words")),
            _ => of("words"),
        };
        // `id`, `created` and what tells versions apart are ours.
        let taken = matches!(attribute.as_str(), "id" | "created" | "valid_from" | "valid_to" | "valid_from_time" | "valid_to_time");
        let name = if taken { format!("{attribute}_value") } else { attribute.clone() };
        format!(", {value} AS {}", dialect.quoted(&name))
    };
    attributes.iter().map(column).collect()
}

/// Bytes of a name that every database takes.
const NAME_MAX: usize = 63;
const HISTORY: &str = "_history";
const COMMITS: &str = "caps_commits";
