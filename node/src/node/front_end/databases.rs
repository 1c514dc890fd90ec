//! Other databases, as the deployment file describes what is read from them and written to them.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use caps_adapters::sql::Target;
use caps_frontend::sql::{self, Heard, Imported, Mark};
use caps_frontend::{Client, Stopping};

use super::job::Job;
use crate::deployment::front_end::{Export, FrontEnd, Import};

/// Begins all imports and exports. How far an import is, is kept below `data`.
pub(super) fn start(front_end: &FrontEnd, data: &Path, client: &Client) -> anyhow::Result<Vec<Job>> {
    let tasks = client.overlay().environment().tasks.clone();
    let imports = front_end.imports.iter().map(|import| {
        let plan = sql::Import { target: completed(&import.plan.target, "import", &import.name)?, ..import.plan.clone() };
        let mark = Mark::new(data.join("imports").join(format!("{}.mark", import.name)));
        let (import, client) = (Import { plan, ..import.clone() }, client.clone());
        Ok(Job::start(&tasks, |stopping| until_stopped(stopping, importing(client, import, mark))))
    });
    let exports = front_end.exports.iter().map(|export| {
        let plan = sql::Export { target: completed(&export.plan.target, "export", &export.name)?, ..export.plan.clone() };
        let (export, client) = (Export { plan, ..export.clone() }, client.clone());
        Ok(Job::start(&tasks, |stopping| until_stopped(stopping, exporting(client, export))))
    });
    imports.chain(exports).collect()
}

/// Both may be cut short anywhere: what was begun is known, or not yet there, the next time.
async fn until_stopped(mut stopping: Stopping, work: impl Future<Output = Infallible>) {
    tokio::select! {
        // First: the work never ends.
        biased;
        () = stopping.stopped() => {}
        never = work => match never {},
    }
}

async fn importing(client: Client, import: Import, mark: Mark) -> Infallible {
    let Import { name, plan, every } = import;
    loop {
        let told = |heard: Heard<'_>| match heard {
            Heard::Refused { key, reason } => tracing::warn!(import = %name, row = key, reason, "a row was refused"),
            Heard::Ended(Imported { new: 0, refused: 0, .. }) => {}
            Heard::Ended(Imported { new, known, refused }) => tracing::info!(import = %name, new, known, refused, "rows imported"),
            Heard::Failed(error) => tracing::warn!(import = %name, %error, "rows cannot be read now; trying again"),
            Heard::Unmarked(error) => {
                tracing::warn!(import = %name, %error, "how far it is could not be kept: rows are read again next time");
            }
        };
        let error = sql::keep_importing(&client, &plan, Some(&mark), every, told).await;
        tracing::error!(import = %name, %error, "rows cannot be imported");
        tokio::time::sleep(TO_MEND).await;
    }
}

async fn exporting(client: Client, export: Export) -> Infallible {
    let Export { name, plan } = export;
    loop {
        let told = |exported: sql::export::Exported| tracing::debug!(export = %name, position = %exported.position, "the table is as it was there");
        match sql::export(&client, &plan, told).await {
            Ok(_) => {}
            Err(error) => tracing::error!(export = %name, %error, "the table cannot be written; trying again"),
        }
        tokio::time::sleep(TO_MEND).await;
    }
}

fn completed(target: &Target, what: &str, name: &str) -> anyhow::Result<Target> {
    target.completed(|variable| std::env::var(variable).ok()).with_context(|| format!("the {what} {name} cannot use {target}"))
}

/// Before what somebody has to mend is tried again.
const TO_MEND: Duration = Duration::from_secs(30);
