//! Key pairs.

use std::fmt;
use std::str::FromStr;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};
use ring::digest;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

/// A private key and its public one, of an authority or of a leaf.
///
/// `Debug` shows nothing of the private key.
pub struct Key {
    pair: KeyPair,
    algorithm: Algorithm,
}

impl Key {
    /// A new key.
    ///
    /// Ed25519 takes its seed from `random`. P-256 takes it from the system, because *ring* makes
    /// such keys from nothing else; its signatures are randomised anyway, so that a simulation,
    /// which must repeat itself, uses Ed25519.
    pub fn generate(algorithm: Algorithm, random: &mut Random<'_>) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Ed25519 => {
                let mut seed = [0; SEED_BYTES];
                random(&mut seed);
                Ok(Self::from_seed(&seed))
            }
            Algorithm::P256 => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
                Ok(Self { pair: pair.map_err(KeyError::Generate)?, algorithm })
            }
        }
    }

    /// The Ed25519 key of this seed (RFC 8032, section 5.1.5).
    #[expect(clippy::missing_panics_doc, reason = "no seed makes it panic")]
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        let document = [ED25519_PKCS8_PREFIX, seed].concat();
        Self::from_pkcs8(&document).expect("every 32 bytes are the seed of an Ed25519 key")
    }

    /// Reads an unencrypted PKCS #8 document (RFC 5958), as `key.pem` holds it.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        let pair = KeyPair::try_from(document).map_err(KeyError::Unreadable)?;
        let algorithm = Algorithm::of(&pair).ok_or(KeyError::Algorithm)?;
        Ok(Self { pair, algorithm })
    }

    /// Reads the private key that rustls takes.
    pub fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        Self::from_pkcs8(key.secret_der())
    }

    /// The private key as rustls takes it.
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der()).into()
    }

    /// The algorithm of the key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key, as the bits of a certificate's `subjectPublicKey`.
    pub fn public_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// Sixteen hexadecimal digits that tell keys apart.
    pub(crate) fn short_hash(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.public_bytes());
        hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.algorithm(), self.short_hash())
    }
}

/// The signature algorithm of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519: small, fast, and the same signature every time.
    #[default]
    Ed25519,
    /// ECDSA on P-256, for devices and rules that know nothing newer.
    P256,
}

impl Algorithm {
    fn of(pair: &KeyPair) -> Option<Self> {
        let algorithm = pair.algorithm();
        if algorithm == &PKCS_ED25519 {
            Some(Self::Ed25519)
        } else if algorithm == &PKCS_ECDSA_P256_SHA256 {
            Some(Self::P256)
        } else {
            None
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
        })
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ed25519" => Ok(Self::Ed25519),
            "p256" => Ok(Self::P256),
            _ => Err(UnknownAlgorithm),
        }
    }
}

/// The text names no algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the algorithm is neither ed25519 nor p256")]
pub struct UnknownAlgorithm;

/// A source of random bytes: fills the slice that it is given.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The document is not an unencrypted private key in PKCS #8 form.
    #[error("the private key is not an unencrypted PKCS #8 document")]
    Unreadable(#[source] rcgen::Error),
    /// The key is of an algorithm that certificates here do not use.
    #[error("the private key is neither an ed25519 nor a p256 key")]
    Algorithm,
    /// The system gave no random numbers.
    #[error("no key could be generated")]
    Generate(#[source] rcgen::Error),
}

/// Length of an Ed25519 seed.
pub const SEED_BYTES: usize = 32;

/// What stands before the seed in the PKCS #8 form of an Ed25519 key (RFC 8410, section 7).
const ED25519_PKCS8_PREFIX: &[u8] = &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_gives_the_public_key_of_rfc_8032() {
        // RFC 8032, section 7.1, TEST 1.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b,
            0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let key = Key::from_seed(&seed);
        assert_eq!(key.public_bytes()[..4], [0xd7, 0x5a, 0x98, 0x01]);
        assert_eq!(key.algorithm(), Algorithm::Ed25519);
    }

    #[test]
    fn both_algorithms_survive_their_document() {
        for algorithm in [Algorithm::Ed25519, Algorithm::P256] {
            let key = Key::generate(algorithm, &mut |bytes: &mut [u8]| bytes.fill(7)).unwrap();
            let again = Key::from_der(&key.to_der()).unwrap();
            assert_eq!(again.public_bytes(), key.public_bytes());
            assert_eq!(again.algorithm(), algorithm);
        }
    }

    #[test]
    fn debug_hides_the_private_key() {
        let text = format!("{:?}", Key::from_seed(&[0x11; SEED_BYTES]));
        assert!(!text.contains("11, 11") && !text.contains("1111"), "{text}");
    }
}
