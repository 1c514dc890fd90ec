//! `caps import`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use caps_adapters::sql::{Extract, Place, Target};
use caps_frontend::Client;
use caps_frontend::sql::{Import as Plan, Imported, Source, import};
use caps_model::{Name, Record};
use clap::Args;
use serde_json::{Value as Json, json};

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
        let plan = self.plan()?;
        let mut place = self.mark.as_deref().map(read_mark).transpose()?.flatten();
        with_client(global, async |client| {
            loop {
                let imported = tokio::select! {
                    // An interruption first: there may be no end of rows.
                    biased;
                    () = interrupted() => return Ok(()),
                    imported = self.once(global, &client, &plan, place.clone()) => imported?,
                };
                let Some(every) = self.every else {
                    ensure!(imported.refused == 0, "{} rows were refused", imported.refused);
                    return Ok(());
                };
                // Rows may yet come with the cursor's last value.
                let again = imported.place.filter(|_| self.cursor.is_some());
                place = again.map(|place| Place { cursor: place.cursor, key: None });
                tokio::select! {
                    // An interruption first: the pause may be long.
                    biased;
                    () = interrupted() => return Ok(()),
                    () = tokio::time::sleep(every) => {}
                }
            }
        })
        .await
    }

    async fn once(&self, global: &Global, client: &Client, plan: &Plan, place: Option<Place>) -> anyhow::Result<Imported> {
        let imported = import(client, plan, place, |so_far, refused| match refused {
            Some((key, reason)) if global.json => say!("{}", json!({"row": key, "refused": reason})),
            Some((key, reason)) => say!("refused   {} {key}: {reason}", self.key),
            None => {
                if let Some(error) = self.keep(so_far).err() {
                    tracing::warn!(%error, "how far the import is could not be kept: rows are read again next time, and known then");
                }
            }
        })
        .await?;
        let Imported { new, known, refused, .. } = imported;
        match global.json {
            true => say!("{}", json!({"new": new, "known": known, "refused": refused})),
            false => say!("{new} rows imported, {known} known before, {refused} refused"),
        }
        Ok(imported)
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

    /// Writes down how far it is, whole or not at all.
    fn keep(&self, imported: &Imported) -> anyhow::Result<()> {
        let (Some(file), Some(cursor)) = (&self.mark, imported.place.as_ref().and_then(|place| place.cursor.as_ref())) else {
            return Ok(());
        };
        let new = file.with_extension("new");
        let write = std::fs::write(&new, json!({"cursor": cursor}).to_string()).and_then(|()| std::fs::rename(&new, file));
        write.with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The database of a URL, completed from the environment.
pub(super) fn target(url: &str) -> anyhow::Result<Target> {
    let target = Target::parse(url)?;
    target.completed(|name| std::env::var(name).ok()).with_context(|| format!("cannot use {target}"))
}

/// Where an earlier command ended.
fn read_mark(file: &Path) -> anyhow::Result<Option<Place>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let Some(cursor) = serde_json::from_str::<Json>(&text).ok().and_then(|mark| mark["cursor"].as_str().map(str::to_owned)) else {
        bail!("{} does not say how far an import is: remove it to begin at the beginning", file.display());
    };
    Ok(Some(Place { cursor: Some(cursor), key: None }))
}

fn pair(text: &str) -> Result<(Name, String), String> {
    let (parameter, column) = text.split_once('=').ok_or_else(|| format!("{text:?} is not PARAMETER=COLUMN"))?;
    Ok((Name::new(parameter).map_err(|error| error.to_string())?, column.to_owned()))
}
