//! What agents do with cases. All of it with the caller's own rights.

use caps_logic::module::{Halt, Name, ObjectId, Query, Record, Refusal, Transaction, Value};

use super::schema::{REFERENCES_MAX, SUBJECT_BYTES_MAX};
use super::{CaseDesk, for_the_desk, one, record, start_of, text, values};

pub(super) fn add_agent(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let mut agent = for_the_desk(tx)?;
    agent.extend(record([("name", values(arguments, "name")), ("user", values(arguments, "user"))]));
    let agent = tx.create("agent", agent)?;
    Ok(record([("agent", vec![Value::Reference(agent)])]))
}

pub(super) fn assign(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let case = case_of(arguments);
    let is_new = tx.require(case, "case")?.text("status") == Some("new");
    tx.set(case, "agent", values(arguments, "agent"))?;
    if is_new {
        tx.set(case, "status", one("open"))?;
    }
    Ok(answer(case))
}

pub(super) fn set_priority(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let case = case_of(arguments);
    tx.set(case, "priority", values(arguments, "priority"))?;
    Ok(answer(case))
}

/// Writes to the customer. The mail itself is an effect: sent after the commit is durable, at least once, recognised by its Message-ID, which
/// is made from the id of the message object and therefore the same however often this runs.
pub(super) fn reply(desk: &CaseDesk, arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let case = tx.require(case_of(arguments), "case")?;
    let customer = tx.require(case.reference("customer").unwrap_or(case.id), "case");
    let by_birth = Query::equal(Name::fixed("message"), Name::fixed("case"), Value::Reference(case.id)).limit(1);
    let last = tx.one(&by_birth.by(Name::fixed("received_at"), true));
    let mut message = for_the_desk(tx)?;
    let (customer, last) = (customer?, last?);
    if case.text("status") == Some("closed") {
        return Err(Refusal::new("closed", "the case is closed: reopen it to answer").at_fixed("case").into());
    }

    let answered: Vec<Value> = last.iter().filter_map(|last| last.value("message_id").cloned()).collect();
    let mut references: Vec<Value> = last.iter().flat_map(|last| last.values("references").to_vec()).chain(answered.clone()).collect();
    references.drain(..references.len().saturating_sub(REFERENCES_MAX as usize));
    let subject = reply_subject(case.text("subject").unwrap_or_default(), case.int("number").unwrap_or_default());
    let mail = record([
        ("from", one(&desk.address)),
        ("to", customer.values("address").to_vec()),
        ("subject", one(subject)),
        ("in_reply_to", answered),
        ("references", references),
        ("text", one(text(arguments, "text").unwrap_or_default())),
    ]);

    message.extend(mail.clone());
    message.extend(record([
        ("direction", one("out")),
        ("received_at", vec![Value::Timestamp(tx.now())]),
        ("sent_at", vec![Value::Timestamp(tx.now())]),
        ("opened_case", vec![Value::Bool(false)]),
        ("case", vec![Value::Reference(case.id)]),
    ]));
    let message = tx.create("message", message)?;
    let message_id = format!("{message}@{}", desk.domain);
    tx.set(message, "message_id", one(&message_id))?;
    if matches!(case.text("status"), Some("new" | "open")) {
        tx.set(case.id, "status", one("pending"))?;
    }
    let mut arguments = mail;
    arguments.extend(record([("message_id", one(&message_id)), ("sent_at", vec![Value::Timestamp(tx.now())])]));
    let domain = customer.text("address").and_then(|address| address.rsplit_once('@')).map_or("", |(_, domain)| domain);
    tx.effect("mail", message, message_id, domain, arguments)?;
    Ok(record([("message", vec![Value::Reference(message)])]))
}

/// Attaches a blob, which is on a majority of the replicas already.
pub(super) fn attach(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let case = tx.require(case_of(arguments), "case")?;
    let mut document = for_the_desk(tx)?;
    document.extend(record([
        ("name", values(arguments, "name")),
        ("content", values(arguments, "content")),
        ("attached_at", vec![Value::Timestamp(tx.now())]),
        ("case", vec![Value::Reference(case.id)]),
    ]));
    let document = tx.create("document", document)?;
    Ok(record([("document", vec![Value::Reference(document)])]))
}

pub(super) fn close(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let case = case_of(arguments);
    if tx.require(case, "case")?.text("status") == Some("closed") {
        return Err(Refusal::new("closed", "the case is closed already").at_fixed("case").into());
    }
    tx.set(case, "status", one("closed"))?;
    tx.set(case, "closed_at", vec![Value::Timestamp(tx.now())])?;
    tx.set(case, "close_reason", values(arguments, "reason"))?;
    Ok(answer(case))
}

pub(super) fn reopen(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let case = case_of(arguments);
    if tx.require(case, "case")?.text("status") != Some("closed") {
        return Err(Refusal::new("not_closed", "the case is not closed").at_fixed("case").into());
    }
    reopen_case(case, tx)?;
    Ok(answer(case))
}

/// Opens a closed case again.
pub(super) fn reopen_case(case: ObjectId, tx: &mut Transaction<'_>) -> Result<(), Halt> {
    tx.set(case, "status", one("open"))?;
    tx.set(case, "closed_at", Vec::new())?;
    tx.set(case, "close_reason", Vec::new())
}

fn case_of(arguments: &Record) -> ObjectId {
    let given = arguments.get("case").and_then(|values| values.first()).and_then(Value::as_reference);
    given.expect("the schema demands a case")
}

fn answer(case: ObjectId) -> Record {
    record([("case", vec![Value::Reference(case)])])
}

/// `Re: subject [#number]`, with one `Re:` and one tag, within the bounds of a subject.
fn reply_subject(subject: &str, number: i64) -> String {
    let tag = format!(" [#{number}]");
    let bare = subject.trim_start_matches("Re: ").replace(tag.trim_start(), "");
    let room = SUBJECT_BYTES_MAX as usize - tag.len() - "Re: ".len();
    format!("Re: {}{tag}", start_of(bare.trim(), room).trim_end())
}
