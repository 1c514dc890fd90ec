//! A message that was accepted.

use super::{
    DeliveryReport, Limits, Mailbox, MessageId, Refusal, automatic, body::Body, fields::Fields, lines, part::PartReader, smtp::Envelope,
};
use crate::text::{cut, printable};

/// A mail, read and decoded.
///
/// Everything in it was said by the sender and proves nothing: `from` is who the message says wrote it, `sent_at` when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name, under which the same message arriving twice is known.
    pub message_id: MessageId,
    /// What it answers; usually one message.
    pub in_reply_to: Vec<MessageId>,
    /// Its thread, oldest first; the first and the latest [`Limits::references_max`].
    pub references: Vec<MessageId>,
    /// Its one author.
    pub from: Mailbox,
    /// The recipients in `To`, groups opened.
    pub to: Vec<Mailbox>,
    /// The recipients in `Cc`, groups opened.
    pub cc: Vec<Mailbox>,
    /// The subject, decoded, on one line, without control characters, cut at [`Limits::subject_bytes_max`]; empty if there is none.
    pub subject: String,
    /// When it was sent, in seconds since 1970-01-01T00:00:00Z; `None` if `Date` is missing or is none.
    pub sent_at: Option<i64>,
    /// The text a person reads: the plain one, else what the HTML says. Lines end in LF; cut at [`Limits::text_bytes_max`].
    pub text: String,
    /// Whether something in the text could not be decoded; it stands there as U+FFFD, or still encoded.
    pub text_damaged: bool,
    /// Whether the text was cut.
    pub text_cut: bool,
    /// What else it carries, in order; a forwarded message is one, whole.
    pub attachments: Vec<Attachment>,
    /// Size of the whole message as it was received.
    pub size_bytes: usize,
    /// Whether its fields say that no machine should answer it: a machine wrote it (RFC 3834 section 5), or it went to a list, or it is a report; see also
    /// [`is_automatic`](Self::is_automatic).
    pub auto_submitted: bool,
    /// How many servers it came through, by their `Received` fields (RFC 5321 section 6.3): more than 100 is a loop, and for a mail to a help
    /// desk 30 are many.
    pub hops: usize,
    /// What it reports of a mail sent earlier, if it is such a report.
    pub report: Option<DeliveryReport>,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The name the sender gave, without any folder and control characters, at most 255 bytes; `unnamed` or `message.eml` if there was none.
    pub name: String,
    /// `type/subtype` as the sender named it, in lower case.
    pub media_type: String,
    /// Size of `content`.
    pub size_bytes: usize,
    /// The bytes, transfer encoding undone.
    pub content: Vec<u8>,
    /// Whether the transfer encoding was broken or is unknown; `content` is then what the message held.
    pub damaged: bool,
}

impl Message {
    /// Reads a message from its bytes, within limits.
    ///
    /// # Errors
    /// A [`Refusal`] that names the first thing found wrong; see [the module](super) for what is refused and what is marked.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Refusal> {
        check_size(bytes, limits)?;
        lines::check(bytes, limits.line_endings)?;
        let part = PartReader::new(limits).read_message(bytes)?;
        let fields = &part.fields;
        let from = Mailbox::author(fields)?;
        let (to, cc) = recipients(fields, limits)?;
        let message_id = own_id(fields)?;
        let in_reply_to = ids(fields, "In-Reply-To", limits)?;
        let references = ids(fields, "References", limits)?;
        let subject = subject(fields, limits)?;
        let sent_at = sent_at(fields)?;
        let report = DeliveryReport::read(&part, limits);
        let auto_submitted = report.is_some() || automatic::is_automatic(fields)?;
        let hops = fields.all("Received").count();
        let body = Body::read(&part)?;
        let mut text = body.texts.join("\n\n");
        let text_cut = cut(&mut text, limits.text_bytes_max);
        Ok(Self {
            message_id,
            in_reply_to,
            references,
            from,
            to,
            cc,
            subject,
            sent_at,
            text,
            text_damaged: body.damaged,
            text_cut,
            attachments: body.attachments,
            size_bytes: bytes.len(),
            auto_submitted,
            hops,
            report,
        })
    }

    /// Whether no machine should answer it, by its fields or by the envelope it came in: who names no reverse path wants no
    /// answer (RFC 3834 section 2, RFC 5321 section 4.5.5).
    pub fn is_automatic(&self, envelope: &Envelope) -> bool {
        self.auto_submitted || envelope.reverse_path.is_none()
    }
}

fn check_size(bytes: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::Empty);
    }
    if bytes.len() > limits.message_bytes_max {
        return Err(Refusal::TooLarge { size_bytes: bytes.len(), limit: limits.message_bytes_max });
    }
    Ok(())
}

fn recipients(fields: &Fields, limits: &Limits) -> Result<(Vec<Mailbox>, Vec<Mailbox>), Refusal> {
    let limit = limits.recipients_max;
    let to = Mailbox::recipients(fields, "To")?;
    let cc = Mailbox::recipients(fields, "Cc")?;
    if to.len() + cc.len() > limit {
        return Err(Refusal::TooManyRecipients { limit });
    }
    Ok((to, cc))
}

fn own_id(fields: &Fields) -> Result<MessageId, Refusal> {
    let value = fields.raw("Message-ID")?.ok_or(Refusal::MissingMessageId)?;
    // Unlike in our own code, the brackets are not optional in a message.
    let id = value.starts_with('<').then(|| MessageId::parse(&value)).flatten();
    id.ok_or_else(|| Refusal::MalformedMessageId { value: Refusal::excerpt(&value) })
}

fn ids(fields: &Fields, field: &'static str, limits: &Limits) -> Result<Vec<MessageId>, Refusal> {
    let value = fields.raw(field)?.unwrap_or_default();
    Ok(MessageId::parse_list(&value, limits.references_max))
}

fn subject(fields: &Fields, limits: &Limits) -> Result<String, Refusal> {
    let mut subject = printable(&fields.text("Subject")?.unwrap_or_default());
    cut(&mut subject, limits.subject_bytes_max);
    Ok(subject)
}

fn sent_at(fields: &Fields) -> Result<Option<i64>, Refusal> {
    let date = fields.date("Date")?;
    Ok(date.filter(|date| date.is_valid()).map(|date| date.to_timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::smtp::{Address, Body as BodyType, Protocol};

    /// A message with these fields after the ones that are needed, and this body.
    fn parse(fields: &str, body: &str) -> Result<Message, Refusal> {
        parse_within(&Limits::default(), fields, body)
    }

    fn parse_within(limits: &Limits, fields: &str, body: &str) -> Result<Message, Refusal> {
        let message = format!("From: Anna <anna@example.org>\nMessage-ID: <1@example.org>\n{fields}\n{body}");
        Message::parse(message.replace('\n', "\r\n").as_bytes(), limits)
    }

    fn duplicate(field: &'static str) -> Refusal {
        Refusal::Duplicate { field }
    }

    #[test]
    fn whole_message_is_bounded_and_not_empty() {
        let limits = Limits { message_bytes_max: 10, ..Limits::default() };
        assert_eq!(Message::parse(b"", &limits), Err(Refusal::Empty));
        assert_eq!(Message::parse(b"12345678901", &limits), Err(Refusal::TooLarge { size_bytes: 11, limit: 10 }));
    }

    #[test]
    fn fields_that_occur_once_are_refused_twice() {
        let table = [
            ("from: eve@example.org\n", "From"),
            ("Message-Id: <2@example.org>\n", "Message-ID"),
            ("To: a@b\nTO: c@d\n", "To"),
            ("Subject: a\nSubject : b\n", "Subject"),
            ("Date: x\nDate: y\n", "Date"),
            ("References: <a@b>\nReferences: <c@d>\n", "References"),
            ("Content-Type: text/plain\nContent-Type: text/html\n", "Content-Type"),
            ("Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n", "Content-Transfer-Encoding"),
        ];
        for (fields, field) in table {
            assert_eq!(parse(fields, "x"), Err(duplicate(field)), "{fields}");
        }
    }

    #[test]
    fn author_is_one_mailbox() {
        let from = |value: &str| {
            let message = format!("From:{value}\r\nMessage-ID: <1@example.org>\r\n\r\n");
            Message::parse(message.as_bytes(), &Limits::default()).map(|message| message.from)
        };
        let invalid = |address: &str| Err(Refusal::InvalidAddress { field: "From", address: address.to_owned() });
        assert_eq!(from(""), Err(Refusal::MalformedFrom));
        assert_eq!(from(" undisclosed:;"), Err(Refusal::MalformedFrom));
        assert_eq!(from(" a@b.example, c@d.example"), Err(Refusal::SeveralAuthors { count: 2 }));
        assert_eq!(from(" Anna Berg"), invalid("Anna Berg"));
        assert_eq!(from(" anna@"), invalid("anna@"));
        // An address where the name stands must not become the author's.
        assert_eq!(from(" boss@a.example <eve@b.example>").unwrap().address, "eve@b.example");
        let boss = from(" \"boss@a.example\" <eve@B.example>").unwrap();
        assert_eq!(boss.address, "eve@b.example");
        assert_eq!(boss.name.as_deref(), Some("boss@a.example"));
    }

    #[test]
    fn recipients_are_checked_and_bounded() {
        let limits = Limits { recipients_max: 2, ..Limits::default() };
        let recipients = |fields: &str| parse_within(&limits, fields, "").map(|message| message.to.len() + message.cc.len());
        assert_eq!(recipients("To: undisclosed-recipients:;\n"), Ok(0));
        assert_eq!(recipients("To: a@b\nCc: c@d\n"), Ok(2));
        let refused = Err(Refusal::TooManyRecipients { limit: 2 });
        assert_eq!(recipients("To: a@b, c@d\nCc: e@f\n"), refused);
        assert_eq!(recipients("To: a@b, c@d, e@f\n"), refused);
        assert!(matches!(recipients("Cc: nobody\n"), Err(Refusal::InvalidAddress { field: "Cc", .. })));
    }

    #[test]
    fn message_id_has_its_form() {
        for value in ["", "a@b", "<a b@c>", "<ab>", "<a@b> <c@d>"] {
            let message = format!("From: a@b\r\nMessage-ID: {value}\r\n\r\n");
            let read = Message::parse(message.as_bytes(), &Limits::default());
            assert!(matches!(read, Err(Refusal::MalformedMessageId { .. })), "{value:?}");
        }
    }

    #[test]
    fn dates_are_seconds_or_nothing() {
        let sent_at = |date: &str| parse(&format!("Date: {date}\n"), "").unwrap().sent_at;
        assert_eq!(sent_at("Thu, 1 Jan 1970 01:00:10 +0100"), Some(10));
        assert_eq!(sent_at("1 Jan 1970 00:00:10 GMT (noon somewhere)"), Some(10));
        assert_eq!(sent_at("yesterday"), None);
        assert_eq!(sent_at("Thu, 32 Foo 1970 01:00:10 +0100"), None);
    }

    #[test]
    fn machines_are_recognised_by_fields_or_envelope() {
        let envelope = |reverse_path: Option<&str>| Envelope {
            reverse_path: reverse_path.and_then(Address::parse),
            recipients: Vec::new(),
            client_name: "client.example".to_owned(),
            peer: "192.0.2.7".parse().unwrap(),
            protocol: Protocol { is_extended: true, is_encrypted: false, is_international: false },
            body: BodyType::default(),
        };
        let by_person = parse("", "").unwrap();
        assert!(!by_person.auto_submitted);
        assert!(!by_person.is_automatic(&envelope(Some("anna@example.org"))));
        assert!(by_person.is_automatic(&envelope(None)));
        let by_machine = parse("Auto-Submitted: auto-replied\n", "").unwrap();
        assert!(by_machine.is_automatic(&envelope(Some("anna@example.org"))));
    }

    #[test]
    fn hops_are_counted() {
        assert_eq!(parse("", "Received: from x").unwrap().hops, 0);
        assert_eq!(parse("Received: from a\n by b;\nX: y\nreceived: c\n", "").unwrap().hops, 2);
    }

    #[test]
    fn subjects_are_one_bounded_line() {
        let limits = Limits { subject_bytes_max: 8, ..Limits::default() };
        let subject = |value: &str| parse_within(&limits, &format!("Subject:{value}\n"), "").unwrap().subject;
        assert_eq!(subject(""), "");
        assert_eq!(subject(" =?utf-8?Q?a=0D=0ABcc:_b?="), "a Bcc: b");
        assert_eq!(subject(" ååååååååå"), "åååå");
    }

    #[test]
    fn text_is_bounded_and_marked() {
        let limits = Limits { text_bytes_max: 4, ..Limits::default() };
        let message = parse_within(&limits, "", "12345").unwrap();
        assert_eq!((message.text.as_str(), message.text_cut), ("1234", true));
    }

    #[test]
    fn alternative_gives_the_plain_text_or_what_there_is() {
        let text = |parts: &[&str]| {
            let body: String = parts.iter().map(|part| format!("--b\n{part}\n")).collect();
            parse("Content-Type: multipart/alternative; boundary=b\n", &format!("{body}--b--\n")).unwrap()
        };
        let html = "Content-Type: text/html\n\n<p>html</p>";
        let plain = "Content-Type: text/plain\n\nplain";
        assert_eq!(text(&[plain, html]).text, "plain");
        assert_eq!(text(&[html, plain]).text, "plain");
        assert_eq!(text(&[html]).text, "html");
        assert_eq!(text(&["Content-Type: text/plain\n\n \n", html]).text, "html");
        let invited = text(&[plain, "Content-Type: text/calendar\n\nBEGIN:VCALENDAR"]);
        assert_eq!(invited.attachments[0].media_type, "text/calendar");
    }

    #[test]
    fn invitations_keep_their_calendar() {
        let calendar = "BEGIN:VCALENDAR\nMETHOD:REQUEST\nEND:VCALENDAR";
        let body = format!(
            "--b\nContent-Type: multipart/alternative; boundary=a\n\n--a\n\nCome!\n--a\nContent-Type: text/calendar; \
             method=REQUEST; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{calendar}\n--a--\n--b\n\
             Content-Type: text/calendar; name=invite.ics\n\n{calendar}\n--b--"
        );
        let message = parse("Content-Type: multipart/mixed; boundary=b\n", &body).unwrap();
        let found: Vec<_> = message.attachments.iter().map(|kept| (kept.name.as_str(), kept.media_type.as_str())).collect();
        assert_eq!(message.text, "Come!");
        assert_eq!(found, [("unnamed", "text/calendar"), ("invite.ics", "text/calendar")]);
        assert!(message.attachments.iter().all(|kept| kept.content == calendar.replace('\n', "\r\n").as_bytes()));
    }

    #[test]
    fn named_or_attached_text_is_an_attachment() {
        let parts = "--b\n\nread me\n--b\nContent-Disposition: attachment\n\nkeep me\n--b\nContent-Type: text/plain; name=\"log.txt\"\n\nlog\n--b--";
        let message = parse("Content-Type: multipart/mixed; boundary=b\n", parts).unwrap();
        let names: Vec<_> = message.attachments.iter().map(|attachment| attachment.name.as_str()).collect();
        assert_eq!(message.text, "read me");
        assert_eq!(names, ["unnamed", "log.txt"]);
    }
}
