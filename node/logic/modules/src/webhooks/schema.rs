//! What the module declares.

use caps_logic::module::{Attribute, Constraint, Entity, Method, Name, Schema, ValueKind};
use caps_logic::privileges::ADMINISTRATORS_NAME;

use super::{MODULE, WEBHOOK};

pub(super) fn schema() -> Schema {
    Schema {
        module: Name::fixed(MODULE),
        version: 1,
        summary: "Other programs are told what happens to objects.".to_owned(),
        entities: vec![webhook()],
        extensions: Vec::new(),
        relations: Vec::new(),
        methods: methods(),
    }
}

fn webhook() -> Entity {
    Entity {
        name: Name::fixed(WEBHOOK),
        summary: "Somebody who is told.".to_owned(),
        parent: None,
        attributes: vec![
            name().with(Constraint::Unique).with(Constraint::Unchangeable),
            endpoint(),
            events(),
            Attribute::one("group", ValueKind::Reference, "On whose behalf it is told: of what this group may read.")
                .with(Constraint::RefersTo(Name::fixed("group"))),
        ],
    }
}

fn methods() -> Vec<Method> {
    let group = Attribute::one("group", ValueKind::Text, "The group on whose behalf it is told: only of what its members may read.");
    let webhook = || Attribute::one(WEBHOOK, ValueKind::Reference, "The webhook.").with(Constraint::RefersTo(Name::fixed(WEBHOOK)));
    let removed = Attribute::one(WEBHOOK, ValueKind::Reference, "The webhook that was.");
    vec![
        method("add", "Has an endpoint told of events from now on.", vec![name(), endpoint(), events(), group], vec![webhook()]),
        method("remove", "Tells no more; what is under way still goes out.", vec![name()], vec![removed]),
        method("test", "Sends an event `webhook.test`, to see that it arrives.", vec![name()], vec![webhook()]),
    ]
}

fn method(name: &'static str, summary: &str, parameters: Vec<Attribute>, results: Vec<Attribute>) -> Method {
    Method { name: Name::fixed(name), summary: summary.to_owned(), parameters, results, callers: vec![ADMINISTRATORS_NAME.to_owned()] }
}

fn name() -> Attribute {
    Attribute::one("name", ValueKind::Text, "The name of the webhook.").with(Constraint::Size { min: 1, max: 64 })
}

fn endpoint() -> Attribute {
    Attribute::one("endpoint", ValueKind::Text, "Where it goes: the name of an endpoint in the deployment file of a front end.")
        .with(Constraint::Pattern("[A-Za-z0-9-]{1,63}".to_owned()))
}

fn events() -> Attribute {
    let events =
        Attribute::list("events", ValueKind::Text, EVENTS_MAX, "What it is told of: `case.created`, `case.changed`, `case.deleted`.");
    let pattern = events.with(Constraint::Pattern("[a-z][a-z0-9_]{0,62}\\.(created|changed|deleted)".to_owned()));
    Attribute { arity: caps_logic::module::Arity { min: 1, ..pattern.arity }, ..pattern }
}

/// Events of one webhook.
const EVENTS_MAX: u32 = 32;
