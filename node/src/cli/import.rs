//! `caps import`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use caps_adapters::sql::{Extract, Target};
use caps_frontend::sql::{Heard, Import as Plan, Imported, Mark, Source, import, keep_importing};
use caps_model::{Name, Record};
use clap::Args;
use serde_json::json;

use super::Global;
use super::call::{arguments, method};
use super::connect::{interrupted, with_client};
use crate::output::say;

/// Call a method with each row of a query to another database.
///
/// The columns of a row become arguments of the method: nothing gets in but as the module lets it. A row is called with once, however often it is
/// read: the commit is named after what the row says, so a command that was cut short is simply given again, and only rows that changed are news. What the
/// module refuses is told with its key, and the next row taken.
///
/// With --cursor, a column that grows with every change, and --mark, a file, the next command reads only what changed since. With --every it goes on
/// until interrupted. A row that changed, and then changed back, is news only with --cursor.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps import --from sqlite:staff.db --query 'SELECT * FROM staff' --key id \\\n    \
        --call people.add_user --map login=login --map name=full_name --as admin\n  \
        caps import --from 'postgres://reader:${CRM_PASSWORD}@crm.example/crm' --query 'SELECT id, name, changed_at FROM engineers' \\\n    \
        --key id --cursor changed_at --mark engineers.mark --every 1m --call casedesk.add_agent --map name=name")]
pub(super) struct Import {
    /// The database: postgres://, mysql:// or sqlite:FILE; ${NAME} in it is taken from the environment.
    #[arg(long, value_name = "URL")]
    from: String,
    /// One SELECT.
    #[arg(long, value_name = "SQL")]
    query: String,
    /// The column that tells rows apart; never null.
    #[arg(long, value_name = "COLUMN")]
    key: String,
    /// A column that grows with every change of a row; never null.
    #[arg(long, value_name = "COLUMN", requires = "mark")]
    cursor: Option<String>,
    /// Keep in this file how far it is.
    #[arg(long, value_name = "FILE")]
    mark: Option<PathBuf>,
    /// The method.
    #[arg(long = "call", value_name = "MODULE.METHOD")]
    method: String,
    /// A parameter and the column that it takes; a null gives no argument.
    #[arg(long = "map", value_name = "PARAMETER=COLUMN", value_parser = pair)]
    columns: Vec<(Name, String)>,
    /// A parameter that is the same for all rows, as `caps call` takes it.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    always: Vec<String>,
    /// Look again this long after the end.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    every: Option<Duration>,
}

impl Import {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let (plan, mark) = (self.plan()?, self.mark.as_ref().map(Mark::new));
        with_client(global, async |client| {
            let work = async {
                match self.every {
                    Some(every) => Err(keep_importing(&client, &plan, mark.as_ref(), every, |heard| self.tell(global, heard)).await.into()),
                    None => {
                        let imported = import(&client, &plan, mark.as_ref(), |heard| self.tell(global, heard)).await?;
                        ensure!(imported.refused == 0, "{} rows were refused", imported.refused);
                        Ok(())
                    }
                }
            };
            tokio::select! {
                // An interruption first: there may be no end of rows.
                biased;
                () = interrupted() => Ok(()),
                ended = work => ended,
            }
        })
        .await
    }

    fn tell(&self, global: &Global, heard: Heard<'_>) {
        match heard {
            Heard::Refused { key, reason } if global.json => say!("{}", json!({"row": key, "refused": reason})),
            Heard::Refused { key, reason } => say!("refused   {} {key}: {reason}", self.key),
            Heard::Ended(Imported { new, known, refused, .. }) => match global.json {
                true => say!("{}", json!({"new": new, "known": known, "refused": refused})),
                false => say!("{new} rows imported, {known} known before, {refused} refused"),
            },
            Heard::Failed(error) => tracing::warn!(%error, "the import failed and is tried again"),
            Heard::Unmarked(error) => {
                tracing::warn!(%error, "how far the import is could not be kept: rows are read again next time, and known then");
            }
        }
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(!self.columns.is_empty(), "no column becomes an argument: give --map PARAMETER=COLUMN");
        let (module, method) = method(&self.method)?;
        let always: Record = arguments(&self.always)?;
        let of_rows = self.columns.iter().map(|(parameter, _)| (parameter.clone(), Source::Column));
        let always =
            always.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), Source::Always(value))));
        Ok(Plan {
            target: target(&self.from)?,
            extract: Extract {
                query: self.query.clone(),
                columns: self.columns.iter().map(|(_, column)| column.clone()).collect(),
                key: self.key.clone(),
                cursor: self.cursor.clone(),
            },
            module,
            method,
            parameters: of_rows.chain(always).collect(),
        })
    }
}

/// The database of a URL, completed from the environment.
pub(super) fn target(url: &str) -> anyhow::Result<Target> {
    let target = Target::parse(url)?;
    target.completed(|name| std::env::var(name).ok()).with_context(|| format!("cannot use {target}"))
}

fn pair(text: &str) -> Result<(Name, String), String> {
    let (parameter, column) = text.split_once('=').ok_or_else(|| format!("{text:?} is not PARAMETER=COLUMN"))?;
    Ok((Name::new(parameter).map_err(|error| error.to_string())?, column.to_owned()))
}
