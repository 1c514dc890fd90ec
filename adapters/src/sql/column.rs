//! Columns of tables that we make for others: their types, and how a bound value becomes one.

use super::Dialect;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text of any length.
    Text,
    /// A whole number of 64 bits.
    Whole,
    /// A floating-point number.
    Real,
    /// True or false; bound as a whole number.
    Truth,
    /// A moment; bound in microseconds since 1970.
    Moment,
    /// A decimal number; bound as text.
    Decimal,
}

impl ColumnKind {
    /// The type, as a table is made with it.
    pub fn type_in(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Text, dialect) => dialect.text(),
            (Self::Whole, _) | (Self::Truth, Dialect::MariaDb | Dialect::Sqlite) => "BIGINT",
            (Self::Real, dialect) => dialect.real(),
            (Self::Truth, Dialect::PostgreSql) => "BOOLEAN",
            (Self::Moment, Dialect::PostgreSql) => "TIMESTAMP WITH TIME ZONE",
            (Self::Moment, Dialect::MariaDb) => "DATETIME(6)",
            (Self::Decimal, Dialect::PostgreSql | Dialect::MariaDb) => "DECIMAL(38, 18)",
            (Self::Moment | Self::Decimal, Dialect::Sqlite) => "TEXT",
        }
    }

    /// What is written where the value stands that is bound at a placeholder.
    pub fn bound_in(self, dialect: Dialect, placeholder: &str) -> String {
        match (self, dialect) {
            (Self::Truth, Dialect::PostgreSql) => format!("({placeholder} <> 0)"),
            (Self::Moment, dialect) => dialect.moment(placeholder),
            (Self::Decimal, Dialect::PostgreSql) => format!("CAST(CAST({placeholder} AS TEXT) AS DECIMAL(38, 18))"),
            _ => placeholder.to_owned(),
        }
    }
}
