//! What a file says.

use std::path::Path;

use ring::digest;
use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage};
use x509_parser::prelude::FromDer;

use crate::{Identity, LeafError, Moment, PemFileError, RevocationList, Serial, Validity, pem_file};

/// What one section of a PEM file says. Said, not believed: see [`Verifier`](crate::Verifier).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Inspection {
    /// A certificate.
    Certificate(CertificateFacts),
    /// A revocation list.
    RevocationList(RevocationListFacts),
    /// A private key, of which nothing is shown.
    PrivateKey,
    /// Something else, or something that cannot be read.
    Unknown,
}

impl Inspection {
    /// Reads every section of a PEM file.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Vec<Self>, PemFileError> {
        let path = path.as_ref();
        let sections = pem_file::sections(path)?;
        if sections.is_empty() {
            return Err(PemFileError::Nothing { path: path.to_owned(), wanted: "section in PEM form" });
        }
        let inspect = |(kind, der)| Self::of_section(kind, der);
        Ok(sections.into_iter().map(inspect).collect())
    }

    fn of_section(kind: SectionKind, der: Vec<u8>) -> Self {
        let facts = match kind {
            SectionKind::Certificate => CertificateFacts::of(&der.into()).map(Self::Certificate),
            SectionKind::Crl => RevocationListFacts::of(der.into()).map(Self::RevocationList),
            SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey => Some(Self::PrivateKey),
            _ => None,
        };
        facts.unwrap_or(Self::Unknown)
    }
}

/// What a certificate says.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateFacts {
    /// The identity, if it is a leaf's certificate and has one.
    pub identity: Option<String>,
    /// Why there is no identity, if there should be one.
    pub problem: Option<String>,
    /// Whom it is about.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its number.
    pub serial: String,
    /// When it holds.
    #[serde(flatten)]
    pub validity: Validity,
    /// Whether it is an authority's.
    pub is_authority: bool,
    /// How many authorities may stand below it.
    pub path_length: Option<u32>,
    /// All its names: URIs, DNS names, addresses.
    pub names: Vec<String>,
    /// What the key may do.
    pub usages: Vec<&'static str>,
    /// The algorithm of its key.
    pub key_algorithm: &'static str,
    /// The SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
}

impl CertificateFacts {
    /// What this certificate says, or nothing if it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let identity = Identity::of_leaf(certificate);
        let constraints = parsed.basic_constraints().ok().flatten();
        Some(Self {
            problem: problem(&identity),
            identity: identity.ok().map(|identity| identity.to_string()),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            serial: Serial::from_bytes(parsed.raw_serial()).map_or_else(|_| parsed.raw_serial_as_string(), |serial| serial.to_string()),
            validity: Validity {
                not_before: Moment::from_timestamp(parsed.validity().not_before.timestamp()),
                not_after: Moment::from_timestamp(parsed.validity().not_after.timestamp()),
            },
            is_authority: parsed.is_ca(),
            path_length: constraints.and_then(|constraints| constraints.value.path_len_constraint),
            names: names(&parsed),
            usages: usages(&parsed),
            key_algorithm: key_algorithm(&parsed),
            fingerprint: fingerprint(certificate),
        })
    }
}

/// What a revocation list says.
#[derive(Clone, Debug, Serialize)]
pub struct RevocationListFacts {
    /// Who signed it.
    pub issuer: String,
    /// When.
    pub updated: Moment,
    /// The certificates that hold no longer.
    pub revoked: Vec<Serial>,
}

impl RevocationListFacts {
    fn of(der: CertificateRevocationListDer<'static>) -> Option<Self> {
        let list = RevocationList::parse(der).ok()?;
        Some(Self { issuer: list.issuer_name().to_owned(), updated: list.updated(), revoked: list.serials().to_vec() })
    }
}

fn problem(identity: &Result<Identity, LeafError>) -> Option<String> {
    match identity {
        Ok(_) | Err(LeafError::Authority) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names.map(name_text).collect()
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => format!("uri {uri}"),
        GeneralName::DNSName(name) => format!("dns {name}"),
        GeneralName::IPAddress(bytes) => format!("ip {}", address_text(bytes)),
        other => format!("other {other}"),
    }
}

fn address_text(bytes: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        std::net::Ipv4Addr::from(octets).to_string()
    } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        std::net::Ipv6Addr::from(octets).to_string()
    } else {
        "of a strange length".to_owned()
    }
}

fn usages(certificate: &X509Certificate<'_>) -> Vec<&'static str> {
    let key_usage = certificate.key_usage().ok().flatten();
    let extended = certificate.extended_key_usage().ok().flatten();
    let key_usage = key_usage.map(|usage| key_usages(usage.value));
    let extended = extended.map(|usage| extended_usages(usage.value));
    key_usage.into_iter().chain(extended).flatten().collect()
}

fn key_usages(usage: &KeyUsage) -> Vec<&'static str> {
    let known = [
        (usage.digital_signature(), "digital signature"),
        (usage.key_cert_sign(), "certificate signing"),
        (usage.crl_sign(), "revocation list signing"),
    ];
    chosen(known)
}

fn extended_usages(usage: &ExtendedKeyUsage<'_>) -> Vec<&'static str> {
    chosen([(usage.server_auth, "server"), (usage.client_auth, "client")])
}

fn chosen<const N: usize>(known: [(bool, &'static str); N]) -> Vec<&'static str> {
    let set = known.into_iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, name)| name).collect()
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> &'static str {
    match certificate.public_key().algorithm.algorithm.to_id_string().as_str() {
        "1.3.101.112" => "ed25519",
        "1.2.840.10045.2.1" => "elliptic curve",
        "1.2.840.113549.1.1.1" => "rsa",
        _ => "unknown",
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = digest::digest(&digest::SHA256, certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
