//! Relational databases: one thin layer over PostgreSQL, MariaDB and SQLite.
//!
//! A [`Target`] is a URL that was understood; a [`Connection`] runs statements whose values are bound, never written into them, and gives back
//! rows of [`Cell`]s. What the three write differently stands in [`Dialect`], and nowhere else:
//!
//! | | PostgreSQL | MariaDB | SQLite |
//! |---|---|---|---|
//! | values are bound as | `$1` | `?` | `?` |
//! | names are quoted with | `"` | `` ` `` | `"` |
//! | bytes, in order of bytes | `BYTEA` | `VARBINARY(n)`, `LONGBLOB` | `BLOB` |
//! | text, in order of bytes | `TEXT COLLATE "C"` | `LONGTEXT COLLATE utf8mb4_bin` | `TEXT` |
//! | floating point | `DOUBLE PRECISION` | `DOUBLE` | `REAL` |
//! | a row that may be there | `ON CONFLICT DO NOTHING` | `INSERT IGNORE` | `ON CONFLICT DO NOTHING` |
//! | a space of its own | a schema | a database | the file |
//! | creating a table | can be undone | ends the transaction | can be undone |
//!
//! sqlx speaks the protocols. Failures are sorted by what can be done about them ([`SqlError`]): a server that is away, a statement that took too
//! long, a disk that is full, a statement that is wrong. A password is in a target and in nothing that is shown.
//!
//! [`Extract`] reads somebody else's rows page by page, and goes on where it was; [`Load`] keeps a table of somebody else's equal to what it is told,
//! with how far it is in the same transaction. [`LocalServer`] is a server of one's own, for demonstrations, tests and measurements.

mod cell;
mod column;
mod connection;
mod dialect;
mod driver;
mod extract;
mod failure;
mod load;
mod local;
mod target;
#[cfg(test)]
mod tests;

pub use cell::{Cell, Row, VALUE_BYTES_MAX};
pub use column::ColumnKind;
pub use connection::Connection;
pub use dialect::Dialect;
pub use extract::{Extract, ExtractError, Place, TextRow};
pub use failure::SqlError;
pub use load::{Load, Loaded};
pub use local::{LocalServer, LocalServerError};
pub use target::{Target, TargetError};
