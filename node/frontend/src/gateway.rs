//! From a raw mail to the call that files it: the mail gateway's half of the case desk.

use caps_adapters::mail::{Limits, Message, Refusal};
use caps_model::{Name, Record, Value};

/// The arguments of `casedesk.file_mail` for a raw message; or why nobody can take it for a mail.
///
/// Runs in time proportional to the message; a gateway that takes mail from strangers calls it on a worker.
pub fn file_mail_arguments(raw: &[u8], limits: &Limits) -> Result<Record, Refusal> {
    let message = Message::parse(raw, limits)?;
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
    Ok(arguments)
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    texts.into_iter().map(Value::text).collect()
}

/// Names are never empty in the case desk.
fn name_or_dash(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}

fn size(size_bytes: usize) -> Value {
    Value::Int(i64::try_from(size_bytes).unwrap_or(i64::MAX))
}
