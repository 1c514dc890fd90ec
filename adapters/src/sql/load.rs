//! Keeping a table of somebody else's equal to what we are told.
//!
//! What was told and how far that is are written in one transaction, so a reader never sees one without the other, and whoever goes on after a
//! failure knows from the table itself where. The table is made if it is not there; columns that it lacks are added, others are left alone.

use super::{Cell, ColumnKind, Connection, Dialect, SqlError};

/// A table, and what of it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The table.
    pub table: String,
    /// The column that tells rows apart: text of at most 63 characters.
    pub key: String,
    /// The other columns.
    pub columns: Vec<(String, ColumnKind)>,
}

/// What a table says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// How far it is, in the words of whoever filled it.
    pub mark: Option<String>,
}

impl Load {
    /// Makes what is missing; how far the table is.
    pub async fn open(&self, connection: &mut Connection) -> Result<Loaded, SqlError> {
        let dialect = connection.dialect();
        let (table, key) = (dialect.quoted(&self.table), dialect.quoted(&self.key));
        connection.run(&format!("CREATE TABLE IF NOT EXISTS {table} ({key} {} NOT NULL PRIMARY KEY)", dialect.key_text(63))).await?;
        let (name, text) = (dialect.key_text(63), dialect.text());
        connection
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {MARKS} (name {name} NOT NULL PRIMARY KEY, mark {text} NOT NULL, shape {text} NOT NULL)"
            ))
            .await?;
        for (column, kind) in &self.columns {
            let column = dialect.quoted(column);
            // Asked for nothing, it says only whether it is there. Of which table must be said: else SQLite takes a missing column for a text.
            if connection.query(&format!("SELECT t.{column} FROM {table} t WHERE 1 = 0"), &[]).await.is_err() {
                connection.run(&format!("ALTER TABLE {table} ADD COLUMN {column} {}", kind.type_in(dialect))).await?;
            }
        }
        let statement = dialect.numbered(&format!("SELECT mark FROM {MARKS} WHERE name = ? AND shape = ?"));
        let rows = connection.query(&statement, &[Cell::Text(self.table.clone()), Cell::Text(self.shape())]).await?;
        let mark = rows.first().and_then(|row| row.first()).and_then(Cell::as_bytes);
        Ok(Loaded { mark: mark.map(|mark| String::from_utf8_lossy(mark).into_owned()) })
    }

    /// Begins what is written at once.
    pub async fn begin(&self, connection: &mut Connection) -> Result<(), SqlError> {
        connection.run(if connection.dialect() == Dialect::MariaDb { "START TRANSACTION" } else { "BEGIN" }).await
    }

    /// Takes every row out.
    pub async fn clear(&self, connection: &mut Connection) -> Result<(), SqlError> {
        let table = connection.dialect().quoted(&self.table);
        connection.execute(&format!("DELETE FROM {table}"), &[]).await.map(drop)
    }

    /// Puts a row in, or in the place of the one with its key: the key first, then the columns.
    pub async fn put(&self, connection: &mut Connection, row: &[Cell]) -> Result<(), SqlError> {
        let dialect = connection.dialect();
        let columns: Vec<String> = self.columns.iter().map(|(column, _)| dialect.quoted(column)).collect();
        let key = dialect.quoted(&self.key);
        let all = [std::slice::from_ref(&key), columns.as_slice()].concat().join(", ");
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let end = match names.is_empty() {
            true => dialect.inserting_new().1.to_owned(),
            false => dialect.or_update(&[&key], &names),
        };
        let begin = if names.is_empty() { dialect.inserting_new().0 } else { "INSERT INTO" };
        let kinds = [ColumnKind::Text].into_iter().chain(self.columns.iter().map(|(_, kind)| *kind));
        let places: Vec<String> = (1..).zip(kinds).map(|(number, kind)| kind.bound_in(dialect, &dialect.placeholder(number))).collect();
        let (table, places) = (dialect.quoted(&self.table), places.join(", "));
        connection.execute(&format!("{begin} {table} ({all}) VALUES ({places}){end}"), row).await.map(drop)
    }

    /// Takes a row out.
    pub async fn remove(&self, connection: &mut Connection, key: &str) -> Result<(), SqlError> {
        let dialect = connection.dialect();
        let statement = format!("DELETE FROM {} WHERE {} = ?", dialect.quoted(&self.table), dialect.quoted(&self.key));
        connection.execute(&dialect.numbered(&statement), &[Cell::Text(key.to_owned())]).await.map(drop)
    }

    /// Completes what was begun, together with how far the table is with it.
    pub async fn complete(&self, connection: &mut Connection, mark: &str) -> Result<(), SqlError> {
        let dialect = connection.dialect();
        let update = dialect.or_update(&["name"], &["mark", "shape"]);
        let statement = format!("INSERT INTO {MARKS} (name, mark, shape) VALUES {}{update}", dialect.rows(1, 3));
        let cells = [Cell::Text(self.table.clone()), Cell::Text(mark.to_owned()), Cell::Text(self.shape())];
        connection.execute(&statement, &cells).await?;
        connection.run("COMMIT").await
    }

    /// What must be the same for a table to be gone on with.
    fn shape(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(column, _)| column.as_str()).collect();
        format!("{}: {}", self.key, columns.join(", "))
    }
}

/// How far each table is.
const MARKS: &str = "caps_marks";
