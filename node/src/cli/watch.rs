//! `caps watch`.

use std::io::{IsTerminal, Write};

use caps_frontend::Window;
use caps_model::messages::{From, ObjectChange, Subscribe, Update, WINDOW_MAX};
use caps_model::query::Order;
use caps_model::{Filter, Name, Object, ObjectId, Position, Query};
use clap::Args;

use super::Global;
use super::connect::with_client;
use super::read::object_id;
use crate::output;

/// Follow the objects of an entity that satisfy a filter, until interrupted.
///
/// First the objects there are, then each change once, in order, whatever happens to hosts and lines in between. A condition such as
/// `due_at < now + 2d` brings and takes objects as time passes. With --limit only the first objects of an order, as a list that is drawn anew
/// when it changes; a condition on what an object refers to, such as `customer.country = SE`, needs one. With --columns only what changes these attributes. With --from only what changed after that position: the last one
/// printed, to go on where an earlier watch ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps watch case\n  caps watch case 'status != closed' --as desk-kiruna\n  \
    caps watch case 'status = open' --order due_at --limit 20\n  caps watch case \"customer.address like '%.se'\" --limit 50\n  caps watch case 'due_at < now + 2d' --columns number,due_at\n  \
    caps watch case --objects '#01jd...' --columns status\n  caps watch message --from 812 --json")]
pub(super) struct Watch {
    /// The entity.
    entity: Name,
    /// The filter; everything if not given.
    filter: Option<Filter>,
    /// Only what changed after this: a position, with / and the moment behind it if the filter says something about now.
    #[arg(long, value_name = "POSITION", value_parser = place)]
    from: Option<From>,
    /// Of a list, the order: by these attributes, each with 'desc' behind it or not; by age if not given.
    #[arg(long, value_name = "ATTRIBUTES", value_delimiter = ',', requires = "limit")]
    order: Vec<Order>,
    /// A list of the first so many objects.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(WINDOW_MAX)))]
    limit: Option<u32>,
    /// Only these objects.
    #[arg(long, value_delimiter = ',', value_name = "IDS", value_parser = object_id, conflicts_with = "limit")]
    objects: Vec<ObjectId>,
    /// Only these attributes, and only when they change.
    #[arg(long, alias = "attributes", value_delimiter = ',', value_name = "NAMES")]
    columns: Vec<Name>,
    /// Every change by itself, also when this is too slow to follow: otherwise many are then told as one.
    #[arg(long, conflicts_with = "limit")]
    every_change: bool,
}

impl Watch {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            let mut subscription = client.follow(self.subscribe());
            let mut out = std::io::stdout().lock();
            let mut list = (self.limit.is_some() && !global.json && out.is_terminal()).then(Window::new);
            let mut interrupted = std::pin::pin!(super::connect::interrupted());
            loop {
                let update = tokio::select! {
                    // An interruption first: a busy subscription must not keep it waiting.
                    biased;
                    () = &mut interrupted => return Ok(()),
                    update = subscription.next() => update?,
                };
                match &mut list {
                    Some(list) => {
                        if list.take(&update) {
                            draw(&mut out, &update, list)?;
                        }
                    }
                    None if global.json => writeln!(out, "{}", output::update(&update))?,
                    None => print(&mut out, &update)?,
                }
                out.flush()?;
            }
        })
        .await
    }

    fn subscribe(&self) -> Subscribe {
        let filter = self.filter.clone().unwrap_or(Filter::All);
        let query = Query { filter, order: self.order.clone(), ..Query::all(self.entity.clone()) };
        let query = match self.limit {
            Some(limit) => query.limit(limit),
            None => query,
        };
        Subscribe {
            objects: self.objects.clone(),
            attributes: self.columns.clone(),
            window: self.limit.is_some(),
            every_change: self.every_change,
            ..Subscribe::new(query, self.from.unwrap_or(From::Present))
        }
    }
}

/// A position, or a position and a moment, as printed.
fn place(text: &str) -> Result<From, String> {
    let number = |text: &str| {
        text.parse().map_err(|_| format!("{text:?} is no position: give one that was printed, as 812, or 812/1764543600000000"))
    };
    match text.split_once('/') {
        None => Ok(From::After(Position(number(text)?))),
        Some((position, moment)) => {
            let moment = moment.parse().map_err(|_| format!("{moment:?} is no moment: give the microseconds that were printed"))?;
            Ok(From::AfterMoment { position: Position(number(position)?), moment })
        }
    }
}

/// Draws a list over the one before it.
fn draw(out: &mut impl Write, update: &Update, list: &Window) -> std::io::Result<()> {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    writeln!(out, "{CLEAR}{}", heading(update))?;
    for (place, object) in (1..).zip(list.objects()) {
        writeln!(out, "{place:>4}  {}", line(object))?;
    }
    Ok(())
}

fn heading(update: &Update) -> String {
    let left_out = match update {
        Update::Changes { coalesced_from: Some(from), .. } => format!("; commits after {from} are told as one"),
        _ => String::new(),
    };
    format!("at position {}{left_out}", told_at(update))
}

/// What `--from` takes.
fn told_at(update: &Update) -> String {
    match update.moment() {
        None => update.position().to_string(),
        Some(moment) => format!("{}/{moment}", update.position()),
    }
}

fn print(out: &mut impl Write, update: &Update) -> std::io::Result<()> {
    let at = told_at(update);
    match update {
        Update::Present { objects, complete, .. } => {
            for object in objects {
                writeln!(out, "{at:>8}  present  {}", line(object))?;
            }
            if *complete {
                writeln!(out, "{at:>8}  that is all there is now; waiting for changes")?;
            }
        }
        Update::Changes { changes, places, coalesced_from, .. } => {
            if let Some(from) = coalesced_from {
                writeln!(out, "{at:>8}  too many changes to follow: where they led since {from}")?;
            }
            let mut places = places.iter();
            for change in changes {
                let place = change.object().and_then(|_| places.next()).map(|place| format!("place {}  ", place + 1)).unwrap_or_default();
                match change {
                    ObjectChange::Added(object) => writeln!(out, "{at:>8}  added    {place}{}", line(object))?,
                    ObjectChange::Changed(object) => writeln!(out, "{at:>8}  changed  {place}{}", line(object))?,
                    ObjectChange::Removed(id) => writeln!(out, "{at:>8}  removed  #{id}")?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_is_where_to_go_on() {
        for update in
            [Update::Progress { position: Position(812), moment: None }, Update::Progress { position: Position(812), moment: Some(-5) }]
        {
            assert_eq!(place(&told_at(&update)), Ok(update.resume_from()));
        }
        assert!(place("soon").unwrap_err().contains("as 812"));
        assert!(place("812/soon").is_err());
    }

    #[test]
    fn changes_are_printed_with_their_places() {
        let object = Object::new(ObjectId(1), Name::fixed("case"), Position(1), caps_model::Record::new());
        let changes = vec![ObjectChange::Removed(ObjectId(2)), ObjectChange::Added(object.clone())];
        let from = Some(Position(3));
        let update = Update::Changes { position: Position(9), moment: Some(7), changes, places: vec![4], coalesced_from: from };
        let mut out = Vec::new();
        print(&mut out, &update).unwrap();
        let expected = format!(
            "     9/7  too many changes to follow: where they led since 3\n     9/7  removed  #{}\n     9/7  added    place 5  #{} \n",
            ObjectId(2),
            object.id
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
