//! The tables, and the statements on them. Their version stands in the database; one of another version is made anew and filled from the journal.

use caps_adapters::sql::{Cell, Connection, Dialect, SqlError};

use super::SqlPlace;
use super::ledger::{Spot, Write};
use super::questions::{index_name, name, object};
use super::{rows, views};

/// Goes to the state's own space, which is made if it is not there.
pub(super) async fn enter(connection: &mut Connection, place: &SqlPlace) -> Result<(), SqlError> {
    let space = connection.dialect().quoted(&place.space);
    match connection.dialect() {
        Dialect::PostgreSql => {
            connection.run(&format!("CREATE SCHEMA IF NOT EXISTS {space}")).await?;
            connection.run(&format!("SET search_path TO {space}")).await?;
            // It is no truth: what a crash of the database takes away is replayed.
            connection.run("SET synchronous_commit TO off").await?;
            // Statements are written for the indexes that there are, and what the database knows of its columns says nothing of the part of one index.
            for way in ["enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort", "jit"] {
                connection.run(&format!("SET {way} TO off")).await?;
            }
            Ok(())
        }
        Dialect::MariaDb => {
            connection.run(&format!("CREATE DATABASE IF NOT EXISTS {space}")).await?;
            connection.run(&format!("USE {space}")).await?;
            connection.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION'").await
        }
        Dialect::Sqlite => {
            connection.run("PRAGMA journal_mode = WAL").await?;
            // What was obliterated is not to stay in free pages.
            connection.run("PRAGMA secure_delete = ON").await?;
            connection.run("PRAGMA synchronous = NORMAL").await
        }
    }
}

/// Makes the tables that are missing. Those of another version are thrown away with everything in them.
pub(super) async fn prepare(connection: &mut Connection) -> Result<(), SqlError> {
    let dialect = connection.dialect();
    connection.run("CREATE TABLE IF NOT EXISTS caps_schema (version BIGINT NOT NULL PRIMARY KEY)").await?;
    let versions = connection.query("SELECT version FROM caps_schema", &[]).await?;
    let version = versions.first().and_then(|row| row.first()).and_then(Cell::as_int);
    if version.is_some_and(|version| version != VERSION) {
        tracing::warn!(
            version,
            ours = VERSION,
            "the state's tables are of another release: they are made anew and filled from the journal"
        );
        drop_all(connection).await?;
    }
    for table in tables(dialect) {
        connection.run(&table).await?;
    }
    views::make_commits(connection).await?;
    if version != Some(VERSION) {
        connection.run("DELETE FROM caps_schema").await?;
        connection.execute(&dialect.numbered("INSERT INTO caps_schema (version) VALUES (?)"), &[Cell::Int(VERSION)]).await?;
    }
    Ok(())
}

/// Throws the state's space away. An SQLite file keeps nothing, but stays.
pub(super) async fn empty(connection: &mut Connection, place: &SqlPlace) -> Result<(), SqlError> {
    let space = connection.dialect().quoted(&place.space);
    match connection.dialect() {
        Dialect::PostgreSql => connection.run(&format!("DROP SCHEMA {space} CASCADE")).await,
        Dialect::MariaDb => connection.run(&format!("DROP DATABASE {space}")).await,
        Dialect::Sqlite => drop_all(connection).await,
    }
}

async fn drop_all(connection: &mut Connection) -> Result<(), SqlError> {
    let dialect = connection.dialect();
    for view in views::all(connection).await? {
        connection.run(&format!("DROP VIEW IF EXISTS {}", dialect.quoted(&view))).await?;
    }
    for table in TABLES {
        connection.run(&format!("DROP TABLE IF EXISTS {table}")).await?;
    }
    Ok(())
}

/// Puts writes into the open transaction: of each key the last value, then the header, then what reports see.
pub(super) async fn put(connection: &mut Connection, writes: &[Write]) -> Result<(), SqlError> {
    let mut last = std::collections::BTreeMap::new();
    for write in writes {
        last.extend(write.entries.iter().map(|(key, value)| (key.as_slice(), value.as_deref())));
    }
    let gone: Vec<Vec<Cell>> = last.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| vec![Cell::Bytes(key.to_vec())]).collect();
    let there = last.iter().filter_map(|(key, value)| Some(vec![Cell::Bytes(key.to_vec()), Cell::Bytes((*value)?.to_vec())]));
    for some in chunks(&gone) {
        let places = connection.dialect().rows(1, some.len());
        let cells: Vec<Cell> = some.iter().flatten().cloned().collect();
        connection.execute(&format!("DELETE FROM caps_entry WHERE k IN {places}"), &cells).await?;
    }
    let update = connection.dialect().or_update(&["k"], &["v"]);
    insert(connection, "INSERT INTO caps_entry (k, v) VALUES ", &update, &there.collect::<Vec<_>>()).await?;
    if let Some(write) = writes.last() {
        let update = connection.dialect().or_update(&["one"], &["header"]);
        let row = vec![vec![Cell::Int(1), Cell::Bytes(write.header.clone())]];
        insert(connection, "INSERT INTO caps_state (one, header) VALUES ", &update, &row).await?;
    }
    put_places(connection, writes).await?;
    rows::put(connection, writes.iter().map(|write| &write.rows)).await
}

/// Puts objects into the indexes where they stand now, and takes them out where they stood.
async fn put_places(connection: &mut Connection, writes: &[Write]) -> Result<(), SqlError> {
    let mut last = std::collections::BTreeMap::new();
    for write in writes {
        last.extend(write.places.iter().map(|(place, stands)| (place, *stands)));
    }
    let dialect = connection.dialect();
    let row = |place: &Spot| vec![name(&place.entity), index_name(&place.index), Cell::Bytes(place.place.as_bytes().to_vec())];
    let gone = last.iter().filter(|(_, stands)| !**stands).map(|(place, _)| row(place)).collect::<Vec<_>>();
    for some in chunks(&gone) {
        // Not a list of rows: no two databases read that alike, and none of them faster.
        let any = vec!["(entity = ? AND idx = ? AND place = ?)"; some.len()].join(" OR ");
        let cells: Vec<Cell> = some.iter().flatten().cloned().collect();
        connection.execute(&dialect.numbered(&format!("DELETE FROM caps_place WHERE {any}")), &cells).await?;
    }
    let (begin, end) = dialect.inserting_new();
    let there = last.iter().filter(|(_, stands)| **stands).map(|(place, _)| {
        let mut row = row(place);
        row.push(object(place.place.object()));
        row
    });
    insert(connection, &format!("{begin} caps_place (entity, idx, place, object) VALUES "), end, &there.collect::<Vec<_>>()).await
}

/// Inserts rows, many at a time. There are few different statements, so that the database knows them.
pub(super) async fn insert(connection: &mut Connection, begin: &str, end: &str, rows: &[Vec<Cell>]) -> Result<(), SqlError> {
    for some in chunks(rows) {
        let columns = some.first().map_or(0, Vec::len);
        let statement = format!("{begin}{}{end}", connection.dialect().rows(some.len(), columns));
        let cells: Vec<Cell> = some.iter().flatten().cloned().collect();
        connection.execute(&statement, &cells).await?;
    }
    Ok(())
}

/// Rows in pieces of few different sizes, each within the bytes of a packet.
fn chunks(mut rows: &[Vec<Cell>]) -> impl Iterator<Item = &[Vec<Cell>]> {
    std::iter::from_fn(move || {
        let bytes = |row: &Vec<Cell>| row.iter().map(|cell| cell.as_bytes().map_or(8, <[u8]>::len)).sum::<usize>();
        let fits = |size: &usize| *size <= rows.len() && (*size == 1 || rows[..*size].iter().map(bytes).sum::<usize>() <= PIECE_BYTES_MAX);
        let size = [64, 16, 4, 1].into_iter().find(fits)?;
        let (some, rest) = rows.split_at(size);
        rows = rest;
        Some(some)
    })
}

fn tables(dialect: Dialect) -> Vec<String> {
    let (entry, place) = (dialect.key_bytes(ENTRY_BYTES_MAX), dialect.key_bytes(PLACE_BYTES_MAX));
    let (bytes, text, real) = (dialect.bytes(), dialect.text(), dialect.real());
    let (id, name) = (dialect.key_text(26), dialect.key_text(63));
    let clustered = if dialect == Dialect::Sqlite { " WITHOUT ROWID" } else { "" };
    vec![
        format!("CREATE TABLE IF NOT EXISTS caps_state (one BIGINT NOT NULL PRIMARY KEY, header {bytes} NOT NULL)"),
        format!("CREATE TABLE IF NOT EXISTS caps_entry (k {entry} NOT NULL PRIMARY KEY, v {bytes} NOT NULL){clustered}"),
        format!(
            "CREATE TABLE IF NOT EXISTS caps_place (entity {name} NOT NULL, idx {name} NOT NULL, place {place} NOT NULL, object {id} NOT NULL, \
             PRIMARY KEY (entity, idx, place)){clustered}"
        ),
        // Where another index is walked in its order, each object is looked up in this one.
        "CREATE INDEX IF NOT EXISTS caps_place_object ON caps_place (object, idx)".to_owned(),
        format!(
            "CREATE TABLE IF NOT EXISTS caps_object (entity {name} NOT NULL, object {id} NOT NULL, born BIGINT NOT NULL, died BIGINT, \
             PRIMARY KEY (entity, object)){clustered}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS caps_version (object {id} NOT NULL, since BIGINT NOT NULL, til BIGINT, is_deleted BIGINT NOT NULL, \
             body {bytes} NOT NULL, PRIMARY KEY (object, since)){clustered}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS caps_value (object {id} NOT NULL, attribute {name} NOT NULL, since BIGINT NOT NULL, ordinal BIGINT NOT NULL, \
             til BIGINT, kind BIGINT NOT NULL, map_key {text}, whole BIGINT, floating {real}, words {text}, PRIMARY KEY (object, attribute, since, ordinal)){clustered}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS caps_commit (position BIGINT NOT NULL PRIMARY KEY, moment BIGINT NOT NULL, author {id}, front_end {text} NOT NULL, site {text} NOT NULL, \
             module {name} NOT NULL, method {name} NOT NULL)"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS caps_attribute (entity {name} NOT NULL, attribute {name} NOT NULL, kind BIGINT NOT NULL, PRIMARY KEY (entity, attribute))"
        ),
    ]
}

const TABLES: [&str; 8] =
    ["caps_state", "caps_entry", "caps_place", "caps_object", "caps_version", "caps_value", "caps_commit", "caps_attribute"];

/// The header, if there is one.
pub(super) const HEADER: &str = "SELECT header FROM caps_state WHERE one = 1";

/// The value of a key.
pub(super) const VALUE: &str = "SELECT v FROM caps_entry WHERE k = ?";

/// Of these tables.
const VERSION: i64 = 3;

/// Bytes of the key of a commit, by its position or its id.
const ENTRY_BYTES_MAX: usize = 32;

/// Bytes of a place: of an index of a map it has two texts of 64 bytes, escaped, and an id.
const PLACE_BYTES_MAX: usize = 300;

/// Bytes of the rows of one statement.
const PIECE_BYTES_MAX: usize = 4 << 20;
