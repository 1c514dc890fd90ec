//! Transactions: what module code reads and changes, on whose behalf, and with which rights.

mod checks;
mod draft;
mod hooks;
mod material;
mod relations;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use caps_model::commit::{CHANGES_MAX, EFFECTS_MAX, READS_MAX};
use caps_model::messages::host::Expected;
use caps_model::query::LIMIT_MAX;
use caps_model::schema::Constraint;
use caps_model::{Change, Effect, Name, Object, ObjectId, Position, Query, Read, Record, Value};
use caps_overlay::Rng;

pub(crate) use self::checks::{check_arguments, check_results};
pub(crate) use self::draft::Draft;
pub(crate) use self::material::Fetched;
pub use self::material::{Material, Wishes};
use crate::catalogue::{Catalogue, DeclaredEntity};
use crate::effects;
use crate::module::{Fault, Halt, Refusal, refusals};
use crate::people::GROUP;
use crate::privileges::{self, ADMINISTRATORS, ADMINISTRATORS_NAME, Principal};

/// What one run of a method reads and changes.
///
/// It reads its own writes. It sees what its principal sees; what the principal may not read does not exist. It remembers why it halted, so
/// module code that swallows an error commits nothing.
pub struct Transaction<'a> {
    catalogue: &'a Catalogue,
    principal: &'a Principal,
    material: &'a Material,
    births: &'a mut Births,
    now: i64,
    /// The module whose code runs.
    module: usize,
    acting: Acting,
    drafts: BTreeMap<ObjectId, Draft>,
    born: usize,
    reads: BTreeMap<ObjectId, Position>,
    answers: BTreeSet<usize>,
    effects: Vec<Effect>,
    wishes: Wishes,
    halted: Option<Halt>,
}

/// Ids for new objects, the same in every run of one call: code that asks for what it has just created must find its wish granted when it
/// runs again.
#[derive(Debug)]
pub struct Births {
    given: Vec<ObjectId>,
    rng: Rng,
    unix_ms: u64,
}

/// Whose rights count at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acting {
    Principal,
    Module(ObjectId),
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) reads: Vec<Read>,
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Vec<Effect>,
}

impl<'a> Transaction<'a> {
    /// A transaction of `principal` at `now` (microseconds since 1970), with what is at hand of the cabinet.
    pub fn new(catalogue: &'a Catalogue, principal: &'a Principal, material: &'a Material, births: &'a mut Births, now: i64) -> Self {
        Self {
            catalogue,
            principal,
            material,
            births,
            now,
            module: 0,
            acting: Acting::Principal,
            drafts: BTreeMap::new(),
            born: 0,
            reads: BTreeMap::new(),
            answers: BTreeSet::new(),
            effects: Vec::new(),
            wishes: Wishes::default(),
            halted: None,
        }
    }

    /// The time: microseconds since 1970, the same throughout one run. For people, never for order.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// On whose behalf.
    pub fn principal(&self) -> &Principal {
        self.principal
    }

    /// The object as it would be after this transaction; `None` if there is none, or the principal may not know of it.
    pub fn get(&mut self, id: ObjectId) -> Result<Option<Arc<Object>>, Halt> {
        let Some(object) = self.present(id)? else { return Ok(None) };
        Ok(self.sees(&object).then(|| self.catalogue.shown_to(self.module, &object)))
    }

    /// Like [`get`](Self::get), and refuses, blaming `attribute`, when there is none.
    pub fn require(&mut self, id: ObjectId, attribute: &'static str) -> Result<Arc<Object>, Halt> {
        match self.get(id)? {
            Some(object) => Ok(object),
            None => Err(self.refuse(Refusal::new(refusals::NOT_FOUND, "there is no such object").at_fixed(attribute))),
        }
    }

    /// Refuses unless everything is as it is expected, for as long as this transaction lasts: what was looked at counts as read.
    pub(crate) fn expect(&mut self, expected: &[Expected]) -> Result<(), Halt> {
        for Expected { object, versions } in expected {
            let found = match self.get(*object) {
                // One round trip fetches them all, and what the method reads.
                Err(Halt::Read) => continue,
                found => found?,
            };
            let refusal = match found {
                Some(found) if versions.is_empty() || versions.contains(&found.version) => continue,
                Some(found) => format!("{object} is of version {} by now", found.version),
                None => format!("there is no object {object}, or none that you may read"),
            };
            return Err(self.refuse(Refusal::new(refusals::NOT_AS_EXPECTED, refusal)));
        }
        Ok(())
    }

    /// The objects that match, as they would be after this transaction, in the query's order and up to its limit.
    ///
    /// Conditions through relations, or relative to now, are a fault: nobody could hold them against what others commit meanwhile. Ask for
    /// the objects referred to, and take [`now`](Self::now).
    pub fn query(&mut self, query: &Query) -> Result<Vec<Arc<Object>>, Halt> {
        if query.filter.reaches_through() || query.filter.is_relative_to_now() {
            return Err(self.fault(format!("a transaction cannot rely on {}", query.filter)));
        }
        let rights = match self.acting {
            Acting::Principal => self.principal.sees(),
            Acting::Module(group) => privileges::sees([group].into_iter()),
        };
        let seen = rights.map(|rights| query.clone().and(rights));
        let mut found = self.search(query, seen)?;
        for object in &mut found {
            *object = self.catalogue.shown_to(self.module, object);
        }
        Ok(found)
    }

    /// The first object that matches.
    pub fn one(&mut self, query: &Query) -> Result<Option<Arc<Object>>, Halt> {
        Ok(self.query(&query.clone().limit(1))?.pop())
    }

    /// A new object of one of the module's own entities. Without [`READERS`](crate::module::READERS) among its attributes nobody will see it.
    pub fn create(&mut self, entity: &str, attributes: Record) -> Result<ObjectId, Halt> {
        let declared = self.own_entity(entity)?;
        let entity = declared.entity.name.clone();
        for (attribute, values) in &attributes {
            self.check_writable(declared, attribute.as_str(), values)?;
        }
        let id = self.next_birth();
        self.insert(id, Draft::created(id, entity, declared.ancestors.clone(), attributes))?;
        Ok(id)
    }

    /// Gives one attribute new values; none clear it.
    pub fn set(&mut self, id: ObjectId, attribute: &str, values: Vec<Value>) -> Result<(), Halt> {
        let object = self.writable(id)?;
        let declared = self.entity_of(&object)?;
        let name = self.check_writable(declared, attribute, &values)?;
        self.put(id, &name, values)
    }

    /// Gives some attributes new values; an empty list clears one.
    pub fn update(&mut self, id: ObjectId, attributes: Record) -> Result<(), Halt> {
        for (attribute, values) in attributes {
            self.set(id, attribute.as_str(), values)?;
        }
        Ok(())
    }

    /// Deletes an object: it keeps its values and its history, and no query of the present finds it.
    pub fn delete(&mut self, id: ObjectId) -> Result<(), Halt> {
        let object = self.writable(id)?;
        self.own_entity(object.entity.as_str())?;
        self.draft(id)?.delete();
        Ok(())
    }

    /// Asks for something to be done in the world once the commit is durable: at least once, recognised by `key`. `object` is what it belongs to:
    /// whoever may see that sees how it goes, as an object of the entity [`effect`](crate::effects). `towards` is where it goes, such as the domain
    /// of a mail's recipient, by which gateways limit what they do at once. Asked for again under the same key it is still one effect, and what was
    /// said last counts: a hook that is told of an object several times need not remember.
    pub fn effect(&mut self, kind: &'static str, object: ObjectId, key: String, towards: &str, arguments: Record) -> Result<(), Halt> {
        let carriers = self.group_if_any(effects::CARRIERS);
        let Some(belongs_to) = self.present(object)? else {
            return Err(self.fault(format!("an effect belongs to {object}, which does not exist")));
        };
        let carriers = carriers?;
        let kind = Name::fixed(kind);
        if let Some(asked) = self.effects.iter_mut().find(|effect| effect.kind == kind && effect.key == key) {
            asked.arguments = arguments;
            return Ok(());
        }
        if self.effects.len() >= EFFECTS_MAX {
            return Err(self.too_large("effects"));
        }
        let own = privileges::module_group(&Name::fixed(effects::MODULE));
        let attributes = effects::queued(&kind, &belongs_to, &key, towards, carriers, own, self.now);
        let id = self.next_birth();
        let mut draft = Draft::created(id, Name::fixed(effects::EFFECT), Vec::new(), attributes);
        draft.as_module = true;
        self.add(id, draft)?;
        self.effects.push(Effect { kind, object, key, arguments });
        Ok(())
    }

    /// The group of this name. Names of groups stand in every schema, so anybody may ask.
    pub fn group(&mut self, name: &str) -> Result<ObjectId, Halt> {
        if name == ADMINISTRATORS_NAME {
            return Ok(ADMINISTRATORS);
        }
        match self.group_if_any(name)? {
            Some(group) => Ok(group),
            None => Err(self.refuse(Refusal::new(refusals::NO_SUCH_GROUP, format!("there is no group {name:?}: add it first")))),
        }
    }

    /// Whether a module of this host declares an entity. Schemas are for everybody to see.
    pub fn knows_entity(&self, entity: &str) -> bool {
        self.catalogue.declared_entity(entity).is_some()
    }

    /// The group that stands for the running module's own authority: name it among an object's readers or writers to hand it over.
    pub fn module_group(&self) -> ObjectId {
        self.catalogue.declared(self.module).group
    }

    /// Runs `act` with the authority of the module's own group **instead of** the principal's. `purpose` says why, in the log and to the
    /// reader of the code: numbering, uniqueness, filing on behalf of those who may not read.
    pub fn as_module<T>(&mut self, purpose: &'static str, act: impl FnOnce(&mut Self) -> Result<T, Halt>) -> Result<T, Halt> {
        tracing::trace!(module = %self.catalogue.declared(self.module).schema.module, purpose, "acting as module");
        let own = Acting::Module(self.module_group());
        let before = std::mem::replace(&mut self.acting, own);
        let outcome = act(self);
        self.acting = before;
        outcome
    }

    /// Whether the principal, or the module where it acts itself, may write this object.
    pub fn may_write(&self, object: &Object) -> bool {
        match self.acting {
            Acting::Principal => self.principal.may_write(object),
            Acting::Module(group) => privileges::names_one_of(object.values(privileges::WRITERS), |g| g == group),
        }
    }

    /// Everything that the schema and the hooks have to say about what changed.
    pub(crate) fn conclude(&mut self) -> Result<(), Halt> {
        if self.drafts.is_empty() {
            return Ok(());
        }
        let settled = hooks::settle(self);
        // A wish in between is no reason not to wish for what the checks need: one round trip fetches both.
        if matches!(settled, Ok(()) | Err(Halt::Read)) { settled.and(checks::check(self)) } else { settled }
    }

    /// What is wished for and not at hand. Not empty: the run means nothing, whatever its code made of it.
    pub(crate) fn take_wishes(&mut self) -> Wishes {
        std::mem::take(&mut self.wishes)
    }

    /// Why it halted first, if it did.
    pub(crate) fn halted(&mut self) -> Option<Halt> {
        self.halted.take()
    }

    /// What was read, for [`Material::stale`].
    pub(crate) fn read_set(&self) -> (Vec<ObjectId>, Vec<usize>) {
        (self.reads.keys().copied().collect(), self.answers.iter().copied().collect())
    }

    /// The outcome, as it goes to layer 1.
    pub(crate) fn decided(mut self) -> Result<Decided, Halt> {
        let changes: Vec<Change> = std::mem::take(&mut self.drafts).into_values().filter_map(Draft::into_change).collect();
        for (id, version) in &self.principal.basis {
            self.reads.entry(*id).or_insert(*version);
        }
        let answered = self.answers.iter().map(|number| self.material.answer_at(*number));
        let queries = answered.map(|answer| Read::Query { query: answer.query.clone(), at: answer.at });
        let objects = self.reads.iter().map(|(object, version)| Read::Object { object: *object, version: *version });
        let reads: Vec<Read> = objects.chain(queries).collect();
        if reads.len() > READS_MAX {
            return Err(self.too_large("reads"));
        }
        Ok(Decided { reads, changes, effects: self.effects })
    }

    pub(crate) fn enter(&mut self, module: usize) -> usize {
        std::mem::replace(&mut self.module, module)
    }

    pub(crate) fn catalogue(&self) -> &'a Catalogue {
        self.catalogue
    }

    /// Notes why the run cannot go on, and gives it back for `?`.
    pub(crate) fn halt(&mut self, halt: Halt) -> Halt {
        self.halted.get_or_insert_with(|| halt.clone());
        halt
    }

    fn group_if_any(&mut self, name: &str) -> Result<Option<ObjectId>, Halt> {
        let query = Query::equal(Name::fixed(GROUP), Name::fixed("name"), Value::text(name)).limit(1);
        Ok(self.search(&query, Some(query.clone()))?.first().map(|group| group.id))
    }

    fn refuse(&mut self, refusal: Refusal) -> Halt {
        self.halt(Halt::Refused(refusal))
    }

    fn fault(&mut self, message: String) -> Halt {
        self.halt(Halt::Fault(Fault::new(message)))
    }

    fn too_large(&mut self, what: &str) -> Halt {
        self.refuse(Refusal::new(refusals::TOO_LARGE, format!("more {what} than one commit holds: do it in smaller parts")))
    }

    /// The object as it would be, whoever may know of it; `None` if there is none, or it is deleted.
    fn present(&mut self, id: ObjectId) -> Result<Option<Arc<Object>>, Halt> {
        let object = match self.drafts.get(&id) {
            Some(draft) => Some(draft.object().clone()),
            None => self.base(id)?,
        };
        Ok(object.filter(|object| !object.deleted))
    }

    /// The object as it is in the cabinet.
    fn base(&mut self, id: ObjectId) -> Result<Option<Arc<Object>>, Halt> {
        let Some(known) = self.material.object(id) else {
            self.wishes.objects.insert(id);
            return Err(self.halt(Halt::Read));
        };
        self.reads.insert(id, known.map_or(Position::ZERO, |object| object.version));
        Ok(known.cloned())
    }

    fn sees(&self, object: &Object) -> bool {
        if self.drafts.get(&object.id).is_some_and(Draft::is_created) {
            return true;
        }
        match self.acting {
            Acting::Principal => self.principal.may_read(object),
            Acting::Module(group) => privileges::names_one_of(object.values(privileges::READERS), |g| g == group),
        }
    }

    /// What matches `query` as it would be; of the cabinet only what `seen` answers (`None`: nothing).
    fn search(&mut self, query: &Query, seen: Option<Query>) -> Result<Vec<Arc<Object>>, Halt> {
        let mut found = Vec::new();
        if let Some(seen) = seen {
            for id in self.answered(self.widened(seen))? {
                if let (false, Some(object)) = (self.drafts.contains_key(&id), self.base(id)?)
                    && query.matches(&object)
                {
                    found.push(object);
                }
            }
        }
        let drafted = self.drafts.values().map(Draft::object).filter(|object| query.matches(object));
        let drafted: Vec<_> = drafted.filter(|object| self.sees(object)).cloned().collect();
        found.extend(drafted);
        found.sort_by(|a, b| query.compare(a, b));
        found.truncate(query.limit as usize);
        Ok(found)
    }

    /// The same query, with room for what this transaction's own changes may take out of the answer.
    fn widened(&self, query: Query) -> Query {
        let touched = self.drafts.values().filter(|draft| !draft.is_created() && draft.object().entity == query.entity).count();
        let limit = query.limit.saturating_add(u32::try_from(touched).unwrap_or(LIMIT_MAX));
        query.limit(limit)
    }

    fn answered(&mut self, query: Query) -> Result<Vec<ObjectId>, Halt> {
        match self.material.answer(&query) {
            Some((_, answer)) if answer.cut => Err(self.too_large("objects in the answer to a query")),
            Some((number, answer)) => {
                self.answers.insert(number);
                Ok(answer.objects.clone())
            }
            None if self.wishes.queries.len() + self.answers.len() >= QUERIES_MAX => Err(self.too_large("queries")),
            None => {
                if !self.wishes.queries.contains(&query) {
                    self.wishes.queries.push(query);
                }
                Err(self.halt(Halt::Read))
            }
        }
    }

    fn own_entity(&mut self, entity: &str) -> Result<&'a DeclaredEntity, Halt> {
        match self.catalogue.declared_entity(entity) {
            Some(declared) if declared.owner == self.module => Ok(declared),
            _ => {
                let module = &self.catalogue.declared(self.module).schema.module;
                Err(self.fault(format!("the module {module} writes the entity {entity:?}, which it does not declare")))
            }
        }
    }

    fn entity_of(&mut self, object: &Object) -> Result<&'a DeclaredEntity, Halt> {
        match self.catalogue.declared_entity(object.entity.as_str()) {
            Some(declared) => Ok(declared),
            None => Err(self.fault(format!("no module declares the entity {}", object.entity))),
        }
    }

    /// Whether the running module may write these values: the attribute is its own, by its entity or by an extension of it, and the values
    /// obey what is asked of input.
    fn check_writable(&mut self, declared: &DeclaredEntity, attribute: &str, values: &[Value]) -> Result<Name, Halt> {
        let entity = &declared.entity.name;
        let Some(found) = declared.entity.attribute(attribute) else {
            return Err(self.fault(format!("{entity} has no attribute {attribute:?}")));
        };
        if found.computed {
            return Err(self.fault(format!("{entity}.{attribute} is computed and not written")));
        }
        let writer = declared.writer(&found.name);
        if writer != self.module && declared.owner != self.module {
            let module = &self.catalogue.declared(self.module).schema.module;
            return Err(self.fault(format!("the module {module} writes {entity}.{attribute}, which it does not declare")));
        }
        if found.constraints().any(|constraint| *constraint == Constraint::ReadOnly) && self.acting == Acting::Principal {
            let sentence = format!("{attribute} is not for anybody to write");
            return Err(self.refuse(Refusal::new(refusals::READ_ONLY, sentence).at(&found.name)));
        }
        checks::check_input(found, values).map_err(|refusal| self.refuse(refusal))?;
        Ok(found.name.clone())
    }

    /// The object, if whoever acts may write it. Not to see it and not to have it is the same.
    fn writable(&mut self, id: ObjectId) -> Result<Arc<Object>, Halt> {
        let object = self.present(id)?.filter(|object| self.sees(object));
        let Some(object) = object else {
            return Err(self.refuse(Refusal::new(refusals::NOT_FOUND, format!("there is no object {id}"))));
        };
        let created = self.drafts.get(&id).is_some_and(Draft::is_created);
        let as_it_was = self.drafts.get(&id).and_then(Draft::before).unwrap_or(&object);
        if !created && !self.may_write(as_it_was) {
            return Err(self.refuse(Refusal::new(refusals::NOT_ALLOWED, format!("{} {id} is not yours to change", object.entity))));
        }
        if let (Acting::Module(_), Some(draft)) = (self.acting, self.drafts.get_mut(&id)) {
            draft.as_module = true;
        }
        Ok(object)
    }

    /// Changes an attribute, without asking whether anybody may.
    fn put(&mut self, id: ObjectId, attribute: &Name, values: Vec<Value>) -> Result<(), Halt> {
        self.draft(id)?.put(attribute, values);
        Ok(())
    }

    fn draft(&mut self, id: ObjectId) -> Result<&mut Draft, Halt> {
        if !self.drafts.contains_key(&id) {
            let Some(object) = self.base(id)? else { return Err(self.fault(format!("{id} is changed and does not exist"))) };
            self.insert(id, Draft::of(object))?;
        }
        Ok(self.drafts.get_mut(&id).expect("it was there, or has just been put there"))
    }

    /// The id of a new object, which nobody else can have made.
    fn next_birth(&mut self) -> ObjectId {
        let id = self.births.at(self.born);
        self.born += 1;
        self.reads.insert(id, Position::ZERO);
        id
    }

    fn insert(&mut self, id: ObjectId, mut draft: Draft) -> Result<(), Halt> {
        draft.as_module = matches!(self.acting, Acting::Module(_));
        self.add(id, draft)
    }

    fn add(&mut self, id: ObjectId, draft: Draft) -> Result<(), Halt> {
        if self.drafts.len() >= CHANGES_MAX {
            return Err(self.too_large("changes"));
        }
        self.drafts.insert(id, draft);
        Ok(())
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (principal, drafts) = (&self.principal.who, &self.drafts);
        f.debug_struct("Transaction")
            .field("principal", principal)
            .field("drafts", drafts)
            .field("halted", &self.halted)
            .finish_non_exhaustive()
    }
}

impl Births {
    /// Ids of objects born at `now` (microseconds since 1970).
    pub fn new(now: i64, rng: Rng) -> Self {
        Self { given: Vec::new(), rng, unix_ms: u64::try_from(now / 1_000).unwrap_or(0) }
    }

    fn at(&mut self, number: usize) -> ObjectId {
        while self.given.len() <= number {
            self.given.push(ObjectId::new(self.unix_ms, self.rng.next_u128()));
        }
        self.given[number]
    }
}

/// Queries of one run: each is a round trip of its own, though they travel together.
const QUERIES_MAX: usize = 256;

#[cfg(test)]
mod tests;
