//! The modules of a host, and what they declare, ready to be looked up.

mod binding;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use caps_model::messages::host::Call;
use caps_model::query::{Pattern, PatternKind};
use caps_model::schema::{self, Arity, Attribute, Constraint, Entity, Extension, Method, Schema};
use caps_model::{Name, Object, ObjectId, Record, Value, ValueKind};

use crate::effects::Effects;
use crate::module::{Fault, Halt, Module, Refusal, refusals};
use crate::people::{GROUP, People};
use crate::privileges::{ADMINISTRATORS, GROUPS_MAX, Principal, READERS, WRITERS, is_built_in, module_group};
use crate::transaction::{Transaction, check_arguments, check_results};

/// The modules of one host. Never changes while the host runs.
pub struct Catalogue {
    modules: Vec<Declared>,
    by_name: BTreeMap<Name, usize>,
    entities: BTreeMap<Name, DeclaredEntity>,
    groups: BTreeSet<ObjectId>,
}

/// One module and what it declares.
pub(crate) struct Declared {
    pub(crate) module: Arc<dyn Module>,
    pub(crate) schema: Schema,
    pub(crate) methods: BTreeMap<Name, Method>,
    pub(crate) group: ObjectId,
}

/// One entity, with what the host needs to keep it right.
pub(crate) struct DeclaredEntity {
    /// The module that declares it, and alone makes and deletes its objects.
    pub(crate) owner: usize,
    /// With everything that it inherits, and that other modules add.
    pub(crate) entity: Entity,
    /// What it inherits from, nearest first.
    pub(crate) ancestors: Vec<Name>,
    /// The entity that declares each attribute, and the module that writes it besides the owner.
    origins: BTreeMap<Name, Origin>,
    pub(crate) secrets: BTreeSet<Name>,
    /// The attributes that are one end of a relation, with the other end.
    pub(crate) ends: BTreeMap<Name, End>,
}

/// The entity that declares an attribute, and the module that writes it besides the owner of the object.
type Origin = (Name, usize);

/// The other end of a relation, as seen from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) attribute: Name,
    /// The other end holds at most one object.
    pub(crate) single: bool,
    /// Whoever the other end refers to cannot be deleted.
    pub(crate) is_strong: bool,
}

/// Why modules cannot be hosted together. The programmer of a module is at fault; the host does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Two modules of one name.
    #[error("two modules are named {0}")]
    DuplicateModule(Name),
    /// An entity that is declared twice, by whatever module.
    #[error("the entity {0} is declared twice")]
    DuplicateEntity(Name),
    /// An attribute or parameter that is declared twice.
    #[error("{of} declares {attribute} twice")]
    DuplicateAttribute {
        /// The entity or method.
        of: Name,
        /// The attribute.
        attribute: Name,
    },
    /// A method that is declared twice.
    #[error("the module {module} declares the method {method} twice")]
    DuplicateMethod {
        /// The module.
        module: Name,
        /// The method.
        method: Name,
    },
    /// A name that the host uses itself.
    #[error("{of} declares {attribute}, which the host keeps for itself")]
    Reserved {
        /// The entity or method.
        of: Name,
        /// The attribute or result.
        attribute: Name,
    },
    /// A parent, or an entity to be extended, that no module declares, or that inherits from itself.
    #[error("{of} inherits from or extends {to}, which is not declared, or inherits from it")]
    Parent {
        /// The entity, or the module that extends.
        of: Name,
        /// The entity that is missing.
        to: Name,
    },
    /// A constraint that cannot hold for values of the attribute's kind, or an arity that no list has.
    #[error("{of}.{attribute} of kind {kind} has an impossible arity or a constraint for another kind")]
    Constraint {
        /// The entity or method.
        of: Name,
        /// The attribute.
        attribute: Name,
        /// Its kind.
        kind: ValueKind,
    },
    /// A reference, or an end of a relation, to what no module declares, or to what is no list of references.
    #[error("{of}.{attribute} refers to {to}, which is not declared, or is no reference back")]
    Reference {
        /// The entity, method or relation.
        of: Name,
        /// The attribute.
        attribute: Name,
        /// The entity that is missing.
        to: Name,
    },
}

impl Catalogue {
    /// The catalogue of these modules and those that every host has: `people` and `effects`.
    pub fn with_built_in(modules: Vec<Arc<dyn Module>>) -> Result<Self, CatalogueError> {
        let built_in: [Arc<dyn Module>; 2] = [Arc::new(People), Arc::new(Effects)];
        Self::new(built_in.into_iter().chain(modules).collect())
    }

    /// The catalogue of these modules.
    pub fn new(modules: Vec<Arc<dyn Module>>) -> Result<Self, CatalogueError> {
        let mut catalogue = Self { modules: Vec::new(), by_name: BTreeMap::new(), entities: BTreeMap::new(), groups: BTreeSet::new() };
        for module in modules {
            catalogue.add(module)?;
        }
        catalogue.extend_entities()?;
        catalogue.inherit()?;
        catalogue.check_references()?;
        catalogue.tie_relations()?;
        Ok(catalogue)
    }

    /// What every module declares, the attributes that the host adds included.
    pub fn schemas(&self) -> Vec<Schema> {
        self.modules.iter().map(|declared| declared.schema.clone()).collect()
    }

    /// A method of a module.
    pub fn method(&self, module: &str, method: &str) -> Option<&Method> {
        self.modules[*self.by_name.get(module)?].methods.get(method)
    }

    /// An entity of any module.
    pub fn entity(&self, entity: &str) -> Option<&Entity> {
        self.entities.get(entity).map(|declared| &declared.entity)
    }

    /// Calls a method as part of a transaction: the right to call it, the arguments, the module.
    pub(crate) fn call(&self, module: &str, method: &str, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
        let declared = self.by_name.get(module).map(|number| (*number, &self.modules[*number]));
        let found = declared.and_then(|(number, declared)| Some((number, declared, declared.methods.get(method)?)));
        let Some((number, declared, declared_method)) = found else {
            return Err(Fault::new(format!("there is no method {module}.{method}")).into());
        };
        admit(tx.principal(), declared_method)?;
        check_arguments(declared_method, arguments)?;
        let caller = tx.enter(number);
        let outcome = match tx.check_argument_references(declared_method, arguments) {
            Ok(()) => declared.module.call(method, arguments, tx),
            Err(halt) => Err(halt),
        };
        tx.enter(caller);
        outcome
    }

    /// A method's answer, if it is what the method declares.
    pub(crate) fn checked_result(&self, call: &Call, result: Record) -> Result<Record, Fault> {
        let Some(method) = self.method(call.module.as_str(), call.method.as_str()) else { return Ok(result) };
        check_results(method, &result).map_err(|problem| Fault::new(format!("its answer is not what it declares: {problem}")))?;
        Ok(result)
    }

    /// The version of a module, for the record.
    pub(crate) fn version(&self, module: &str) -> u32 {
        self.by_name.get(module).map_or(0, |number| self.modules[*number].schema.version)
    }

    #[cfg(test)]
    pub(crate) fn number(&self, module: &str) -> usize {
        self.by_name[module]
    }

    pub(crate) fn declared(&self, module: usize) -> &Declared {
        &self.modules[module]
    }

    pub(crate) fn modules(&self) -> impl Iterator<Item = (usize, &Declared)> {
        self.modules.iter().enumerate()
    }

    pub(crate) fn declared_entity(&self, entity: &str) -> Option<&DeclaredEntity> {
        self.entities.get(entity)
    }

    pub(crate) fn is_built_in(&self, group: ObjectId) -> bool {
        is_built_in(group, &self.groups)
    }

    /// The object without what never leaves layer 2.
    pub(crate) fn shown(&self, mut object: Object) -> Object {
        if let Some(declared) = self.entities.get(&object.entity) {
            for secret in &declared.secrets {
                object.attributes.remove(secret);
            }
        }
        object
    }

    /// The object as a module may see it: secrets are for the module that declares them.
    pub(crate) fn shown_to(&self, module: usize, object: &Arc<Object>) -> Arc<Object> {
        match self.entities.get(&object.entity) {
            Some(declared) if declared.owner != module && !declared.secrets.is_empty() => Arc::new(self.shown(Object::clone(object))),
            _ => object.clone(),
        }
    }

    fn add(&mut self, module: Arc<dyn Module>) -> Result<(), CatalogueError> {
        let schema = module.schema();
        let owner = self.modules.len();
        if self.by_name.insert(schema.module.clone(), owner).is_some() {
            return Err(CatalogueError::DuplicateModule(schema.module));
        }
        let secrets = module.secrets();
        for entity in &schema.entities {
            check_attributes(&entity.name, &entity.attributes)?;
            if let Some(taken) = entity.attributes.iter().find(|attribute| is_reserved(&attribute.name)) {
                return Err(CatalogueError::Reserved { of: entity.name.clone(), attribute: taken.name.clone() });
            }
            let of_entity = secrets.iter().filter(|(of, _)| *of == entity.name).map(|(_, attribute)| attribute.clone());
            let declared = DeclaredEntity::new(owner, entity.clone(), of_entity.collect());
            if self.entities.insert(entity.name.clone(), declared).is_some() {
                return Err(CatalogueError::DuplicateEntity(entity.name.clone()));
            }
        }
        let mut methods = BTreeMap::new();
        for method in &schema.methods {
            check_attributes(&method.name, &method.parameters)?;
            check_attributes(&method.name, &method.results)?;
            if let Some(taken) = method.results.iter().find(|a| a.name == AUTHOR) {
                return Err(CatalogueError::Reserved { of: method.name.clone(), attribute: taken.name.clone() });
            }
            if methods.insert(method.name.clone(), method.clone()).is_some() {
                return Err(CatalogueError::DuplicateMethod { module: schema.module, method: method.name.clone() });
            }
        }
        let group = module_group(&schema.module);
        self.groups.insert(group);
        self.modules.push(Declared { module, schema, methods, group });
        Ok(())
    }

    /// Adds to entities what other modules have to add.
    fn extend_entities(&mut self) -> Result<(), CatalogueError> {
        let extensions: Vec<(usize, Name, Extension)> = self
            .modules()
            .flat_map(|(number, declared)| {
                let module = &declared.schema.module;
                declared.schema.extensions.iter().map(move |extension| (number, module.clone(), extension.clone()))
            })
            .collect();
        for (number, of, Extension { entity, attributes }) in extensions {
            check_attributes(&of, &attributes)?;
            let missing = CatalogueError::Parent { of, to: entity.clone() };
            self.entities.get_mut(&entity).ok_or(missing)?.add(attributes, &entity, number)?;
        }
        Ok(())
    }

    /// Gives entities what they inherit, and shows it in the schemas.
    fn inherit(&mut self) -> Result<(), CatalogueError> {
        let alone: BTreeMap<Name, Vec<(Attribute, Origin)>> =
            self.entities.iter().map(|(name, declared)| (name.clone(), declared.own_attributes())).collect();
        let secrets: BTreeMap<Name, BTreeSet<Name>> =
            self.entities.iter().map(|(name, declared)| (name.clone(), declared.secrets.clone())).collect();
        let names: Vec<Name> = self.entities.keys().cloned().collect();
        for name in names {
            let ancestors = self.ancestors(&name)?;
            let Some(declared) = self.entities.get_mut(&name) else { continue };
            for ancestor in &ancestors {
                for (attribute, (origin, writer)) in &alone[ancestor] {
                    declared.add(vec![attribute.clone()], origin, *writer)?;
                }
                declared.secrets.extend(secrets[ancestor].iter().cloned());
            }
            declared.ancestors = ancestors;
            declared.entity.attributes.extend(implicit_attributes());
            let (owner, entity) = (declared.owner, declared.entity.clone());
            if let Some(shown) = self.modules[owner].schema.entities.iter_mut().find(|shown| shown.name == name) {
                *shown = entity;
            }
        }
        Ok(())
    }

    fn ancestors(&self, name: &Name) -> Result<Vec<Name>, CatalogueError> {
        let mut ancestors: Vec<Name> = Vec::new();
        let mut parent = self.entities.get(name).and_then(|declared| declared.entity.parent.clone());
        while let Some(next) = parent {
            let Some(declared) = self.entities.get(&next).filter(|_| next != *name && !ancestors.contains(&next)) else {
                return Err(CatalogueError::Parent { of: name.clone(), to: next });
            };
            parent = declared.entity.parent.clone();
            ancestors.push(next);
        }
        Ok(ancestors)
    }

    fn check_references(&self) -> Result<(), CatalogueError> {
        let of_entities = self.entities.values().map(|declared| (&declared.entity.name, &declared.entity.attributes));
        let methods = self.modules.iter().flat_map(|declared| &declared.schema.methods);
        let of_methods = methods.flat_map(|m| [(&m.name, &m.parameters), (&m.name, &m.results)]);
        for (of, attributes) in of_entities.chain(of_methods) {
            for (attribute, to) in attributes.iter().filter_map(|attribute| Some((attribute, attribute.target()?))) {
                if !self.entities.contains_key(to) {
                    return Err(CatalogueError::Reference { of: of.clone(), attribute: attribute.name.clone(), to: to.clone() });
                }
            }
        }
        Ok(())
    }

    fn tie_relations(&mut self) -> Result<(), CatalogueError> {
        let relations: Vec<_> = self.modules.iter().flat_map(|declared| declared.schema.relations.clone()).collect();
        for relation in relations {
            let missing = |of: &schema::End, to: &schema::End| CatalogueError::Reference {
                of: of.entity.clone(),
                attribute: of.attribute.clone(),
                to: to.entity.clone(),
            };
            let (from, to) = (&relation.from, &relation.to);
            let forth = self.end(from, &to.entity).ok_or_else(|| missing(from, to))?;
            let back = self.end(to, &from.entity).ok_or_else(|| missing(to, from))?;
            self.tie(from, back);
            self.tie(to, forth);
        }
        Ok(())
    }

    /// The end `place` of a relation, if it is a reference to `target`.
    fn end(&self, place: &schema::End, target: &Name) -> Option<End> {
        let schema::End { entity, attribute, is_strong } = place;
        let declared = self.entities.get(entity)?.entity.attribute(attribute.as_str())?;
        let refers = declared.target() == Some(target);
        refers.then(|| End { attribute: attribute.clone(), single: declared.arity.max == 1, is_strong: *is_strong })
    }

    /// What inherits from an entity inherits its ends of relations.
    fn tie(&mut self, place: &schema::End, other: End) {
        let concerned = |declared: &&mut DeclaredEntity| declared.entity.name == place.entity || declared.ancestors.contains(&place.entity);
        for declared in self.entities.values_mut().filter(concerned) {
            declared.ends.insert(place.attribute.clone(), other.clone());
        }
    }
}

impl DeclaredEntity {
    fn new(owner: usize, entity: Entity, secrets: BTreeSet<Name>) -> Self {
        let origin = (entity.name.clone(), owner);
        let origins = entity.attributes.iter().map(|attribute| (attribute.name.clone(), origin.clone())).collect();
        Self { owner, entity, ancestors: Vec::new(), origins, secrets, ends: BTreeMap::new() }
    }

    /// Its attributes, each with the entity that declares it and the module that writes it.
    fn own_attributes(&self) -> Vec<(Attribute, Origin)> {
        self.entity.attributes.iter().map(|attribute| (attribute.clone(), self.origins[&attribute.name].clone())).collect()
    }

    fn add(&mut self, attributes: Vec<Attribute>, origin: &Name, writer: usize) -> Result<(), CatalogueError> {
        for attribute in attributes {
            let (of, name) = (self.entity.name.clone(), attribute.name.clone());
            if is_reserved(&name) {
                return Err(CatalogueError::Reserved { of, attribute: name });
            }
            if self.origins.insert(name.clone(), (origin.clone(), writer)).is_some() {
                return Err(CatalogueError::DuplicateAttribute { of, attribute: name });
            }
            self.entity.attributes.push(attribute);
        }
        Ok(())
    }

    /// The module that writes an attribute, besides the owner of the entity.
    pub(crate) fn writer(&self, attribute: &Name) -> usize {
        self.origins.get(attribute).map_or(self.owner, |(_, writer)| *writer)
    }

    /// The entity that declares an attribute: this one, or one that it inherits from.
    pub(crate) fn origin(&self, attribute: &Name) -> &Name {
        self.origins.get(attribute).map_or(&self.entity.name, |(origin, _)| origin)
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").field("modules", &self.by_name.keys()).finish_non_exhaustive()
    }
}

/// Whether somebody may call a method.
pub(crate) fn admit(principal: &Principal, method: &Method) -> Result<(), Refusal> {
    if principal.may_call(method) {
        return Ok(());
    }
    let callers = method.callers.join(", ");
    Err(Refusal::new(refusals::NOT_ALLOWED, format!("{} is for members of {callers}", method.name)))
}

fn is_reserved(attribute: &Name) -> bool {
    *attribute == READERS || *attribute == WRITERS
}

/// The attributes that the host adds to every entity.
fn implicit_attributes() -> [Attribute; 2] {
    let groups =
        |name, summary| Attribute::list(name, ValueKind::Reference, GROUPS_MAX, summary).with(Constraint::RefersTo(Name::fixed(GROUP)));
    [groups(READERS, "The groups that may read it."), groups(WRITERS, "The groups that may write it.")]
}

fn check_attributes(of: &Name, attributes: &[Attribute]) -> Result<(), CatalogueError> {
    let mut seen = BTreeSet::new();
    for attribute in attributes {
        if !seen.insert(&attribute.name) {
            return Err(CatalogueError::DuplicateAttribute { of: of.clone(), attribute: attribute.name.clone() });
        }
        let Arity { min, max } = attribute.arity;
        let has_choices = (attribute.kind == ValueKind::Choice) != attribute.choices.is_empty();
        let has_kind = attribute.kind != ValueKind::Entry;
        if min > max || !has_choices || !has_kind || !attribute.rules.iter().all(|rule| fits(&rule.constraint, attribute)) {
            let (attribute, kind) = (attribute.name.clone(), attribute.kind);
            return Err(CatalogueError::Constraint { of: of.clone(), attribute, kind });
        }
    }
    Ok(())
}

fn fits(constraint: &Constraint, attribute: &Attribute) -> bool {
    match constraint {
        Constraint::Range { from, to } => from.kind() == attribute.kind && to.kind() == attribute.kind,
        Constraint::Size { .. } => matches!(attribute.kind, ValueKind::Text | ValueKind::Bytes | ValueKind::Blob),
        Constraint::Pattern(source) => attribute.kind == ValueKind::Text && whole(source).is_ok(),
        Constraint::Resolution(step) => step.kind() == attribute.kind && is_step(step),
        Constraint::Selection(values) => values.iter().all(|value| value.kind() == attribute.kind),
        Constraint::RefersTo(_) => attribute.kind == ValueKind::Reference,
        Constraint::Transitions(_) => attribute.kind == ValueKind::Text && attribute.arity.max == 1,
        Constraint::Unique | Constraint::Unchangeable | Constraint::Distinct | Constraint::ReadOnly => true,
    }
}

/// The pattern of a constraint, which covers a text from its beginning to its end.
pub(crate) fn whole(source: &str) -> Result<Pattern, caps_model::query::PatternError> {
    Pattern::new(PatternKind::Regex, &format!("^(?:{source})$"))
}

fn is_step(step: &Value) -> bool {
    match step {
        Value::Int(step) | Value::Timespan(step) => *step > 0,
        Value::Decimal(step) => step.parts().0 > 0,
        _ => false,
    }
}

/// The result under which the host keeps, with each commit, whose it is. Never shown.
pub(crate) const AUTHOR: &str = "caps_author";

const _: () = assert!(ADMINISTRATORS.0 == 1, "the id of the administrators is part of every cabinet");
