//! A connection: statements one after the other, each bounded in time.

use std::fmt;
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::{Connection as _, Executor};
use tokio::time::timeout;

use super::cell::{Backend, bound, read};
use super::{Cell, Dialect, Row, SqlError, Target};

/// A connection to a database.
///
/// A statement that fails in time, or breaks the connection, leaves it unusable: drop it, and with it whatever transaction was open.
pub struct Connection {
    inner: AnyConnection,
    dialect: Dialect,
    patience: Duration,
}

impl Connection {
    /// Connects. `patience` bounds this, and each statement.
    pub async fn open(target: &Target, patience: Duration) -> Result<Self, SqlError> {
        sqlx::any::install_default_drivers();
        let connecting = AnyConnection::connect(target.url());
        let inner = timeout(patience, connecting).await.map_err(|_| SqlError::TimedOut { within: patience })??;
        Ok(Self { inner, dialect: target.dialect(), patience })
    }

    /// How the database writes what others write otherwise.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Runs a statement without values, which may be one that cannot be prepared: `BEGIN`, `CREATE TABLE`.
    pub async fn run(&mut self, statement: &str) -> Result<(), SqlError> {
        let running = self.inner.execute(statement);
        timeout(self.patience, running).await.map_err(|_| SqlError::TimedOut { within: self.patience })??;
        Ok(())
    }

    /// Runs a statement with these values; how many rows it touched.
    pub async fn execute(&mut self, statement: &str, cells: &[Cell]) -> Result<u64, SqlError> {
        let running = sqlx::query_with::<Backend, _>(statement, bound(cells)?).execute(&mut self.inner);
        let done = timeout(self.patience, running).await.map_err(|_| SqlError::TimedOut { within: self.patience })??;
        Ok(done.rows_affected())
    }

    /// Runs a query with these values; its rows, all of them: bound them by `LIMIT`.
    pub async fn query(&mut self, statement: &str, cells: &[Cell]) -> Result<Vec<Row>, SqlError> {
        let running = sqlx::query_with::<Backend, _>(statement, bound(cells)?).fetch_all(&mut self.inner);
        let rows = timeout(self.patience, running).await.map_err(|_| SqlError::TimedOut { within: self.patience })??;
        rows.iter().map(read).collect()
    }

    /// Closes it in good order.
    pub async fn close(self) {
        // The other side may be gone: then there is nothing to close.
        timeout(self.patience, self.inner.close()).await.ok();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}
