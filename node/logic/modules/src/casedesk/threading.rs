//! Which case a mail belongs to (RFC 5322, section 3.6.4).
//!
//! In this order: the message that it answers (In-Reply-To); the latest of its References that is known; messages that answer *it*, when the
//! post was slower for the parent than for the reply; messages that share one of its references, when the parent has not arrived at all;
//! `[#123]` in the subject, if the sender is that case's customer, because anybody can write a number into a subject.

use caps_logic::module::{Filter, Halt, Name, ObjectId, Query, Record, Transaction, Value};

use super::schema::REFERENCES_MAX;
use super::texts;

/// A Message-ID without its brackets and the white space around it.
pub(super) fn message_id(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text).trim()
}

/// The Message-IDs of an argument, in order, without empty ones; the latest if there are too many.
pub(super) fn message_ids(arguments: &Record, name: &str) -> Vec<String> {
    let mut ids: Vec<String> = texts(arguments, name).map(message_id).filter(|id| !id.is_empty()).map(ToOwned::to_owned).collect();
    let extra = ids.len().saturating_sub(REFERENCES_MAX as usize);
    ids.drain(..extra);
    ids
}

/// What a mail says of the thread that it is part of.
#[derive(Debug)]
pub(super) struct Thread<'a> {
    pub(super) message_id: &'a str,
    pub(super) in_reply_to: &'a [String],
    pub(super) references: &'a [String],
}

impl Thread<'_> {
    /// The case that the thread belongs to, if any of its messages is known.
    pub(super) fn case(&self, tx: &mut Transaction<'_>) -> Result<Option<ObjectId>, Halt> {
        let ancestors = self.ancestors();
        // Asked together, so that all answers come in one round trip.
        let known = tx.query(&messages(equal_any("message_id", &ancestors)));
        let own = [self.message_id];
        let replies = tx.query(&messages(Filter::Or(answering(&own))));
        let siblings = tx.query(&messages(Filter::Or(answering(&ancestors))));
        let (known, replies, siblings) = (known?, replies?, siblings?);
        let named = |id: &&str| known.iter().find(|message| message.text("message_id") == Some(*id));
        let parent = ancestors.iter().find_map(named);
        let related = parent.or_else(|| replies.first()).or_else(|| siblings.first());
        Ok(related.and_then(|message| message.reference("case")))
    }

    /// What it answers first, then its references, the latest first.
    fn ancestors(&self) -> Vec<&str> {
        let mut ancestors: Vec<&str> = Vec::new();
        for id in self.in_reply_to.iter().chain(self.references.iter().rev()).map(String::as_str) {
            if ancestors.len() < ANCESTORS_MAX && id != self.message_id && !ancestors.contains(&id) {
                ancestors.push(id);
            }
        }
        ancestors
    }
}

/// The number in the last `[#123]` of a subject.
pub(super) fn tagged_number(subject: &str) -> Option<i64> {
    let (_, rest) = subject.rsplit_once("[#")?;
    let (digits, _) = rest.split_once(']')?;
    // "+5" would parse.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn messages(filter: Filter) -> Query {
    Query::all(Name::fixed("message")).and(filter).limit(MESSAGES_MAX)
}

/// Messages that answer or refer to one of these.
fn answering(ids: &[&str]) -> Vec<Filter> {
    let to = |attribute| ids.iter().map(move |id| equal(attribute, id));
    to("in_reply_to").chain(to("references")).collect()
}

fn equal_any(attribute: &'static str, ids: &[&str]) -> Filter {
    Filter::Or(ids.iter().map(|id| equal(attribute, id)).collect())
}

fn equal(attribute: &'static str, id: &str) -> Filter {
    Filter::equal(Name::fixed(attribute), Value::text(id))
}

/// Ancestors that are looked for: the nearest ones. Twice as many conditions, and the rights, must fit one query.
const ANCESTORS_MAX: usize = 50;

/// Messages looked at: the first one decides, and one case has them all unless somebody plays tricks.
const MESSAGES_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_tag_is_a_number() {
        let table = [
            ("Re: [#123] Printer", Some(123)),
            ("[#1] was [#22] now", Some(22)),
            ("no tag", None),
            ("[#]", None),
            ("[#12", None),
            ("[#1x]", None),
            ("[#-5]", None),
            ("[#+5]", None),
            ("[#99999999999999999999999]", None),
        ];
        for (subject, expected) in table {
            assert_eq!(tagged_number(subject), expected, "{subject}");
        }
    }

    #[test]
    fn message_ids_lose_brackets_and_nothing_else() {
        for (text, expected) in [("<a@b>", "a@b"), (" <a@b> ", "a@b"), ("a@b", "a@b"), ("<a@b", "<a@b"), ("<>", ""), ("", "")] {
            assert_eq!(message_id(text), expected);
        }
    }
}
