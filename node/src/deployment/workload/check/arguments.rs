//! The arguments of a call, held against what its method declares.

use caps_model::schema::{Attribute, Method};
use caps_model::{Name, Value, ValueKind};

use super::super::declared::Before;
use super::super::template::{Piece, Source, Template};
use super::{Complaint, complain, file};

/// The arguments that a step gives to a method.
pub(super) fn checked(call: &file::Call, method: &Method, before: &Before<'_>) -> Result<Vec<(Name, Vec<Template>)>, Complaint> {
    let mut arguments = Vec::new();
    for (written, value) in &call.arguments {
        let parameter = method.parameters.iter().find(|parameter| parameter.name == written.get_ref().as_str());
        let parameter = parameter.ok_or_else(|| {
            let known: Vec<&str> = method.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            complain(written, format!("{} takes no {:?}; it takes {}", method.name, written.get_ref(), known.join(", ")))
        })?;
        let values = values(value.get_ref(), parameter, before).map_err(|problem| complain(value, problem))?;
        arguments.push((parameter.name.clone(), values));
    }
    let given = |parameter: &Attribute| arguments.iter().any(|(name, _)| *name == parameter.name);
    match method.parameters.iter().find(|parameter| parameter.arity.min > 0 && !given(parameter)) {
        Some(missing) => Err(complain(&call.method, format!("{} needs {}: {}", method.name, missing.name, missing.summary))),
        None => Ok(arguments),
    }
}

fn values(written: &toml::Value, parameter: &Attribute, before: &Before<'_>) -> Result<Vec<Template>, String> {
    let values = match written {
        toml::Value::Array(values) => values.iter().map(|value| one(value, parameter, before)).collect::<Result<Vec<_>, _>>()?,
        value => vec![one(value, parameter, before)?],
    };
    let (min, max) = (parameter.arity.min as usize, parameter.arity.max as usize);
    match values.len() {
        count if count > max => Err(format!("{} takes at most {max} values, not {count}", parameter.name)),
        count if count < min => Err(format!("{} takes at least {min} values, not {count}", parameter.name)),
        _ => Ok(values),
    }
}

fn one(written: &toml::Value, parameter: &Attribute, before: &Before<'_>) -> Result<Template, String> {
    let fixed = |value| Ok(Template::Fixed(value));
    match (written, parameter.kind) {
        (toml::Value::String(text), kind) => of_text(text, kind, parameter, before),
        (toml::Value::Integer(number), ValueKind::Int) => fixed(Value::Int(*number)),
        (toml::Value::Float(number), ValueKind::Float) => fixed(Value::Float(*number)),
        (toml::Value::Boolean(truth), ValueKind::Bool) => fixed(Value::Bool(*truth)),
        (toml::Value::Datetime(moment), ValueKind::Timestamp) => timestamp(moment).map(Template::Fixed),
        (toml::Value::Table(table), ValueKind::Timestamp) => match table.get("timestamp") {
            Some(toml::Value::String(word)) if word == "now" && table.len() == 1 => Ok(Template::Now),
            Some(toml::Value::Integer(micros)) if table.len() == 1 => fixed(Value::Timestamp(*micros)),
            _ => Err("a moment is { timestamp = \"now\" }, { timestamp = MICROSECONDS } or 2026-02-01T09:00:00Z".to_owned()),
        },
        (toml::Value::Table(table), ValueKind::Timespan) => match table.get("timespan") {
            Some(toml::Value::Integer(micros)) if table.len() == 1 => fixed(Value::Timespan(*micros)),
            _ => Err("a length of time is { timespan = MICROSECONDS }".to_owned()),
        },
        (_, kind) => Err(format!("{} is of kind {kind}, and {written} is not", parameter.name)),
    }
}

fn of_text(text: &str, kind: ValueKind, parameter: &Attribute, before: &Before<'_>) -> Result<Template, String> {
    let template = Template::of_text(text)?;
    for source in template.sources() {
        before.kind(source)?;
    }
    let wrong = |what: &str| Err(format!("{} is of kind {kind}, and {what} is not", parameter.name));
    match (template, kind) {
        (Template::Source(source), kind) => match before.kind(&source)? {
            Some(other) if other == kind => Ok(Template::Source(source)),
            None if source != Source::Number => Ok(Template::Source(source)),
            // A text can be made of anything.
            _ if kind == ValueKind::Text => Ok(Template::Text(vec![Piece::Source(source)])),
            _ => wrong(&source.to_string()),
        },
        (template, ValueKind::Text) => Ok(template),
        (Template::Fixed(Value::Text(text)), ValueKind::Reference) => match text.strip_prefix('#').map(str::parse) {
            Some(Ok(id)) => Ok(Template::Fixed(Value::Reference(id))),
            Some(Err(error)) => Err(format!("{text:?}: {error}")),
            None => wrong(&format!("{text:?} (write $found or #id)")),
        },
        _ => wrong(&format!("{text:?}")),
    }
}

fn timestamp(moment: &toml::value::Datetime) -> Result<Value, String> {
    let parsed = time::OffsetDateTime::parse(&moment.to_string(), &time::format_description::well_known::Rfc3339);
    let parsed = parsed.map_err(|_| format!("{moment} is no moment: write it as 2026-02-01T09:00:00Z"))?;
    let micros = i64::try_from(parsed.unix_timestamp_nanos() / 1_000).map_err(|_| format!("{moment} is outside the calendar"))?;
    Ok(Value::Timestamp(micros))
}
