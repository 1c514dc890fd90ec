//! `caps export`.

use caps_frontend::sql::export::Exported;
use caps_frontend::sql::{Export as Plan, export};
use caps_model::{Filter, Name};
use clap::Args;
use serde_json::json;

use super::Global;
use super::connect::{interrupted, with_client};
use super::import::target;
use crate::output::say;

/// Write the objects of an entity into a table of another database.
///
/// The table is made if it is not there, with `id`, `version` and a column for each attribute; a list or a map is text in JSON. It is replaced as a
/// whole, in one transaction. With --follow it is then kept equal to what the cabinet says, each commit in a transaction with its position, so a
/// command that was cut short goes on where the table is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps export case 'status != closed' --to sqlite:cases.db --table open_cases\n  \
        caps export case --columns number,status,due_at --to 'postgres://writer:${BI_PASSWORD}@bi.example/bi' --follow")]
pub(super) struct Export {
    /// The entity.
    entity: Name,
    /// The filter; everything if not given.
    filter: Option<Filter>,
    /// The database: postgres://, mysql:// or sqlite:FILE; ${NAME} in it is taken from the environment.
    #[arg(long, value_name = "URL")]
    to: String,
    /// The table; named as the entity if not given.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Only these attributes as columns.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    columns: Vec<Name>,
    /// Go on with what changes, until interrupted.
    #[arg(long)]
    follow: bool,
}

impl Export {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let plan = Plan {
            target: target(&self.to)?,
            table: self.table.clone().unwrap_or_else(|| self.entity.to_string()),
            entity: self.entity.clone(),
            filter: self.filter.clone().unwrap_or(Filter::All),
            attributes: self.columns.clone(),
            follow: self.follow,
        };
        with_client(global, async |client| {
            let told = |exported: Exported| {
                let Exported { written, removed, position } = exported;
                match global.json {
                    true => say!("{}", json!({"written": written, "removed": removed, "position": position.0})),
                    false => say!("{written} rows written, {removed} removed; at position {position}"),
                }
            };
            tokio::select! {
                // An interruption first: what is followed has no end.
                biased;
                () = interrupted() => Ok(()),
                exported = export(&client, &plan, told) => Ok(exported.map(drop)?),
            }
        })
        .await
    }
}
