//! The built-in module `people`: users, groups and sessions, declared like any other module's objects.
//!
//! Users see one another if they share a group, and administrators see all. A user's node is the identity of a front end (a mail gateway, say)
//! that may act as this user without a password: its certificate is the proof. Sessions are for nobody to see; hosts look them up by the hash
//! of the secret that they gave away.

mod guard;
mod password;

use caps_model::schema::{Arity, Attribute, Constraint, Entity, Method};
use caps_model::{Name, ObjectId, Query, Record, Schema, Value, ValueKind};
use caps_overlay::Identity;

pub(crate) use self::guard::LoginGuard;
pub(crate) use self::password::{hash_password, matches_nobody, verify_password};
use crate::module::{Fault, Halt, Module, Refusal, Transaction, refusals};
use crate::privileges::{ADMINISTRATORS, ADMINISTRATORS_NAME, GROUPS_MAX, READERS_NAME, WRITERS_NAME};

/// The module.
#[derive(Clone, Copy, Debug, Default)]
pub struct People;

/// The name of the module.
pub const MODULE: &str = "people";
/// The entity of users.
pub const USER: &str = "user";
/// The entity of groups.
pub const GROUP: &str = "group";
/// The entity of sessions.
pub const SESSION: &str = "session";

/// The version recorded with each commit.
pub(crate) const VERSION: u32 = 1;

/// The parameter that the host hashes on a worker before the module sees it: 20 ms of work has no place on the thread that serves everybody,
/// and none in code that may run several times.
pub(crate) const PASSWORD: &str = "password";

/// Bytes of a password.
pub(crate) const PASSWORD_BYTES: (u32, u32) = (8, 256);

/// Bytes of a login name.
pub(crate) const LOGIN_BYTES: (u32, u32) = (1, 64);

impl Module for People {
    fn schema(&self) -> Schema {
        Schema {
            module: Name::fixed(MODULE),
            version: VERSION,
            summary: "Users, the groups they belong to, and their sessions.".to_owned(),
            entities: vec![user(), group(), session()],
            extensions: Vec::new(),
            relations: Vec::new(),
            methods: methods(),
        }
    }

    fn secrets(&self) -> Vec<(Name, Name)> {
        vec![(Name::fixed(USER), Name::fixed("password_hash")), (Name::fixed(SESSION), Name::fixed("token_hash"))]
    }

    fn call(&self, method: &str, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
        match method {
            "add_group" => add_group(arguments, tx),
            "add_user" => add_user(arguments, tx),
            "set_password" => change(arguments, tx, |_| Ok(record([("password_hash", values(arguments, PASSWORD))]))),
            "set_groups" => change(arguments, tx, |tx| groups_of_user(arguments, tx)),
            "bind_node" => change(arguments, tx, |_| Ok(record([("node", node(arguments)?)]))),
            _ => Err(Fault::new(format!("people has no method {method:?}")).into()),
        }
    }
}

fn add_group(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    if text(arguments, "name") == Some(ADMINISTRATORS_NAME) {
        let sentence = format!("the group {ADMINISTRATORS_NAME} is built in");
        return Err(Refusal::new(refusals::UNIQUE, sentence).at_fixed("name").into());
    }
    let mut attributes = record([("name", values(arguments, "name"))]);
    attributes.insert(READERS_NAME.clone(), vec![Value::Reference(ADMINISTRATORS)]);
    attributes.insert(WRITERS_NAME.clone(), vec![Value::Reference(ADMINISTRATORS)]);
    let group = tx.create(GROUP, attributes)?;
    // Those who belong to a group may know its name.
    tx.set(group, READERS_NAME.as_str(), references([ADMINISTRATORS, group]))?;
    Ok(record([("group", vec![Value::Reference(group)])]))
}

fn add_user(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let mut attributes = groups_of_user(arguments, tx)?;
    attributes.insert(WRITERS_NAME.clone(), vec![Value::Reference(ADMINISTRATORS)]);
    attributes.extend(record([
        ("login", values(arguments, "login")),
        ("name", values(arguments, "name")),
        ("password_hash", values(arguments, PASSWORD)),
    ]));
    let user = tx.create(USER, attributes)?;
    Ok(record([("user", vec![Value::Reference(user)])]))
}

fn change(
    arguments: &Record,
    tx: &mut Transaction<'_>,
    attributes: impl FnOnce(&mut Transaction<'_>) -> Result<Record, Halt>,
) -> Result<Record, Halt> {
    let login = Query::equal(Name::fixed(USER), Name::fixed("login"), Value::text(text(arguments, "login").unwrap_or_default()));
    let user = tx.one(&login);
    let attributes = attributes(tx)?;
    let Some(user) = user? else {
        return Err(Refusal::new(refusals::NOT_FOUND, "there is no such user").at_fixed("login").into());
    };
    tx.update(user.id, attributes)?;
    Ok(record([("user", vec![Value::Reference(user.id)])]))
}

/// The groups named, and who may see a user that belongs to them: administrators, and the members of those groups.
fn groups_of_user(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let names = arguments.get("groups").map_or(&[] as &[Value], Vec::as_slice);
    let asked: Vec<Result<ObjectId, Halt>> = names.iter().filter_map(Value::as_text).map(|name| tx.group(name)).collect();
    let mut groups: Vec<ObjectId> = asked.into_iter().collect::<Result<_, _>>()?;
    groups.sort_unstable();
    groups.dedup();
    let readers = groups.iter().copied().filter(|group| *group != ADMINISTRATORS);
    let readers = references([ADMINISTRATORS].into_iter().chain(readers));
    let mut attributes = record([("groups", references(groups))]);
    attributes.insert(READERS_NAME.clone(), readers);
    Ok(attributes)
}

fn node(arguments: &Record) -> Result<Vec<Value>, Refusal> {
    let Some(text) = text(arguments, "node") else { return Ok(Vec::new()) };
    match Identity::parse(text) {
        Ok(identity) if !identity.is_admin() => Ok(vec![Value::text(text)]),
        Ok(_) => Err(Refusal::new(refusals::SELECTION, "an administrator is nobody's node").at_fixed("node")),
        Err(problem) => Err(Refusal::new(refusals::SELECTION, problem.to_string()).at_fixed("node")),
    }
}

fn user() -> Entity {
    Entity {
        name: Name::fixed(USER),
        summary: "Somebody, or a front end, who acts.".to_owned(),
        parent: None,
        attributes: vec![
            login_name().with(Constraint::Unique).with(Constraint::Unchangeable),
            Attribute::one("name", ValueKind::Text, "The name for people.").with(Constraint::Size { min: 1, max: 200 }),
            Attribute::optional("password_hash", ValueKind::Text, "The password, hashed with argon2id; never shown."),
            Attribute::optional("node", ValueKind::Text, "The identity of the front end that acts as this user.").with(Constraint::Unique),
            // One less than an object's readers may be: the administrators come on top.
            Attribute::list("groups", ValueKind::Reference, GROUPS_MAX - 1, "The groups that it belongs to.")
                .with(Constraint::RefersTo(Name::fixed(GROUP))),
        ],
    }
}

fn group() -> Entity {
    Entity {
        name: Name::fixed(GROUP),
        summary: "A set of users with rights in common.".to_owned(),
        parent: None,
        attributes: vec![group_name().with(Constraint::Unique).with(Constraint::Unchangeable)],
    }
}

fn session() -> Entity {
    Entity {
        name: Name::fixed(SESSION),
        summary: "The time for which a user has proved who it is.".to_owned(),
        parent: None,
        attributes: vec![
            Attribute::one("token_hash", ValueKind::Bytes, "The SHA-256 of the session's secret; never shown."),
            Attribute::one("user", ValueKind::Reference, "The user.").with(Constraint::RefersTo(Name::fixed(USER))),
            Attribute::one("expires", ValueKind::Timestamp, "When it ends."),
        ],
    }
}

fn methods() -> Vec<Method> {
    let groups = || Attribute::list("groups", ValueKind::Text, GROUPS_MAX - 1, "The names of the groups.");
    let password = || Attribute::one(PASSWORD, ValueKind::Text, "The password.").with(size(PASSWORD_BYTES));
    let node = Attribute::optional("node", ValueKind::Text, "The identity of the front end; none: it has none any more.");
    let user = || Attribute::one("user", ValueKind::Reference, "The user.").with(Constraint::RefersTo(Name::fixed(USER)));
    let group = Attribute::one("group", ValueKind::Reference, "The group.").with(Constraint::RefersTo(Name::fixed(GROUP)));
    let name = Attribute::one("name", ValueKind::Text, "The name for people.").with(Constraint::Size { min: 1, max: 200 });
    let optional_password = Attribute { arity: Arity::OPTIONAL, ..password() };
    vec![
        method("add_group", "Adds a group.", vec![group_name()], vec![group]),
        method("add_user", "Adds a user.", vec![login_name(), name, optional_password, groups()], vec![user()]),
        method("set_password", "Gives a user a new password.", vec![login_name(), password()], vec![user()]),
        method("set_groups", "Says which groups a user belongs to from now on.", vec![login_name(), groups()], vec![user()]),
        method("bind_node", "Lets a front end act as a user.", vec![login_name(), node], vec![user()]),
    ]
}

fn method(name: &'static str, summary: &str, parameters: Vec<Attribute>, results: Vec<Attribute>) -> Method {
    Method { name: Name::fixed(name), summary: summary.to_owned(), parameters, results, callers: vec![ADMINISTRATORS_NAME.to_owned()] }
}

fn login_name() -> Attribute {
    Attribute::one("login", ValueKind::Text, "The name to log in with.").with(size(LOGIN_BYTES))
}

fn group_name() -> Attribute {
    Attribute::one("name", ValueKind::Text, "The name of the group, as methods name it.").with(Constraint::Size { min: 1, max: 64 })
}

fn size((min, max): (u32, u32)) -> Constraint {
    Constraint::Size { min, max }
}

fn record<const N: usize>(pairs: [(&'static str, Vec<Value>); N]) -> Record {
    pairs.into_iter().map(|(name, values)| (Name::fixed(name), values)).collect()
}

fn references(ids: impl IntoIterator<Item = ObjectId>) -> Vec<Value> {
    ids.into_iter().map(Value::Reference).collect()
}

fn values(arguments: &Record, name: &str) -> Vec<Value> {
    arguments.get(name).cloned().unwrap_or_default()
}

fn text<'a>(arguments: &'a Record, name: &str) -> Option<&'a str> {
    arguments.get(name)?.first()?.as_text()
}
