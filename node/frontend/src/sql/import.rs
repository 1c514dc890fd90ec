//! Rows of somebody else's query, each of which becomes a call of a method.

use std::fmt::Write as _;
use std::time::Duration;

use caps_adapters::sql::{Connection, Extract, ExtractError, Place, SqlError, Target, TextRow};
use caps_adapters::web::idempotency::number_of;
use caps_model::schema::{Attribute, Method};
use caps_model::{CommitId, Name, Record, Schema, Value, ValueKind};
use futures_util::StreamExt;
use futures_util::stream;

use super::Mark;
use crate::web::input;
use crate::{Client, ClientError, MethodCall};

/// What is read, and what is called with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The database.
    pub target: Target,
    /// The query.
    pub extract: Extract,
    /// The module,
    pub module: Name,
    /// and its method.
    pub method: Name,
    /// What each parameter is given. Those that take a column do so in the order of [`Extract::columns`].
    pub parameters: Vec<(Name, Source)>,
}

/// Where an argument comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The next column. A null gives no argument.
    Column,
    /// It is always the same.
    Always(Value),
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows that were called with for the first time.
    pub new: u64,
    /// Rows that had been before.
    pub known: u64,
    /// Rows that the module refused, or that are no arguments.
    pub refused: u64,
}

/// Why it did not come to its end. Going on later misses nothing and repeats nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] ExtractError),
    /// The deployment does not answer.
    #[error(transparent)]
    Caps(#[from] ClientError),
    /// There is no such method, or it has no such parameter: `caps schema` shows what there is.
    #[error("{0}")]
    Unfit(String),
}

impl From<SqlError> for ImportError {
    fn from(error: SqlError) -> Self {
        Self::Rows(error.into())
    }
}

impl ImportError {
    /// Whether it may do better by itself: somebody is away.
    fn is_passing(&self) -> bool {
        match self {
            Self::Rows(ExtractError::Sql(error)) => error.is_of_connection(),
            Self::Caps(error) => !matches!(error, ClientError::Refused(_)),
            Self::Rows(ExtractError::Null { .. }) | Self::Unfit(_) => false,
        }
    }
}

/// What is told while an import goes on.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A row was refused.
    Refused {
        /// Its key.
        key: &'a str,
        /// Why.
        reason: String,
    },
    /// There are no more rows for now.
    Ended(&'a Imported),
    /// Somebody is away. It is tried again.
    Failed(&'a ImportError),
    /// How far it is could not be written down: rows are read again next time, and known then.
    Unmarked(std::io::Error),
}

/// Imports, and again `every` so often after each end. Whoever is away is waited for, so this ends only with what somebody has to mend.
pub async fn keep_importing(
    client: &Client,
    plan: &Import,
    mark: Option<&Mark>,
    every: Duration,
    mut told: impl FnMut(Heard<'_>),
) -> ImportError {
    loop {
        match import(client, plan, mark, &mut told).await {
            Err(error) if error.is_passing() => told(Heard::Failed(&error)),
            Err(error) => return error,
            Ok(_) => {}
        }
        tokio::time::sleep(every).await;
    }
}

/// Calls with each row, in order as far as anybody can tell the difference. With a mark it goes on where an earlier import ended, from the last cursor
/// on: rows may yet have come with it.
pub async fn import(
    client: &Client,
    import: &Import,
    mark: Option<&Mark>,
    mut told: impl FnMut(Heard<'_>),
) -> Result<Imported, ImportError> {
    let schemas = client.schemas().await?.schemas;
    let method = method(&schemas, import).map_err(ImportError::Unfit)?;
    let mut at = mark.map_or(Ok(None), Mark::read).map_err(|error| ImportError::Unfit(error.to_string()))?;
    let mut connection = Connection::open(&import.target, PATIENCE).await?;
    let mut imported = Imported::default();
    loop {
        let rows = import.extract.page(&mut connection, at.as_ref(), PAGE).await?;
        let Some((last, _)) = rows.last() else { break };
        let place = last.clone();
        let mut calls = stream::iter(rows).map(|row| call(client, import, method, row)).buffered(AT_ONCE);
        while let Some((key, called)) = calls.next().await {
            match called? {
                Called::New => imported.new += 1,
                Called::Known => imported.known += 1,
                Called::Refused(reason) => {
                    imported.refused += 1;
                    told(Heard::Refused { key: &key, reason });
                }
            }
        }
        if let Some(error) = mark.and_then(|mark| mark.keep(&place).err()) {
            told(Heard::Unmarked(error));
        }
        at = Some(place);
    }
    connection.close().await;
    told(Heard::Ended(&imported));
    Ok(imported)
}

enum Called {
    New,
    Known,
    Refused(String),
}

/// With the key of the row.
async fn call(client: &Client, import: &Import, method: &Method, (place, texts): TextRow) -> (String, Result<Called, ClientError>) {
    let key = place.key.clone().unwrap_or_default();
    let arguments = match arguments(import, method, &texts) {
        Ok(arguments) => arguments,
        Err(reason) => return (key, Ok(Called::Refused(reason))),
    };
    let commit = commit_of(import, &place, &arguments);
    let called = client.call_again(MethodCall::new(commit, import.module.clone(), import.method.clone(), arguments)).await;
    let called = match called {
        Ok(called) if called.repeated => Ok(Called::Known),
        Ok(_) => Ok(Called::New),
        Err(ClientError::Refused(refusal)) => Ok(Called::Refused(refusal.to_string())),
        Err(error) => Err(error),
    };
    (key, called)
}

/// The same row is the same commit, whoever reads it and whenever; one that changed is another. With a cursor, also one that changed back.
fn commit_of(import: &Import, place: &Place, arguments: &Record) -> CommitId {
    let mut all = String::new();
    for (name, values) in arguments {
        for value in values {
            // Writing to a string does not fail.
            write!(all, "{name}={}:{value};", value.kind()).ok();
        }
    }
    let [cursor, key] = [&place.cursor, &place.key].map(|text| text.as_deref().unwrap_or_default());
    CommitId(number_of(&["import", import.module.as_str(), import.method.as_str(), &import.extract.key, key, cursor, &all]))
}

fn method<'s>(schemas: &'s [Schema], import: &Import) -> Result<&'s Method, String> {
    let Import { module, method, .. } = import;
    let of_module = schemas.iter().find(|schema| schema.module == *module);
    let found = of_module.and_then(|schema| schema.methods.iter().find(|known| known.name == *method));
    let found = found.ok_or_else(|| format!("there is no method {module}.{method}: `caps schema` shows those there are"))?;
    for (name, _) in &import.parameters {
        if !found.parameters.iter().any(|parameter| parameter.name == *name) {
            let known: Vec<&str> = found.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            return Err(format!("{module}.{method} takes no {name}: it takes {}", known.join(", ")));
        }
    }
    Ok(found)
}

fn arguments(import: &Import, method: &Method, texts: &[Option<String>]) -> Result<Record, String> {
    let mut texts = texts.iter();
    let mut arguments = Record::new();
    for (name, source) in &import.parameters {
        let value = match source {
            Source::Always(value) => Some(value.clone()),
            Source::Column => {
                let text = texts.next().and_then(Option::as_deref);
                let parameter = method.parameters.iter().find(|parameter| parameter.name == *name);
                match (parameter, text) {
                    (Some(parameter), Some(text)) => Some(read(parameter, text).map_err(|wrong| format!("{name} {text:?}: {wrong}"))?),
                    _ => None,
                }
            }
        };
        if let Some(value) = value {
            arguments.entry(name.clone()).or_default().push(value);
        }
    }
    Ok(arguments)
}

/// A text as a database writes it, as a value.
fn read(parameter: &Attribute, text: &str) -> Result<Value, String> {
    match (parameter.kind, text) {
        (ValueKind::Text, text) => Ok(Value::text(text)),
        (ValueKind::Bool, "1" | "t") => Ok(Value::Bool(true)),
        (ValueKind::Bool, "0" | "f") => Ok(Value::Bool(false)),
        (ValueKind::Timestamp, text) => input::value(parameter, &as_rfc3339(text)),
        (_, text) => input::value(parameter, text.trim()),
    }
}

/// `2026-12-01 10:30:00.25+00` as RFC 3339 has it; without an offset it is UTC.
fn as_rfc3339(text: &str) -> String {
    let text = text.trim().replacen(' ', "T", 1);
    let Some((date, time)) = text.split_once('T') else { return format!("{text}T00:00:00Z") };
    let offset = time.find(['+', '-', 'Z']).map_or("", |start| &time[start..]);
    let time = &time[..time.len() - offset.len()];
    let offset = match offset.len() {
        0 => "Z".to_owned(),
        3 => format!("{offset}:00"),
        _ => offset.to_owned(),
    };
    format!("{date}T{time}{offset}")
}

/// For connecting, and for each statement.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows read at once.
const PAGE: usize = 500;

/// Calls under way at once: over a long line, one after the other would take the line's delay each.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_databases_are_read() {
        for (text, expected) in [
            ("2026-12-01 10:30:00.25+00", "2026-12-01T10:30:00.25Z"),
            ("2026-12-01 10:30:00+05:30", "2026-12-01T05:00:00Z"),
            ("2026-12-01 10:30:00.250000", "2026-12-01T10:30:00.25Z"),
            ("2026-12-01", "2026-12-01T00:00:00Z"),
            ("2026-12-01T10:30:00Z", "2026-12-01T10:30:00Z"),
        ] {
            let parameter = Attribute::one("at", ValueKind::Timestamp, "");
            let expected = input::value(&parameter, expected).unwrap();
            assert_eq!(read(&parameter, text), Ok(expected), "{text}");
        }
        assert!(read(&Attribute::one("at", ValueKind::Timestamp, ""), "soon").is_err());
        assert_eq!(read(&Attribute::one("on", ValueKind::Bool, ""), "t"), Ok(Value::Bool(true)));
    }
}
