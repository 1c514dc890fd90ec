//! Certificates, keys and revocation lists as PEM files (RFC 7468).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pem::{EncodeConfig, LineEnding, Pem};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use thiserror::Error;

/// Reads the certificates in a file, in its order; at least one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    let text = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|source| malformed(path, source))?;
    if certificates.is_empty() {
        return Err(PemFileError::Nothing { path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

/// Reads the only private key in a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemFileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|source| malformed(path, source))
}

/// Reads the only revocation list in a file.
pub(crate) fn revocation_list(path: &Path) -> Result<CertificateRevocationListDer<'static>, PemFileError> {
    CertificateRevocationListDer::from_pem_slice(&read(path)?).map_err(|source| malformed(path, source))
}

/// Reads every section of a file, whatever it is.
pub(crate) fn sections(path: &Path) -> Result<Vec<(SectionKind, Vec<u8>)>, PemFileError> {
    let text = read(path)?;
    <(SectionKind, Vec<u8>)>::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|source| malformed(path, source))
}

/// The PEM text of a chain, in its order.
pub(crate) fn encode_certificates(chain: &[CertificateDer<'_>]) -> String {
    let sections = chain.iter().map(|certificate| encode("CERTIFICATE", certificate));
    sections.collect()
}

/// The PEM text of a private key in PKCS #8 form.
pub(crate) fn encode_private_key(key: &PrivateKeyDer<'_>) -> String {
    encode("PRIVATE KEY", key.secret_der())
}

/// The PEM text of a revocation list.
pub(crate) fn encode_revocation_list(list: &CertificateRevocationListDer<'_>) -> String {
    encode("X509 CRL", list)
}

/// Why a file gives nothing. Nothing changed.
#[derive(Debug, Error)]
pub enum PemFileError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is larger than any file of this kind.
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes and not read")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM, or it lacks the section that is wanted.
    #[error("{path} does not hold what it should in PEM form")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// The file holds nothing of the wanted kind.
    #[error("{path} holds no {wanted}")]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
}

fn read(path: &Path) -> Result<Vec<u8>, PemFileError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|source| PemFileError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(PemFileError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

fn malformed(path: &Path, source: rustls_pki_types::pem::Error) -> PemFileError {
    PemFileError::Malformed { path: path.to_owned(), source }
}

fn encode(label: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(label, der), config)
}

/// A revocation list of 100,000 entries takes about 5 MB; chains and keys a few thousand bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
