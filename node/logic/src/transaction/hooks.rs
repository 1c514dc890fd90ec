//! What modules have to say about changes, until nobody has anything to add.

use std::collections::BTreeMap;
use std::sync::Arc;

use caps_model::{Object, ObjectId};

use super::{Acting, Transaction, relations};
use crate::module::{AttributeEvent, Halt, Module, ObjectEvent};

/// Tells the hooks of all modules what is about to change, keeps the other ends of relations true and computed attributes up to date, and
/// goes round again for what that changed. At most [`PASSES_MAX`] times: hooks that answer one another without end are a fault.
pub(super) fn settle(tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let mut told: BTreeMap<ObjectId, Arc<Object>> = BTreeMap::new();
    for _ in 0..PASSES_MAX {
        let fresh = untold(tx, &told);
        if fresh.is_empty() {
            return Ok(());
        }
        for id in &fresh {
            tell(tx, *id, &mut told)?;
        }
        relations::mirror(tx)?;
        for id in fresh {
            compute(tx, id)?;
        }
    }
    Err(tx.fault(format!("hooks and computed attributes do not settle in {PASSES_MAX} passes")))
}

/// Asks every module with `ask`, each as itself and with the principal's rights, whatever the code before had.
pub(super) fn ask_modules(
    tx: &mut Transaction<'_>,
    mut ask: impl FnMut(&dyn Module, &mut Transaction<'_>) -> Result<(), Halt>,
) -> Result<(), Halt> {
    for (number, declared) in tx.catalogue().modules() {
        as_if_called(tx, number, |tx| ask(declared.module.as_ref(), tx))?;
    }
    Ok(())
}

fn untold(tx: &Transaction<'_>, told: &BTreeMap<ObjectId, Arc<Object>>) -> Vec<ObjectId> {
    let is_new = |id: &ObjectId, object: &Arc<Object>| !told.get(id).is_some_and(|then| Arc::ptr_eq(then, object));
    tx.drafts.iter().filter(|(id, draft)| is_new(id, draft.object())).map(|(id, _)| *id).collect()
}

fn tell(tx: &mut Transaction<'_>, id: ObjectId, told: &mut BTreeMap<ObjectId, Arc<Object>>) -> Result<(), Halt> {
    let Some(draft) = tx.drafts.get(&id) else { return Ok(()) };
    let (before, after) = (draft.before().cloned(), draft.object().clone());
    let then = told.insert(id, after.clone());
    if !after.deleted {
        for attribute in draft.changed_since(then.as_ref().or(before.as_ref()).map(Arc::as_ref)) {
            let event = AttributeEvent { before: before.clone(), after: after.clone(), attribute };
            ask_modules(tx, |module, tx| module.attribute_hook(&event, tx))?;
        }
    }
    let event = ObjectEvent { before, after };
    ask_modules(tx, |module, tx| module.object_hook(&event, tx))
}

fn compute(tx: &mut Transaction<'_>, id: ObjectId) -> Result<(), Halt> {
    let Some(object) = tx.drafts.get(&id).map(|draft| draft.object().clone()) else { return Ok(()) };
    let Some(declared) = tx.catalogue().declared_entity(object.entity.as_str()) else { return Ok(()) };
    if object.deleted {
        return Ok(());
    }
    for attribute in declared.entity.attributes.iter().filter(|attribute| attribute.computed) {
        let number = declared.writer(&attribute.name);
        let module = &tx.catalogue().declared(number).module;
        let mut values = Vec::new();
        as_if_called(tx, number, |tx| {
            values = module.computed(&object, attribute.name.as_str(), tx)?;
            Ok(())
        })?;
        tx.put(id, &attribute.name, values)?;
    }
    Ok(())
}

fn as_if_called(tx: &mut Transaction<'_>, module: usize, act: impl FnOnce(&mut Transaction<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
    let caller = tx.enter(module);
    let acting = std::mem::replace(&mut tx.acting, Acting::Principal);
    let outcome = act(tx);
    tx.acting = acting;
    tx.enter(caller);
    outcome.map_err(|halt| tx.halt(halt))
}

const PASSES_MAX: usize = 16;
