//! The database that the replicas of the demo keep their states in, if it is to be one.

use std::path::Path;

use anyhow::Context;
use caps_adapters::sql::{Dialect, LocalServer};

/// What `--state` says, with the server that it takes.
#[derive(Debug)]
pub(super) struct Database {
    /// As it stands in `caps.toml`.
    pub(super) state: String,
    server: Option<LocalServer>,
}

impl Database {
    /// Starts a server of the demo's own for `postgres` and `mariadb`; everything else is for the deployment to understand.
    pub(super) async fn open(state: &str, directory: &Path) -> anyhow::Result<Self> {
        let dialect = match state {
            "postgres" | "postgresql" => Dialect::PostgreSql,
            "mariadb" | "mysql" => Dialect::MariaDb,
            other => return Ok(Self { state: other.to_owned(), server: None }),
        };
        let own = directory.join(dialect.name());
        std::fs::create_dir(&own).with_context(|| format!("cannot make {}: --dir takes a directory that is empty", own.display()))?;
        let server = LocalServer::start(dialect, &own).await.with_context(|| format!("cannot start {} for the demo", dialect.name()))?;
        Ok(Self { state: server.url().to_owned(), server: Some(server) })
    }

    /// How to look into a replica's own space from another terminal.
    pub(super) fn hint(&self, space: &str) -> Option<String> {
        let server = self.server.as_ref()?;
        Some(match server.target().dialect() {
            Dialect::PostgreSql => format!(
                "psql '{}?options=-csearch_path%3D{space}' -c 'SELECT status, COUNT(*) FROM \"case\" GROUP BY status'",
                server.url()
            ),
            _ => {
                let port = server.url().rsplit_once(':').map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
                format!("mariadb -h 127.0.0.1 -P {port} -u root {space} -e 'SELECT status, COUNT(*) FROM `case` GROUP BY status'")
            }
        })
    }

    pub(super) async fn close(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}
