//! A connection: statements one after the other, each bounded in time.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use super::driver::Driver;
use super::{Cell, Dialect, Row, SqlError, Target};

/// A connection to a database.
///
/// A statement that fails in time, or breaks the connection, leaves it unusable: drop it, and with it whatever transaction was open.
pub struct Connection {
    driver: Driver,
    dialect: Dialect,
    patience: Duration,
}

impl Connection {
    /// Connects. `patience` bounds this, and each statement.
    pub async fn open(target: &Target, patience: Duration) -> Result<Self, SqlError> {
        let driver = within(patience, Driver::open(target)).await?;
        let mut connection = Self { driver, dialect: target.dialect(), patience };
        // The server gives a statement up when nobody waits for it any more, instead of working on; a little later, so that it is always we who say why.
        if let Some(statement) = connection.dialect.statement_time(patience + GIVEN_UP_AFTER) {
            connection.run(&statement).await?;
        }
        Ok(connection)
    }

    /// How the database writes what others write otherwise.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Runs a statement without values, which may be one that cannot be prepared: `BEGIN`, `CREATE TABLE`.
    pub async fn run(&mut self, statement: &str) -> Result<(), SqlError> {
        within(self.patience, self.driver.run(statement)).await
    }

    /// Runs a statement with these values; how many rows it touched.
    pub async fn execute(&mut self, statement: &str, cells: &[Cell]) -> Result<u64, SqlError> {
        within(self.patience, self.driver.execute(statement, cells)).await
    }

    /// Runs a query with these values; its rows, all of them: bound them by `LIMIT`.
    pub async fn query(&mut self, statement: &str, cells: &[Cell]) -> Result<Vec<Row>, SqlError> {
        within(self.patience, self.driver.query(statement, cells)).await
    }

    /// Closes it in good order.
    pub async fn close(self) {
        timeout(self.patience, self.driver.close()).await.ok();
    }
}

/// How long after us a server gives a statement up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);

async fn within<T>(patience: Duration, doing: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    timeout(patience, doing).await.unwrap_or(Err(SqlError::TimedOut { within: patience }))
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}
