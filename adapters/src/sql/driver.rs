//! One connection by one of three drivers. They share their traits and not their types: what is written once here is compiled three times.

use sqlx::mysql::{MySql, MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, Column, Connection, Executor, Row as _, TypeInfo, ValueRef};

use super::cell::check;
use super::{Cell, Dialect, Row, SqlError, Target};

/// A connection.
pub(super) enum Driver {
    PostgreSql(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

/// Does the same with whichever connection it is.
macro_rules! with {
    ($driver:expr, $connection:ident => $do:expr) => {
        match $driver {
            Driver::PostgreSql($connection) => $do,
            Driver::MariaDb($connection) => $do,
            Driver::Sqlite($connection) => $do,
        }
    };
}

/// Binds values, in order.
macro_rules! bound {
    ($arguments:ty, $cells:expr) => {{
        let mut arguments = <$arguments>::default();
        for cell in $cells {
            let added = match cell {
                Cell::NoInt => arguments.add(None::<i64>),
                Cell::NoReal => arguments.add(None::<f64>),
                Cell::NoText => arguments.add(None::<String>),
                Cell::NoBytes => arguments.add(None::<Vec<u8>>),
                Cell::Int(number) => arguments.add(*number),
                Cell::Real(number) => arguments.add(*number),
                Cell::Text(text) => arguments.add(text.clone()),
                Cell::Bytes(bytes) => arguments.add(bytes.clone()),
            };
            added.map_err(|error| SqlError::Wrong { said: error.to_string() })?;
        }
        arguments
    }};
}

/// A row as cells; what a column holds is what the database says of it.
macro_rules! read {
    ($row:ty, $name:ident) => {
        fn $name(row: &$row) -> Result<Row, SqlError> {
            let cell = |place: usize| -> Result<Cell, sqlx::Error> {
                let raw = row.try_get_raw(place)?;
                let (kind, is_null) = (Kind::of(raw.type_info().name()), raw.is_null());
                Ok(match kind {
                    Kind::Int if is_null => Cell::NoInt,
                    Kind::Real if is_null => Cell::NoReal,
                    Kind::Text if is_null => Cell::NoText,
                    Kind::Bytes if is_null => Cell::NoBytes,
                    Kind::Int => Cell::Int(row.try_get_unchecked(place)?),
                    Kind::Truth => Cell::Int(row.try_get_unchecked::<bool, _>(place)?.into()),
                    Kind::Small => Cell::Int(row.try_get_unchecked::<i32, _>(place)?.into()),
                    Kind::Real => Cell::Real(row.try_get_unchecked(place)?),
                    Kind::Text => Cell::Text(row.try_get_unchecked(place)?),
                    Kind::Bytes => Cell::Bytes(row.try_get_unchecked(place)?),
                })
            };
            row.columns().iter().map(|column| cell(column.ordinal()).map_err(SqlError::from)).collect()
        }
    };
}

read!(PgRow, read_postgresql);
read!(MySqlRow, read_mariadb);
read!(SqliteRow, read_sqlite);

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    /// PostgreSQL gives four bytes.
    Small,
    /// PostgreSQL gives one.
    Truth,
    Real,
    Text,
    Bytes,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "BIGINT" | "INT8" | "INTEGER" | "INT" | "BIGINT UNSIGNED" => Self::Int,
            "INT4" => Self::Small,
            "BOOL" | "BOOLEAN" => Self::Truth,
            "DOUBLE" | "FLOAT8" | "REAL" => Self::Real,
            "TEXT" | "VARCHAR" | "CHAR" | "LONGTEXT" | "NAME" | "BPCHAR" => Self::Text,
            _ => Self::Bytes,
        }
    }
}

impl Driver {
    pub(super) async fn open(target: &Target) -> Result<Self, SqlError> {
        Ok(match target.dialect() {
            Dialect::PostgreSql => Self::PostgreSql(PgConnection::connect(target.url()).await?),
            Dialect::MariaDb => Self::MariaDb(MySqlConnection::connect(target.url()).await?),
            Dialect::Sqlite => Self::Sqlite(SqliteConnection::connect(target.url()).await?),
        })
    }

    pub(super) async fn run(&mut self, statement: &str) -> Result<(), SqlError> {
        with!(self, connection => connection.execute(statement).await.map(drop)?);
        Ok(())
    }

    pub(super) async fn execute(&mut self, statement: &str, cells: &[Cell]) -> Result<u64, SqlError> {
        check(cells)?;
        Ok(match self {
            Self::PostgreSql(connection) => {
                sqlx::query_with::<Postgres, _>(statement, bound!(PgArguments, cells)).execute(connection).await?.rows_affected()
            }
            Self::MariaDb(connection) => {
                sqlx::query_with::<MySql, _>(statement, bound!(MySqlArguments, cells)).execute(connection).await?.rows_affected()
            }
            Self::Sqlite(connection) => {
                sqlx::query_with::<Sqlite, _>(statement, bound!(SqliteArguments<'_>, cells)).execute(connection).await?.rows_affected()
            }
        })
    }

    pub(super) async fn query(&mut self, statement: &str, cells: &[Cell]) -> Result<Vec<Row>, SqlError> {
        check(cells)?;
        match self {
            Self::PostgreSql(connection) => {
                let rows = sqlx::query_with::<Postgres, _>(statement, bound!(PgArguments, cells)).fetch_all(connection).await?;
                rows.iter().map(read_postgresql).collect()
            }
            Self::MariaDb(connection) => {
                let rows = sqlx::query_with::<MySql, _>(statement, bound!(MySqlArguments, cells)).fetch_all(connection).await?;
                rows.iter().map(read_mariadb).collect()
            }
            Self::Sqlite(connection) => {
                let rows = sqlx::query_with::<Sqlite, _>(statement, bound!(SqliteArguments<'_>, cells)).fetch_all(connection).await?;
                rows.iter().map(read_sqlite).collect()
            }
        }
    }

    pub(super) async fn close(self) {
        // The other side may be gone: then there is nothing to close.
        with!(self, connection => connection.close().await.ok());
    }
}
