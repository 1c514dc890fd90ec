//! What became of a mail of ours, as the server says that gave up on it (RFC 3464).

use std::fmt;

use super::{
    Limits, MessageId,
    body::decode_transfer,
    fields::{FieldLimits, Fields},
    part::Part,
};
use crate::text::{cut, printable};

/// A delivery status notification: a bounce, the warning before one, or the news that all went well.
///
/// Anybody can write one. It is about a mail of ours if [`original_message_id`](Self::original_message_id) is one that we gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The mail that it is about, if enough of it came back.
    pub original_message_id: Option<MessageId>,
    /// What happened, one a recipient, in order; at most [`Limits::recipients_max`]. May be empty: the report is then worth a person's look.
    pub recipients: Vec<RecipientReport>,
}

/// What became of a mail on its way to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReport {
    /// The address, as the reporting server names it; without controls, at most 254 bytes.
    pub address: String,
    /// What happened.
    pub action: Action,
    /// Why, as a code.
    pub status: Option<Status>,
    /// Why, in the words of the server that refused, on one line, at most 500 bytes; empty if it gave none.
    pub diagnostic: String,
}

/// RFC 3464 section 2.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was given up.
    Failed,
    /// It is still being tried.
    Delayed,
    /// It arrived.
    Delivered,
    /// It went on to a server that sends no reports.
    Relayed,
    /// It went on to several addresses.
    Expanded,
}

/// An enhanced status code (RFC 3463): `5.1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// 2 for success, 4 for a failure that may pass, 5 for one that will not.
    pub class: u8,
    /// What it is about: 1 addresses, 2 the mailbox, 3 the mail system, 4 the network, 5 the protocol, 6 the content, 7 policy.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

impl DeliveryReport {
    /// Whether somebody did not get the mail and will not.
    pub fn has_failed(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.action == Action::Failed)
    }

    /// The report that a message is, if it is one. What it says badly is left out; nothing in it makes the message unreadable.
    pub(super) fn read(part: &Part<'_>, limits: &Limits) -> Option<Self> {
        if !part.media_type.is("multipart/report") {
            return None;
        }
        let status = part.children.iter().find(|child| is_one_of(child, &STATUS_TYPES))?;
        let original = part.children.iter().find(|child| is_one_of(child, &ORIGINAL_TYPES));
        Some(Self { original_message_id: original.and_then(|original| own_id(original, limits)), recipients: recipients(status, limits) })
    }
}

impl RecipientReport {
    /// RFC 3464 section 2.3; the original recipient stands in for a final one that is missing, the status for an action.
    fn read(fields: &Fields) -> Option<Self> {
        let address = fields.first("Final-Recipient").or_else(|| fields.first("Original-Recipient"))?;
        let status = fields.first("Status").and_then(|value| Status::read(&value));
        let action = fields.first("Action").and_then(|value| Action::read(&value)).or_else(|| status.and_then(Action::from_status))?;
        let diagnostic = fields.first("Diagnostic-Code").unwrap_or_default();
        Some(Self {
            address: typed(&address, ADDRESS_BYTES_MAX).trim_matches(['<', '>']).to_owned(),
            action,
            status,
            diagnostic: typed(&diagnostic, DIAGNOSTIC_BYTES_MAX),
        })
    }
}

impl Action {
    fn read(value: &str) -> Option<Self> {
        let word = value.split([' ', '(']).next().unwrap_or_default().to_ascii_lowercase();
        Some(match word.as_str() {
            "failed" => Self::Failed,
            "delayed" => Self::Delayed,
            "delivered" => Self::Delivered,
            "relayed" => Self::Relayed,
            "expanded" => Self::Expanded,
            _ => return None,
        })
    }

    fn from_status(status: Status) -> Option<Self> {
        match status.class {
            2 => Some(Self::Delivered),
            4 => Some(Self::Delayed),
            5 => Some(Self::Failed),
            _ => None,
        }
    }
}

impl Status {
    /// The code that a value begins with.
    fn read(value: &str) -> Option<Self> {
        let code = value.split([' ', '(', '\t']).next()?;
        let mut numbers = code.splitn(3, '.').map(|number| number.parse::<u16>().ok());
        let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let fits = matches!(class, 2 | 4 | 5) && subject <= NUMBER_MAX && detail <= NUMBER_MAX;
        Some(Self { class: u8::try_from(class).ok().filter(|_| fits)?, subject, detail })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

fn is_one_of(part: &Part<'_>, types: &[&str]) -> bool {
    types.iter().any(|name| part.media_type.is(name))
}

/// The groups of fields after the first, which is about the message as a whole.
fn recipients(part: &Part<'_>, limits: &Limits) -> Vec<RecipientReport> {
    let Some(bytes) = decoded(part) else {
        return Vec::new();
    };
    let limits_of_group = FieldLimits { section_bytes_max: limits.part_header_bytes_max, field_bytes_max: limits.field_bytes_max };
    let mut found = Vec::new();
    let mut rest = &*bytes;
    while !rest.is_empty() && found.len() < limits.recipients_max {
        let (fields, after) = Fields::salvage(rest, limits_of_group);
        found.extend(RecipientReport::read(&fields));
        rest = after;
    }
    found
}

fn own_id(part: &Part<'_>, limits: &Limits) -> Option<MessageId> {
    let limits = FieldLimits { section_bytes_max: limits.header_bytes_max, field_bytes_max: limits.field_bytes_max };
    let (fields, _) = Fields::salvage(&decoded(part)?, limits);
    MessageId::parse(&fields.first("Message-ID")?)
}

/// The bytes of a part, whose transfer encoding RFC 3464 forbids and RFC 6533 allows.
fn decoded<'p>(part: &'p Part<'_>) -> Option<std::borrow::Cow<'p, [u8]>> {
    let encoding = part.fields.first("Content-Transfer-Encoding").unwrap_or_default();
    decode_transfer(part.body, &encoding)
}

/// A value without its type (`rfc822; anna@example.org`), fit to be shown.
fn typed(value: &str, bytes_max: usize) -> String {
    let value = value.split_once(';').map_or(value, |(_, value)| value);
    let mut text = printable(value);
    cut(&mut text, bytes_max);
    text
}

/// RFC 3464 and, with addresses beyond ASCII, RFC 6533.
const STATUS_TYPES: [&str; 2] = ["message/delivery-status", "message/global-delivery-status"];
const ORIGINAL_TYPES: [&str; 4] = ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"];

/// As in an envelope.
const ADDRESS_BYTES_MAX: usize = 254;

/// One reply of a server (RFC 5321 section 4.5.3.1.5), which is what stands there.
const DIAGNOSTIC_BYTES_MAX: usize = 500;

/// RFC 3463 section 2: one to three digits.
const NUMBER_MAX: u16 = 999;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Message;

    fn report(status: &str, original: &str) -> Option<DeliveryReport> {
        report_within(&Limits::default(), status, original)
    }

    fn report_within(limits: &Limits, status: &str, original: &str) -> Option<DeliveryReport> {
        let message = format!(
            "From: MAILER-DAEMON@mx.example\nMessage-ID: <1@mx.example>\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
             --b\n\nYour mail did not arrive.\n--b\nContent-Type: message/delivery-status\n\n{status}\n--b\n{original}\n--b--\n"
        );
        let message = Message::parse(message.replace('\n', "\r\n").as_bytes(), limits).unwrap();
        assert!(message.auto_submitted || message.report.is_none(), "a report is nobody's letter");
        message.report
    }

    const ORIGINAL: &str = "Content-Type: message/rfc822\n\nFrom: desk@desk.example\nMessage-ID: <case-7.1@desk.example>\n\nHello";

    #[test]
    fn bounce_says_who_did_not_get_what_and_why() {
        let status = "Reporting-MTA: dns; mx.example\nArrival-Date: x\n\n\
                      Original-Recipient: rfc822;a@example.org\nFinal-Recipient: RFC822; <Anna@example.org>\nAction: FAILED\n\
                      Status: 5.1.1 (no such user)\nDiagnostic-Code: smtp; 550 5.1.1\n nobody\there\n\n\
                      Final-Recipient: rfc822;b@example.org\nAction: delayed\nStatus: 4.4.1\n";
        let report = report(status, ORIGINAL).unwrap();
        assert_eq!(report.original_message_id.as_ref().map(MessageId::as_str), Some("case-7.1@desk.example"));
        assert!(report.has_failed());
        let [anna, b] = report.recipients.as_slice() else { panic!("{report:?}") };
        assert_eq!((anna.address.as_str(), anna.action), ("Anna@example.org", Action::Failed));
        assert_eq!(anna.status.map(|status| status.to_string()).as_deref(), Some("5.1.1"));
        assert_eq!(anna.diagnostic, "550 5.1.1 nobody here");
        assert_eq!((b.address.as_str(), b.action, b.diagnostic.as_str()), ("b@example.org", Action::Delayed, ""));
    }

    #[test]
    fn original_is_known_by_its_header_alone() {
        let status = "Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822;a@b\nAction: failed\nStatus: 5.0.0";
        let id = |original: &str| report(status, original).unwrap().original_message_id.map(|id| id.as_str().to_owned());
        assert_eq!(id("Content-Type: text/rfc822-headers\n\nX: y\nnot a field\nMessage-Id: <a@b>\n").as_deref(), Some("a@b"));
        let encoded = "Content-Type: message/global-headers\nContent-Transfer-Encoding: base64\n\nTWVzc2FnZS1JRDogPGFAYj4K\n";
        assert_eq!(id(encoded).as_deref(), Some("a@b"));
        assert_eq!(id("Content-Type: message/rfc822\n\nSubject: x\n\nMessage-ID: <a@b>\n"), None);
        assert_eq!(id("Content-Type: text/plain\n\nMessage-ID: <a@b>\n"), None);
    }

    #[test]
    fn bad_reports_are_read_as_far_as_they_go() {
        let recipients = |status: &str| report(status, ORIGINAL).unwrap().recipients;
        assert_eq!(recipients(""), []);
        assert_eq!(recipients("Reporting-MTA: x\n\nAction: failed\nStatus: 5.0.0\n"), []);
        assert_eq!(recipients("Final-Recipient: rfc822;a@b\nAction: lost\n"), []);
        // Without the group about the message, without an action, and with lines that are no fields.
        let read = recipients("\n\nFinal-Recipient: a@b\n???\nStatus: 5.7\nStatus: 5.7.1\n\nFinal-Recipient: rfc822;c@d\nStatus: 4.2.2\n");
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].address.as_str(), read[0].action), ("c@d", Action::Delayed));
        let hostile = recipients("Final-Recipient: rfc822;a\u{1b}[31m\u{202e}@b\nAction: failed\nDiagnostic-Code: x;\u{7}y\n");
        assert_eq!((hostile[0].address.as_str(), hostile[0].diagnostic.as_str()), ("a[31m@b", "y"));
    }

    #[test]
    fn reports_are_bounded() {
        let group = format!("Final-Recipient: rfc822;{}@b\nAction: failed\nDiagnostic-Code: x;{}\n\n", "a".repeat(999), "y".repeat(999));
        let limits = Limits { recipients_max: 3, ..Limits::default() };
        let recipients = report_within(&limits, &group.repeat(9), ORIGINAL).unwrap().recipients;
        assert_eq!(recipients.len(), 3);
        assert!(recipients.iter().all(|recipient| recipient.address.len() <= 254 && recipient.diagnostic.len() <= 500));
    }

    #[test]
    fn statuses_have_their_form() {
        let read = |text: &str| Status::read(text).map(|status| status.to_string());
        assert_eq!(read("5.7.999").as_deref(), Some("5.7.999"));
        assert_eq!(read("2.0.0\t(ok)").as_deref(), Some("2.0.0"));
        for text in ["", "5", "5.1", "3.0.0", "5.1.1000", "5.1.x", "5.1.1.1", "-5.1.1", "55.1.1", "5,1,1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn other_reports_are_none() {
        let disposition = "From: a@b\r\nMessage-ID: <1@b>\r\nContent-Type: multipart/report; report-type=disposition-notification; \
                           boundary=b\r\n\r\n--b\r\n\r\nread\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822;a@b\r\n--b--";
        assert_eq!(Message::parse(disposition.as_bytes(), &Limits::default()).unwrap().report, None);
    }
}
