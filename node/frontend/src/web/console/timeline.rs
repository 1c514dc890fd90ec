//! What happened to an object: when, by whom, by which method, why, and what became different.

use std::collections::BTreeSet;

use caps_model::messages::Event;
use caps_model::{Name, Object, ObjectId, Value};
use maud::{Markup, html};

use super::super::catalogue::{Catalogue, is_of_rights, shortened};
use super::super::shown::{Show, label};

/// The events of a timeline, newest first. `earlier`: where the rest is.
pub(super) fn timeline(catalogue: &Catalogue, show: Show<'_>, events: &[Event], earlier: Option<&str>) -> Markup {
    html! {
        ol.timeline #timeline {
            @for (place, event) in events.iter().enumerate() {
                li {
                    p {
                        (show.moment(event.time)) " · "
                        @match event.user {
                            Some(user) => (show.reference(user)),
                            None => { span.id { (node(&event.front_end)) } },
                        }
                        " · " code { (event.method.0) "." (event.method.1) }
                    }
                    @if let Some(reason) = &event.reason { p.reason dir="auto" { "“" (reason) "”" } }
                    (changed(catalogue, show, events.get(place + 1).map(|event| &event.object), &event.object, place + 1 == events.len() && earlier.is_some()))
                }
            }
        }
        @if let Some(earlier) = earlier { p { a.button href=(earlier) { "Earlier" } } }
    }
}

/// Everybody whom a timeline mentions, and every object that its changes do.
pub(super) fn mentioned(events: &[Event]) -> BTreeSet<ObjectId> {
    let references = |event: &Event| {
        let shown = event.object.attributes.iter().filter(|(name, _)| !is_of_rights(name));
        shown.flat_map(|(_, values)| values.iter().rev().take(CHANGED_VALUES)).filter_map(Value::as_reference).collect::<Vec<_>>()
    };
    events.iter().flat_map(|event| event.user.into_iter().chain(references(event))).collect()
}

fn changed(catalogue: &Catalogue, show: Show<'_>, before: Option<&Object>, after: &Object, is_cut: bool) -> Markup {
    if is_cut {
        return html! { p.hint { "What it changed is shown with what came before." } };
    }
    if after.deleted {
        return html! { p { strong { "Deleted" } } };
    }
    let names: BTreeSet<&Name> = before.iter().flat_map(|object| object.attributes.keys()).chain(after.attributes.keys()).collect();
    let differs = |name: &&Name| before.map_or(&[][..], |object| object.values(name.as_str())) != after.values(name.as_str());
    let names: Vec<&Name> = names.into_iter().filter(|name| !is_of_rights(name)).filter(differs).collect();
    let kind = catalogue.kind(after.entity.as_str());
    html! {
        @if before.is_none() { p { strong { "Created" } } }
        ul.changes {
            @for name in names {
                @let (was, is) = (before.map_or(&[][..], |object| object.values(name.as_str())), after.values(name.as_str()));
                @let attribute = kind.and_then(|kind| kind.entity.attribute(name.as_str()));
                li {
                    (label(name.as_str())) ": "
                    @if after.is_obliterated(name) { em { "obliterated" } }
                    @else if is.len() > 1 || was.len() > 1 {
                        @let new: Vec<Value> = is.iter().filter(|value| !was.contains(value)).take(CHANGED_VALUES).cloned().collect();
                        @if new.is_empty() { (is.len()) " left" } @else { "+ " (short(show, attribute, name, &new)) }
                    }
                    @else {
                        @if !was.is_empty() { s { (short(show, attribute, name, was)) } " → " }
                        @if is.is_empty() { em { "none" } } @else { (short(show, attribute, name, is)) }
                    }
                }
            }
        }
    }
}

fn short(show: Show<'_>, attribute: Option<&caps_model::schema::Attribute>, name: &Name, values: &[Value]) -> Markup {
    match values {
        [Value::Text(text)] if text.chars().count() > CHANGED_CHARACTERS => html! { bdi { (shortened(text, CHANGED_CHARACTERS)) } },
        values => show.whole(attribute, name, values),
    }
}

/// The name of a node in its identity.
fn node(identity: &str) -> &str {
    identity.rsplit('/').next().unwrap_or(identity)
}

/// Values of a list that an event shows.
const CHANGED_VALUES: usize = 5;

/// Characters of a text that an event shows.
const CHANGED_CHARACTERS: usize = 120;
