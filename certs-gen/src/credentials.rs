//! What a node needs to speak for itself.

use std::path::Path;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::{Identity, Key, KeyError, LeafError, PemFileError, pem_file};

/// A node's or an administrator's own chain and key.
#[derive(Debug)]
pub struct NodeCredentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    identity: Identity,
}

impl NodeCredentials {
    /// Loads `cert.pem` and `key.pem` from the directory of a node, `nodes/<name>`, or of an
    /// administrator, `admins/<name>`.
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        let directory = directory.as_ref();
        let chain = pem_file::read_certificates(&directory.join(CERTIFICATE_FILE))?;
        let key = pem_file::private_key(&directory.join(KEY_FILE))?;
        Self::new(chain, key)
    }

    /// Takes a chain, the leaf first and the root left out, and the key of the leaf.
    ///
    /// Checks that the leaf has an identity and that the key is the leaf's, so that a mix-up of
    /// files shows at the start. Whether anybody trusts the chain is the
    /// [`Verifier`](crate::Verifier)'s question.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, CredentialsError> {
        let leaf = chain.first().ok_or(CredentialsError::NoCertificate)?;
        let identity = Identity::of_leaf(leaf)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| LeafError::Malformed)?;
        if parsed.public_key().subject_public_key.data != Key::from_der(&key)?.public_bytes() {
            return Err(CredentialsError::KeyMismatch { identity });
        }
        Ok(Self { chain, key, identity })
    }

    /// The certificates to present: the leaf first, the root left out.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The leaf certificate.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The private key of the leaf.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// The identity in the leaf.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Clone for NodeCredentials {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), identity: self.identity.clone() }
    }
}

/// Why there are no credentials. Nothing changed.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// A file cannot be read or holds something else.
    #[error(transparent)]
    File(#[from] PemFileError),
    /// The chain is empty.
    #[error("there is no certificate")]
    NoCertificate,
    /// The first certificate is not a leaf with an identity.
    #[error("the first certificate gives no identity")]
    Leaf(#[from] LeafError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate and the key do not belong together; probably one was copied without the other.
    #[error("the key is not the one in the certificate of {identity}")]
    KeyMismatch {
        /// The identity in the certificate.
        identity: Identity,
    },
}

/// The chain of a node, the leaf first.
pub(crate) const CERTIFICATE_FILE: &str = "cert.pem";
/// The key of a node.
pub(crate) const KEY_FILE: &str = "key.pem";
