//! Mails that nobody wrote, as a gateway gets them.

use std::fmt::Write as _;

use caps_overlay::Rng;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// A mail (RFC 5322) of about `size_bytes` that begins with `text`, from one of many senders, with a Message-ID that no other has.
pub(super) fn synthetic(text: &str, size_bytes: usize, now_micros: i64, rng: &Rng) -> Vec<u8> {
    let sender = rng.below(SENDERS);
    let id = rng.next_u128();
    let subject = text.lines().next().unwrap_or_default();
    let date = OffsetDateTime::from_unix_timestamp(now_micros.div_euclid(1_000_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let date = date.format(&Rfc2822).expect("RFC 2822 has every year from 1900 on, and time here begins in 1970");
    let mut mail = format!(
        "From: \"Customer {sender}\" <customer-{sender}@workload.example>\r\n\
         To: <desk@caps.example>\r\n\
         Subject: {}\r\n\
         Date: {date}\r\n\
         Message-ID: <{id:032x}@workload.example>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n",
        encoded(subject)
    );
    for line in text.lines() {
        mail.push_str(line);
        mail.push_str("\r\n");
    }
    for line in FILLER.iter().cycle() {
        if mail.len() + line.len() + 2 > size_bytes {
            break;
        }
        mail.push_str(line);
        mail.push_str("\r\n");
    }
    mail.into_bytes()
}

/// A subject: as it is if it is printable ASCII, in encoded words (RFC 2047) otherwise.
fn encoded(subject: &str) -> String {
    let plain: String = subject.chars().take(SUBJECT_CHARACTERS_MAX).collect();
    if plain.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !plain.contains("=?") && plain.len() < 78 {
        return plain;
    }
    let mut words = String::new();
    let characters: Vec<char> = plain.chars().collect();
    for chunk in characters.chunks(CHARACTERS_OF_WORD) {
        let between = if words.is_empty() { "" } else { "\r\n " };
        write!(words, "{between}=?utf-8?Q?").expect("writing to a string does not fail");
        for byte in chunk.iter().collect::<String>().bytes() {
            write!(words, "={byte:02X}").expect("writing to a string does not fail");
        }
        words.push_str("?=");
    }
    words
}

/// What makes a mail as long as it should be.
const FILLER: [&str; 4] = [
    "The pump has been running since last spring without a fault, and stopped twice",
    "this week. The display shows the code that the manual does not list, the flow",
    "falls by half within a minute, and after a restart everything is as it should",
    "be for some hours. Please tell us what to look for before we order the parts.",
];

/// Senders: a company has many customers, and most of them write again.
const SENDERS: u64 = 1_000;

/// A line of a header has 998 bytes at most, and a subject far fewer.
const SUBJECT_CHARACTERS_MAX: usize = 150;

/// An encoded word has 75 characters at most; a character of ours up to 4 bytes of 3.
const CHARACTERS_OF_WORD: usize = 5;

#[cfg(test)]
mod tests {
    use caps_adapters::mail::{Limits, Message};

    use super::*;

    #[test]
    fn synthetic_mails_are_mails_of_their_size() {
        let rng = Rng::seeded(7);
        let long = "å".repeat(400);
        for (text, size) in [("Pump 7 stands still", 500), ("Blåögd 日本 =?x\nsecond line", 4_000), (long.as_str(), 100_000), ("", 600)]
        {
            let (mail, other) = (synthetic(text, size, 1_800_000_000_000_000, &rng), synthetic(text, size, 0, &rng));
            let (mail, other) = (Message::parse(&mail, &Limits::default()).unwrap(), Message::parse(&other, &Limits::default()).unwrap());
            let subject: String = text.lines().next().unwrap_or_default().chars().take(SUBJECT_CHARACTERS_MAX).collect();
            assert_eq!(mail.subject, subject);
            assert!(mail.text.starts_with(text.lines().next().unwrap_or_default()), "{}", mail.text);
            assert_ne!(mail.message_id.as_str(), other.message_id.as_str());
        }
        let mail = synthetic("x", 4_000, 0, &rng);
        assert!((3_900..=4_000).contains(&mail.len()), "{}", mail.len());
    }
}
