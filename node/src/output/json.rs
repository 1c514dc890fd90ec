//! The model's types as JSON. Shapes are stable: programs read them.

use caps_model::messages::{Event, ObjectChange, Update};
use caps_model::{Object, Record, Value};
use serde_json::{Value as Json, json};

use super::{exact_moment, hex};

/// `{"id","entity","created","version","deleted","attributes"}`, and `"obliterated"`, the names of attributes, if there are such.
pub(crate) fn object(object: &Object) -> Json {
    let mut shown = json!({
        "id": object.id.to_string(),
        "entity": object.entity.as_str(),
        "created": object.created.0,
        "version": object.version.0,
        "deleted": object.deleted,
        "attributes": record(&object.attributes),
    });
    if !object.obliterated.is_empty() {
        shown["obliterated"] = object.obliterated.iter().map(|name| name.as_str()).collect();
    }
    shown
}

/// Attribute names and lists of values.
pub(crate) fn record(record: &Record) -> Json {
    record
        .iter()
        .map(|(name, values)| (name.to_string(), values.iter().map(value).collect::<Json>()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A value: timestamps as RFC 3339 to the microsecond, references as `#id`, bytes in hexadecimal, decimals as text, an entry of a map as an object, the rest as
/// JSON has it.
fn value(value: &Value) -> Json {
    match value {
        Value::Bool(truth) => json!(truth),
        Value::Int(number) | Value::Timespan(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Timestamp(micros) => json!(exact_moment(*micros)),
        Value::Bytes(bytes) => json!(hex(bytes)),
        Value::Reference(id) => json!(format!("#{id}")),
        // As text: what reads JSON makes a float of a number.
        Value::Decimal(number) => json!(number.to_string()),
        Value::Choice(choice) => json!(choice.word.as_str()),
        Value::Blob(blob) => json!({"blob": blob.to_string(), "bytes": blob.size_bytes}),
        Value::Entry(entry) => json!({ entry.key(): self::value(entry.value()) }),
    }
}

/// `{"position","commit","time","user","front_end","method","reason","object"}`.
pub(crate) fn event(event: &Event) -> Json {
    json!({
        "position": event.object.version.0,
        "commit": event.commit.to_string(),
        "time": exact_moment(event.time),
        "user": event.user.map(|user| user.to_string()),
        "front_end": event.front_end,
        "method": format!("{}.{}", event.method.0, event.method.1),
        "reason": event.reason,
        "object": object(&event.object),
    })
}

/// `{"update":"present"|"changes"|"progress","position",...}`; `"moment"` if the query says something about now, `"coalesced_from"` if commits
/// were left out, `"place"` of what is in a window.
pub(crate) fn update(update: &Update) -> Json {
    let mut json = told(update);
    if let Some(moment) = update.moment() {
        json["moment"] = json!(moment);
    }
    json
}

fn told(update: &Update) -> Json {
    match update {
        Update::Present { position, objects, complete, .. } => json!({
            "update": "present",
            "position": position.0,
            "objects": objects.iter().map(object).collect::<Json>(),
            "complete": complete,
        }),
        Update::Changes { position, changes, places, coalesced_from, .. } => {
            let mut places = places.iter();
            let placed = |one| {
                let mut json = change(one);
                if let Some(place) = one.object().and_then(|_| places.next()) {
                    json["place"] = json!(place);
                }
                json
            };
            let changes: Json = changes.iter().map(placed).collect();
            let mut json = json!({ "update": "changes", "position": position.0, "changes": changes });
            if let Some(from) = coalesced_from {
                json["coalesced_from"] = json!(from.0);
            }
            json
        }
        Update::Progress { position, .. } => json!({ "update": "progress", "position": position.0 }),
    }
}

fn change(change: &ObjectChange) -> Json {
    match change {
        ObjectChange::Added(added) => json!({ "change": "added", "object": object(added) }),
        ObjectChange::Changed(changed) => json!({ "change": "changed", "object": object(changed) }),
        ObjectChange::Removed(id) => json!({ "change": "removed", "id": id.to_string() }),
    }
}
