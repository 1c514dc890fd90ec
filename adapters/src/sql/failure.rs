//! What goes wrong with a database, and who can do something about it.

use std::time::Duration;

/// Why a statement has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// There is no connection, or it broke. What the statement did is not known; an open transaction did nothing.
    #[error("the database cannot be reached: {said}; is it running, and is the URL right?")]
    Away {
        /// What was found.
        said: String,
    },
    /// It took longer than whoever asked waits. The connection was given up, and with it the statement.
    #[error("the database did not answer within {within:?}")]
    TimedOut {
        /// How long.
        within: Duration,
    },
    /// Its disk, or what it was granted, is full: make room.
    #[error("the database has no room: {said}")]
    Full {
        /// What it said.
        said: String,
    },
    /// It is not for us to do: name, password or rights are not enough.
    #[error("the database does not allow it: {said}; check user, password and rights")]
    NotAllowed {
        /// What it said.
        said: String,
    },
    /// Others were in the way: doing it again may help.
    #[error("the database could not do it while others were at work: {said}")]
    Contended {
        /// What it said.
        said: String,
    },
    /// The statement is wrong, or the data are not what it takes them for.
    #[error("the database refuses the statement: {said}")]
    Wrong {
        /// What it said.
        said: String,
    },
    /// A value is larger than the databases take. Nothing was sent.
    #[error("a value of {size_bytes} bytes is larger than a database takes ({} bytes)", super::VALUE_BYTES_MAX)]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// A text holds a NUL, which not every database keeps. Nothing was sent.
    #[error("a text holds a NUL byte, which databases do not keep")]
    Nul,
}

impl SqlError {
    /// Whether it is the connection that failed: another one may do better.
    pub fn is_of_connection(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::TimedOut { .. })
    }
}

impl From<sqlx::Error> for SqlError {
    fn from(error: sqlx::Error) -> Self {
        let said = match &error {
            sqlx::Error::Database(error) => error.message().to_owned(),
            error => error.to_string(),
        };
        let said = said.chars().take(SAID_CHARS_MAX).collect();
        match &error {
            sqlx::Error::Database(error) => of_code(error.code().as_deref().unwrap_or_default(), said),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Self::Away { said },
            _ => Self::Wrong { said },
        }
    }
}

/// By SQLSTATE (PostgreSQL, MariaDB) or SQLite's number, whose last eight bits are the kind.
fn of_code(code: &str, said: String) -> SqlError {
    match code {
        // Insufficient resources, disk full; SQLITE_FULL.
        "53100" | "53200" | "53400" | "13" => SqlError::Full { said },
        // Shutting down, starting, too many connections; connection exceptions.
        "57P01" | "57P02" | "57P03" | "53300" => SqlError::Away { said },
        code if code.starts_with("08") => SqlError::Away { said },
        // Wrong password, missing privilege; SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN.
        "28000" | "28P01" | "42501" | "3" | "8" | "14" => SqlError::NotAllowed { said },
        // Serialization failure, deadlock; SQLITE_BUSY, SQLITE_LOCKED.
        "40001" | "40P01" | "5" | "6" => SqlError::Contended { said },
        _ => SqlError::Wrong { said },
    }
}

/// What of a database's words is kept.
const SAID_CHARS_MAX: usize = 300;
