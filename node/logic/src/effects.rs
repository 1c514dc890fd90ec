//! The built-in module `effects`: what commits asked to be done in the world, and what became of it.
//!
//! Each [`Transaction::effect`] leaves an object of the entity `effect` in the same commit, so the queue of what is to be done is as durable,
//! as replicated and as open to queries as everything else. A gateway, which is a front end, follows those that wait, **claims** one for a while,
//! carries it out, and tells what came of it. Whatever it does is in the history: nobody starts before the claim is durable, and nobody else
//! starts while it holds. A claim that ran out without a word is taken up by whoever comes next, under the same key: that is the one case besides
//! a server that left us unsure in which something may be done twice, and the key lets the other side recognise it.
//!
//! What is to be done, with its words, stays in the commit, where obliteration finds it; here is only what for, by which key, and how it goes.
//! Whoever holds the claim is given the rest ([`Inspect::Effect`](caps_model::messages::inspect::Inspect)).

mod pause;

use caps_model::schema::{Attribute, Constraint, Entity, Method};
use caps_model::{Name, Object, ObjectId, Record, Schema, Value, ValueKind};

use crate::module::{Fault, Halt, Module, Refusal, Transaction};
use crate::privileges::{Principal, READERS_NAME, WRITERS_NAME};

/// The module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effects;

/// The name of the module.
pub const MODULE: &str = "effects";
/// The entity of effects.
pub const EFFECT: &str = "effect";
/// The group whose members carry effects out.
pub const CARRIERS: &str = "gateway";

/// It is to be done, from `next_at` on.
pub const WAITING: &str = "waiting";
/// Somebody is at it; from `next_at` on somebody else may be.
pub const CLAIMED: &str = "claimed";
/// It is done.
pub const DONE: &str = "done";
/// It was given up: nobody tries again unless asked to.
pub const DEAD: &str = "dead";

/// How long a claim holds: a gateway gives an attempt up well before, also where clocks differ by half a minute.
pub const CLAIM_MICROS: i64 = 180 * 1_000_000;

impl Module for Effects {
    fn schema(&self) -> Schema {
        Schema {
            module: Name::fixed(MODULE),
            version: 2,
            summary: "What commits asked to be done in the world: mail, calls of other systems.".to_owned(),
            entities: vec![effect()],
            extensions: Vec::new(),
            relations: Vec::new(),
            methods: methods(),
        }
    }

    fn call(&self, method: &str, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
        match method {
            "claim" => tx.as_module("giving an effect to who carries it out", |tx| claim(arguments, tx)),
            "done" => tx.as_module("noting that an effect is done", |tx| done(arguments, tx)),
            "failed" => tx.as_module("noting that an effect failed", |tx| failed(arguments, tx)),
            "retry" => retry(arguments, tx),
            _ => Err(Fault::new(format!("effects has no method {method:?}")).into()),
        }
    }
}

/// The object that stands for an effect on behalf of `object`: whoever may see that may see how it goes.
pub(crate) fn queued(
    kind: &Name,
    object: &Object,
    key: &str,
    towards: &str,
    carriers: Option<ObjectId>,
    own: ObjectId,
    now: i64,
) -> Record {
    let with = |name: &str, more: &[ObjectId]| {
        let mut groups = object.values(name).to_vec();
        groups.extend(more.iter().copied().map(Value::Reference));
        groups.sort();
        groups.dedup();
        groups
    };
    let readers: Vec<ObjectId> = [own].into_iter().chain(carriers).collect();
    let mut attributes = record([
        ("kind", vec![Value::text(kind.as_str())]),
        ("object", vec![Value::Reference(object.id)]),
        ("key", vec![Value::text(key)]),
        ("towards", vec![Value::text(towards)]),
        ("status", vec![Value::text(WAITING)]),
        ("attempts", vec![Value::Int(0)]),
        ("made_at", vec![Value::Timestamp(now)]),
        ("next_at", vec![Value::Timestamp(now)]),
    ]);
    attributes.insert(READERS_NAME.clone(), with(READERS_NAME.as_str(), &readers));
    attributes.insert(WRITERS_NAME.clone(), with(WRITERS_NAME.as_str(), &[own]));
    attributes
}

/// Whether this principal holds the claim on an effect.
pub(crate) fn is_held_by(effect: &Object, principal: &Principal) -> bool {
    effect.entity == EFFECT && effect.text("status") == Some(CLAIMED) && effect.text("by") == Some(principal.key().as_str())
}

fn claim(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let effect = tx.require(effect_of(arguments), "effect")?;
    let now = tx.now();
    let is_due = effect.value("next_at").and_then(Value::as_timestamp).is_none_or(|next_at| next_at <= now);
    let free = match effect.text("status") {
        Some(WAITING | CLAIMED) if is_due => Ok(()),
        Some(WAITING) => Err(("too_early", "it is not its time yet")),
        Some(CLAIMED) => Err(("claimed", "somebody else is at it")),
        _ => Err(("settled", "it is done, or given up")),
    };
    free.map_err(|(code, sentence)| Refusal::new(code, sentence).at_fixed("effect"))?;
    let attempt = effect.int("attempts").unwrap_or_default() + 1;
    let holder = tx.principal().key();
    tx.update(
        effect.id,
        record([
            ("status", vec![Value::text(CLAIMED)]),
            ("attempts", vec![Value::Int(attempt)]),
            ("by", vec![Value::text(holder)]),
            ("next_at", vec![Value::Timestamp(now.saturating_add(CLAIM_MICROS))]),
        ]),
    )?;
    Ok(record([("attempt", vec![Value::Int(attempt)])]))
}

/// It is done, whoever may have thought otherwise meanwhile.
fn done(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let effect = tx.require(effect_of(arguments), "effect")?;
    if effect.text("status") != Some(DONE) {
        settle(effect.id, DONE, values(arguments, "outcome"), tx)?;
    }
    Ok(Record::new())
}

fn failed(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let effect = tx.require(effect_of(arguments), "effect")?;
    if !is_held_by(&effect, tx.principal()) {
        return Err(Refusal::new("not_claimed", "the claim is not yours any more").at_fixed("effect").into());
    }
    let now = tx.now();
    let first = arguments.get("pause").and_then(|values| values.first()).and_then(timespan).unwrap_or(pause::FIRST_MICROS);
    let made_at = effect.value("made_at").and_then(Value::as_timestamp).unwrap_or(now);
    let asked = arguments.get("wait").and_then(|values| values.first()).and_then(timespan).unwrap_or(0);
    let pause = pause::after(effect.int("attempts").unwrap_or(1), first, effect.id).max(asked.min(pause::PATIENCE_MICROS));
    let next_at = now.saturating_add(pause);
    let is_final = arguments.get("final").and_then(|values| values.first()).and_then(Value::as_bool) == Some(true);
    if is_final || next_at.saturating_sub(made_at) > pause::PATIENCE_MICROS {
        settle(effect.id, DEAD, values(arguments, "outcome"), tx)?;
        return Ok(Record::new());
    }
    tx.update(
        effect.id,
        record([
            ("status", vec![Value::text(WAITING)]),
            ("outcome", values(arguments, "outcome")),
            ("by", Vec::new()),
            ("next_at", vec![Value::Timestamp(next_at)]),
        ]),
    )?;
    Ok(record([("next_at", vec![Value::Timestamp(next_at)])]))
}

/// Another try of what was given up, with the rights of whoever asks.
fn retry(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let effect = tx.require(effect_of(arguments), "effect")?;
    if effect.text("status") != Some(DEAD) {
        return Err(Refusal::new("not_dead", "it was not given up: it is done, or tried again by itself").at_fixed("effect").into());
    }
    let now = vec![Value::Timestamp(tx.now())];
    tx.update(
        effect.id,
        record([("status", vec![Value::text(WAITING)]), ("made_at", now.clone()), ("next_at", now), ("settled_at", Vec::new())]),
    )?;
    Ok(Record::new())
}

fn settle(effect: ObjectId, status: &str, outcome: Vec<Value>, tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let now = vec![Value::Timestamp(tx.now())];
    tx.update(
        effect,
        record([
            ("status", vec![Value::text(status)]),
            ("outcome", outcome),
            ("by", Vec::new()),
            ("next_at", Vec::new()),
            ("settled_at", now),
        ]),
    )
}

fn effect() -> Entity {
    let status = Attribute::one("status", ValueKind::Text, "waiting, claimed (somebody is at it), done or dead (given up).");
    let statuses = [WAITING, CLAIMED, DONE, DEAD].map(Value::text).to_vec();
    Entity {
        name: Name::fixed(EFFECT),
        summary: "Something that a commit asked to be done in the world.".to_owned(),
        parent: None,
        attributes: vec![
            text("kind", "What it is: mail, webhook.", 64).with(Constraint::Unchangeable),
            Attribute::one("object", ValueKind::Reference, "What it belongs to.").with(Constraint::Unchangeable),
            text("key", "By what the other side recognises a repetition, such as a Message-ID.", KEY_BYTES_MAX)
                .with(Constraint::Unchangeable),
            text("towards", "Where it goes, such as a domain: limits count by it.", 256).with(Constraint::Unchangeable),
            status.with(Constraint::Selection(statuses)),
            Attribute::one("attempts", ValueKind::Int, "How often it was tried."),
            Attribute::one("made_at", ValueKind::Timestamp, "When it was asked for, or asked for again."),
            Attribute::optional(
                "next_at",
                ValueKind::Timestamp,
                "When it is tried next; of what is claimed: if nobody says otherwise before.",
            ),
            Attribute::optional("by", ValueKind::Text, "Who is at it."),
            Attribute::optional("outcome", ValueKind::Text, "What came of the last attempt.")
                .with(Constraint::Size { min: 0, max: OUTCOME_BYTES_MAX }),
            Attribute::optional("settled_at", ValueKind::Timestamp, "When it was done, or given up."),
        ],
    }
}

fn methods() -> Vec<Method> {
    let effect = || Attribute::one(EFFECT, ValueKind::Reference, "The effect.").with(Constraint::RefersTo(Name::fixed(EFFECT)));
    let outcome = || {
        let attribute = Attribute::one("outcome", ValueKind::Text, "What the other side said.");
        attribute.with(Constraint::Size { min: 0, max: OUTCOME_BYTES_MAX })
    };
    let pause = Attribute::optional(
        "pause",
        ValueKind::Timespan,
        "How long to wait before the second attempt; twice as long before each later one.",
    );
    let wait = Attribute::optional("wait", ValueKind::Timespan, "How long the other side asked to be left alone, if it did.");
    let is_final = Attribute::optional("final", ValueKind::Bool, "Whether another attempt is pointless.");
    let attempt = Attribute::one("attempt", ValueKind::Int, "Which attempt it is, from 1.");
    let next_at = Attribute::optional("next_at", ValueKind::Timestamp, "When it is tried next; none: it was given up.");
    let carried = |name, summary: &str, parameters, results| method(name, summary, parameters, results, &[CARRIERS]);
    vec![
        carried("claim", "Takes an effect to carry it out: nobody else does for three minutes.", vec![effect()], vec![attempt]),
        carried("done", "Says that an effect is done.", vec![effect(), outcome()], Vec::new()),
        carried("failed", "Says that an attempt failed.", vec![effect(), outcome(), pause, wait, is_final], vec![next_at]),
        method("retry", "Asks for another attempt of what was given up.", vec![effect()], Vec::new(), RETRIERS),
    ]
}

fn method(name: &'static str, summary: &str, parameters: Vec<Attribute>, results: Vec<Attribute>, callers: &[&str]) -> Method {
    let callers = callers.iter().map(ToString::to_string).collect();
    Method { name: Name::fixed(name), summary: summary.to_owned(), parameters, results, callers }
}

fn text(name: &'static str, summary: &str, bytes_max: u32) -> Attribute {
    Attribute::one(name, ValueKind::Text, summary).with(Constraint::Size { min: 0, max: bytes_max })
}

fn effect_of(arguments: &Record) -> ObjectId {
    let given = arguments.get(EFFECT).and_then(|values| values.first()).and_then(Value::as_reference);
    given.expect("the schema demands an effect")
}

fn timespan(value: &Value) -> Option<i64> {
    match value {
        Value::Timespan(micros) => Some(*micros),
        _ => None,
    }
}

fn values(arguments: &Record, name: &str) -> Vec<Value> {
    arguments.get(name).cloned().unwrap_or_default()
}

fn record<const N: usize>(pairs: [(&'static str, Vec<Value>); N]) -> Record {
    pairs.into_iter().map(|(name, values)| (Name::fixed(name), values)).collect()
}

/// Bytes of a key: a Message-ID is no longer (RFC 5322 bounds a line at 998).
const KEY_BYTES_MAX: u32 = 998;

/// Bytes of what the other side said that are kept.
pub const OUTCOME_BYTES_MAX: u32 = 1_000;

/// Who may ask for another attempt, if the effect's object is theirs to write.
const RETRIERS: &[&str] = &["desk", "administrators"];
