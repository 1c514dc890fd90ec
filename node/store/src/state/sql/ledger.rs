//! What is written, gathered into transactions.
//!
//! A write is *taken*; several are *put* into an open transaction at once, when somebody asks or there are enough; the transaction is *completed* when
//! there are enough again, nothing more came for a while, or the first of them has waited long enough. Until then all of its writes are kept here, and done again on another connection if this
//! one breaks: whether the last transaction was completed before it broke is read from the database itself.

use std::collections::BTreeMap;
use std::time::Duration;

use caps_adapters::sql::{Cell, Connection, Row, SqlError};
use caps_model::{Name, ObjectId, Position};
use tokio::time::{Instant, sleep};

use super::questions::Question;
use super::rows::Rows;
use super::views::Views;
use super::{SqlPlace, questions, schema};
use crate::state::{Index, Place};

/// One step of the state.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// Commits and what became of them: keys with their values, or without.
    pub(super) entries: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Where objects stand in indexes from now on, or no more.
    pub(super) places: BTreeMap<Spot, bool>,
    /// How far the state is with it.
    pub(super) header: Vec<u8>,
    /// What it comes to in the other tables.
    pub(super) rows: Rows,
}

/// Where an object stands in an index of an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) entity: Name,
    pub(super) index: Index,
    pub(super) place: Place,
}

/// The writes that are not complete, and the connection.
#[derive(Debug)]
pub(super) struct Ledger {
    place: SqlPlace,
    connection: Option<Connection>,
    /// Those of the open transaction first.
    writes: Vec<Write>,
    /// How many of them are put into the open transaction.
    put: usize,
    /// When the first of them is complete at the latest.
    due: Option<Instant>,
    views: Views,
}

impl Ledger {
    /// Connects, and makes the tables that are missing.
    pub(super) async fn open(place: &SqlPlace) -> Result<Self, SqlError> {
        let mut connection = connect(place).await?;
        schema::prepare(&mut connection).await?;
        let views = Views::read(&mut connection).await?;
        Ok(Self { place: place.clone(), connection: Some(connection), writes: Vec::new(), put: 0, due: None, views })
    }

    /// When what was written is to be completed at the latest, whatever else is asked.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) async fn take(&mut self, write: Write) -> Result<(), SqlError> {
        self.due.get_or_insert_with(|| Instant::now() + INCOMPLETE_MAX);
        self.writes.push(write);
        if self.writes.len() - self.put >= PUT_AT_ONCE {
            self.all_put().await?;
        }
        if self.writes.len() >= COMPLETED_AT { self.complete().await } else { Ok(()) }
    }

    pub(super) async fn header(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        self.all_put().await?;
        let rows = self.ask(schema::HEADER, &[]).await?;
        Ok(rows.into_iter().next().and_then(first_bytes))
    }

    /// The value of a key. Those that are taken and not put yet are looked through first, newest first.
    pub(super) async fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, SqlError> {
        if let Some(value) = self.writes[self.put..].iter().rev().find_map(|write| write.entries.get(key)) {
            return Ok(value.clone());
        }
        let rows = self.ask(schema::VALUE, &[Cell::Bytes(key.to_vec())]).await?;
        Ok(rows.into_iter().next().and_then(first_bytes))
    }

    /// The last version of an object at or before a position, as bytes.
    pub(super) async fn version(&mut self, id: ObjectId, position: Position) -> Result<Option<Vec<u8>>, SqlError> {
        if self.writes[self.put..].iter().any(|write| write.rows.replaces()) {
            self.all_put().await?;
        }
        let waiting = &self.writes[self.put..];
        if let Some(body) = waiting.iter().rev().find_map(|write| write.rows.version(id, position)) {
            return Ok(Some(body.to_vec()));
        }
        let question = questions::version(id, position);
        let rows = self.ask(&question.statement, &question.cells).await?;
        Ok(rows.into_iter().next().and_then(first_bytes))
    }

    /// What the database answers, when everything taken is put.
    pub(super) async fn rows(&mut self, question: &Question) -> Result<Vec<Row>, SqlError> {
        self.all_put().await?;
        self.ask(&question.statement, &question.cells).await
    }

    /// Completes the open transaction, and makes the views that are missing then.
    pub(super) async fn complete(&mut self) -> Result<(), SqlError> {
        self.due = None;
        if self.writes.is_empty() {
            return Ok(());
        }
        let until = Instant::now() + AWAY_MAX;
        loop {
            let completed = match self.put_all().await {
                Ok(()) => run(&mut self.connection, "COMMIT").await,
                Err(error) => Err(error),
            };
            match completed {
                Ok(()) => break,
                Err(error) => self.recover(error, until).await?,
            }
        }
        let writes = std::mem::take(&mut self.writes);
        self.put = 0;
        loop {
            let steps = writes.iter().map(|write| &write.rows);
            let followed = match &mut self.connection {
                Some(connection) => self.views.follow(connection, steps).await,
                None => Err(away()),
            };
            match followed {
                Err(error) => self.recover(error, until).await?,
                done => return done,
            }
        }
    }

    /// Throws everything away, and begins anew.
    pub(super) async fn empty(&mut self) -> Result<(), SqlError> {
        self.writes.clear();
        self.put = 0;
        self.due = None;
        self.connection = None;
        let mut connection = connect(&self.place).await?;
        schema::empty(&mut connection, &self.place).await?;
        drop(connection);
        let mut connection = connect(&self.place).await?;
        schema::prepare(&mut connection).await?;
        self.views = Views::read(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    pub(super) async fn close(self) {
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    /// Asks the database, on another connection if this one breaks.
    async fn ask(&mut self, statement: &str, cells: &[Cell]) -> Result<Vec<Row>, SqlError> {
        let until = Instant::now() + AWAY_MAX;
        loop {
            let asked = match &mut self.connection {
                Some(connection) => {
                    let statement = connection.dialect().numbered(statement);
                    connection.query(&statement, cells).await
                }
                None => Err(away()),
            };
            match asked {
                Ok(rows) => return Ok(rows),
                Err(error) => {
                    self.recover(error, until).await?;
                    self.all_put().await?;
                }
            }
        }
    }

    /// Puts what is taken into the open transaction, on another connection if this one breaks.
    async fn all_put(&mut self) -> Result<(), SqlError> {
        let until = Instant::now() + AWAY_MAX;
        while let Err(error) = self.put_all().await {
            self.recover(error, until).await?;
        }
        Ok(())
    }

    async fn put_all(&mut self) -> Result<(), SqlError> {
        if self.put == self.writes.len() {
            return Ok(());
        }
        if self.put == 0 {
            run(&mut self.connection, "BEGIN").await?;
        }
        let Some(connection) = &mut self.connection else { return Err(away()) };
        schema::put(connection, &self.writes[self.put..]).await?;
        self.put = self.writes.len();
        Ok(())
    }

    /// Connects anew, unless it was not the connection that failed, or it has failed for too long. Then finds out what was completed.
    async fn recover(&mut self, error: SqlError, until: Instant) -> Result<(), SqlError> {
        let may_pass = error.is_of_connection() || matches!(error, SqlError::Contended { .. });
        if !may_pass {
            return Err(error);
        }
        tracing::warn!(database = %self.place.target, %error, "the state's database failed; trying again");
        self.connection = None;
        let mut pause = PAUSE_MIN;
        let (connection, header) = loop {
            match connected(&self.place).await {
                Ok(connected) => break connected,
                Err(error) if !error.is_of_connection() || Instant::now() + pause >= until => return Err(error),
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        };
        let completed = self.writes.iter().rposition(|write| Some(&write.header) == header.as_ref());
        if let Some(last) = completed {
            self.writes.drain(..=last);
        }
        self.put = 0;
        self.connection = Some(connection);
        Ok(())
    }
}

async fn connect(place: &SqlPlace) -> Result<Connection, SqlError> {
    let mut connection = Connection::open(&place.target, STATEMENT_MAX).await?;
    schema::enter(&mut connection, place).await?;
    Ok(connection)
}

/// A connection, and how far the state is, as the database says.
async fn connected(place: &SqlPlace) -> Result<(Connection, Option<Vec<u8>>), SqlError> {
    let mut connection = connect(place).await?;
    let rows = connection.query(&connection.dialect().numbered(schema::HEADER), &[]).await?;
    Ok((connection, rows.into_iter().next().and_then(first_bytes)))
}

async fn run(connection: &mut Option<Connection>, statement: &str) -> Result<(), SqlError> {
    match connection {
        Some(connection) => connection.run(statement).await,
        None => Err(away()),
    }
}

fn first_bytes(row: Row) -> Option<Vec<u8>> {
    row.first()?.as_bytes().map(<[u8]>::to_vec)
}

fn away() -> SqlError {
    SqlError::Away { said: "there is no connection".to_owned() }
}

/// Writes put into the transaction at once: fewer statements, each with more rows.
const PUT_AT_ONCE: usize = 64;

/// Writes after which a transaction is completed, whoever waits.
const COMPLETED_AT: usize = 512;

/// How long a write may be incomplete while others are asked for: so old are reports at most.
const INCOMPLETE_MAX: Duration = Duration::from_millis(500);

/// For one statement.
const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// How long a database may be away: the replica cannot do anything meanwhile, and others lead. Then it ends.
const AWAY_MAX: Duration = Duration::from_secs(30);

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
