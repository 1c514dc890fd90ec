//! Filing mail.

use std::sync::Arc;

use caps_logic::module::{Halt, Name, Object, ObjectId, Query, READERS, Record, Refusal, Transaction, Value, WRITERS};

use super::schema::{NAME_BYTES_MAX, SUBJECT_BYTES_MAX};
use super::threading::{Thread, message_id, message_ids, tagged_number};
use super::{delivery, for_the_desk, one, record, start_of, text, values};

/// Files a mail into the case that it belongs to, or a new one. A Message-ID that is known is answered as it was the first time.
///
/// Whoever files may know of no case: looking and writing is done as the module.
pub(super) fn file_mail(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    check_attachments(arguments)?;
    let id = message_id(text(arguments, "message_id").unwrap_or_default());
    if id.is_empty() {
        return Err(Refusal::new("message_id", "the Message-ID is empty").at_fixed("message_id").into());
    }
    tx.as_module("filing mail for those who may file and not read", |tx| file(arguments, id, tx))
}

fn file(arguments: &Record, id: &str, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let (in_reply_to, references) = (message_ids(arguments, "in_reply_to"), message_ids(arguments, "references"));
    let thread = Thread { message_id: id, in_reply_to: &in_reply_to, references: &references };
    let sender = text(arguments, "from_address").unwrap_or_default().trim().to_lowercase();

    // All that a new case may need is asked for before the first answer is looked at: one round trip.
    let duplicate = tx.one(&Query::equal(Name::fixed("message"), Name::fixed("message_id"), Value::text(id)));
    let threaded = thread.case(tx);
    let customer = tx.one(&Query::equal(Name::fixed("customer"), Name::fixed("address"), Value::text(&sender)));
    let tagged = tagged_case(arguments, tx);
    let bounced = delivery::bounced(arguments, tx);
    let counter = counter(tx);
    let desk = for_the_desk(tx);

    if let Some(first) = duplicate? {
        return first_answer(&first, tx);
    }
    let (customer, tagged, desk) = (customer?, tagged?, desk?);
    let of_sender = |case: &Arc<Object>| customer.as_ref().is_some_and(|customer| case.reference("customer") == Some(customer.id));
    let bounced = bounced?;
    let case_of_bounced = bounced.as_ref().and_then(|message| message.reference("case"));
    let case = case_of_bounced.or(threaded?).or_else(|| tagged.filter(of_sender).map(|case| case.id));
    let (case, created) = match case {
        Some(case) => (case, false),
        None => {
            let customer = match customer {
                Some(customer) => customer.id,
                None => add_customer(arguments, &sender, &desk, tx)?,
            };
            (open_case(arguments, customer, counter?, &desk, tx)?, true)
        }
    };
    if let Some(bounced) = &bounced {
        delivery::note_bounce(bounced, arguments, tx)?;
    }
    let number = receive(case, arguments, bounced.is_some(), tx)?;
    add_message(arguments, &thread, &sender, case, created, desk, tx)?;
    Ok(answer(case, number, created, false))
}

fn first_answer(first: &Object, tx: &mut Transaction<'_>) -> Result<Record, Halt> {
    let case = tx.require(first.reference("case").unwrap_or(first.id), "case")?;
    let created = first.value("opened_case").and_then(Value::as_bool).unwrap_or(false);
    Ok(answer(case.id, case.int("number").unwrap_or_default(), created, true))
}

fn answer(case: ObjectId, number: i64, created: bool, duplicate: bool) -> Record {
    record([
        ("case", vec![Value::Reference(case)]),
        ("number", vec![Value::Int(number)]),
        ("created", vec![Value::Bool(created)]),
        ("duplicate", vec![Value::Bool(duplicate)]),
    ])
}

fn tagged_case(arguments: &Record, tx: &mut Transaction<'_>) -> Result<Option<Arc<Object>>, Halt> {
    let Some(number) = text(arguments, "subject").and_then(tagged_number) else { return Ok(None) };
    tx.one(&Query::equal(Name::fixed("case"), Name::fixed("number"), Value::Int(number)))
}

/// A customer's mail makes it the desk's turn; a machine's does not, unless it says that the customer never got the answer.
fn receive(case: ObjectId, arguments: &Record, is_bounce: bool, tx: &mut Transaction<'_>) -> Result<i64, Halt> {
    let automatic = arguments.get("auto_submitted").and_then(|values| values.first()).and_then(Value::as_bool) == Some(true);
    let object = tx.require(case, "case")?;
    match object.text("status") {
        Some("closed") if !automatic => super::handling::reopen_case(case, tx)?,
        Some("pending") if !automatic || is_bounce => tx.set(case, "status", one("open"))?,
        _ => {}
    }
    Ok(object.int("number").unwrap_or_default())
}

fn add_customer(arguments: &Record, sender: &str, desk: &Record, tx: &mut Transaction<'_>) -> Result<ObjectId, Halt> {
    let name = text(arguments, "from_name").map(str::trim).filter(|name| !name.is_empty()).unwrap_or(sender);
    let mut customer = desk.clone();
    customer.extend(record([("name", one(start_of(name, NAME_BYTES_MAX as usize))), ("address", one(sender))]));
    tx.create("customer", customer)
}

fn open_case(
    arguments: &Record,
    customer: ObjectId,
    counter: Option<Arc<Object>>,
    desk: &Record,
    tx: &mut Transaction<'_>,
) -> Result<ObjectId, Halt> {
    let number = next_number(counter, tx)?;
    let mut case = desk.clone();
    case.extend(record([
        ("number", vec![Value::Int(number)]),
        ("subject", one(subject(arguments))),
        ("status", one("new")),
        ("priority", vec![Value::Int(PRIORITY_NORMAL)]),
        ("opened_at", vec![Value::Timestamp(tx.now())]),
        ("customer", vec![Value::Reference(customer)]),
    ]));
    tx.create("case", case)
}

fn add_message(
    arguments: &Record,
    thread: &Thread<'_>,
    sender: &str,
    case: ObjectId,
    opened_case: bool,
    desk: Record,
    tx: &mut Transaction<'_>,
) -> Result<(), Halt> {
    let ids = |ids: &[String]| ids.iter().map(Value::text).collect::<Vec<_>>();
    let mut message = desk;
    message.extend(record([
        ("message_id", one(thread.message_id)),
        ("in_reply_to", ids(thread.in_reply_to)),
        ("references", ids(thread.references)),
        ("direction", one("in")),
        ("from", one(sender)),
        ("subject", one(subject(arguments))),
        ("received_at", vec![Value::Timestamp(tx.now())]),
        ("opened_case", vec![Value::Bool(opened_case)]),
        ("case", vec![Value::Reference(case)]),
    ]));
    let same =
        ["to", "cc", "text", "sent_at", "attachment_names", "attachment_types", "attachment_sizes", "attachment_contents", "unreadable"];
    message.extend(record(same.map(|name| (name, values(arguments, name)))));
    tx.create("message", message).map(drop)
}

/// The counter of cases, once there is one.
fn counter(tx: &mut Transaction<'_>) -> Result<Option<Arc<Object>>, Halt> {
    tx.one(&Query::equal(Name::fixed("counter"), Name::fixed("name"), Value::text("case")))
}

/// The next number of a case. The counter is read and written in the transaction that uses the number, so a number is given exactly when its
/// case is: without gaps. It is the module's own: nobody else sees or moves it.
fn next_number(counter: Option<Arc<Object>>, tx: &mut Transaction<'_>) -> Result<i64, Halt> {
    let Some(counter) = counter else {
        let own = vec![Value::Reference(tx.module_group())];
        let first = record([("name", one("case")), ("value", vec![Value::Int(1)]), (READERS, own.clone()), (WRITERS, own)]);
        tx.create("counter", first)?;
        return Ok(1);
    };
    let next = counter.int("value").unwrap_or_default() + 1;
    tx.set(counter.id, "value", vec![Value::Int(next)])?;
    Ok(next)
}

fn subject(arguments: &Record) -> &str {
    let subject = text(arguments, "subject").map(str::trim).filter(|subject| !subject.is_empty());
    start_of(subject.unwrap_or("(no subject)"), SUBJECT_BYTES_MAX as usize)
}

fn check_attachments(arguments: &Record) -> Result<(), Refusal> {
    let count = |name| arguments.get(name).map_or(0, Vec::len);
    let names = count("attachment_names");
    let contents = count("attachment_contents");
    if count("attachment_types") == names && count("attachment_sizes") == names && (contents == 0 || contents == names) {
        return Ok(());
    }
    let sentence = "each attachment has a name, a type and a size; and the content is given of all, or of none";
    Err(Refusal::new("attachments", sentence).at_fixed("attachment_names"))
}

const PRIORITY_NORMAL: i64 = 2;
