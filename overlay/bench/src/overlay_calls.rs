//! The overlay, through the interface that everybody uses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use caps_certs_gen::Identity;
use caps_overlay::{
    Answer, Call, CallOptions, Caller, Config, Descriptor, Environment, MethodDescriptor, MethodId, Overlay, RawStream, Seed, Service, To,
};
use tokio::time::Instant;

use crate::case::{BULK_CHUNK_BYTES, Case, SMALL_BYTES, Way, Workload};
use crate::certificates::{Certificates, Side};
use crate::load::{self, Figures};
use crate::processes::{Target, ready_at};

/// Serves for ever.
pub(crate) async fn serve(certificates: Certificates) -> anyhow::Result<()> {
    let environment = Environment::real(ANY_PORT.into())?;
    let config = Config { announce: Some(environment.socket.local_addr()?), ..Config::default() };
    let Certificates { credentials, anchors, .. } = certificates;
    let overlay = Overlay::start(credentials, anchors, config, vec![Arc::new(Bench)], environment).await?;
    ready_at(overlay.local_address());
    std::future::pending().await
}

/// Measures `case` once.
pub(crate) async fn measure(case: Case, certificates: Certificates, target: &Target) -> anyhow::Result<Figures> {
    match case.workload {
        Workload::Cold => {
            let dial_and_call = async || {
                let leaf = Leaf::start(&certificates, target.address).await?;
                leaf.call(case.way).await.map(|()| leaf)
            };
            load::dials(target, dial_and_call, async |leaf| leaf.stop().await).await
        }
        Workload::Bulk => {
            let leaf = Leaf::start(&certificates, target.address).await?;
            load::bulk(target, async |lasting| leaf.send_bulk(lasting).await).await
        }
        Workload::Calls { callers } => {
            let leaf = Leaf::start(&certificates, target.address).await?;
            load::calls(target, callers, move || {
                let leaf = leaf.clone();
                async move { leaf.call(case.way).await }
            })
            .await
        }
        Workload::Leaves => unreachable!("leaves have their own file"),
    }
}

/// A front end that knows the server.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    overlay: Overlay,
    server: Arc<Identity>,
}

impl Leaf {
    pub(crate) async fn start(certificates: &Certificates, server_address: SocketAddr) -> anyhow::Result<Self> {
        let server = Side::Server.identity();
        let config = Config { seeds: vec![Seed { identity: server.clone(), address: server_address }], ..Config::default() };
        let Certificates { credentials, anchors, .. } = certificates.clone();
        let environment = Environment::real(ANY_PORT.into())?;
        let overlay = Overlay::start(credentials, anchors, config, Vec::new(), environment).await?;
        Ok(Self { overlay, server: Arc::new(server) })
    }

    /// One small call.
    pub(crate) async fn call(&self, way: Way) -> anyhow::Result<()> {
        let options = CallOptions { own_stream: way == Way::OverlayStream, ..CallOptions::default() };
        let reply = self.overlay.call(To::Node(&self.server), ECHO, Bytes::from_static(&[0; SMALL_BYTES]), options).await?;
        ensure!(reply.body.len() == SMALL_BYTES, "the reply has {} bytes", reply.body.len());
        Ok(())
    }

    async fn send_bulk(&self, lasting: Duration) -> anyhow::Result<u64> {
        // The deadline of a raw stream counts until it has ended.
        let options = CallOptions { deadline: lasting + Duration::from_secs(30), ..CallOptions::default() };
        let mut stream = self.overlay.raw(To::Node(&self.server), RECEIVE, Bytes::new(), options).await?;
        let chunk = Bytes::from(vec![0; BULK_CHUNK_BYTES]);
        let started = Instant::now();
        let mut bytes = 0;
        while started.elapsed() < lasting {
            stream.send(chunk.clone()).await?;
            bytes += chunk.len() as u64;
        }
        stream.finish();
        let received = stream.receive(size_of::<u64>()).await?.context("the server said nothing")?;
        ensure!(received[..] == bytes.to_be_bytes(), "the server did not get all bytes");
        Ok(bytes)
    }

    async fn stop(self) {
        self.overlay.drain(Duration::from_millis(100)).await;
        self.overlay.environment().tasks.shutdown().await;
    }
}

/// The service of the server: it sends small bodies back, and counts the bytes of streams.
#[derive(Debug)]
struct Bench;

impl Service for Bench {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: SERVICE,
            name: "bench",
            methods: &[
                MethodDescriptor { id: ECHO.method, name: "echo", callers: Caller::ANY },
                MethodDescriptor { id: RECEIVE.method, name: "receive", callers: Caller::ANY },
            ],
        }
    }

    fn handle(&self, call: Call) -> Answer {
        if call.method == RECEIVE.method { Answer::raw(receive) } else { Answer::ready(call.body) }
    }
}

async fn receive(mut stream: RawStream) {
    let mut bytes: u64 = 0;
    while let Ok(Some(chunk)) = stream.receive(usize::MAX).await {
        bytes += chunk.len() as u64;
    }
    // A client that went away does not want the count.
    if stream.send(Bytes::copy_from_slice(&bytes.to_be_bytes())).await.is_ok() {
        stream.finish();
    }
}

const SERVICE: u16 = 100;
const ECHO: MethodId = MethodId { service: SERVICE, method: 1 };
const RECEIVE: MethodId = MethodId { service: SERVICE, method: 2 };
const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
