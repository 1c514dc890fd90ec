//! `caps query`, `caps get` and `caps history`.

use std::collections::BTreeSet;

use anyhow::Context;
use caps_model::messages::History as Ask;
use caps_model::messages::inspect::{Inspect, Inspected};
use caps_model::{Filter, Name, Object, ObjectId, Order, Position, query};
use clap::Args;
use serde_json::json;

use super::Global;
use super::connect::with_client;
use super::fresh::Freshness;
use super::moment::{Moment, Place};
use crate::output;
use crate::output::say;

/// List the objects of an entity that satisfy a filter.
///
/// A filter compares attributes with values: = != < <= > >=, in (..), between .. and .., like, ilike, matches (a regular expression), about
/// (words), has, empty, and, or, not, parentheses; `customer.country = SE` looks through a reference, `names['sv']` into a map, `due < now + 2d`
/// at the clock, `text 'leaking pump*'` at all texts. A condition on an attribute with several values holds when some value satisfies it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps query case\n  caps query case 'status = open and priority >= 3' --order 'due_at desc, number'\n  \
    caps query case 'number = 42' --linearizable\n  \
    caps query message \"from = 'astrid@example.com'\" --json\n  caps query case 'status = open' --at 2d\n  \
    caps query case \"text 'pump leak*'\" --explain"
)]
pub(super) struct Query {
    /// The entity: `caps schema` lists them.
    entity: Name,
    /// The filter; everything if not given.
    filter: Option<Filter>,
    /// Order by these attributes, each with 'desc' behind it or not; by age if not given.
    #[arg(long, value_name = "ATTRIBUTES", value_delimiter = ',')]
    order: Vec<Order>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(query::LIMIT_MAX)))]
    limit: u32,
    /// Go on after the page that printed this.
    #[arg(long, value_name = "CURSOR")]
    after: Option<Place>,
    /// As it was then: a position, a time, or how long ago.
    #[arg(long, value_name = "MOMENT")]
    at: Option<Moment>,
    /// Only say how many there are now.
    #[arg(long, conflicts_with_all = ["at", "explain", "order", "after"])]
    count: bool,
    /// Only say how the answer is found.
    #[arg(long, conflicts_with_all = ["at"])]
    explain: bool,
    /// Only these attributes as columns.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    columns: Vec<String>,
    #[command(flatten)]
    freshness: Freshness,
}

impl Query {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let query = caps_model::Query {
            filter: self.filter.clone().unwrap_or(Filter::All),
            order: self.order.clone(),
            after: self.after.clone().map(|place| place.0),
            ..caps_model::Query::all(self.entity.clone()).limit(self.limit)
        };
        with_client(global, async |client| {
            self.freshness.ask_of(&client).await?;
            if self.count {
                return print_count(client.inspect(Inspect::Count { query }).await?, global.json);
            }
            if self.explain {
                return print_plan(client.inspect(Inspect::Explain { query }).await?, global.json);
            }
            let answer = match self.at {
                None => self.freshness.explained(client.query(query.clone()).await)?,
                Some(at) => match client.inspect(Inspect::find(query.clone(), at.0)).await? {
                    Inspected::Found(objects) => objects,
                    _ => anyhow::bail!(OTHER_RELEASE),
                },
            };
            let last = answer.objects.last().filter(|_| answer.more);
            let next = last.map(|last| Place(query.cursor(last)).written()).transpose()?;
            if global.json {
                let objects: Vec<_> = answer.objects.iter().map(output::object).collect();
                say!("{}", json!({"position": answer.position.0, "more": answer.more, "after": next, "objects": objects}));
                return Ok(());
            }
            print_table(&answer.objects, &self.columns);
            let more =
                next.map(|next| format!(", and there are more: raise --limit, narrow the filter, or --after {next}")).unwrap_or_default();
            say!("{} objects at position {}{more}", answer.objects.len(), answer.position);
            Ok(())
        })
        .await
    }
}

fn print_count(answer: Inspected, as_json: bool) -> anyhow::Result<()> {
    let Inspected::Counted(counted) = answer else { anyhow::bail!(OTHER_RELEASE) };
    if as_json {
        say!("{}", json!({"position": counted.position.0, "count": counted.count, "exact": counted.exact}));
    } else {
        let or_more = if counted.exact { "" } else { " or more" };
        say!("{}{or_more} objects at position {}", counted.count, counted.position);
    }
    Ok(())
}

fn print_plan(answer: Inspected, as_json: bool) -> anyhow::Result<()> {
    let Inspected::Explained(plan) = answer else { anyhow::bail!(OTHER_RELEASE) };
    if as_json {
        let figures = json!({"position": plan.position.0, "plan": plan.plan, "looked_at": plan.looked_at, "matched": plan.matched,
            "sorted": plan.sorted, "answered": plan.answered});
        say!("{figures}");
    } else {
        let sorted = if plan.sorted { ", sorted afterwards" } else { "" };
        say!("{}{sorted}", plan.plan);
        say!("looked at {}, matched {}, answered {}", plan.looked_at, plan.matched, plan.answered);
    }
    Ok(())
}

/// Show objects by id.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps get '#01jd4m3v7q8z0r5t1x6y2w9k3n'")]
pub(super) struct Get {
    /// The objects' ids, with or without #.
    #[arg(required = true, value_parser = object_id)]
    objects: Vec<ObjectId>,
    #[command(flatten)]
    freshness: Freshness,
}

impl Get {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            self.freshness.ask_of(&client).await?;
            let answer = self.freshness.explained(client.get(self.objects.clone()).await)?;
            if global.json {
                let objects: Vec<_> = answer.objects.iter().map(|found| found.as_ref().map(output::object)).collect();
                say!("{}", json!({"position": answer.position.0, "objects": objects}));
                return Ok(());
            }
            for (id, found) in self.objects.iter().zip(&answer.objects) {
                let object = found.as_ref().with_context(|| format!("there is no object {id}, or none that you may read"))?;
                say!("#{id}: {} since position {}, last changed at {}", object.entity, object.created, object.version);
                for (name, values) in &object.attributes {
                    say!("  {name}: {}", output::values(values));
                }
            }
            Ok(())
        })
        .await
    }
}

/// Show what ever happened to an object, newest first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps history '#01jd4m3v7q8z0r5t1x6y2w9k3n'\n  caps history '#01jd4m3v7q8z0r5t1x6y2w9k3n' --before 812 --limit 20"
)]
pub(super) struct History {
    /// The object's id, with or without #.
    #[arg(value_parser = object_id)]
    object: ObjectId,
    /// Only changes before this position.
    #[arg(long, value_name = "POSITION")]
    before: Option<u64>,
    /// At most this many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    freshness: Freshness,
}

impl History {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            self.freshness.ask_of(&client).await?;
            let ask = Ask { object: self.object, before: self.before.map(Position), limit: self.limit };
            let answer = self.freshness.explained(client.history(ask).await)?;
            if global.json {
                let events: Vec<_> = answer.events.iter().map(output::event).collect();
                say!("{}", json!({"position": answer.position.0, "events": events}));
                return Ok(());
            }
            anyhow::ensure!(!answer.events.is_empty(), "there is no object {}, or none that you may read", self.object);
            let mut table = output::table(&["POSITION", "TIME", "METHOD", "BY", "WHY", "CHANGED"]);
            for (place, event) in answer.events.iter().enumerate() {
                let before = answer.events.get(place + 1).map(|earlier| &earlier.object);
                let by = event.user.map_or_else(|| event.front_end.clone(), |user| format!("user #{user}"));
                let method = format!("{}.{}", event.method.0, event.method.1);
                let why = event.reason.clone().unwrap_or_default();
                let changed = changed(before, &event.object);
                table.add_row([event.object.version.to_string(), output::moment(event.time), method, by, why, changed]);
            }
            say!("{table}");
            Ok(())
        })
        .await
    }
}

/// What differs between two versions of an object, in one cell.
fn changed(before: Option<&Object>, after: &Object) -> String {
    let gone = after.obliterated.iter().filter(|name| before.is_none_or(|before| !before.is_obliterated(name)));
    let gone = gone.map(|name| format!("{name}: obliterated"));
    if after.deleted {
        let first = before.is_none_or(|before| !before.deleted).then(|| "deleted".to_owned());
        return first.into_iter().chain(gone).collect::<Vec<_>>().join(" ");
    }
    let names: BTreeSet<&Name> = before.iter().flat_map(|object| object.attributes.keys()).chain(after.attributes.keys()).collect();
    let differs = |name: &&Name| before.map_or(&[][..], |object| object.values(name.as_str())) != after.values(name.as_str());
    let shown = names.into_iter().filter(differs).map(|name| {
        let was = before.map_or(&[][..], |object| object.values(name.as_str()));
        let is = output::values(after.values(name.as_str()));
        if was.is_empty() { format!("{name}={is}") } else { format!("{name}: {} -> {is}", output::values(was)) }
    });
    shown.chain(gone).collect::<Vec<_>>().join(" ")
}

/// Prints objects with the attributes that they have as columns.
fn print_table(objects: &[Object], wanted: &[String]) {
    let hidden = ["readers", "writers", "text"];
    let all: BTreeSet<&str> = objects.iter().flat_map(|object| object.attributes.keys().map(Name::as_str)).collect();
    let columns: Vec<&str> = match wanted {
        [] => all.into_iter().filter(|name| !hidden.contains(name)).take(COLUMNS_SHOWN).collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let header: Vec<&str> = ["id"].into_iter().chain(columns.iter().copied()).collect();
    let mut table = output::table(&header);
    for object in objects {
        let cells = columns.iter().map(|name| output::values(object.values(name)));
        table.add_row([format!("#{}", object.id)].into_iter().chain(cells));
    }
    say!("{table}");
}

/// An id as people paste it: with or without the `#`.
pub(super) fn object_id(text: &str) -> Result<ObjectId, caps_model::ParseIdError> {
    text.strip_prefix('#').unwrap_or(text).parse()
}

/// More columns than this fit no terminal.
const COLUMNS_SHOWN: usize = 8;

/// What an answer of another shape tells.
const OTHER_RELEASE: &str = "the host answered something else: is it of another release?";
