//! Reading the rows of somebody else's query: page by page, in an order of its own, from where an earlier reading ended.

use super::{Cell, Connection, Dialect, SqlError};

/// A query, and which of its columns matter how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extract {
    /// One `SELECT`, without an order and a limit of its own.
    pub query: String,
    /// The columns to be read.
    pub columns: Vec<String>,
    /// The column that tells rows apart.
    pub key: String,
    /// A column that grows with each change of a row: only rows from the last value on are read again.
    pub cursor: Option<String>,
}

/// Where a reading is: the last value of the cursor, if there is one, and of the key, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the cursor.
    pub cursor: Option<String>,
    /// Of the key; `None`: at the first row with the cursor's value.
    pub key: Option<String>,
}

/// A row: its place, and the texts of its columns. `None` is a null.
pub type TextRow = (Place, Vec<Option<String>>);

/// Why rows cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The database says so.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Two rows with one key could not be told apart, and nothing without one.
    #[error("a row has no {column:?}: a column that rows are told apart or followed by is never null")]
    Null {
        /// The column.
        column: String,
    },
}

impl Extract {
    /// The next rows after a place, or the first ones.
    pub async fn page(&self, connection: &mut Connection, after: Option<&Place>, limit: usize) -> Result<Vec<TextRow>, ExtractError> {
        let dialect = connection.dialect();
        let mut statement = format!("SELECT {} FROM ({}) q", self.selected(dialect), self.subject());
        let mut cells = Vec::new();
        if let Some(place) = after {
            statement.push_str(" WHERE ");
            statement.push_str(&self.beyond(connection, place, &mut cells).await?);
        }
        let order: Vec<String> = self.cursor.iter().chain([&self.key]).map(|column| format!("q.{}", dialect.quoted(column))).collect();
        statement.push_str(&format!(" ORDER BY {} LIMIT {limit}", order.join(", ")));
        let rows = connection.query(&numbered_values(dialect, &statement, cells.len()), &cells).await?;
        rows.iter().map(|row| self.read(row)).collect()
    }

    /// The query as it stands within ours.
    fn subject(&self) -> String {
        self.query.trim().trim_end_matches(';').replace(VALUE, " ")
    }

    fn selected(&self, dialect: Dialect) -> String {
        let all = self.cursor.iter().chain([&self.key]).chain(&self.columns);
        all.map(|column| dialect.as_text(&format!("q.{}", dialect.quoted(column)))).collect::<Vec<_>>().join(", ")
    }

    /// What is true of rows after a place.
    async fn beyond(&self, connection: &mut Connection, place: &Place, cells: &mut Vec<Cell>) -> Result<String, SqlError> {
        let dialect = connection.dialect();
        let key = format!("q.{}", dialect.quoted(&self.key));
        let mut bound = async |connection: &mut Connection, column: &str, value: &str| {
            let kind = self.kind(connection, column).await?;
            cells.push(Cell::Text(value.to_owned()));
            Ok::<_, SqlError>(kind.map_or_else(|| VALUE.to_owned(), |kind| format!("CAST(CAST({VALUE} AS TEXT) AS {kind})")))
        };
        Ok(match (&self.cursor, &place.cursor, &place.key) {
            (Some(column), Some(cursor), None) => {
                format!("q.{} >= {}", dialect.quoted(column), bound(connection, column, cursor).await?)
            }
            (Some(column), Some(cursor), Some(last)) => {
                let greater = bound(connection, column, cursor).await?;
                let equal = bound(connection, column, cursor).await?;
                let last = bound(connection, &self.key, last).await?;
                let column = format!("q.{}", dialect.quoted(column));
                format!("({column} > {greater} OR ({column} = {equal} AND {key} > {last}))")
            }
            (_, _, Some(last)) => format!("{key} > {}", bound(connection, &self.key, last).await?),
            (_, _, None) => "1 = 1".to_owned(),
        })
    }

    /// PostgreSQL compares nothing with a text but texts: the type of a column, as it names it.
    async fn kind(&self, connection: &mut Connection, column: &str) -> Result<Option<String>, SqlError> {
        if connection.dialect() != Dialect::PostgreSql {
            return Ok(None);
        }
        let column = connection.dialect().quoted(column);
        // Joined so that there is a row to ask about, also where the query has none.
        let question =
            format!("SELECT CAST(pg_typeof(q.{column}) AS TEXT) FROM (SELECT 1 AS one) o LEFT JOIN ({}) q ON TRUE LIMIT 1", self.subject());
        let rows = connection.query(&question, &[]).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(Cell::as_bytes).map(|name| String::from_utf8_lossy(name).into_owned()))
    }

    fn read(&self, row: &[Cell]) -> Result<TextRow, ExtractError> {
        let mut texts = row.iter().map(|cell| cell.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
        let mut never_null = |column: &String| texts.next().flatten().ok_or_else(|| ExtractError::Null { column: column.clone() });
        let cursor = self.cursor.as_ref().map(&mut never_null).transpose()?;
        let key = never_null(&self.key)?;
        Ok((Place { cursor, key: Some(key) }, texts.collect()))
    }
}

/// Gives each [`VALUE`] its place: the query itself may hold question marks, in texts and in operators.
fn numbered_values(dialect: Dialect, statement: &str, values: usize) -> String {
    (1..=values).fold(statement.to_owned(), |statement, number| statement.replacen(VALUE, &dialect.placeholder(number), 1))
}

/// Stands for a bound value until all of a statement is known.
const VALUE: &str = "\u{1}";
