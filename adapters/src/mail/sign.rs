//! Signing what goes out (DKIM, RFC 6376): lettre's, with a key that is read once.

use std::fmt;

use lettre::{
    Message,
    message::{
        dkim::{DkimCanonicalization, DkimCanonicalizationType, DkimConfig, DkimSigningAlgorithm, DkimSigningKey, dkim_sign},
        header::HeaderName,
    },
};

use super::smtp::Domain;

/// Signs messages for one domain, under one selector.
pub struct Signer {
    config: DkimConfig,
    domain: Domain,
}

/// Why nothing can be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The key is neither an RSA key as PKCS #1 in PEM nor the 32 bytes of an Ed25519 key in base64.
    #[error("the key cannot be used: it is an RSA key in PEM (BEGIN RSA PRIVATE KEY), or the 32 bytes of an Ed25519 key in base64")]
    Key,
    /// The selector is no name of DNS.
    #[error("the selector {0:?} is no name of DNS: letters, digits and hyphens, dots between them")]
    Selector(String),
}

impl Signer {
    /// Signs with this key, for `domain`, where its public half is found under `SELECTOR._domainkey`.
    ///
    /// # Errors
    /// A [`SignerError`] that says what is wrong and never shows the key.
    pub fn new(domain: &Domain, selector: &str, key: &str) -> Result<Self, SignerError> {
        Domain::parse(selector).ok_or_else(|| SignerError::Selector(selector.chars().take(80).collect()))?;
        let algorithm = if key.contains("BEGIN") { DkimSigningAlgorithm::Rsa } else { DkimSigningAlgorithm::Ed25519 };
        let key = DkimSigningKey::new(key.trim(), algorithm).map_err(|_| SignerError::Key)?;
        let canonical = DkimCanonicalization { header: DkimCanonicalizationType::Relaxed, body: DkimCanonicalizationType::Relaxed };
        let fields = SIGNED.iter().map(|field| HeaderName::new_from_ascii_str(field)).collect();
        Ok(Self { config: DkimConfig::new(selector.to_owned(), domain.to_string(), key, fields, canonical), domain: domain.clone() })
    }

    /// Puts the signature on a message.
    pub(super) fn sign(&self, message: &mut Message) {
        dkim_sign(message, &self.config);
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("domain", &self.domain).finish_non_exhaustive()
    }
}

/// What RFC 6376 section 5.4.1 would have signed, of what we write.
const SIGNED: [&str; 9] = ["From", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_selectors_are_checked_once() {
        let domain = Domain::parse("desk.example").unwrap();
        // 32 bytes of zeros.
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert!(Signer::new(&domain, "s1.mail", key).is_ok());
        assert_eq!(Signer::new(&domain, "s 1", key).unwrap_err(), SignerError::Selector("s 1".to_owned()));
        for bad in ["", "AAAA", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----"] {
            assert_eq!(Signer::new(&domain, "s1", bad).unwrap_err(), SignerError::Key, "{bad:?}");
        }
    }
}
