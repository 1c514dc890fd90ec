//! What webhooks are signed with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, sign};

use super::Webhook;

/// One secret, or several while one replaces another: a receiver is content with a signature by any that it knows.
#[derive(Clone)]
pub struct Secrets(Vec<Key>);

/// Why a text holds no secrets. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none.
    #[error("it holds no secret: write one a line, as whsec_ and 24 to 64 bytes in base64")]
    None,
    /// There are too many to sign with.
    #[error("it holds more than {SECRETS_MAX} secrets: take those away that no receiver needs any more")]
    TooMany,
    /// A line is no secret.
    #[error("line {0} is no secret: write it as whsec_ and 24 to 64 bytes in base64")]
    Line(usize),
}

impl Secrets {
    /// Reads one secret a line, `whsec_` and 24 to 64 bytes in base64; empty lines, and lines that begin with `#`, say nothing.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
        let written = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<Key> = written.map(|(number, line)| key(line).ok_or(SecretError::Line(number))).collect::<Result<_, _>>()?;
        match keys.len() {
            0 => Err(SecretError::None),
            1..=SECRETS_MAX => Ok(Self(keys)),
            _ => Err(SecretError::TooMany),
        }
    }

    /// The value of `webhook-signature`: `v1,` and the HMAC-SHA256 of id, moment and body, for each secret.
    pub(super) fn sign(&self, webhook: &Webhook<'_>) -> String {
        let signed = [format!("{}.{}.", webhook.id, webhook.sent_at).as_bytes(), webhook.body].concat();
        let signatures: Vec<String> = self.0.iter().map(|key| format!("v1,{}", STANDARD.encode(sign(key, &signed)))).collect();
        signatures.join(" ")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

fn key(line: &str) -> Option<Key> {
    let bytes = STANDARD.decode(line.strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&bytes.len()).then(|| Key::new(HMAC_SHA256, &bytes))
}

/// Secrets at once: an old one and a new one, with room for a slow change.
const SECRETS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const WEBHOOK: Webhook<'static> =
        Webhook { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", sent_at: 1_614_265_330, body: br#"{"test": 2432232314}"# };

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn signature_is_the_one_that_receivers_expect() {
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(Secrets::parse(ONE).unwrap().sign(&WEBHOOK), expected);
        let both = Secrets::parse(&format!("# the new one\nwhsec_{}\n\n {ONE} \r\n", "A".repeat(64))).unwrap();
        assert!(both.sign(&WEBHOOK).ends_with(&format!(" {expected}")), "one signature for each secret");
        assert_eq!(format!("{both:?}"), "2 secrets");
    }

    #[test]
    fn what_is_no_secret_is_said_to_be_none_and_not_repeated() {
        let table = [
            ("", SecretError::None),
            ("# nothing\n", SecretError::None),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Line(1)),
            ("\nwhsec_c2hvcnQ=", SecretError::Line(2)),
            ("whsec_not base64", SecretError::Line(1)),
        ];
        for (text, expected) in table {
            assert_eq!(Secrets::parse(text).unwrap_err(), expected, "{text:?}");
        }
        assert_eq!(Secrets::parse(&[ONE; 5].join("\n")).unwrap_err(), SecretError::TooMany);
    }
}
