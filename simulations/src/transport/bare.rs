//! Bare quinn, for what the overlay does not do: resumption and 0-RTT.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig};
use ring::hmac;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::time::Instant;

use super::lab::{Lab, Place, Wire, beginning};

/// How long a request takes with 0-RTT, and on a resumed connection without it, after a first connection that left a ticket.
pub(super) fn resumption(seed: u64, wire: Wire) -> (Duration, Duration) {
    Lab::run(seed, wire, |lab| async move {
        let far = lab.far(0);
        let address = far.address;
        let server = server(far);
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(async move {
                    let accepted = incoming.accept().expect("the packet was good");
                    // Data may come with the first flight.
                    let connection = accepted.into_0rtt().map(|(connection, _)| connection);
                    serve(connection.expect("a server can always go on before the handshake is over")).await;
                });
            }
        });
        let (client, config) = client(lab.near(0));
        let dial = || client.connect_with(config.clone(), address, "server").expect("the configuration is good");
        let first = dial().await.expect("the line is clean");
        request(&first).await;
        first.close(0_u32.into(), b"");
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let (early, _) = dial().into_0rtt().expect("the first connection left a ticket");
        request(&early).await;
        let with = begun.elapsed();
        early.close(0_u32.into(), b"");
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let resumed = dial().await.expect("the line is clean");
        request(&resumed).await;
        (with, begun.elapsed())
    })
}

async fn serve(connection: Connection) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let asked = recv.read_to_end(BYTES_MAX).await.unwrap_or_default();
        // Whoever went away needs no answer.
        drop(send.write_all(&asked).await);
        drop(send.finish());
    }
}

async fn request(connection: &Connection) {
    let (mut send, mut recv) = connection.open_bi().await.expect("the connection is open");
    send.write_all(&[0; 64]).await.expect("the connection is open");
    send.finish().expect("nothing was finished before");
    assert_eq!(recv.read_to_end(BYTES_MAX).await.map(|answer| answer.len()), Ok(64));
}

fn server(place: Place) -> Endpoint {
    let mut tls = rustls::ServerConfig::builder_with_details(place.environment.provider.clone(), Arc::new(Beginning))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has what TLS 1.3 needs")
        .with_no_client_auth()
        .with_single_cert(place.credentials.chain().to_vec(), place.credentials.key().clone_key())
        .expect("the key is the certificate's");
    tls.max_early_data_size = u32::MAX;
    let crypto = Arc::new(QuicServerConfig::try_from(tls).expect("ring has what QUIC needs"));
    let token = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, b"bare").extract(b"bare");
    let mut config = quinn::ServerConfig::new(crypto, Arc::new(token));
    config.time_source(Arc::new(Beginning));
    endpoint(place, Some(config))
}

fn client(place: Place) -> (Endpoint, quinn::ClientConfig) {
    let provider = place.environment.provider.clone();
    let mut tls = rustls::ClientConfig::builder_with_details(provider.clone(), Arc::new(Beginning))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has what TLS 1.3 needs")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    tls.enable_early_data = true;
    let crypto = QuicClientConfig::try_from(tls).expect("ring has what QUIC needs");
    (endpoint(place, None), quinn::ClientConfig::new(Arc::new(crypto)))
}

fn endpoint(place: Place, server: Option<quinn::ServerConfig>) -> Endpoint {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, b"bare")));
    let mut seed = [0; 32];
    place.environment.rng.fill(&mut seed);
    config.rng_seed(Some(seed));
    let runtime = Arc::new(quinn::TokioRuntime);
    Endpoint::new_with_abstract_socket(config, server, place.environment.socket, runtime).expect("a simulated socket is always good")
}

/// A clock that stands still: tickets stay fresh.
#[derive(Debug)]
struct Beginning;

impl TimeProvider for Beginning {
    fn current_time(&self) -> Option<UnixTime> {
        beginning().duration_since(std::time::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

impl quinn::TimeSource for Beginning {
    fn now(&self) -> std::time::SystemTime {
        beginning()
    }
}

/// Believes anybody: round trips are measured here, not trust.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const BYTES_MAX: usize = 1 << 20;
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_data_saves_the_round_trip_of_the_handshake() {
        let ms = Duration::from_millis;
        assert_eq!(resumption(1, Wire::even(ms(100))), (ms(100), ms(200)));
    }
}
