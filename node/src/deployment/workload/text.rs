//! Operations as the deployment file has them: what `caps record` writes, and the parser reads back.

use std::fmt;
use std::time::Duration;

use caps_model::{Filter, Name, Query, Value};

use super::template::{Piece, Template, escaped};
use super::{Operation, Pick, Step};

/// The `[[operation]]` of the deployment file. The parser reads back what this writes, except for values of kind bytes, which the file has no
/// words for, and filters that nobody can type.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[operation]]\nname = {}", quoted(&self.name))?;
        if let Some(about) = &self.about {
            writeln!(f, "about = {}", quoted(about))?;
        }
        if let Some(limit) = self.limit {
            writeln!(f, "limit = {}", time(limit))?;
        }
        self.steps.iter().try_for_each(|step| write!(f, "\n[[operation.step]]\n{step}\n"))
    }
}

/// The line inside its `[[operation.step]]`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect = true"),
            Self::Login { user, password } => {
                write!(f, "login = {{ user = {}, password = {} }}", quoted(user), quoted(&password.0))
            }
            Self::Query { query, pick } => {
                write!(f, "query = {{ {}", entity_and_filter(query))?;
                if !query.order.is_empty() {
                    let orders: Vec<String> = query.order.iter().map(ToString::to_string).collect();
                    write!(f, ", order = \"{}\"", orders.join(", "))?;
                }
                write!(f, ", limit = {}", query.limit)?;
                let pick = if *pick == Pick::Any { ", pick = \"any\"" } else { "" };
                write!(f, "{pick} }}")
            }
            Self::Get { objects, at_most } => {
                let objects = one_or_list(objects.iter().map(object).collect());
                write!(f, "get = {{ objects = {objects}, at_most = {at_most} }}")
            }
            Self::History { object, limit } => write!(f, "history = {{ object = {}, limit = {limit} }}", self::object(object)),
            Self::Call { module, method, arguments } => {
                write!(f, "call = {{ module = \"{module}\", method = \"{method}\"")?;
                if !arguments.is_empty() {
                    let argument =
                        |(name, values): &(Name, Vec<Template>)| format!("{name} = {}", one_or_list(values.iter().map(argument).collect()));
                    write!(f, ", arguments = {{ {} }}", arguments.iter().map(argument).collect::<Vec<_>>().join(", "))?;
                }
                f.write_str(" }")
            }
            Self::FileMail { text, size_bytes } => write!(f, "file_mail = {{ text = {}, bytes = {size_bytes} }}", argument(text)),
            Self::Watch { query, length } => write!(f, "watch = {{ {}, for = {} }}", entity_and_filter(query), time(*length)),
            Self::Think(length) => write!(f, "think = {}", time(*length)),
        }
    }
}

fn entity_and_filter(query: &Query) -> String {
    match &query.filter {
        Filter::All => format!("entity = \"{}\"", query.entity),
        filter => format!("entity = \"{}\", filter = {}", query.entity, quoted(&filter.to_string())),
    }
}

/// An object as `get` and `history` name it.
fn object(template: &Template) -> String {
    match template {
        Template::Source(source) => quoted(source.to_string().trim_start_matches('$')),
        Template::Fixed(value) => quoted(&value.to_string()),
        Template::Text(_) | Template::Now => quoted("found"),
    }
}

/// A value as the arguments of a call have it.
fn argument(template: &Template) -> String {
    match template {
        Template::Fixed(Value::Text(text)) => quoted(&escaped(text)),
        Template::Fixed(Value::Timestamp(micros)) => format!("{{ timestamp = {micros} }}"),
        Template::Fixed(Value::Timespan(micros)) => format!("{{ timespan = {micros} }}"),
        Template::Fixed(Value::Float(number)) => toml::Value::Float(*number).to_string(),
        Template::Fixed(value @ (Value::Bool(_) | Value::Int(_))) => value.to_string(),
        // What the file has no words for is written as people read it.
        Template::Fixed(value) => quoted(&value.to_string()),
        Template::Source(source) => quoted(&source.to_string()),
        Template::Text(pieces) => quoted(&pieces.iter().map(piece).collect::<String>()),
        Template::Now => "{ timestamp = \"now\" }".to_owned(),
    }
}

fn piece(piece: &Piece) -> String {
    match piece {
        Piece::Fixed(text) => escaped(text),
        Piece::Source(source) => source.to_string(),
    }
}

fn one_or_list(mut values: Vec<String>) -> String {
    match values.len() {
        1 => values.remove(0),
        _ => format!("[{}]", values.join(", ")),
    }
}

/// A text on one line, in quotes.
fn quoted(text: &str) -> String {
    let mut line = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => line.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => line.push(c),
        }
    }
    line + "\""
}

fn time(time: Duration) -> String {
    format!("\"{}\"", humantime::format_duration(time).to_string().replace(' ', ""))
}
