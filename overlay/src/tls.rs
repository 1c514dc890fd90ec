//! TLS 1.3 both ways: who is believed at the handshake.
//!
//! Chain, time, usage, revocation, trust domain and identity are checked together, on the leaf that proves its key in the
//! same handshake; [`caps_certs_gen::Verifier`] gives an identity only when all of it holds. There is no 0-RTT: it would be
//! switched on in [`Tls::client`] and [`Tls::server`], with session tickets and a resumption store for each peer, once
//! calls can be declared safe to replay. Until then no ticket is sent, so that every connection shows a whole chain.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use caps_certs_gen::{Identity, NodeCredentials, Rejection, TrustAnchors, Usage, Verifier};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig, SignatureScheme};

use crate::config::StartError;
use crate::environment::{Environment, WallClock};

/// The node's side of every handshake.
#[derive(Debug)]
pub(crate) struct Tls {
    credentials: NodeCredentials,
    verifier: Arc<Verifier>,
    provider: Arc<CryptoProvider>,
    clock: Arc<Clock>,
}

impl Tls {
    /// Checks that the node's own certificate would be believed by its peers: better to learn it now than from them.
    pub(crate) fn new(credentials: NodeCredentials, anchors: &TrustAnchors, environment: &Environment) -> Result<Self, StartError> {
        let verifier = Verifier::new(anchors).map_err(StartError::Anchors)?;
        let tls = Self {
            credentials,
            verifier: Arc::new(verifier),
            provider: environment.provider.clone(),
            clock: Arc::new(Clock(environment.wall_clock.clone())),
        };
        tls.recheck(tls.credentials.chain()).map_err(StartError::Certificate)?;
        tls.server().map_err(StartError::Credentials)?;
        Ok(tls)
    }

    /// What a server shows and asks for.
    pub(crate) fn server(&self) -> Result<QuicServerConfig, rustls::Error> {
        let verifier = Arc::new(CallerVerifier(self.judge()));
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), self.clock.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.credentials.chain().to_vec(), self.credentials.key().clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|_| no_initial_suite())
    }

    /// What a client shows and asks for when it dials `peer` and nobody else.
    pub(crate) fn client(&self, peer: &Identity) -> Result<QuicClientConfig, rustls::Error> {
        self.client_showing(peer, self.credentials.chain().to_vec(), self.credentials.key().clone_key())
    }

    pub(crate) fn client_showing(
        &self,
        peer: &Identity,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<QuicClientConfig, rustls::Error> {
        let verifier = Arc::new(PeerVerifier { judge: self.judge(), expected: peer.clone() });
        let mut config = ClientConfig::builder_with_details(self.provider.clone(), self.clock.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        QuicClientConfig::try_from(config).map_err(|_| no_initial_suite())
    }

    /// Whether a chain that was believed at the handshake still is: long connections outlive certificates.
    pub(crate) fn recheck(&self, chain: &[CertificateDer<'_>]) -> Result<Identity, Rejection> {
        self.verifier.check_chain(chain, self.clock.system_time())
    }

    /// The node's own credentials.
    pub(crate) fn credentials(&self) -> &NodeCredentials {
        &self.credentials
    }

    /// The cipher suite and key exchange that this node offers first, which is what a peer of the same kind takes.
    pub(crate) fn first_offers(&self) -> (String, String) {
        let suite = self.provider.cipher_suites.first().map(|suite| format!("{:?}", suite.suite()));
        let group = self.provider.kx_groups.first().map(|group| format!("{:?}", group.name()));
        (suite.unwrap_or_default(), group.unwrap_or_default())
    }

    fn judge(&self) -> Judge {
        Judge { verifier: self.verifier.clone(), provider: self.provider.clone() }
    }
}

/// The environment's wall clock, as rustls and quinn ask for it.
#[derive(Debug)]
pub(crate) struct Clock(pub(crate) Arc<dyn WallClock>);

impl Clock {
    fn since_1970(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.now_micros()).unwrap_or(0))
    }

    pub(crate) fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + self.since_1970()
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.since_1970()))
    }
}

impl quinn::TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.system_time()
    }
}

/// What both verifiers share.
#[derive(Debug)]
struct Judge {
    verifier: Arc<Verifier>,
    provider: Arc<CryptoProvider>,
}

impl Judge {
    fn identity(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<Identity, rustls::Error> {
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        self.verifier.check(leaf, intermediates, usage, now).map_err(|rejection| alerting(rejection).into())
    }

    fn tls12(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Judges whoever dials us.
#[derive(Debug)]
struct CallerVerifier(Judge);

impl ClientCertVerifier for CallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.identity(leaf, intermediates, Usage::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.tls12(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.tls13(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes()
    }
}

/// Judges whoever answers our dial: it must be exactly the one we asked for.
#[derive(Debug)]
struct PeerVerifier {
    judge: Judge,
    expected: Identity,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = self.judge.identity(leaf, intermediates, Usage::Server, now)?;
        if found != self.expected {
            let other = Rejected(format!("{found} answers where {} is expected", self.expected));
            return Err(CertificateError::Other(OtherError(Arc::new(other))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.tls12(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.tls13(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.schemes()
    }
}

/// Words that travel to the peer beside the alert.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Rejected(String);

/// The rejection as the error whose TLS alert says most about it (RFC 8446, section 6.2).
fn alerting(rejection: Rejection) -> CertificateError {
    match rejection {
        Rejection::Expired { .. } => CertificateError::Expired,
        Rejection::NotYetValid { .. } => CertificateError::NotValidYet,
        Rejection::Revoked => CertificateError::Revoked,
        Rejection::UnknownIssuer => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(Rejected(other.to_string())))),
    }
}

fn no_initial_suite() -> rustls::Error {
    rustls::Error::General("the provider lacks TLS13_AES_128_GCM_SHA256, which QUIC begins with".to_owned())
}

/// The one application protocol (RFC 7301).
const ALPN: &[u8] = b"caps/1";
