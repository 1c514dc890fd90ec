//! What became of mail that went out, told at the message itself.

use std::sync::Arc;

use caps_logic::effects;
use caps_logic::module::{Halt, Name, Object, Query, Record, Transaction, Value};

use super::schema::NOTE_BYTES_MAX;
use super::{one, start_of, text};

/// Notes at a message how the effect that sends it goes.
pub(super) fn note(effect: &Object, tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let (Some("mail"), Some(message)) = (effect.text("kind"), effect.reference("object")) else { return Ok(()) };
    let state = match effect.text("status") {
        Some(effects::DONE) => "sent",
        Some(effects::DEAD) => "failed",
        _ => "queued",
    };
    tx.as_module("noting at a message how it is delivered", |tx| {
        let Some(message) = tx.get(message)?.filter(|object| object.entity == "message") else { return Ok(()) };
        // That the next server took it says nothing against the one that gave it back.
        if message.text("delivery") == Some("bounced") {
            return Ok(());
        }
        let sent_at = if state == "sent" { effect.values("settled_at").to_vec() } else { Vec::new() };
        tx.set(message.id, "delivery", one(state))?;
        tx.set(message.id, "delivered_at", sent_at)?;
        tx.set(message.id, "delivery_note", effect.values("outcome").to_vec())
    })
}

/// The message that a mail says could not be delivered, if it is one of the desk's.
pub(super) fn bounced(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Option<Arc<Object>>, Halt> {
    let Some(id) = text(arguments, "bounced_id") else { return Ok(None) };
    let message = tx.one(&Query::equal(Name::fixed("message"), Name::fixed("message_id"), Value::text(id)))?;
    Ok(message.filter(|message| message.text("direction") == Some("out")))
}

/// Notes at a message that it came back.
pub(super) fn note_bounce(message: &Object, arguments: &Record, tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let note = text(arguments, "bounce_note").unwrap_or("it came back");
    tx.set(message.id, "delivery", one("bounced"))?;
    tx.set(message.id, "delivery_note", one(start_of(note, NOTE_BYTES_MAX as usize)))
}
