//! What the client is told: a code, an enhanced code (RFC 3463, by RFC 2034), a sentence.

use std::borrow::Cow;

use super::data::DataFault;

/// What became of a mail, said by whoever took it from the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is kept for good: 250. From here on it is ours to deliver, and the client forgets it.
    Accepted {
        /// A word to find it by, shown to the client.
        note: String,
    },
    /// Not now: 451. The client keeps it and comes again.
    TryLater {
        /// What a person at the other end should know.
        why: String,
    },
    /// Never: 5xx. The client tells its sender.
    Refused {
        /// The kind of fault, which chooses the codes.
        objection: Objection,
        /// What a person at the other end should know.
        why: String,
    },
}

/// Why a mail is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// Its content cannot be read: 550 5.6.0.
    Content,
    /// It is too large: 552 5.3.4.
    Size,
    /// It went round in circles: 554 5.4.6.
    Loop,
    /// It is not wanted: 550 5.7.1.
    Policy,
    /// Nobody here has that address: 550 5.1.1.
    Recipient,
}

/// One reply, of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    code: u16,
    /// Empty where RFC 2034 section 4 has none: greetings and 354.
    enhanced: &'static str,
    text: Cow<'static, str>,
}

impl Reply {
    pub(super) const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self { code, enhanced, text: Cow::Borrowed(text) }
    }

    /// A reply that says what somebody else wrote, as far as it is fit to be said.
    pub(super) fn saying(code: u16, enhanced: &'static str, text: &str) -> Self {
        Self { code, enhanced, text: Cow::Owned(speakable(text)) }
    }

    pub(super) fn to_decision(decision: &Decision) -> Self {
        match decision {
            Decision::Accepted { note } => Self::saying(250, "2.0.0", &format!("accepted {note}")),
            Decision::TryLater { why } => Self::saying(451, "4.3.0", why),
            Decision::Refused { objection, why } => {
                let (code, enhanced) = objection.codes();
                Self::saying(code, enhanced, why)
            }
        }
    }

    pub(super) fn to_data_fault(fault: DataFault) -> Self {
        match fault {
            DataFault::TooLarge => Self::new(552, "5.3.4", "the mail is too large"),
            DataFault::BareEnding => Self::new(550, "5.6.11", "a line of the mail ends in a CR or an LF alone, CRLF is expected"),
            DataFault::NulByte => Self::new(550, "5.6.11", "the mail holds a NUL byte"),
        }
    }

    /// Whether the client, or the person behind it, made a mistake.
    pub(super) fn is_permanent_fault(&self) -> bool {
        self.code >= 500
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let separator = if self.enhanced.is_empty() { "" } else { " " };
        bytes.extend_from_slice(format!("{}{separator}{} {}\r\n", self.code, self.enhanced, self.text).as_bytes());
    }
}

impl Objection {
    fn codes(self) -> (u16, &'static str) {
        match self {
            Self::Content => (550, "5.6.0"),
            Self::Size => (552, "5.3.4"),
            Self::Loop => (554, "5.4.6"),
            Self::Policy => (550, "5.7.1"),
            Self::Recipient => (550, "5.1.1"),
        }
    }
}

/// One line of ASCII: whatever is none of it could end the reply and begin another.
fn speakable(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|char| if matches!(char, ' '..='~') { char } else { '?' }).collect()
}

/// With the codes still below the 512 bytes of RFC 5321 section 4.5.3.1.5.
const TEXT_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_one_bounded_line_whatever_they_say() {
        let why = format!("no\r\n250 yes \u{e5}\0{}", "x".repeat(10_000));
        for objection in [Objection::Content, Objection::Size, Objection::Loop, Objection::Policy, Objection::Recipient] {
            let mut bytes = Vec::new();
            Reply::to_decision(&Decision::Refused { objection, why: why.clone() }).write(&mut bytes);
            assert!(bytes.len() <= 512);
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(" no??250 yes ??x"), "{text}");
            assert_eq!(text.matches(['\r', '\n']).count(), 2);
        }
    }

    #[test]
    fn decisions_have_their_codes() {
        let said = |decision: Decision| {
            let mut bytes = Vec::new();
            Reply::to_decision(&decision).write(&mut bytes);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(said(Decision::Accepted { note: "7".into() }), "250 2.0.0 accepted 7\r\n");
        assert_eq!(said(Decision::TryLater { why: "disk full".into() }), "451 4.3.0 disk full\r\n");
        assert_eq!(said(Decision::Refused { objection: Objection::Loop, why: "31 hops".into() }), "554 5.4.6 31 hops\r\n");
    }
}
