//! `caps watch`.

use std::io::Write;

use caps_model::messages::{From, ObjectChange, Update};
use caps_model::{Filter, Name, Object, Position, Query};
use clap::Args;

use super::Global;
use super::connect::with_client;
use crate::output;

/// Follow the objects of an entity that satisfy a filter, until interrupted.
///
/// First the objects there are, then each change once, in order, whatever happens to hosts and lines in between. With --from only what
/// changed after that position: the last one printed, to go on where an earlier watch ended.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps watch case\n  caps watch case 'status != closed' --as desk-kiruna\n  caps watch message --from 812 --json"
)]
pub(super) struct Watch {
    /// The entity.
    entity: Name,
    /// The filter; everything if not given.
    filter: Option<Filter>,
    /// Only what changed after this position.
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
}

impl Watch {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            let filter = self.filter.clone().unwrap_or(Filter::All);
            let query = Query { filter, ..Query::all(self.entity.clone()) };
            let from = self.from.map_or(From::Present, |position| From::After(Position(position)));
            let mut subscription = client.subscribe(query, from);
            let mut out = std::io::stdout().lock();
            let mut interrupted = std::pin::pin!(super::connect::interrupted());
            loop {
                let update = tokio::select! {
                    // An interruption first: a busy subscription must not keep it waiting.
                    biased;
                    () = &mut interrupted => return Ok(()),
                    update = subscription.next() => update?,
                };
                match global.json {
                    true => writeln!(out, "{}", output::update(&update))?,
                    false => print(&mut out, &update)?,
                }
                out.flush()?;
            }
        })
        .await
    }
}

fn print(out: &mut impl Write, update: &Update) -> std::io::Result<()> {
    match update {
        Update::Present { position, objects, complete } => {
            for object in objects {
                writeln!(out, "{position:>8}  present  {}", line(object))?;
            }
            if *complete {
                writeln!(out, "{position:>8}  that is all there is now; waiting for changes")?;
            }
        }
        Update::Changes { position, changes } => {
            for change in changes {
                match change {
                    ObjectChange::Added(object) => writeln!(out, "{position:>8}  added    {}", line(object))?,
                    ObjectChange::Changed(object) => writeln!(out, "{position:>8}  changed  {}", line(object))?,
                    ObjectChange::Removed(id) => writeln!(out, "{position:>8}  removed  #{id}")?,
                }
            }
        }
        Update::Progress { .. } => {}
    }
    Ok(())
}

fn line(object: &Object) -> String {
    let hidden = ["readers", "writers", "text", "messages"];
    let shown = object.attributes.iter().filter(|(name, _)| !hidden.contains(&name.as_str()));
    let cells: Vec<String> = shown.map(|(name, values)| format!("{name}={}", output::values(values))).collect();
    format!("#{} {}", object.id, cells.join(" "))
}
