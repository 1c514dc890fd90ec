//! `caps diff` and `caps why`.

use std::collections::BTreeSet;

use anyhow::bail;
use caps_model::messages::inspect::{Circumstances, Difference, Inspect, Inspected};
use caps_model::{Filter, Name, Object, Position, Value, query};
use clap::Args;
use serde_json::json;

use super::Global;
use super::connect::with_client;
use super::moment::{Moment, Place};
use crate::output;
use crate::output::say;

/// Show what differs between two moments, among the objects of an entity.
///
/// A moment is a position, a time, how long ago, or `now`. An object is listed if it satisfied the filter at one of the two moments and is not
/// the same at both.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps diff case --from 2d\n  caps diff case 'status = open' --from 2026-11-20 --to 2026-11-21\n  \
    caps diff customer --from 812 --to 900 --json")]
pub(super) struct Diff {
    /// The entity: `caps schema` lists them.
    entity: Name,
    /// The filter; everything if not given.
    filter: Option<Filter>,
    /// The one moment.
    #[arg(long, value_name = "MOMENT")]
    from: Moment,
    /// The other.
    #[arg(long, value_name = "MOMENT", default_value = "now")]
    to: Moment,
    /// At most this many objects.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(query::LIMIT_MAX)))]
    limit: u32,
    /// Go on after the page that printed this.
    #[arg(long, value_name = "CURSOR")]
    after: Option<Place>,
}

impl Diff {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            let mut query = caps_model::Query::all(self.entity.clone()).limit(self.limit);
            query.filter = self.filter.clone().unwrap_or(Filter::All);
            query.after = self.after.clone().map(|place| place.0);
            let answer = client.inspect(Inspect::compare(query, self.from.0, self.to.0)).await?;
            let Inspected::Compared(differences) = answer else { bail!("the host answered something else: is it of another release?") };
            let last = differences.objects.last().filter(|_| differences.more);
            let next = last.map(|last| Place(caps_model::Cursor { values: Vec::new(), object: last.object }).written()).transpose()?;
            if global.json {
                let objects: Vec<_> = differences.objects.iter().map(difference).collect();
                let (from, to) = (differences.from.0, differences.to.0);
                say!("{}", json!({"from": from, "to": to, "more": differences.more, "after": next, "objects": objects}));
                return Ok(());
            }
            for difference in &differences.objects {
                print_difference(difference);
            }
            let more = next.map(|next| format!(", and there are more: --after {next}")).unwrap_or_default();
            let (count, from, to) = (differences.objects.len(), differences.from, differences.to);
            say!("{count} objects differ between positions {from} and {to}{more}");
            Ok(())
        })
        .await
    }
}

/// Show who made a commit, through what, when and why.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps why 812\n  caps why 812 --json\n\n`caps history` and `caps diff` tell positions.")]
pub(super) struct Why {
    /// The commit's position.
    position: u64,
}

impl Why {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            let answer = client.inspect(Inspect::Why { position: Position(self.position) }).await?;
            let Inspected::Because(because) = answer else { bail!("the host answered something else: is it of another release?") };
            let Some(because) = because else {
                bail!("there is no commit at position {}, or none that changed something that you may read", self.position)
            };
            if global.json {
                say!("{}", circumstances(&because));
                return Ok(());
            }
            let author = &because.author;
            say!("commit {} at position {}, {}", because.commit, because.position, output::moment(because.time));
            say!(
                "  by:      {}",
                author.user.map_or_else(|| author.front_end.clone(), |user| format!("user #{user}, at {}", author.front_end))
            );
            say!("  through: {}.{} version {} on {}", author.module, author.method, author.module_version, author.host);
            say!("  why:     {}", author.reason.as_deref().unwrap_or("nobody said"));
            for (id, entity) in &because.objects {
                say!("  changed: {entity} #{id}");
            }
            Ok(())
        })
        .await
    }
}

/// `{"position","commit","time","user","front_end","host","module","version","method","reason","objects"}`.
fn circumstances(because: &Circumstances) -> serde_json::Value {
    let author = &because.author;
    let objects: Vec<_> = because.objects.iter().map(|(id, entity)| json!({"id": id.to_string(), "entity": entity.as_str()})).collect();
    json!({
        "position": because.position.0, "commit": because.commit.to_string(), "time": output::moment(because.time),
        "user": author.user.map(|user| user.to_string()), "front_end": author.front_end, "host": author.host,
        "module": author.module.as_str(), "version": author.module_version, "method": author.method.as_str(),
        "reason": author.reason, "objects": objects,
    })
}

fn difference(difference: &Difference) -> serde_json::Value {
    let shown = |object: &Option<Object>| object.as_ref().map(output::object);
    json!({"object": difference.object.to_string(), "before": shown(&difference.before), "after": shown(&difference.after)})
}

fn print_difference(difference: &Difference) {
    let (before, after) = (difference.before.as_ref(), difference.after.as_ref());
    let sign = match (before, after) {
        (None, _) => "+",
        (_, None) => "-",
        _ => "~",
    };
    let Some(either) = after.or(before) else { return };
    say!("{sign} {} #{}", either.entity, difference.object);
    let all = before.into_iter().chain(after).flat_map(|object| object.attributes.keys());
    for name in all.collect::<BTreeSet<&Name>>() {
        let (was, is) = (values(before, name), values(after, name));
        if was != is {
            let arrow = if was.is_empty() || is.is_empty() { "" } else { " -> " };
            say!("    {name}: {}{arrow}{}", output::values(was), output::values(is));
        }
    }
}

fn values<'a>(object: Option<&'a Object>, attribute: &Name) -> &'a [Value] {
    object.map_or(&[], |object| object.values(attribute.as_str()))
}
