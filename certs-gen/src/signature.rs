//! Who signed what, outside of a chain.

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::ring;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// Whether `certificate` is an authority's, and signed by the authority of `issuer`.
pub(crate) fn is_certificate_signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    certificate.is_ca()
        && public_key_of(issuer).is_some_and(|key| {
            let signed = certificate.tbs_certificate.as_ref();
            is_signed(&key, signed, &certificate.signature_value.data)
        })
}

/// Whether `list` is signed by the authority of `issuer`, and names it.
pub(crate) fn is_list_signed_by(list: &CertificateRevocationList<'_>, issuer: &CertificateDer<'_>) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(issuer) else {
        return false;
    };
    let usage = authority.key_usage().ok().flatten();
    usage.is_some_and(|usage| usage.value.crl_sign())
        && authority.subject().as_raw() == list.issuer().as_raw()
        && public_key_of(issuer).is_some_and(|key| {
            let signed = list.tbs_cert_list.as_ref();
            is_signed(&key, signed, &list.signature_value.data)
        })
}

fn public_key_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.public_key().subject_public_key.data.to_vec())
}

/// Whether any of the algorithms accepts the signature. None accepts the keys of another, so the
/// one that the document names need not be believed.
fn is_signed(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let mut algorithms = ALGORITHMS.iter();
    algorithms.any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
}

/// The algorithms of [`Algorithm`](crate::Algorithm), and no others.
pub(crate) const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[ring::ED25519, ring::ECDSA_P256_SHA256];
