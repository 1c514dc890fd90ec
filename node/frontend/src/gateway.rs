//! From a raw mail to the call that files it: the mail gateway's half of the case desk.

use caps_adapters::mail::{Action, DeliveryReport, Limits, Message, Refusal, Unreadable};
use caps_model::{Name, Record, Value};

/// The arguments of `casedesk.file_mail` for a raw message; or why nobody can take it for a mail.
///
/// Runs in time proportional to the message; a gateway that takes mail from strangers calls it on a worker.
pub fn file_mail_arguments(raw: &[u8], limits: &Limits) -> Result<Record, Refusal> {
    Ok(arguments_of(&Message::parse(raw, limits)?))
}

/// The arguments of `casedesk.file_mail` for a message, its attachments by name, type and size.
pub fn arguments_of(message: &Message) -> Record {
    let mut arguments = Record::new();
    let mut put = |name: &'static str, values: Vec<Value>| {
        if !values.is_empty() {
            arguments.insert(Name::fixed(name), values);
        }
    };
    put("message_id", vec![Value::text(message.message_id.as_str())]);
    put("in_reply_to", texts(message.in_reply_to.iter().map(|id| id.as_str())));
    put("references", texts(message.references.iter().map(|id| id.as_str())));
    put("from_address", vec![Value::text(message.from.address.as_str())]);
    put("from_name", texts(message.from.name.as_deref()));
    put("to", texts(message.to.iter().map(|mailbox| mailbox.address.as_str())));
    put("cc", texts(message.cc.iter().map(|mailbox| mailbox.address.as_str())));
    put("subject", vec![Value::text(message.subject.as_str())]);
    put("text", vec![Value::text(message.text.as_str())]);
    put("sent_at", message.sent_at.and_then(|seconds| seconds.checked_mul(1_000_000)).map(Value::Timestamp).into_iter().collect());
    put("attachment_names", texts(message.attachments.iter().map(|attachment| name_or_dash(&attachment.name))));
    put("attachment_types", texts(message.attachments.iter().map(|attachment| attachment.media_type.as_str())));
    put("attachment_sizes", message.attachments.iter().map(|attachment| size(attachment.size_bytes)).collect());
    put("auto_submitted", vec![Value::Bool(message.auto_submitted)]);
    arguments
}

/// What a report of failed delivery says besides: which mail came back, and why.
pub fn arguments_of_bounce(report: &DeliveryReport) -> Record {
    let failed = report.recipients.iter().find(|recipient| recipient.action == Action::Failed);
    let (Some(id), Some(failed)) = (&report.original_message_id, failed) else { return Record::new() };
    let status = failed.status.map(|status| format!("{status} ")).unwrap_or_default();
    let note = format!("{}: {status}{}", failed.address, failed.diagnostic);
    [("bounced_id", id.as_str()), ("bounce_note", start_of(&note, NOTE_BYTES_MAX))]
        .map(|(name, text)| (Name::fixed(name), vec![Value::text(text)]))
        .into()
}

/// The arguments of `casedesk.file_mail` for what nobody can take for a mail, but came as one from `sender`: the whole of it is its only attachment.
pub fn arguments_of_unreadable(mail: &Unreadable, sender: Option<&str>) -> Record {
    let reason = mail.refusal.to_string();
    let text = |text: &str| vec![Value::text(text)];
    let from = mail.from.as_ref().map(|from| from.address.as_str()).or(sender).unwrap_or(NOBODY);
    let subject = if mail.subject.is_empty() { "(a mail that cannot be read)" } else { &mail.subject };
    [
        ("message_id", text(mail.message_id.as_str())),
        ("from_address", text(from)),
        ("subject", text(subject)),
        ("text", text(&format!("This mail cannot be read: {reason}. It is attached as it came, and begins so:\n\n{}", mail.beginning))),
        ("attachment_names", text("unreadable.eml")),
        ("attachment_types", text("message/rfc822")),
        ("attachment_sizes", vec![size(mail.size_bytes)]),
        ("auto_submitted", vec![Value::Bool(true)]),
        ("unreadable", text(start_of(&reason, NOTE_BYTES_MAX))),
    ]
    .map(|(name, values)| (Name::fixed(name), values))
    .into()
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    texts.into_iter().map(Value::text).collect()
}

/// The start of a text, cut at a character.
pub(crate) fn start_of(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Names are never empty in the case desk.
fn name_or_dash(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}

fn size(size_bytes: usize) -> Value {
    Value::Int(i64::try_from(size_bytes).unwrap_or(i64::MAX))
}

/// The sender of mail that names none, and to which nobody is to answer.
const NOBODY: &str = "nobody@invalid";

/// Bytes of what another mail server said, or of what is wrong with a mail, that the case desk keeps.
const NOTE_BYTES_MAX: usize = 1_000;
