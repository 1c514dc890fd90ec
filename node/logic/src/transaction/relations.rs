//! Relations: whoever writes one end, the other end is kept true.

use std::collections::BTreeSet;
use std::sync::Arc;

use caps_model::{Name, Object, ObjectId, Value};

use super::Transaction;
use crate::catalogue::End;
use crate::module::{Halt, Refusal, refusals};

/// Brings the other end of every relation in line with the ends that were written.
///
/// What is deleted drops out of other ends, unless one of them is strong and still refers to it: that refuses the deletion.
///
/// It asks nobody's rights: that an object is related is one fact with two ends, and the right to write the one end was checked. Where an end
/// holds one object at most, the newcomer displaces the old. Doing it twice changes nothing.
pub(super) fn mirror(tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let changed: Vec<_> = tx.drafts.values().map(|draft| (draft.before().cloned(), draft.object().clone())).collect();
    let mut missing = Ok(());
    for (before, after) in changed {
        let Some(declared) = tx.catalogue().declared_entity(after.entity.as_str()) else { continue };
        for (attribute, other) in &declared.ends {
            let had = before.as_deref().map(|before| references(before, attribute)).unwrap_or_default();
            let has = if after.deleted { BTreeSet::new() } else { references(&after, attribute) };
            for (object, holds) in had.symmetric_difference(&has).map(|id| (*id, has.contains(id))) {
                let outcome = match holds {
                    true => attach(tx, object, other, &after, attribute),
                    false if is_held(tx, object, other, &after, attribute)? => {
                        let sentence = format!("{} {object} still refers to this {}", other.attribute, after.entity);
                        Err(tx.refuse(Refusal::new(refusals::REFERRED_TO, sentence).at(attribute)))
                    }
                    false => detach(tx, object, &other.attribute, after.id),
                };
                // The other ends are fetched together: a wish is not the end of the round.
                match outcome {
                    Err(Halt::Read) => missing = Err(Halt::Read),
                    other => other?,
                }
            }
        }
    }
    missing
}

/// Makes `object` refer back to `to` at `end`.
fn attach(tx: &mut Transaction<'_>, object: ObjectId, end: &End, to: &Object, from: &Name) -> Result<(), Halt> {
    // What does not exist is found by the check of references, which words it as the reader's rights demand.
    let Some(present) = tx.present(object)? else { return Ok(()) };
    let mut values = present.values(end.attribute.as_str()).to_vec();
    if values.contains(&Value::Reference(to.id)) || !is_declared(tx, &present, &end.attribute) {
        return Ok(());
    }
    if end.single {
        for displaced in std::mem::take(&mut values).iter().filter_map(Value::as_reference) {
            detach(tx, displaced, from, object)?;
        }
    }
    values.push(Value::Reference(to.id));
    tx.put(object, &end.attribute, values)
}

/// Whether a deletion would take away from `object` what it must not be without.
fn is_held(tx: &mut Transaction<'_>, object: ObjectId, end: &End, deleted: &Object, from: &Name) -> Result<bool, Halt> {
    if !deleted.deleted || !end.is_strong || !references(deleted, from).contains(&object) {
        return Ok(false);
    }
    let present = match tx.present(object) {
        Ok(present) => present,
        // It is wished for; the whole code runs again when it is here.
        Err(Halt::Read) => return Ok(false),
        Err(halt) => return Err(halt),
    };
    Ok(present.is_some_and(|present| references(&present, &end.attribute).contains(&deleted.id)))
}

/// Makes `object` no longer refer to `to`.
fn detach(tx: &mut Transaction<'_>, object: ObjectId, attribute: &Name, to: ObjectId) -> Result<(), Halt> {
    let Some(present) = tx.present(object)? else { return Ok(()) };
    let mut values = present.values(attribute.as_str()).to_vec();
    let before = values.len();
    values.retain(|value| *value != Value::Reference(to));
    if values.len() == before { Ok(()) } else { tx.put(object, attribute, values) }
}

/// Whether the object has such an attribute at all: a reference may name an object of another entity until the checks say no.
fn is_declared(tx: &Transaction<'_>, object: &Arc<Object>, attribute: &Name) -> bool {
    tx.catalogue().entity(object.entity.as_str()).is_some_and(|entity| entity.attribute(attribute.as_str()).is_some())
}

fn references(object: &Object, attribute: &Name) -> BTreeSet<ObjectId> {
    object.values(attribute.as_str()).iter().filter_map(Value::as_reference).collect()
}
