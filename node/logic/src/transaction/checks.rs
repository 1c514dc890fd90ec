//! The constraints of the schema.

use std::collections::BTreeSet;
use std::sync::Arc;

use caps_model::schema::{Attribute, Check, Constraint, Method};
use caps_model::value::{BYTES_MAX, Entry};
use caps_model::{Name, Object, ObjectId, Query, Record, Value};

use super::{Transaction, hooks};
use crate::catalogue::whole;
use crate::module::{Halt, ObjectEvent, Refusal, refusals};
use crate::people::GROUP;
use crate::privileges::{READERS, names_one_of};

/// Checks what a caller gave against the parameters of the method, as far as that needs no look into the cabinet.
pub(crate) fn check_arguments(method: &Method, arguments: &Record) -> Result<(), Refusal> {
    check_record(method, &method.parameters, arguments)
}

/// Checks what a module answered against the results that the method declares.
pub(crate) fn check_results(method: &Method, results: &Record) -> Result<(), Refusal> {
    check_record(method, &method.results, results)
}

fn check_record(method: &Method, declared: &[Attribute], record: &Record) -> Result<(), Refusal> {
    let mut known = 0;
    for attribute in declared {
        let values = record.get(&attribute.name);
        known += usize::from(values.is_some());
        let values = values.map_or(&[][..], Vec::as_slice);
        check_values(attribute, values)?;
        check_input(attribute, values)?;
    }
    if known == record.len() {
        return Ok(());
    }
    let unknown = record.keys().find(|name| declared.iter().all(|attribute| attribute.name != **name));
    let unknown = unknown.expect("more entries than known attributes");
    Err(Refusal::new(refusals::UNKNOWN_PARAMETER, format!("{} has no {unknown}", method.name)).at(unknown))
}

impl Transaction<'_> {
    /// Checks that the arguments that refer to objects refer to what the principal may see.
    pub(crate) fn check_argument_references(&mut self, method: &Method, arguments: &Record) -> Result<(), Halt> {
        let mut missing = Ok(());
        for parameter in &method.parameters {
            let Some(entity) = parameter.target() else { continue };
            let values = arguments.get(&parameter.name).map_or(&[] as &[Value], Vec::as_slice);
            for id in values.iter().filter_map(Value::as_reference) {
                match self.get(id) {
                    Ok(Some(object)) if object.is_a(entity) => {}
                    Ok(_) => return Err(self.refuse(no_such(entity, &parameter.name))),
                    Err(Halt::Read) => missing = Err(Halt::Read),
                    Err(halt) => return Err(halt),
                }
            }
        }
        missing
    }
}

/// Checks everything that changed: constraints, then what modules say of the result, then relations. All that has to be read for it is
/// wished for at once.
pub(super) fn check(tx: &mut Transaction<'_>) -> Result<(), Halt> {
    let events: Vec<ObjectEvent> =
        tx.drafts.values().map(|draft| ObjectEvent { before: draft.before().cloned(), after: draft.object().clone() }).collect();
    let mut missing = Ok(());
    for event in &events {
        gather(&mut missing, check_object(tx, event, false))?;
    }
    for event in &events {
        gather(&mut missing, hooks::ask_modules(tx, |module, tx| module.result_check(event, tx)))?;
    }
    for event in &events {
        gather(&mut missing, check_object(tx, event, true))?;
    }
    let unchanged = events.iter().all(|event| tx.drafts.get(&event.after.id).is_some_and(|d| Arc::ptr_eq(d.object(), &event.after)));
    if !unchanged || events.len() != tx.drafts.len() {
        return Err(tx.fault("a result check changed something".to_owned()));
    }
    missing
}

/// Checks the attributes that are ends of relations, or those that are not.
fn check_object(tx: &mut Transaction<'_>, ObjectEvent { before, after }: &ObjectEvent, relations: bool) -> Result<(), Halt> {
    let Some(declared) = tx.catalogue().declared_entity(after.entity.as_str()) else { return Ok(()) };
    if after.deleted {
        return Ok(());
    }
    let mut missing = Ok(());
    for attribute in &declared.entity.attributes {
        let values = after.values(attribute.name.as_str());
        let then = before.as_deref().map(|before| before.values(attribute.name.as_str()));
        if then == Some(values) || declared.ends.contains_key(&attribute.name) != relations {
            continue;
        }
        check_values(attribute, values).map_err(|refusal| tx.refuse(refusal))?;
        for constraint in attribute.constraints() {
            gather(&mut missing, check_change(tx, constraint, attribute, then, after))?;
        }
    }
    missing
}

/// Checks the constraints that look at more than the new values.
fn check_change(
    tx: &mut Transaction<'_>,
    constraint: &Constraint,
    attribute: &Attribute,
    then: Option<&[Value]>,
    after: &Arc<Object>,
) -> Result<(), Halt> {
    let values = after.values(attribute.name.as_str());
    match constraint {
        Constraint::Unchangeable if then.is_some() => {
            let sentence = format!("{} is given once and never changed", attribute.name);
            Err(tx.refuse(Refusal::new(refusals::UNCHANGEABLE, sentence).at(&attribute.name)))
        }
        Constraint::Transitions(allowed) => check_transition(tx, allowed, attribute, then, values),
        Constraint::Unique => check_unique(tx, attribute, then, after),
        Constraint::RefersTo(entity) => check_references(tx, entity, attribute, then, after),
        _ => Ok(()),
    }
}

fn check_transition(
    tx: &mut Transaction<'_>,
    allowed: &[(String, String)],
    attribute: &Attribute,
    then: Option<&[Value]>,
    now: &[Value],
) -> Result<(), Halt> {
    let text = |values: &[Value]| values.first().and_then(Value::as_text).map(ToOwned::to_owned);
    let (Some(from), Some(to)) = (then.and_then(text), text(now)) else { return Ok(()) };
    if allowed.iter().any(|(a, b)| *a == from && *b == to) {
        return Ok(());
    }
    let sentence = format!("{} does not go from {from:?} to {to:?}", attribute.name);
    Err(tx.refuse(Refusal::new(refusals::TRANSITION, sentence).at(&attribute.name)))
}

/// Nobody else may hold a new value, whoever may see them: the query is asked without anybody's rights and recorded as a read that found
/// nobody, so of two hosts that do the same at once only one wins. The refusal does not say who holds it.
fn check_unique(tx: &mut Transaction<'_>, attribute: &Attribute, then: Option<&[Value]>, after: &Object) -> Result<(), Halt> {
    let mut missing = Ok(());
    for value in after.values(attribute.name.as_str()) {
        if then.is_some_and(|then| then.contains(value)) {
            continue;
        }
        let declared = tx.catalogue().declared_entity(after.entity.as_str());
        let entity = declared.map_or(&after.entity, |declared| declared.origin(&attribute.name)).clone();
        let query = Query::equal(entity, attribute.name.clone(), value.clone()).limit(2);
        match tx.holders(&query) {
            Ok(holders) if holders.iter().all(|id| *id == after.id) => {}
            Ok(_) => {
                let sentence = format!("another {} has the {} {value}", after.entity, attribute.name);
                return Err(tx.refuse(Refusal::new(refusals::UNIQUE, sentence).at(&attribute.name)));
            }
            Err(halt) => gather(&mut missing, Err(halt))?,
        }
    }
    missing
}

/// New references name objects that exist, for whoever wrote them: what they may not see is to them as if it did not exist.
fn check_references(
    tx: &mut Transaction<'_>,
    entity: &Name,
    attribute: &Attribute,
    then: Option<&[Value]>,
    after: &Object,
) -> Result<(), Halt> {
    let old: BTreeSet<ObjectId> = then.unwrap_or(&[]).iter().filter_map(Value::as_reference).collect();
    let mut missing = Ok(());
    for id in after.values(attribute.name.as_str()).iter().filter_map(Value::as_reference) {
        if old.contains(&id) || tx.catalogue().is_built_in(id) && entity == GROUP {
            continue;
        }
        match tx.may_refer(after.id, id, entity) {
            Ok(true) => {}
            Ok(false) => return Err(tx.refuse(no_such(entity, &attribute.name))),
            Err(halt) => gather(&mut missing, Err(halt))?,
        }
    }
    missing
}

impl Transaction<'_> {
    fn holders(&mut self, query: &Query) -> Result<Vec<ObjectId>, Halt> {
        let mut found: BTreeSet<ObjectId> = BTreeSet::new();
        for id in self.answered(self.widened(query.clone()))? {
            if let (false, Some(object)) = (self.drafts.contains_key(&id), self.base(id)?)
                && query.matches(&object)
            {
                found.insert(id);
            }
        }
        let drafted = self.drafts.values().map(super::Draft::object).filter(|object| query.matches(object));
        found.extend(drafted.map(|object| object.id));
        Ok(found.into_iter().collect())
    }

    /// Whether `from` may come to name `to`: an object of the entity that whoever wrote `from` may see, as it was before this transaction,
    /// which may have touched it only to keep a relation true. What this transaction creates is known to it. Groups may be named by all, as
    /// they may be asked for by name.
    fn may_refer(&mut self, from: ObjectId, to: ObjectId, entity: &Name) -> Result<bool, Halt> {
        let Some(present) = self.present(to)?.filter(|object| object.is_a(entity)) else { return Ok(false) };
        let before = match self.drafts.get(&to) {
            Some(draft) if draft.is_created() => return Ok(true),
            Some(draft) => draft.before().cloned().unwrap_or(present),
            None => present,
        };
        if *entity == GROUP || self.principal.may_read(&before) {
            return Ok(true);
        }
        let Some(writer) = self.drafts.get(&from).filter(|draft| draft.as_module) else { return Ok(false) };
        let owner = self.catalogue.declared_entity(writer.object().entity.as_str()).map(|declared| declared.owner);
        let group = owner.map(|owner| self.catalogue.declared(owner).group);
        Ok(names_one_of(before.values(READERS), |reader| Some(reader) == group))
    }
}

/// Checks how many, of which kind and how large: whatever the values alone tell.
fn check_values(attribute: &Attribute, values: &[Value]) -> Result<(), Refusal> {
    let name = &attribute.name;
    let refuse = |code, sentence: String| Err(Refusal::new(code, sentence).at(name));
    if values.len() < attribute.arity.min as usize {
        return refuse(refusals::MISSING, format!("{name} takes at least {} values, there are {}", attribute.arity.min, values.len()));
    }
    if values.len() > attribute.arity.max as usize {
        return refuse(refusals::TOO_MANY, format!("{name} takes at most {} values, there are {}", attribute.arity.max, values.len()));
    }
    let mut keys = BTreeSet::new();
    for value in values {
        let within = match (attribute.is_map, value.as_entry()) {
            (false, _) => value,
            (true, Some(entry)) if !keys.insert(entry.key()) => {
                return refuse(refusals::DISTINCT, format!("{name} has the key {:?} twice", entry.key()));
            }
            (true, entry) => entry.map_or(value, Entry::value),
        };
        if within.kind() != attribute.kind || attribute.is_map != value.as_entry().is_some() {
            let map = if attribute.is_map { "a map of kind" } else { "of kind" };
            return refuse(refusals::KIND, format!("{name} is {map} {}, this value of kind {}", attribute.kind, value.kind()));
        }
        if let Value::Choice(choice) = within
            && !attribute.choices.iter().any(|known| known.rank == choice.rank && known.word == choice.word)
        {
            let words: Vec<&str> = attribute.choices.iter().map(|choice| choice.word.as_str()).collect();
            return refuse(refusals::SELECTION, format!("{name} is one of {}", words.join(", ")));
        }
        if let Value::Bytes(bytes) = within
            && bytes.len() > BYTES_MAX
        {
            return refuse(refusals::SIZE, format!("{name} has at most {BYTES_MAX} bytes, this has {}", bytes.len()));
        }
    }
    check_rules(attribute, values, Check::Result)
}

/// Checks what is asked of values as somebody gives them.
pub(super) fn check_input(attribute: &Attribute, values: &[Value]) -> Result<(), Refusal> {
    check_rules(attribute, values, Check::Input)
}

fn check_rules(attribute: &Attribute, values: &[Value], check: Check) -> Result<(), Refusal> {
    for rule in attribute.rules.iter().filter(|rule| rule.check == check) {
        if rule.constraint == Constraint::Distinct && values.iter().collect::<BTreeSet<_>>().len() < values.len() {
            let sentence = format!("{} has a value twice", attribute.name);
            return Err(Refusal::new(refusals::DISTINCT, sentence).at(&attribute.name));
        }
        for value in values {
            check_value(&attribute.name, &rule.constraint, value.as_entry().map_or(value, Entry::value))?;
        }
    }
    Ok(())
}

fn check_value(name: &Name, constraint: &Constraint, value: &Value) -> Result<(), Refusal> {
    let refuse = |code, sentence: String| Err(Refusal::new(code, sentence).at(name));
    match constraint {
        Constraint::Range { from, to } if value < from || value > to => {
            refuse(refusals::RANGE, format!("{name} goes from {from} to {to}, this is {value}"))
        }
        Constraint::Size { min, max } if !(u64::from(*min)..=u64::from(*max)).contains(&content_bytes(value)) => {
            refuse(refusals::SIZE, format!("{name} has {min} to {max} bytes, this has {}", content_bytes(value)))
        }
        Constraint::Pattern(source) if !is_like(value, source) => {
            refuse(refusals::PATTERN, format!("{name} is like {source}, this is not"))
        }
        Constraint::Resolution(step) if !is_multiple(value, step) => {
            refuse(refusals::RESOLUTION, format!("{name} goes in steps of {step}, this is {value}"))
        }
        Constraint::Selection(choices) if !choices.contains(value) => {
            let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
            refuse(refusals::SELECTION, format!("{name} is one of {}", choices.join(", ")))
        }
        _ => Ok(()),
    }
}

fn content_bytes(value: &Value) -> u64 {
    match value {
        Value::Blob(blob) => blob.size_bytes,
        value => value.size_bytes() as u64,
    }
}

/// The catalogue has made sure that the pattern is one.
fn is_like(value: &Value, source: &str) -> bool {
    value.as_text().is_some_and(|text| whole(source).is_ok_and(|pattern| pattern.matches(text)))
}

fn is_multiple(value: &Value, step: &Value) -> bool {
    match (value, step) {
        (Value::Int(value), Value::Int(step)) | (Value::Timespan(value), Value::Timespan(step)) => value.checked_rem(*step) == Some(0),
        (Value::Decimal(value), Value::Decimal(step)) => value.is_multiple_of(*step),
        _ => false,
    }
}

fn no_such(entity: &Name, attribute: &Name) -> Refusal {
    Refusal::new(refusals::REFERENCE, format!("there is no such {entity}")).at(attribute)
}

/// Keeps a wish for later and lets everything else through.
fn gather(missing: &mut Result<(), Halt>, outcome: Result<(), Halt>) -> Result<(), Halt> {
    match outcome {
        Err(Halt::Read) => {
            *missing = Err(Halt::Read);
            Ok(())
        }
        other => other,
    }
}
