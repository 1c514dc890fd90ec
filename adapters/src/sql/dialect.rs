//! What databases write differently.

use std::fmt::Write as _;

/// How a database writes what others write otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    PostgreSql,
    /// MariaDB, and MySQL as far as it is the same.
    MariaDb,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::MariaDb => "mariadb",
            Self::Sqlite => "sqlite",
        }
    }

    /// The place of a value in a statement, counted from 1.
    pub fn placeholder(self, number: usize) -> String {
        match self {
            Self::PostgreSql => format!("${number}"),
            Self::MariaDb | Self::Sqlite => "?".to_owned(),
        }
    }

    /// A statement in which each `?` stands for a value, as this database has it. It holds no other `?`.
    pub fn numbered(self, statement: &str) -> String {
        if self != Self::PostgreSql {
            return statement.to_owned();
        }
        let mut pieces = statement.split('?');
        let mut numbered = pieces.next().unwrap_or_default().to_owned();
        for (number, piece) in (1..).zip(pieces) {
            // Writing to a string does not fail.
            write!(numbered, "${number}{piece}").ok();
        }
        numbered
    }

    /// `(?, ?), (?, ?)`: places for so many rows of so many values.
    pub fn rows(self, rows: usize, columns: usize) -> String {
        let row = |number: usize| {
            let places: Vec<String> = (1..=columns).map(|column| self.placeholder(number * columns + column)).collect();
            format!("({})", places.join(", "))
        };
        (0..rows).map(row).collect::<Vec<_>>().join(", ")
    }

    /// A name, quoted: whatever it holds, it is a name.
    pub fn quoted(self, name: &str) -> String {
        let quote = if self == Self::MariaDb { '`' } else { '"' };
        let inner: String =
            name.chars().filter(|char| *char != '\0').flat_map(|char| if char == quote { vec![char, char] } else { vec![char] }).collect();
        format!("{quote}{inner}{quote}")
    }

    /// A text as it stands in a statement that can bind none, as one that makes a view.
    pub fn literal(self, text: &str) -> String {
        let escaped = text.replace('\0', "").replace('\'', "''");
        match self {
            Self::MariaDb => format!("'{}'", escaped.replace('\\', "\\\\")),
            Self::PostgreSql | Self::Sqlite => format!("'{escaped}'"),
        }
    }

    /// The type of bytes of at most this many, ordered byte by byte; fit for a key.
    pub fn key_bytes(self, size_bytes: usize) -> String {
        match self {
            Self::PostgreSql => "BYTEA".to_owned(),
            Self::MariaDb => format!("VARBINARY({size_bytes})"),
            Self::Sqlite => "BLOB".to_owned(),
        }
    }

    /// The type of bytes of any number.
    pub fn bytes(self) -> &'static str {
        match self {
            Self::PostgreSql => "BYTEA",
            Self::MariaDb => "LONGBLOB",
            Self::Sqlite => "BLOB",
        }
    }

    /// The type of text of any length, compared byte by byte.
    pub fn text(self) -> &'static str {
        match self {
            Self::PostgreSql => "TEXT COLLATE \"C\"",
            Self::MariaDb => "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            Self::Sqlite => "TEXT",
        }
    }

    /// The type of text of at most this many characters of ASCII; fit for a key.
    pub fn key_text(self, characters: usize) -> String {
        match self {
            Self::PostgreSql => "TEXT COLLATE \"C\"".to_owned(),
            Self::MariaDb => format!("VARCHAR({characters}) CHARACTER SET ascii COLLATE ascii_bin"),
            Self::Sqlite => "TEXT".to_owned(),
        }
    }

    /// The type of floating-point numbers.
    pub fn real(self) -> &'static str {
        match self {
            Self::PostgreSql => "DOUBLE PRECISION",
            Self::MariaDb => "DOUBLE",
            Self::Sqlite => "REAL",
        }
    }

    /// How an insertion begins, and how it ends, that leaves rows alone that are there.
    pub fn inserting_new(self) -> (&'static str, &'static str) {
        match self {
            Self::PostgreSql | Self::Sqlite => ("INSERT INTO", " ON CONFLICT DO NOTHING"),
            Self::MariaDb => ("INSERT IGNORE INTO", ""),
        }
    }

    /// How an insertion ends that gives rows with a known key new values.
    pub fn or_update(self, key: &[&str], columns: &[&str]) -> String {
        let set = |new: &dyn Fn(&str) -> String| {
            columns.iter().map(|column| format!("{column} = {}", new(column))).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::PostgreSql | Self::Sqlite => {
                format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), set(&|column| format!("excluded.{column}")))
            }
            Self::MariaDb => format!(" ON DUPLICATE KEY UPDATE {}", set(&|column| format!("VALUES({column})"))),
        }
    }

    /// What a value looks like, as text.
    pub fn as_text(self, expression: &str) -> String {
        let kind = if self == Self::MariaDb { "CHAR" } else { "TEXT" };
        format!("CAST({expression} AS {kind})")
    }

    /// The statement that bounds the time of those after it, where a server counts it.
    pub fn statement_time(self, at_most: std::time::Duration) -> Option<String> {
        match self {
            Self::PostgreSql => Some(format!("SET statement_timeout = {}", at_most.as_millis())),
            Self::MariaDb => Some(format!("SET SESSION max_statement_time = {}", at_most.as_secs_f64())),
            Self::Sqlite => None,
        }
    }

    /// Microseconds since 1970, as the database has moments.
    pub fn moment(self, micros: &str) -> String {
        match self {
            Self::PostgreSql => format!("TIMESTAMP WITH TIME ZONE 'epoch' + {micros} * INTERVAL '1 microsecond'"),
            Self::MariaDb => format!("TIMESTAMPADD(MICROSECOND, {micros}, TIMESTAMP'1970-01-01 00:00:00.000000')"),
            Self::Sqlite => format!("strftime('%Y-%m-%dT%H:%M:%fZ', {micros} / 1000000.0, 'unixepoch')"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_places_and_names_are_names() {
        assert_eq!(Dialect::PostgreSql.numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(Dialect::PostgreSql.rows(2, 2), "($1, $2), ($3, $4)");
        assert_eq!(Dialect::MariaDb.rows(1, 3), "(?, ?, ?)");
        assert_eq!(Dialect::Sqlite.quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(Dialect::MariaDb.quoted("a`b\0"), "`a``b`");
        assert_eq!(Dialect::MariaDb.literal("a\\'b"), "'a\\\\''b'");
        assert_eq!(Dialect::PostgreSql.literal("a\\'b"), "'a\\''b'");
    }
}
