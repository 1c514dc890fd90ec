//! What the module declares.

use caps_logic::module::{Arity, Attribute, Constraint, End, Entity, Method, Name, Relation, Schema, Value, ValueKind};

use super::{DESK, GATEWAY, MODULE};

/// Bytes of a subject; longer ones are cut when they are filed.
pub(super) const SUBJECT_BYTES_MAX: u32 = 500;
/// Bytes of a name; longer ones are cut when they are filed.
pub(super) const NAME_BYTES_MAX: u32 = 200;
/// Bytes of a Message-ID: RFC 5322 bounds a line at 998.
pub(super) const MESSAGE_ID_BYTES_MAX: u32 = 998;
/// Message-IDs in References, the latest last; more are cut when they are filed.
pub(super) const REFERENCES_MAX: u32 = 100;
/// Bytes of a message's text: it travels in one frame with everything else.
const TEXT_BYTES_MAX: u32 = 512 << 10;
/// Bytes of an address: RFC 5321, section 4.5.3.1.3.
const ADDRESS_BYTES_MAX: u32 = 256;
/// Recipients of a message that are kept.
pub(super) const RECIPIENTS_MAX: u32 = 100;
const ATTACHMENTS_MAX: u32 = 100;
const MESSAGES_OF_CASE_MAX: u32 = 10_000;
const DOCUMENTS_OF_CASE_MAX: u32 = 1_000;
const CASES_OF_ONE_MAX: u32 = 10_000;

pub(super) fn schema() -> Schema {
    Schema {
        module: Name::fixed(MODULE),
        version: 2,
        summary: "Mail of customers becomes cases; agents answer them.".to_owned(),
        entities: vec![customer(), agent(), case(), message(), document(), counter()],
        extensions: Vec::new(),
        relations: vec![
            relation("customer_of_case", ("case", "customer"), ("customer", "cases")),
            relation("agent_of_case", ("case", "agent"), ("agent", "cases")),
            relation("case_of_message", ("message", "case"), ("case", "messages")),
            relation("case_of_document", ("document", "case"), ("case", "documents")),
        ],
        methods: methods(),
    }
}

fn customer() -> Entity {
    entity(
        "customer",
        "Somebody who writes.",
        vec![
            text("name", "The name, as the first mail had it.", NAME_BYTES_MAX),
            text("address", "The mail address, in lower case.", ADDRESS_BYTES_MAX).with(Constraint::Unique),
            references("cases", "case", CASES_OF_ONE_MAX, "The customer's cases."),
        ],
    )
}

fn agent() -> Entity {
    entity(
        "agent",
        "Somebody who answers.",
        vec![
            text("name", "The name.", NAME_BYTES_MAX),
            optional(reference("user", "user", "The user that the agent is.")),
            references("cases", "case", CASES_OF_ONE_MAX, "The cases that the agent deals with."),
        ],
    )
}

fn case() -> Entity {
    let number = Attribute::one("number", ValueKind::Int, "The number for people, from 1 without gaps.");
    let status = Attribute::one("status", ValueKind::Text, "new, open (the desk's turn), pending (the customer's turn) or closed.");
    entity(
        "case",
        "Something that a customer wants.",
        vec![
            number.with(Constraint::Unique).with(Constraint::Unchangeable),
            text("subject", "The subject of the first mail.", SUBJECT_BYTES_MAX),
            status.with(Constraint::Selection(STATUSES.map(Value::text).to_vec())).with(transitions()),
            priority(Arity::ONE),
            Attribute::optional("due_at", ValueKind::Timestamp, "When it is to be dealt with, by priority.").computed(),
            Attribute::one("opened_at", ValueKind::Timestamp, "When it was opened.").with(Constraint::Unchangeable),
            Attribute::optional("closed_at", ValueKind::Timestamp, "When it was closed, if it is."),
            Attribute::optional("close_reason", ValueKind::Text, "Why it was closed, if it is.").with(size(NAME_BYTES_MAX)),
            reference("customer", "customer", "Whose it is."),
            optional(reference("agent", "agent", "Who deals with it.")),
            references("messages", "message", MESSAGES_OF_CASE_MAX, "Its messages."),
            references("documents", "document", DOCUMENTS_OF_CASE_MAX, "What belongs to it besides."),
        ],
    )
}

fn message() -> Entity {
    let direction = Attribute::one("direction", ValueKind::Text, "in or out.");
    let mut attributes = vec![
        message_id().with(Constraint::Unique).with(Constraint::Unchangeable),
        direction.with(Constraint::Selection(["in", "out"].map(Value::text).to_vec())),
        Attribute::one("from", ValueKind::Text, "Who sent it.").with(size(ADDRESS_BYTES_MAX)),
        Attribute::one("received_at", ValueKind::Timestamp, "When it was filed, or written."),
        Attribute::one("opened_case", ValueKind::Bool, "Whether its case was opened by it."),
        reference("case", "case", "Its case."),
        Attribute::optional(
            "delivery",
            ValueKind::Text,
            "Of mail that goes out: queued, sent (the next server has it), failed or bounced.",
        )
        .with(Constraint::Selection(DELIVERIES.map(Value::text).to_vec())),
        Attribute::optional("delivered_at", ValueKind::Timestamp, "When the next server took it."),
        Attribute::optional("delivery_note", ValueKind::Text, "What the other side said last.").with(size(NOTE_BYTES_MAX)),
        unreadable(),
    ];
    attributes.extend(content());
    entity("message", "One mail, in or out.", attributes)
}

fn document() -> Entity {
    entity(
        "document",
        "Something of any size that belongs to a case: a photograph, a drawing, a log.",
        vec![
            text("name", "The name, such as `pump.jpg`.", NAME_BYTES_MAX),
            Attribute::one("content", ValueKind::Blob, "The bytes: `caps blob get` fetches them."),
            Attribute::one("attached_at", ValueKind::Timestamp, "When it was attached."),
            reference("case", "case", "Its case."),
        ],
    )
}

fn counter() -> Entity {
    entity(
        "counter",
        "What numbers cases; the module's own.",
        vec![
            text("name", "What it counts.", NAME_BYTES_MAX).with(Constraint::Unique).with(Constraint::Unchangeable),
            Attribute::one("value", ValueKind::Int, "The last number given."),
        ],
    )
}

fn methods() -> Vec<Method> {
    let reason = Attribute::one("reason", ValueKind::Text, "Why.").with(Constraint::Size { min: 1, max: NAME_BYTES_MAX });
    let body = Attribute::one("text", ValueKind::Text, "The text.").with(Constraint::Size { min: 1, max: TEXT_BYTES_MAX });
    let user = optional(reference("user", "user", "The user that the agent is."));
    let agent = || reference("agent", "agent", "The agent.");
    let filed = vec![
        the_case(),
        Attribute::one("number", ValueKind::Int, "The number of the case."),
        Attribute::one("created", ValueKind::Bool, "Whether the case was opened by this mail."),
        Attribute::one("duplicate", ValueKind::Bool, "Whether this mail had been filed before."),
    ];
    let mut mail = vec![
        message_id(),
        Attribute::one("from_address", ValueKind::Text, "The sender's address.").with(Constraint::Size { min: 3, max: ADDRESS_BYTES_MAX }),
        Attribute::optional("from_name", ValueKind::Text, "The sender's name.").with(size(SUBJECT_BYTES_MAX * 4)),
        Attribute::optional("auto_submitted", ValueKind::Bool, "Whether a machine sent it (RFC 3834); such mail reopens nothing."),
        Attribute::optional("bounced_id", ValueKind::Text, "The Message-ID of the mail that it says could not be delivered (RFC 3464).")
            .with(size(MESSAGE_ID_BYTES_MAX)),
        Attribute::optional("bounce_note", ValueKind::Text, "Why not.").with(size(NOTE_BYTES_MAX)),
        unreadable(),
    ];
    mail.extend(content());
    let relaxed = |mut attribute: Attribute| {
        // A mail with a long subject is a mail. It is cut, not refused.
        attribute.rules.retain(|rule| attribute.name != "subject" || !matches!(rule.constraint, Constraint::Size { .. }));
        attribute
    };
    let mail = mail.into_iter().map(relaxed).collect();
    let attached = vec![
        the_case(),
        text("name", "The name.", NAME_BYTES_MAX),
        Attribute::one("content", ValueKind::Blob, "The bytes, as `caps blob put` names them."),
    ];
    let document = reference("document", "document", "What was attached.");
    let case_only = || vec![the_case()];
    vec![
        method("file_mail", "Files a mail into the case it belongs to, or a new one.", mail, filed, &[GATEWAY, DESK]),
        method("add_agent", "Adds an agent.", vec![text("name", "The name.", NAME_BYTES_MAX), user], vec![agent()], &[DESK]),
        method("assign", "Gives a case to an agent.", vec![the_case(), agent()], case_only(), &[DESK]),
        method("set_priority", "Says how urgent a case is.", vec![the_case(), priority(Arity::ONE)], case_only(), &[DESK]),
        method(
            "reply",
            "Answers the customer by mail.",
            vec![the_case(), body],
            vec![reference("message", "message", "The mail.")],
            &[DESK],
        ),
        method("close", "Closes a case.", vec![the_case(), reason], case_only(), &[DESK]),
        method("attach", "Attaches something of any size to a case.", attached, vec![document], &[DESK]),
        method("reopen", "Opens a closed case again.", case_only(), case_only(), &[DESK]),
    ]
}

/// What a mail says of itself, in the message as in the arguments.
fn content() -> Vec<Attribute> {
    let body = Attribute::optional("text", ValueKind::Text, "The text.").with(size(TEXT_BYTES_MAX));
    let addresses = |name, summary| Attribute::list(name, ValueKind::Text, RECIPIENTS_MAX, summary).with(size(ADDRESS_BYTES_MAX));
    let named = |name, summary| Attribute::list(name, ValueKind::Text, ATTACHMENTS_MAX, summary).with(size(MESSAGE_ID_BYTES_MAX));
    vec![
        Attribute::list("in_reply_to", ValueKind::Text, REFERENCES_MAX, "Message-IDs that it answers.").with(size(MESSAGE_ID_BYTES_MAX)),
        Attribute::list("references", ValueKind::Text, REFERENCES_MAX, "Message-IDs of the thread, the latest last.")
            .with(size(MESSAGE_ID_BYTES_MAX)),
        addresses("to", "To whom it went."),
        addresses("cc", "To whom copies went."),
        Attribute::optional("subject", ValueKind::Text, "The subject.").with(size(SUBJECT_BYTES_MAX)),
        body,
        Attribute::optional("sent_at", ValueKind::Timestamp, "When the sender says that it was sent."),
        named("attachment_names", "The attachments' names, `-` for none."),
        named("attachment_types", "The attachments' media types."),
        Attribute::list("attachment_sizes", ValueKind::Int, ATTACHMENTS_MAX, "The attachments' sizes in bytes."),
        Attribute::list("attachment_contents", ValueKind::Blob, ATTACHMENTS_MAX, "The attachments themselves, if they are kept."),
    ]
}

/// Mail that nobody could read is filed all the same, and kept whole as its only attachment.
fn unreadable() -> Attribute {
    Attribute::optional("unreadable", ValueKind::Text, "Why it could not be read as a mail, if it could not.").with(size(NOTE_BYTES_MAX))
}

fn transitions() -> Constraint {
    let pairs = [
        ("new", "open"),
        ("new", "pending"),
        ("new", "closed"),
        ("open", "pending"),
        ("open", "closed"),
        ("pending", "open"),
        ("pending", "closed"),
        // Reopening.
        ("closed", "open"),
    ];
    Constraint::Transitions(pairs.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec())
}

fn entity(name: &'static str, summary: &str, attributes: Vec<Attribute>) -> Entity {
    Entity { name: Name::fixed(name), summary: summary.to_owned(), parent: None, attributes }
}

fn method(name: &'static str, summary: &str, parameters: Vec<Attribute>, results: Vec<Attribute>, callers: &[&str]) -> Method {
    let callers = callers.iter().map(ToString::to_string).collect();
    Method { name: Name::fixed(name), summary: summary.to_owned(), parameters, results, callers }
}

fn relation(name: &'static str, from: (&'static str, &'static str), to: (&'static str, &'static str)) -> Relation {
    Relation { name: Name::fixed(name), from: End::weak(from.0, from.1), to: End::weak(to.0, to.1) }
}

fn message_id() -> Attribute {
    Attribute::one("message_id", ValueKind::Text, "The Message-ID.").with(Constraint::Size { min: 1, max: MESSAGE_ID_BYTES_MAX })
}

fn the_case() -> Attribute {
    reference("case", "case", "The case.")
}

fn priority(arity: Arity) -> Attribute {
    let attribute = Attribute::one("priority", ValueKind::Int, "1 low, 2 normal, 3 high, 4 urgent.");
    Attribute { arity, ..attribute.with(Constraint::Range { from: Value::Int(1), to: Value::Int(4) }) }
}

fn text(name: &'static str, summary: &str, bytes_max: u32) -> Attribute {
    Attribute::one(name, ValueKind::Text, summary).with(size(bytes_max))
}

fn reference(name: &'static str, entity: &'static str, summary: &str) -> Attribute {
    Attribute::one(name, ValueKind::Reference, summary).with(Constraint::RefersTo(Name::fixed(entity)))
}

fn references(name: &'static str, entity: &'static str, max: u32, summary: &str) -> Attribute {
    Attribute::list(name, ValueKind::Reference, max, summary).with(Constraint::RefersTo(Name::fixed(entity)))
}

fn optional(attribute: Attribute) -> Attribute {
    Attribute { arity: Arity::OPTIONAL, ..attribute }
}

fn size(max: u32) -> Constraint {
    Constraint::Size { min: 0, max }
}

/// Bytes of what another mail server said.
pub(super) const NOTE_BYTES_MAX: u32 = 1_000;
const DELIVERIES: [&str; 4] = ["queued", "sent", "failed", "bounced"];
const STATUSES: [&str; 4] = ["new", "open", "pending", "closed"];
