//! Forms for the parameters of a method: constraints as hints, the host's word where it belongs, what was typed kept.

use std::collections::BTreeMap;

use caps_adapters::web::form::Form;
use caps_model::schema::Attribute;
use caps_model::{Name, ObjectId, Query, Value, ValueKind};
use maud::{Markup, html};

use super::super::catalogue::{Catalogue, is_long, range, selection, size};
use super::super::input::{Complaints, object_id, written};
use super::super::refusal::{Refusal, Trouble};
use super::super::shown::{PRIORITIES, label};
use crate::{Client, ClientError};

/// What a form is filled in with, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// What was typed, or is proposed.
    pub(super) form: Form,
    /// What is wrong with fields.
    pub(super) complaints: Complaints,
    /// What is wrong besides.
    pub(super) complaint: Option<String>,
    /// What references can be chosen from, by the parameter.
    pub(super) options: BTreeMap<Name, Vec<(ObjectId, String)>>,
    /// Parameters whose object is given by the page that the form is about, with what people call it.
    pub(super) given: BTreeMap<Name, (ObjectId, String)>,
}

impl Filled {
    /// Takes in what kept a call from being made.
    pub(super) fn complain(&mut self, trouble: &Trouble, parameters: &[Attribute]) {
        match trouble {
            Trouble::Refused(Refusal { field: Some(field), sentence, .. }) if parameters.iter().any(|p| p.name == **field) => {
                self.complaints.insert(field.clone(), sentence.clone());
            }
            Trouble::Refused(Refusal { field: Some(field), sentence, .. }) => {
                self.complaint = Some(format!("{}: {sentence}", label(field)));
            }
            other => self.complaint = Some(other.sentence()),
        }
    }

    /// Asks what references can be chosen from, where those are few.
    pub(super) async fn offer(&mut self, client: &Client, catalogue: &Catalogue, parameters: &[Attribute]) -> Result<(), ClientError> {
        for parameter in parameters.iter().filter(|parameter| parameter.kind == ValueKind::Reference && parameter.arity.max == 1) {
            let Some(target) = parameter.target() else { continue };
            let id = self.form.filled(parameter.name.as_str()).and_then(object_id);
            if let Some(id) = id
                && self.given.contains_key(&parameter.name)
            {
                let found = client.get(vec![id]).await?.objects.into_iter().next().flatten();
                let title = found.map_or_else(|| id.to_string(), |object| catalogue.title(&object));
                self.given.insert(parameter.name.clone(), (id, title));
                continue;
            }
            let answer = client.query(Query::all(target.clone()).limit(OPTIONS_MAX)).await?;
            if !answer.more && !answer.objects.is_empty() {
                let options = answer.objects.iter().map(|object| (object.id, catalogue.title(object))).collect();
                self.options.insert(parameter.name.clone(), options);
            }
        }
        Ok(())
    }

    /// The fields of these parameters.
    pub(super) fn fields<'a>(&self, parameters: impl IntoIterator<Item = &'a Attribute>) -> Markup {
        html! { @for parameter in parameters { (self.field(parameter)) } }
    }

    /// What is wrong with the whole.
    pub(super) fn complaint(&self) -> Markup {
        html! { @if let Some(complaint) = &self.complaint { p.complaint role="alert" dir="auto" { (complaint) } } }
    }

    fn field(&self, parameter: &Attribute) -> Markup {
        let name = parameter.name.as_str();
        if let Some((id, title)) = self.given.get(&parameter.name) {
            return html! {
                div.field {
                    span.label { (label(name)) }
                    input type="hidden" name=(name) value=(id);
                    a href={ "/o/" (id) } dir="auto" { (title) }
                    @if let Some(complaint) = self.complaints.get(name) { p.complaint role="alert" { (complaint) } }
                }
            };
        }
        let complaint = self.complaints.get(name);
        html! {
            div.field {
                label for={ "f-" (name) } { (label(name)) @if parameter.arity.min == 0 { span.hint { " optional" } } }
                (self.control(parameter, complaint.is_some()))
                p.hint #{ "h-" (name) } { (hint(parameter)) }
                @if let Some(complaint) = complaint { p.complaint role="alert" #{ "c-" (name) } dir="auto" { (complaint) } }
            }
        }
    }

    fn control(&self, parameter: &Attribute, is_wrong: bool) -> Markup {
        let name = parameter.name.as_str();
        let (id, invalid) = (format!("f-{name}"), is_wrong.then_some("true"));
        let described = if is_wrong { format!("c-{name} h-{name}") } else { format!("h-{name}") };
        let required = parameter.arity.min > 0;
        let typed = self.form.all(name).collect::<Vec<_>>().join("\n");
        if let Some(options) = self.choices(parameter) {
            return html! {
                select id=(id) name=(name) required[required] aria-invalid=[invalid] aria-describedby=(described) {
                    @if !required || typed.is_empty() { option value="" { "—" } }
                    @for (value, text) in options { option value=(value) selected[value == typed] dir="auto" { (text) } }
                }
            };
        }
        if parameter.kind == ValueKind::Blob {
            let kept: Vec<&str> = self.form.all(name).filter(|text| !text.is_empty()).collect();
            return html! {
                @for blob in &kept { input type="hidden" name={ (name) "-kept" } value=(blob); }
                input id=(id) name=(name) type="file" multiple[parameter.arity.max != 1] required[required && kept.is_empty()] aria-invalid=[invalid]
                    aria-describedby=(described);
                @if !kept.is_empty() { p.hint { "The file that was sent is kept; choose another one to send that instead." } }
            };
        }
        let max = size(parameter).map(|(_, max)| max);
        if is_long(parameter) || parameter.arity.max != 1 {
            let rows = if parameter.arity.max == 1 { "8" } else { "3" };
            return html! {
                textarea id=(id) name=(name) rows=(rows) maxlength=[max.filter(|_| parameter.arity.max == 1)] dir="auto" required[required]
                    aria-invalid=[invalid] aria-describedby=(described) { "\n" (typed) }
            };
        }
        let (kind, mode) = match parameter.kind {
            ValueKind::Int => ("number", None),
            ValueKind::Timestamp => ("datetime-local", None),
            ValueKind::Float | ValueKind::Decimal => ("text", Some("decimal")),
            _ if name.contains("password") => ("password", None),
            _ => ("text", None),
        };
        let bounds = range(parameter).map(|(from, to)| (from.to_string(), to.to_string()));
        // An empty text is a text: only where nothing is no answer, the browser asks for something.
        let required = required && (parameter.kind != ValueKind::Text || size(parameter).is_some_and(|(min, _)| min > 0));
        html! {
            input id=(id) name=(name) type=(kind) inputmode=[mode] value=(if kind == "password" { "" } else { typed.as_str() }) dir="auto"
                maxlength=[max] min=[bounds.as_ref().map(|(from, _)| from)] max=[bounds.as_ref().map(|(_, to)| to)] step=[(kind == "datetime-local").then_some("1")]
                required[required] aria-invalid=[invalid] aria-describedby=(described) autocomplete=[(kind == "password").then_some("new-password")];
        }
    }

    /// What there is to choose from, if a list of it helps: values as a form holds them, and words.
    fn choices(&self, parameter: &Attribute) -> Option<Vec<(String, String)>> {
        if parameter.arity.max != 1 || parameter.is_map {
            return None;
        }
        if let Some(options) = self.options.get(&parameter.name) {
            return Some(options.iter().map(|(id, title)| (id.to_string(), title.clone())).collect());
        }
        if let Some(values) = selection(parameter) {
            return Some(values.iter().map(|value| (written(value), value.to_string())).collect());
        }
        match (parameter.kind, range(parameter)) {
            (ValueKind::Choice, _) => {
                Some(parameter.choices.iter().map(|choice| (choice.word.to_string(), choice.word.to_string())).collect())
            }
            (ValueKind::Bool, _) => {
                Some([("true", "yes"), ("false", "no")].map(|(value, word)| (value.to_owned(), word.to_owned())).to_vec())
            }
            (ValueKind::Int, Some((Value::Int(1), Value::Int(4)))) if parameter.name == *"priority" => {
                Some((1..).zip(PRIORITIES).map(|(number, word)| (number.to_string(), word.to_owned())).collect())
            }
            _ => None,
        }
    }
}

/// What the schema says of a parameter, in a line.
fn hint(parameter: &Attribute) -> String {
    let mut hint = parameter.summary.clone();
    let mut add = |text: String| {
        if !hint.is_empty() {
            hint.push(' ');
        }
        hint.push_str(&text);
    };
    match (parameter.is_map, parameter.arity.max) {
        (true, max) => add(format!("One entry a line, as key: value; at most {max}.")),
        (false, 1) => {}
        (false, max) => add(format!("One a line; at most {max}.")),
    }
    match size(parameter) {
        Some((0, max)) => add(format!("At most {max} bytes.")),
        Some((min, max)) => add(format!("{min} to {max} bytes.")),
        None => {}
    }
    match parameter.kind {
        ValueKind::Timespan => add("Such as 2d or 1h30m.".to_owned()),
        ValueKind::Timestamp => add("In UTC.".to_owned()),
        ValueKind::Bytes => add("Two hexadecimal digits a byte.".to_owned()),
        _ => {}
    }
    hint
}

/// References that a list offers; more are typed or pasted.
const OPTIONS_MAX: u32 = 100;
