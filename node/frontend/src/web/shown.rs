//! Values as people see them in pages. Everything that somebody wrote is escaped by the templates, and runs in its own direction.

use caps_model::schema::Attribute;
use caps_model::{Name, Object, ObjectId, Value, ValueKind};
use maud::{Markup, html};

use super::catalogue::{Kind, is_long, selection, shortened};
use super::moment::{from_now, readable, rfc3339, span};
use super::titles::{REFERENCES_SHOWN, Titles};

/// What is needed to show values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Show<'a> {
    /// What people call other objects.
    pub(crate) titles: &'a Titles,
    /// The time of day.
    pub(crate) now: i64,
}

impl Show<'_> {
    /// An attribute of an object in a cell of a list: short.
    pub(crate) fn cell(self, kind: Option<&Kind>, object: &Object, name: &Name) -> Markup {
        let attribute = kind.and_then(|kind| kind.entity.attribute(name.as_str()));
        let values = object.values(name.as_str());
        html! {
            @for (place, value) in values.iter().take(CELL_VALUES).enumerate() {
                @if place > 0 { ", " }
                (self.short(attribute, name, value))
            }
            @if values.len() > CELL_VALUES { span.more { " +" (values.len() - CELL_VALUES) } }
        }
    }

    /// All values of an attribute, on a page of their own.
    pub(crate) fn whole(self, attribute: Option<&Attribute>, name: &Name, values: &[Value]) -> Markup {
        if let ([Value::Text(text)], true) = (values, attribute.is_none_or(is_long)) {
            return html! { div.prose dir="auto" { (text) } };
        }
        html! {
            @for (place, value) in values.iter().take(REFERENCES_SHOWN).enumerate() {
                @if place > 0 { br; }
                (self.one(attribute, name, value))
            }
            @if values.len() > REFERENCES_SHOWN { br; span.more { "and " (values.len() - REFERENCES_SHOWN) " more" } }
        }
    }

    /// A link to an object, by what people call it.
    pub(crate) fn reference(self, id: ObjectId) -> Markup {
        match self.titles.of(id) {
            Some(title) => html! { a href={ "/o/" (id) } dir="auto" { (title) } },
            None => html! { span.id title=(id) { "…" (&id.to_string()[20..]) } },
        }
    }

    /// A moment: far or near in words, exact on demand; the script makes local time of it.
    pub(crate) fn moment(self, micros: i64) -> Markup {
        html! { time datetime=(rfc3339(micros)) title={ (readable(micros)) " UTC" } { (readable(micros)) } }
    }

    /// How far a moment is from now; the script keeps it true.
    pub(crate) fn distance(self, micros: i64) -> Markup {
        html! { time data-far datetime=(rfc3339(micros)) title={ (readable(micros)) " UTC" } { (from_now(micros, self.now)) } }
    }

    fn short(self, attribute: Option<&Attribute>, name: &Name, value: &Value) -> Markup {
        match value {
            Value::Text(text) if !is_one_of_few(attribute) => html! { bdi { (shortened(text, CELL_CHARACTERS)) } },
            value => self.one(attribute, name, value),
        }
    }

    fn one(self, attribute: Option<&Attribute>, name: &Name, value: &Value) -> Markup {
        match value {
            Value::Text(text) if is_one_of_few(attribute) => chip(text),
            Value::Text(text) => html! { bdi { (text) } },
            Value::Choice(choice) => chip(choice.word.as_str()),
            Value::Bool(truth) => html! { (if *truth { "yes" } else { "no" }) },
            Value::Int(number) if is_priority(name, attribute) => priority(*number),
            Value::Timestamp(micros) => self.moment(*micros),
            Value::Timespan(micros) => html! { (span(*micros)) },
            Value::Reference(id) => self.reference(*id),
            Value::Blob(blob) => html! { span.id title=(blob) { (bytes(blob.size_bytes)) } },
            Value::Entry(entry) => html! { bdi { (entry.key()) } ": " (self.one(attribute, name, entry.value())) },
            value => html! { bdi { (value) } },
        }
    }
}

/// A word of few that an object can be in: its colour says it at a glance, the word says it to everybody.
pub(crate) fn chip(word: &str) -> Markup {
    let plain = !word.is_empty() && word.len() <= 20 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    html! { span class={ "chip" @if plain { " is-" (word) } } { (word) } }
}

/// A priority of the case desk in words.
pub(crate) fn priority(number: i64) -> Markup {
    match usize::try_from(number).ok().and_then(|number| PRIORITIES.get(number.checked_sub(1)?)) {
        Some(word) => html! { span class={ "chip is-" (word) } { (word) } },
        None => html! { (number) },
    }
}

/// A size as people read it.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{} KiB", count / 1_024),
        _ => format!("{} MiB", count / 1_048_576),
    }
}

/// The word for an attribute, as a heading has it.
pub(crate) fn label(name: &str) -> String {
    let text = name.replace('_', " ");
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn is_one_of_few(attribute: Option<&Attribute>) -> bool {
    attribute.is_some_and(|attribute| selection(attribute).is_some())
}

fn is_priority(name: &Name, attribute: Option<&Attribute>) -> bool {
    name == "priority" && attribute.is_some_and(|attribute| attribute.kind == ValueKind::Int)
}

/// What the numbers of priorities mean, from 1.
pub(crate) const PRIORITIES: [&str; 4] = ["low", "normal", "high", "urgent"];

const CELL_VALUES: usize = 3;
const CELL_CHARACTERS: usize = 80;
