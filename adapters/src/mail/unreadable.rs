//! A mail that was refused by the reader, described so that a person can deal with it.

use super::{
    Limits, Mailbox, MessageId, Refusal,
    fields::{FieldLimits, Fields},
    identity::derived,
    smtp::Domain,
};
use crate::text::{cut, printable, turns_direction};

/// What can be said of a mail that [`Message::parse`](super::Message::parse) refused, for a gateway that keeps it whole and shows it to somebody.
///
/// Nothing in here was checked as a message's parts are: it is for eyes, and no program should act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// A name made from the mail's bytes; its own is not used, which may be another mail's.
    pub message_id: MessageId,
    /// What is wrong with it.
    pub refusal: Refusal,
    /// Its author, if there is exactly one who is legible.
    pub from: Option<Mailbox>,
    /// Its subject, if there is exactly one; without controls, cut at [`Limits::subject_bytes_max`].
    pub subject: String,
    /// How it begins, as it stands: what is no text is U+FFFD; at most 4,000 bytes.
    pub beginning: String,
    /// Size of the whole mail.
    pub size_bytes: usize,
}

impl Unreadable {
    /// Describes a mail that was refused; takes any bytes. The name is one of this domain.
    pub fn describe(mail: &[u8], refusal: Refusal, domain: &Domain, limits: &Limits) -> Self {
        let limits_of_fields = FieldLimits { section_bytes_max: limits.header_bytes_max, field_bytes_max: limits.field_bytes_max };
        let (fields, _) = Fields::salvage(mail, limits_of_fields);
        let mut subject = printable(&fields.text("Subject").ok().flatten().unwrap_or_default());
        cut(&mut subject, limits.subject_bytes_max);
        Self {
            message_id: derived(mail, domain),
            refusal,
            from: Mailbox::author(&fields).ok(),
            subject,
            beginning: beginning(mail),
            size_bytes: mail.len(),
        }
    }
}

fn beginning(mail: &[u8]) -> String {
    let text = String::from_utf8_lossy(&mail[..mail.len().min(BEGINNING_BYTES_MAX)]);
    let visible = |char: char| match char {
        '\n' | '\t' => char,
        char if char.is_control() || turns_direction(char) => char::REPLACEMENT_CHARACTER,
        char => char,
    };
    let mut text: String = text.replace("\r\n", "\n").chars().map(visible).collect();
    cut(&mut text, BEGINNING_BYTES_MAX);
    text
}

/// A screen or two.
const BEGINNING_BYTES_MAX: usize = 4_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Message;

    fn describe(mail: &[u8]) -> Unreadable {
        let limits = Limits::default();
        let refusal = Message::parse(mail, &limits).unwrap_err();
        Unreadable::describe(mail, refusal, &Domain::parse("desk.example").unwrap(), &limits)
    }

    #[test]
    fn refused_mail_is_shown_as_far_as_it_is_legible() {
        let mail = b"From: Anna <anna@example.org>\r\nSubject: =?utf-8?Q?p=C3=A5?=\r\nnot a field\r\n\r\nt\x1bext\xff\n";
        let described = describe(mail);
        assert_eq!(described.refusal, Refusal::BareLineFeed { line: 5 });
        assert_eq!(described.from.as_ref().map(|from| from.address.as_str()), Some("anna@example.org"));
        assert_eq!(described.subject, "p\u{e5}");
        assert!(described.beginning.ends_with("\n\nt\u{fffd}ext\u{fffd}\n"));
        assert_eq!(described.size_bytes, mail.len());
        assert_eq!(describe(mail), described);
    }

    #[test]
    fn what_is_there_twice_is_not_chosen() {
        let described = describe(b"From: a@b\r\nFrom: c@d\r\nSubject: x\r\nSubject: y\r\nMessage-ID: <e@f>\r\n\r\n");
        assert_eq!((described.from, described.subject.as_str()), (None, ""));
        assert!(described.message_id.as_str().ends_with("@desk.example"));
    }

    #[test]
    fn any_bytes_are_described_within_bounds() {
        for mail in [b"".to_vec(), vec![0; 100_000], b"\xe5".repeat(100_000), b"A: b\r\n".repeat(100_000), b"\r\n".repeat(9)] {
            let described = describe(&mail);
            assert!(described.beginning.len() <= BEGINNING_BYTES_MAX);
        }
    }
}
