//! quinn without the overlay: what the overlay is measured against.
//!
//! Its settings are the overlay's own on loopback (MTU, windows, buffers, congestion control), so that the ratio shows what
//! the overlay itself costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TokioRuntime, TransportConfig};
use rustls::server::WebPkiClientVerifier;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::Instant;

use crate::case::{BULK_CHUNK_BYTES, Case, SMALL_BYTES, Way, Workload};
use crate::certificates::{Certificates, DNS_NAME, provider};
use crate::framing;
use crate::load::{self, Figures};
use crate::processes::{Target, ready_at};

/// Serves every kind of stream, for ever.
pub(crate) async fn serve(certificates: &Certificates) -> anyhow::Result<()> {
    let endpoint = endpoint(Some(server_config(certificates)?))?;
    ready_at(endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, receive)) = connection.accept_bi().await {
                tokio::spawn(serve_stream(send, receive));
            }
        });
    }
    Ok(())
}

/// Measures `case` once.
pub(crate) async fn measure(case: Case, certificates: &Certificates, target: &Target) -> anyhow::Result<Figures> {
    match case.workload {
        Workload::Cold => {
            let dial_and_call = async || {
                let dialled = Dialled::new(certificates, target.address).await?;
                call(&dialled.connection).await.map(|()| dialled)
            };
            load::dials(target, dial_and_call, async |dialled| dialled.connection.close(0_u32.into(), b"")).await
        }
        Workload::Bulk => {
            let dialled = Dialled::new(certificates, target.address).await?;
            load::bulk(target, async |lasting| send_bulk(&dialled.connection, lasting).await).await
        }
        Workload::Calls { callers } if case.way == Way::QuinnFramed => {
            let dialled = Dialled::new(certificates, target.address).await?;
            let (mut send, receive) = dialled.connection.open_bi().await?;
            send.write_all(&[FRAMED]).await?;
            let client = framing::Client::start(send, receive);
            load::calls(target, callers, move || {
                let client = client.clone();
                async move {
                    let reply = client.call(Bytes::from_static(&[0; SMALL_BYTES])).await?;
                    ensure!(reply.len() == SMALL_BYTES, "the reply has {} bytes", reply.len());
                    Ok(())
                }
            })
            .await
        }
        Workload::Calls { callers } => {
            let dialled = Dialled::new(certificates, target.address).await?;
            let connection = dialled.connection.clone();
            load::calls(target, callers, move || {
                let connection = connection.clone();
                async move { call(&connection).await }
            })
            .await
        }
        Workload::Leaves => unreachable!("leaves are the overlay's"),
    }
}

/// A connection, and the endpoint that keeps it alive.
struct Dialled {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Dialled {
    async fn new(certificates: &Certificates, address: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = endpoint(None)?;
        let connection = endpoint.connect_with(client_config(certificates)?, address, DNS_NAME)?.await?;
        Ok(Self { connection, _endpoint: endpoint })
    }
}

async fn call(connection: &Connection) -> anyhow::Result<()> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&[CALL; SMALL_BYTES]).await?;
    send.finish()?;
    let reply = receive.read_to_end(SMALL_BYTES).await?;
    ensure!(reply.len() == SMALL_BYTES, "the reply has {} bytes", reply.len());
    Ok(())
}

async fn send_bulk(connection: &Connection, lasting: Duration) -> anyhow::Result<u64> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&[BULK]).await?;
    let chunk = Bytes::from(vec![0; BULK_CHUNK_BYTES]);
    let started = Instant::now();
    let mut bytes = 0;
    while started.elapsed() < lasting {
        send.write_chunk(chunk.clone()).await?;
        bytes += chunk.len() as u64;
    }
    send.finish()?;
    let received = receive.read_to_end(size_of::<u64>()).await?;
    ensure!(received == bytes.to_be_bytes(), "the server did not get all bytes");
    Ok(bytes)
}

/// The first byte of a stream says what it is; a client that breaks off ends its stream only.
async fn serve_stream(send: SendStream, mut receive: RecvStream) -> anyhow::Result<()> {
    let first = receive.read_chunk(usize::MAX, true).await?.context("the stream is empty")?;
    match first.bytes[0] {
        FRAMED => framing::serve(send, receive).await,
        BULK => receive_bulk(send, receive, first.bytes.len() as u64 - 1).await,
        _ => answer(send, receive, &first.bytes).await,
    }
}

async fn answer(mut send: SendStream, mut receive: RecvStream, first: &[u8]) -> anyhow::Result<()> {
    let mut body = first.to_vec();
    body.extend(receive.read_to_end(SMALL_BYTES).await?);
    send.write_all(&body).await?;
    send.finish()?;
    Ok(())
}

async fn receive_bulk(mut send: SendStream, mut receive: RecvStream, mut bytes: u64) -> anyhow::Result<()> {
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        bytes += chunk.bytes.len() as u64;
    }
    send.write_all(&bytes.to_be_bytes()).await?;
    send.finish()?;
    // The stream is not dropped before the client has the count.
    send.stopped().await?;
    Ok(())
}

fn endpoint(server: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MTU)?;
    Ok(Endpoint::new(config, server, socket.into(), Arc::new(TokioRuntime))?)
}

fn server_config(certificates: &Certificates) -> anyhow::Result<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder_with_provider(certificates.roots()?, provider()).build()?;
    let credentials = &certificates.credentials;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain().to_vec(), credentials.key().clone_key())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn client_config(certificates: &Certificates) -> anyhow::Result<ClientConfig> {
    let credentials = &certificates.credentials;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(certificates.roots()?)
        .with_client_auth_cert(credentials.chain().to_vec(), credentials.key().clone_key())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// What `caps_overlay` sets for loopback, except that more streams are permitted: with as many as the overlay's 256, a
/// stream per call would wait for credit at concurrency 256.
fn transport() -> TransportConfig {
    let mut cubic = CubicConfig::default();
    cubic.initial_window(10 * u64::from(MTU));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(1024_u32.into())
        .stream_receive_window((4_u32 << 20).into())
        .receive_window((8_u32 << 20).into())
        .send_window(8 << 20)
        .initial_mtu(MTU)
        .min_mtu(MTU)
        .mtu_discovery_config(None)
        .congestion_controller_factory(Arc::new(cubic));
    config
}

const ALPN: &[u8] = b"caps-bench/1";
const MTU: u16 = 6500;
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

const CALL: u8 = b'c';
const FRAMED: u8 = b'f';
const BULK: u8 = b'b';
