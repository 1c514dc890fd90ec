//! The module `casedesk`: mail of customers becomes cases, agents answer them.
//!
//! Everything is readable and writable by the group `desk`, and by the module itself, which files mail on behalf of gateways that may file and
//! nothing else. Cases are numbered from 1 without gaps.

mod delivery;
mod filing;
mod handling;
mod schema;
mod threading;

use caps_logic::effects::EFFECT;
use caps_logic::module::{Fault, Halt, Module, Name, Object, ObjectEvent, READERS, Record, Schema, Transaction, Value, WRITERS};

/// The module.
#[derive(Clone, Debug)]
pub struct CaseDesk {
    /// The address that replies come from.
    address: String,
    /// The domain in the Message-IDs of replies.
    domain: String,
}

/// The name of the module.
pub const MODULE: &str = "casedesk";
/// The group whose members work at the desk.
pub const DESK: &str = "desk";
/// The group whose members may file mail.
pub const GATEWAY: &str = "gateway";

impl CaseDesk {
    /// A desk that answers from `address`, such as `desk@caps.example`.
    pub fn new(address: impl Into<String>) -> Self {
        let address = address.into();
        let domain = address.rsplit_once('@').map_or("caps.example", |(_, domain)| domain).to_owned();
        Self { address, domain }
    }
}

impl Default for CaseDesk {
    fn default() -> Self {
        Self::new("desk@caps.example")
    }
}

impl Module for CaseDesk {
    fn schema(&self) -> Schema {
        schema::schema()
    }

    fn call(&self, method: &str, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
        match method {
            "file_mail" => filing::file_mail(arguments, tx),
            "add_agent" => handling::add_agent(arguments, tx),
            "assign" => handling::assign(arguments, tx),
            "set_priority" => handling::set_priority(arguments, tx),
            "reply" => handling::reply(self, arguments, tx),
            "attach" => handling::attach(arguments, tx),
            "close" => handling::close(arguments, tx),
            "reopen" => handling::reopen(arguments, tx),
            _ => Err(Fault::new(format!("casedesk has no method {method:?}")).into()),
        }
    }

    fn object_hook(&self, event: &ObjectEvent, tx: &mut Transaction<'_>) -> Result<(), Halt> {
        match event.after.entity == EFFECT {
            true => delivery::note(&event.after, tx),
            false => Ok(()),
        }
    }

    fn computed(&self, object: &Object, attribute: &str, _tx: &mut Transaction<'_>) -> Result<Vec<Value>, Halt> {
        match attribute {
            "due_at" => Ok(due_at(object)),
            _ => Err(Fault::new(format!("casedesk does not compute {attribute:?}")).into()),
        }
    }
}

/// When a case is to be dealt with: urgent within 4 hours, high a day, normal three days, low a week.
fn due_at(case: &Object) -> Vec<Value> {
    let hours = match case.int("priority") {
        Some(4) => 4,
        Some(3) => 24,
        Some(2) => 72,
        _ => 168,
    };
    let opened = case.value("opened_at").and_then(Value::as_timestamp);
    opened.map(|opened| Value::Timestamp(opened.saturating_add(hours * HOUR_MICROS))).into_iter().collect()
}

/// The attributes that hand an object to the desk, and to the module itself.
fn for_the_desk(tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let groups = vec![Value::Reference(tx.group(DESK)?), Value::Reference(tx.module_group())];
    Ok([(Name::fixed(READERS), groups.clone()), (Name::fixed(WRITERS), groups)].into())
}

fn text<'a>(arguments: &'a Record, name: &str) -> Option<&'a str> {
    arguments.get(name)?.first()?.as_text()
}

fn texts<'a>(arguments: &'a Record, name: &str) -> impl Iterator<Item = &'a str> {
    arguments.get(name).into_iter().flatten().filter_map(Value::as_text)
}

fn values(arguments: &Record, name: &str) -> Vec<Value> {
    arguments.get(name).cloned().unwrap_or_default()
}

fn record<const N: usize>(pairs: [(&'static str, Vec<Value>); N]) -> Record {
    pairs.into_iter().map(|(name, values)| (Name::fixed(name), values)).collect()
}

fn one(text: impl Into<String>) -> Vec<Value> {
    vec![Value::text(text)]
}

/// The start of a text, cut at a character.
fn start_of(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

const HOUR_MICROS: i64 = 3_600 * 1_000_000;

#[cfg(test)]
mod tests;
