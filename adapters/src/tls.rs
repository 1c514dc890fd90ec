//! TLS for a server, by a certificate and key in PEM.

use std::sync::Arc;
use std::{fmt, io};

use rustls::crypto::ring::default_provider;
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a server proves itself with.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate is in the file.
    #[error("no certificate in PEM is there: {0}")]
    Certificate(String),
    /// No private key is in the file.
    #[error("no private key in PEM is there: {0}")]
    Key(&'static str),
    /// They do not belong together, or are of a kind that is not known.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// For browsers and programs: a certificate chain, the server's own first, and its key. TLS 1.3 only: every browser of the last years speaks it.
    pub fn for_web(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::from_pem(chain, key, &[&rustls::version::TLS13], &[b"h2", b"http/1.1"])
    }

    /// For mail servers, of which some are old: TLS 1.2, too. What they would do without is to send in the clear (RFC 7435).
    pub fn for_mail(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::from_pem(chain, key, rustls::ALL_VERSIONS, &[])
    }

    fn from_pem(chain: &[u8], key: &[u8], versions: &[&'static SupportedProtocolVersion], protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Certificate(pem_fault(&error).to_owned()))?;
        if chain.is_empty() {
            return Err(TlsError::Certificate("the file holds none".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(pem_fault(&error)))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let mut config = builder.with_protocol_versions(versions)?.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A resumed session saves a round trip on a bad line; tickets are kept by the client. No early data: a request may change something.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Becomes the server of an encrypted stream. Whoever calls it bounds how long that may take.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        self.acceptor.accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// What is wrong with a file in PEM. The error's own words repeat lines of the file, of any length, and one of them may be a key.
pub(crate) fn pem_fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no line -----END ...-----",
        pem::Error::IllegalSectionStart { .. } => "a line that begins with -----BEGIN does not end with -----",
        pem::Error::Base64Decode(_) => "a section does not hold base64",
        pem::Error::NoItemsFound => "no section is of the kind that is expected",
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_read_is_not_shown() {
        // Somebody lost the line endings.
        let key = b"-----BEGIN PRIVATE KEY----- c2VjcmV0 -----END PRIVATE KEY\n";
        let certificate = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        for (chain, key, expected) in [
            (&certificate[..], &key[..], "no private key in PEM is there: a line that begins with -----BEGIN does not end with -----"),
            (key, key, "no certificate in PEM is there: a line that begins with -----BEGIN does not end with -----"),
            (certificate, b"", "no private key in PEM is there: no section is of the kind that is expected"),
        ] {
            let error = Tls::for_web(chain, key).unwrap_err();
            assert_eq!(error.to_string(), expected);
            // The beginning of the key, as the numbers of its bytes.
            assert!(!format!("{error:?}").contains("99, 50, 86"), "{error:?}");
        }
    }
}
