//! Objects that become the rows of somebody else's table, once or for as long as anybody wants.

use std::time::Duration;

use caps_adapters::sql::{Cell, ColumnKind, Connection, Load, SqlError, Target};
use caps_model::messages::{From, ObjectChange, Subscribe, Update};
use caps_model::schema::Attribute;
use caps_model::{Filter, Name, Object, Position, Query, Value, ValueKind};

use crate::{Client, ClientError, Subscription};

/// What becomes rows, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The database.
    pub target: Target,
    /// The table.
    pub table: String,
    /// The entity.
    pub entity: Name,
    /// What its objects satisfy.
    pub filter: Filter,
    /// The attributes that become columns; all that the schema knows, if there are none here.
    pub attributes: Vec<Name>,
    /// Whether to go on with what changes.
    pub follow: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Rows written.
    pub written: u64,
    /// Rows taken out.
    pub removed: u64,
    /// Every commit up to here is in the table.
    pub position: Position,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database does not take it.
    #[error(transparent)]
    Table(#[from] SqlError),
    /// The deployment does not answer.
    #[error(transparent)]
    Caps(#[from] ClientError),
    /// There is no such entity, or it has no such attribute.
    #[error("{0}")]
    Unfit(String),
}

/// Writes the objects there are, and with `follow` whatever changes, until it fails; a database that is away is then waited for. `told` hears of each
/// transaction that is complete.
pub async fn export(client: &Client, export: &Export, mut told: impl FnMut(Exported)) -> Result<Exported, ExportError> {
    let columns = columns(client, export).await?;
    let mut exported = Exported::default();
    loop {
        let attempt = attempt(client, export, &columns, &mut exported, &mut told).await;
        match attempt {
            Err(ExportError::Table(error)) if export.follow && error.is_of_connection() => {
                tracing::warn!(database = %export.target, %error, "the database of the export failed; trying again");
                tokio::time::sleep(client.overlay().environment().rng.jitter(PAUSE)).await;
            }
            ended => return ended.map(|()| exported),
        }
    }
}

/// The attributes that become columns.
async fn columns(client: &Client, export: &Export) -> Result<Vec<Attribute>, ExportError> {
    let schemas = client.schemas().await?.schemas;
    let entity = &export.entity;
    let own = schemas.iter().flat_map(|schema| &schema.entities).find(|known| known.name == *entity);
    let own = own.ok_or_else(|| ExportError::Unfit(format!("there is no entity {entity}: `caps schema` shows those there are")))?;
    let extensions = schemas.iter().flat_map(|schema| &schema.extensions).filter(|extension| extension.entity == *entity);
    let known: Vec<&Attribute> = own.attributes.iter().chain(extensions.flat_map(|extension| &extension.attributes)).collect();
    if export.attributes.is_empty() {
        return Ok(known.into_iter().cloned().collect());
    }
    let wanted = export.attributes.iter().map(|name| {
        let found = known.iter().find(|attribute| attribute.name == *name).map(|attribute| (*attribute).clone());
        found.ok_or_else(|| format!("{entity} has no attribute {name}: `caps schema` shows those there are"))
    });
    wanted.collect::<Result<_, _>>().map_err(ExportError::Unfit)
}

async fn attempt(
    client: &Client,
    export: &Export,
    columns: &[Attribute],
    exported: &mut Exported,
    told: &mut impl FnMut(Exported),
) -> Result<(), ExportError> {
    let mut connection = Connection::open(&export.target, PATIENCE).await?;
    let own = [(VERSION.to_owned(), ColumnKind::Whole)];
    let load = Load {
        table: export.table.clone(),
        key: KEY.to_owned(),
        columns: own.into_iter().chain(columns.iter().map(|attribute| (column_name(attribute), column_kind(attribute)))).collect(),
    };
    let mark = load.open(&mut connection).await?.mark;
    // A table that is only to be made once is made anew.
    let from = mark.filter(|_| export.follow).and_then(|mark| place_of(&mark)).unwrap_or(From::Present);
    let mut subscription = subscribe(client, export, from);
    // Where the objects that are being taken in stand, while more of them are to come.
    let mut present = None;
    loop {
        let update = subscription.next().await?;
        match &update {
            Update::Present { position, objects, complete, .. } => {
                if present.is_none() {
                    load.begin(&mut connection).await?;
                }
                // At another place they begin anew: another host tells them.
                if present != Some(*position) {
                    load.clear(&mut connection).await?;
                }
                present = (!complete).then_some(*position);
                for object in objects {
                    load.put(&mut connection, &row(object, columns)).await?;
                    exported.written += 1;
                }
                if !complete {
                    continue;
                }
            }
            Update::Changes { changes, .. } => {
                load.begin(&mut connection).await?;
                for change in changes {
                    match change {
                        ObjectChange::Added(object) | ObjectChange::Changed(object) => {
                            load.put(&mut connection, &row(object, columns)).await?;
                            exported.written += 1;
                        }
                        ObjectChange::Removed(id) => {
                            load.remove(&mut connection, &id.to_string()).await?;
                            exported.removed += 1;
                        }
                    }
                }
            }
            Update::Progress { .. } => continue,
        }
        load.complete(&mut connection, &mark_of(update.resume_from())).await?;
        exported.position = update.position();
        told(*exported);
        if !export.follow {
            connection.close().await;
            return Ok(());
        }
    }
}

fn subscribe(client: &Client, export: &Export, from: From) -> Subscription {
    let query = Query { filter: export.filter.clone(), ..Query::all(export.entity.clone()) };
    client.follow(Subscribe::new(query, from))
}

/// A place as a table keeps it: `812`, or `812/1764543600000000` where the filter says something about now.
fn mark_of(from: From) -> String {
    match from {
        From::Present => String::new(),
        From::After(position) => position.to_string(),
        From::AfterMoment { position, moment } => format!("{position}/{moment}"),
    }
}

fn place_of(mark: &str) -> Option<From> {
    Some(match mark.split_once('/') {
        None => From::After(Position(mark.parse().ok()?)),
        Some((position, moment)) => From::AfterMoment { position: Position(position.parse().ok()?), moment: moment.parse().ok()? },
    })
}

/// An attribute named as one of our own columns has another name.
fn column_name(attribute: &Attribute) -> String {
    let name = attribute.name.as_str();
    if [KEY, VERSION].contains(&name) { format!("{name}_value") } else { name.to_owned() }
}

/// Of a list or a map, all of it as text in JSON.
fn column_kind(attribute: &Attribute) -> ColumnKind {
    if attribute.arity.max != 1 {
        return ColumnKind::Text;
    }
    match attribute.kind {
        ValueKind::Int | ValueKind::Timespan => ColumnKind::Whole,
        ValueKind::Float => ColumnKind::Real,
        ValueKind::Bool => ColumnKind::Truth,
        ValueKind::Timestamp => ColumnKind::Moment,
        ValueKind::Decimal => ColumnKind::Decimal,
        _ => ColumnKind::Text,
    }
}

fn row(object: &Object, columns: &[Attribute]) -> Vec<Cell> {
    let version = i64::try_from(object.version.0).unwrap_or(i64::MAX);
    let own = [Cell::Text(object.id.to_string()), Cell::Int(version)];
    own.into_iter().chain(columns.iter().map(|attribute| cell(object, attribute))).collect()
}

fn cell(object: &Object, attribute: &Attribute) -> Cell {
    let values = object.values(attribute.name.as_str());
    let kind = column_kind(attribute);
    if attribute.arity.max != 1 {
        let all: serde_json::Value = values.iter().map(|value| without_nul(&plain(value))).collect();
        return if values.is_empty() { Cell::NoText } else { Cell::Text(all.to_string()) };
    }
    match (kind, values.first()) {
        (ColumnKind::Whole, Some(Value::Int(number) | Value::Timespan(number))) => Cell::Int(*number),
        (ColumnKind::Moment, Some(Value::Timestamp(micros))) => Cell::Int(*micros),
        (ColumnKind::Truth, Some(Value::Bool(truth))) => Cell::Int((*truth).into()),
        (ColumnKind::Real, Some(Value::Float(number))) if number.is_finite() => Cell::Real(*number),
        (ColumnKind::Decimal, Some(Value::Decimal(number))) => Cell::Text(number.to_string()),
        (ColumnKind::Text, Some(value)) => Cell::Text(without_nul(&plain(value))),
        // What is not of the schema's kind was written under another one.
        (ColumnKind::Whole | ColumnKind::Moment | ColumnKind::Truth, _) => Cell::NoInt,
        (ColumnKind::Real, _) => Cell::NoReal,
        (ColumnKind::Decimal | ColumnKind::Text, _) => Cell::NoText,
    }
}

/// A value in words, without marks that tell its kind.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Reference(id) => id.to_string(),
        Value::Choice(choice) => choice.word.to_string(),
        Value::Timestamp(micros) => crate::web::moment::rfc3339(*micros),
        Value::Entry(entry) => format!("{}: {}", entry.key(), plain(entry.value())),
        other => other.to_string(),
    }
}

/// What PostgreSQL cannot keep, a table of somebody else's can do without.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The columns that every table has.
const KEY: &str = "id";
const VERSION: &str = "version";

/// For connecting, and for each statement.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before a database that was away is tried again.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_where_to_go_on() {
        for from in [From::After(Position(812)), From::AfterMoment { position: Position(812), moment: -5 }] {
            assert_eq!(place_of(&mark_of(from)), Some(from));
        }
        assert_eq!((place_of(""), place_of("soon"), mark_of(From::Present).as_str()), (None, None, ""));
    }
}
