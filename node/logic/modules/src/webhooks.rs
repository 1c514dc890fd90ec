//! The module `webhooks`: other programs are told what happens to objects of any module.
//!
//! An administrator says which events go to which endpoint, and on whose behalf: only what the group named may read is told of. Where an endpoint is
//! and what webhooks to it are signed with stands in the deployment file of the front end that sends them, so nobody gets one to send anywhere else
//! by what is in the cabinet. A host that does not load this module spends nothing on it.
//!
//! What happens leaves an effect of the kind `webhook` in the same commit. It says which attributes of which object changed, and not to what: whoever
//! receives it asks for that by the web services, with rights of its own, and gets what is true then. So it does no harm that webhooks may overtake one
//! another, and nothing is told that was withdrawn, or obliterated, meanwhile.

mod schema;

use std::sync::Arc;

use caps_logic::effects::EFFECT;
use caps_logic::module::{
    Fault, Halt, Module, Name, Object, ObjectEvent, ObjectId, Query, READERS, Record, Refusal, Schema, Transaction, Value, WRITERS,
    refusals,
};
use caps_logic::privileges::ADMINISTRATORS;

/// The module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Webhooks;

/// The name of the module.
pub const MODULE: &str = "webhooks";
/// The entity of webhooks, and the kind of their effects.
pub const WEBHOOK: &str = "webhook";

impl Module for Webhooks {
    fn schema(&self) -> Schema {
        schema::schema()
    }

    fn call(&self, method: &str, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
        match method {
            "add" => add(arguments, tx),
            "remove" => remove(arguments, tx),
            "test" => test(arguments, tx),
            _ => Err(Fault::new(format!("webhooks has no method {method:?}")).into()),
        }
    }

    fn object_hook(&self, event: &ObjectEvent, tx: &mut Transaction<'_>) -> Result<(), Halt> {
        // What came of telling is not told, or it would never end.
        match event.after.entity == EFFECT {
            true => Ok(()),
            false => tell(event, tx),
        }
    }
}

fn add(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    for event in texts(arguments, "events") {
        let entity = event.split('.').next().unwrap_or_default();
        if entity == EFFECT || !tx.knows_entity(entity) {
            let sentence = format!("there is no entity {entity:?} here of which anybody can be told");
            return Err(Refusal::new("no_such_entity", sentence).at_fixed("events").into());
        }
    }
    let group = tx.group(text(arguments, "group"))?;
    let known = tx.as_module("counting webhooks", |tx| tx.query(&all()))?;
    if known.len() >= WEBHOOKS_MAX as usize {
        let sentence = format!("there are {WEBHOOKS_MAX} webhooks, which every change is held against: remove some");
        return Err(Refusal::new(refusals::TOO_MANY, sentence).into());
    }
    let readers = [ADMINISTRATORS, tx.module_group()].map(Value::Reference).to_vec();
    let webhook = tx.create(
        WEBHOOK,
        record([
            ("name", values(arguments, "name")),
            ("endpoint", values(arguments, "endpoint")),
            ("events", values(arguments, "events")),
            ("group", vec![Value::Reference(group)]),
            (READERS, readers),
            (WRITERS, vec![Value::Reference(ADMINISTRATORS)]),
        ]),
    )?;
    Ok(answer(webhook))
}

fn remove(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let webhook = named(arguments, tx)?;
    tx.delete(webhook.id)?;
    Ok(answer(webhook.id))
}

/// Sends an event of its own, so that both ends can be seen to understand one another.
fn test(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let webhook = named(arguments, tx)?;
    // Nothing changes at the webhook that would tell two tests apart, so the time does.
    let key = format!("{}-test-{}", webhook.id, tx.now());
    leave(&webhook, &webhook, key, "webhook.test", Vec::new(), tx)?;
    Ok(answer(webhook.id))
}

/// Leaves an effect for each webhook that wants to know.
fn tell(event: &ObjectEvent, tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let Some(what) = what_happened(event) else { return Ok(()) };
    let changed = changed(event);
    if changed.is_empty() && what == CHANGED {
        return Ok(());
    }
    let object = &event.after;
    let listening = tx.as_module("finding the webhooks that want to know", |tx| tx.query(&all()))?;
    for webhook in listening.iter().filter(|webhook| may_know(webhook, object)) {
        let Some(kind) = object.entities().map(|entity| format!("{entity}.{what}")).find(|kind| wants(webhook, kind)) else { continue };
        // An object changes once at a version, whoever tries; it is the same in every run, and in every telling of one run.
        let version = event.before.as_ref().map_or(0, |before| before.version.0);
        let key = format!("{}-{}-{version}", webhook.id, object.id);
        leave(webhook, object, key, &kind, changed.clone(), tx)?;
    }
    Ok(())
}

fn leave(webhook: &Object, object: &Object, key: String, kind: &str, changed: Vec<Value>, tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let arguments = record([
        ("type", vec![Value::text(kind)]),
        ("object", vec![Value::Reference(object.id)]),
        ("entity", vec![Value::text(object.entity.as_str())]),
        ("happened_at", vec![Value::Timestamp(tx.now())]),
        ("changed", changed),
    ]);
    // Nothing belongs to what is gone.
    let belongs_to = if object.deleted { webhook.id } else { object.id };
    tx.effect(WEBHOOK, belongs_to, key, webhook.text("endpoint").unwrap_or_default(), arguments)
}

fn what_happened(event: &ObjectEvent) -> Option<&'static str> {
    match (event.before.is_some(), event.after.deleted) {
        (false, false) => Some(CREATED),
        (true, false) => Some(CHANGED),
        (true, true) => Some(DELETED),
        (false, true) => None,
    }
}

/// The names of the attributes that differ; of a new object, of those that it has.
fn changed(event: &ObjectEvent) -> Vec<Value> {
    let before = |name: &Name| event.before.as_ref().map_or(&[][..], |before| before.values(name.as_str()));
    let now = &event.after.attributes;
    let differs = now.iter().filter(|(name, values)| before(name) != values.as_slice()).map(|(name, _)| name);
    let gone = event.before.iter().flat_map(|before| before.attributes.keys()).filter(|name| !now.contains_key(*name));
    differs.chain(gone).map(|name| Value::text(name.as_str())).collect()
}

/// Whether the group on whose behalf it is told may read the object.
fn may_know(webhook: &Object, object: &Object) -> bool {
    webhook.value("group").is_some_and(|group| object.values(READERS).contains(group))
}

fn wants(webhook: &Object, kind: &str) -> bool {
    webhook.values("events").iter().any(|event| event.as_text() == Some(kind))
}

fn named(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Arc<Object>, Halt> {
    let query = Query::equal(Name::fixed(WEBHOOK), Name::fixed("name"), Value::text(text(arguments, "name")));
    let found = tx.one(&query)?;
    found.ok_or_else(|| Refusal::new(refusals::NOT_FOUND, "there is no such webhook").at_fixed("name").into())
}

fn all() -> Query {
    Query::all(Name::fixed(WEBHOOK)).limit(WEBHOOKS_MAX)
}

fn answer(webhook: ObjectId) -> Record {
    record([(WEBHOOK, vec![Value::Reference(webhook)])])
}

fn text<'a>(arguments: &'a Record, name: &str) -> &'a str {
    texts(arguments, name).next().unwrap_or_default()
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

const CREATED: &str = "created";
const CHANGED: &str = "changed";
const DELETED: &str = "deleted";

/// Webhooks: every change is held against all of them.
const WEBHOOKS_MAX: u32 = 64;

#[cfg(test)]
mod tests;
