//! TLS towards a relay.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    failure::Failure,
    target::{RelayUrlError, Security},
};
use crate::tls::pem_fault;

/// Whom to believe.
#[derive(Debug, Clone)]
pub(super) struct Configuration {
    roots: RootCertStore,
    config: Arc<ClientConfig>,
}

impl Configuration {
    /// The authorities that browsers trust.
    pub(super) fn new(security: Security) -> Result<Self, RelayUrlError> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = build(&roots, security)?;
        Ok(Self { roots, config })
    }

    /// Adds authorities in PEM.
    pub(super) fn trust(&mut self, authorities: &[u8], security: Security) -> Result<(), RelayUrlError> {
        let unreadable = |reason: String| RelayUrlError::Authorities { reason };
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|error| unreadable(pem_fault(&error).to_owned()))?;
            self.roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(unreadable("there is none".to_owned()));
        }
        self.config = build(&self.roots, security)?;
        Ok(())
    }

    /// Encrypts a connection to `host`.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Failure::Broken(error.to_string()))?;
        Ok(TlsConnector::from(self.config.clone()).connect(name, stream).await?)
    }
}

fn build(roots: &RootCertStore, security: Security) -> Result<Arc<ClientConfig>, RelayUrlError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| RelayUrlError::Tls { reason: error.to_string() })?;
    let builder = if security == Security::Opportunistic {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone { provider }))
    } else {
        builder.with_root_certificates(roots.clone())
    };
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// Takes every certificate whose key is proven: for opportunistic encryption (RFC 7435), where the choice is this or none.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
