//! Names for mails that have none.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::{MessageId, fields::split_name, lines, smtp::Domain};

/// The mail with a `Message-ID` in front if it has none: one made from its bytes, so that the same mail sent again has the same name.
///
/// A server that takes mail for the first time may do so (RFC 5321 section 6.4). The bytes are those that came in, before a trace is put in front of
/// them. A mail with a malformed identifier is left as it is.
pub fn with_message_id<'m>(mail: &'m [u8], domain: &Domain) -> Cow<'m, [u8]> {
    if has_message_id(mail) {
        return Cow::Borrowed(mail);
    }
    let (first, _) = lines::split_first(mail);
    let ending = if mail.get(first.len()) == Some(&b'\n') { "\n" } else { "\r\n" };
    let field = format!("Message-ID: <{}>{ending}", derived(mail, domain));
    Cow::Owned([field.as_bytes(), mail].concat())
}

/// A name made from the bytes of a mail: the same for the same bytes, and for no others.
pub(super) fn derived(mail: &[u8], domain: &Domain) -> MessageId {
    let digest: String = Sha256::digest(mail).iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    MessageId::from_parts(&digest, domain)
}

/// Whether a field of that name stands in the header section.
fn has_message_id(mail: &[u8]) -> bool {
    let mut rest = mail;
    while !rest.is_empty() {
        let (line, after) = lines::split_first(rest);
        rest = after;
        if line.is_empty() {
            return false;
        }
        if split_name(line).is_some_and(|(name, _)| name.eq_ignore_ascii_case("Message-ID")) {
            return true;
        }
    }
    false
}

/// 128 bits: nobody finds two mails with one name by chance, and who makes two on purpose has only hidden one of his own.
const DIGEST_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Limits, Message};

    fn named(mail: &str) -> String {
        let domain = Domain::parse("desk.example").unwrap();
        String::from_utf8(with_message_id(mail.as_bytes(), &domain).into_owned()).unwrap()
    }

    #[test]
    fn mail_without_a_name_gets_the_same_each_time() {
        let mail = "From: a@b\r\n\r\nMessage-ID: <no@b>\r\n";
        let once = named(mail);
        assert!(once.ends_with(mail) && once != mail);
        assert_eq!(named(mail), once);
        assert_eq!(named(&once), once);
        let read = |text: &str| Message::parse(text.as_bytes(), &Limits::default()).unwrap().message_id;
        assert_ne!(read(&named("From: a@b\r\n\r\nx")), read(&once));
        assert_eq!(read(&once).as_str().split_once('@').map(|(left, right)| (left.len(), right)), Some((32, "desk.example")));
    }

    #[test]
    fn mail_with_a_name_stays_as_it_is() {
        for mail in ["message-id : <a@b>\r\nFrom: a@b\r\n\r\n", "X: y\r\nMessage-ID: garbage\r\n\r\n", "Message-ID:\n"] {
            assert_eq!(named(mail), mail);
        }
    }

    #[test]
    fn who_adds_a_name_and_who_reads_it_agree_on_whether_there_is_one() {
        for blank in ["", " ", "\t", "\u{b}", "\u{c}", "\u{a0}", "\u{2003}"] {
            let mail = format!("From: a@b\r\nMessage-ID{blank}: <a@b>\r\n\r\n");
            let refusal = Message::parse(named(&mail).as_bytes(), &Limits::default()).err().map(|refusal| refusal.to_string());
            assert!(refusal.is_none_or(|refusal| refusal.contains("is not a field")), "{blank:?}");
        }
    }

    #[test]
    fn line_endings_are_kept() {
        assert!(named("From: a@b\n\nx\n").starts_with("Message-ID: <"));
        assert!(!named("From: a@b\n\nx\n").contains('\r'));
        assert!(named("From: a@b\r\n\r\nx").contains("@desk.example>\r\nFrom"));
        assert!(named("").ends_with(">\r\n"));
        assert!(named("Message-ID").ends_with(">\r\nMessage-ID"));
    }
}
