//! A trust domain, nodes in it, and a service to call.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use caps_certs_gen::{Authority, Identity, Key, Layer, LeafRequest, NodeCredentials, TrustAnchors, Validity};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;

use crate::environment::WallClock;
use crate::tls::Tls;
use crate::*;

pub(super) const NOW: u64 = 1_800_000_000;

/// A trust domain with one site.
pub(super) struct World {
    pub(super) root: Authority,
    pub(super) site: Authority,
    counter: AtomicU8,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of("test.example", 1)
    }

    pub(super) fn of(domain: &str, seed: u8) -> Self {
        let root = Authority::from_seed(domain, &[seed; 32], now(), &mut |bytes| bytes.fill(seed)).unwrap();
        let site = root.site("lund", Key::from_seed(&[seed + 1; 32]), now(), &mut |bytes| bytes.fill(seed + 1)).unwrap();
        Self { root, site, counter: AtomicU8::new(seed + 2) }
    }

    pub(super) fn identity(&self, layer: Layer, name: &str) -> Identity {
        Identity::node(self.root.scope().domain(), "lund", layer, name).unwrap()
    }

    pub(super) fn anchors(&self) -> TrustAnchors {
        TrustAnchors::new(vec![self.root.certificate().clone()], Vec::new()).unwrap()
    }

    pub(super) fn credentials(&self, identity: &Identity) -> NodeCredentials {
        let authority = if identity.is_admin() { &self.root } else { &self.site };
        authority.credentials(identity, now(), &mut |bytes| bytes.fill(self.counter.fetch_add(1, Ordering::Relaxed))).unwrap()
    }

    /// A chain as the request wants it, and its key.
    pub(super) fn issue(&self, request: &LeafRequest) -> (Vec<CertificateDer<'static>>, Key) {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let key = Key::from_seed(&[counter; 32]);
        (self.site.issue(request, &key, &mut |bytes| bytes.fill(counter)).unwrap(), key)
    }

    pub(super) async fn start(&self, identity: &Identity, config: Config, services: Vec<Arc<dyn Service>>, bind: SocketAddr) -> Overlay {
        let environment = environment(bind);
        let announce = config.announce.map(|_| environment.socket.local_addr().unwrap());
        let config = Config { announce, ..config };
        Overlay::start(self.credentials(identity), self.anchors(), config, services, environment).await.unwrap()
    }

    /// A server node of layer 1 that serves `services` besides the usual one.
    pub(super) async fn server(&self, name: &str, services: Vec<Arc<dyn Service>>) -> Overlay {
        let config = Config { announce: Some(any_port()), ..Config::default() };
        self.start(&self.identity(Layer::Cabinet, name), config, services, any_port()).await
    }

    /// A leaf of layer 2 that knows `seeds`.
    pub(super) async fn leaf(&self, seeds: &[&Overlay]) -> Overlay {
        self.leaf_with(seeds, Timing::default()).await
    }

    pub(super) async fn leaf_with(&self, seeds: &[&Overlay], timing: Timing) -> Overlay {
        let config = Config { seeds: seeds.iter().map(|overlay| seed(overlay)).collect(), timing, ..Config::default() };
        self.start(&self.identity(Layer::Host, "host"), config, Vec::new(), any_port()).await
    }
}

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(super) fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(super) fn seed(overlay: &Overlay) -> Seed {
    Seed { identity: overlay.identity().clone(), address: overlay.local_address() }
}

#[derive(Debug)]
pub(super) struct Fixed(pub(super) u64);

impl WallClock for Fixed {
    fn now_micros(&self) -> i64 {
        i64::try_from(self.0 * 1_000_000).unwrap()
    }
}

pub(super) fn environment(bind: SocketAddr) -> Environment {
    Environment { wall_clock: Arc::new(Fixed(NOW)), ..Environment::real(bind).unwrap() }
}

/// A bare QUIC connection to a node, with a certificate of our choice and nothing else of ours.
pub(super) async fn bare_connection(
    world: &World,
    chain: Vec<CertificateDer<'static>>,
    key: &Key,
    to: &Overlay,
) -> (quinn::Endpoint, quinn::Connection) {
    let judge = world.credentials(&world.identity(Layer::Host, "bare"));
    let tls = Tls::new(judge, &world.anchors(), &environment(any_port())).unwrap();
    let crypto: QuicClientConfig = tls.client_showing(to.identity(), chain, key.to_der()).unwrap();
    let endpoint = quinn::Endpoint::client(any_port()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connection = endpoint.connect_with(config, to.local_address(), "test.example").unwrap().await.unwrap();
    (endpoint, connection)
}

pub(super) const ECHO: MethodId = MethodId { service: 200, method: 1 };
pub(super) const LATER: MethodId = MethodId { service: 200, method: 2 };
pub(super) const NEVER: MethodId = MethodId { service: 200, method: 3 };
pub(super) const COUNT: MethodId = MethodId { service: 200, method: 4 };
pub(super) const RAW: MethodId = MethodId { service: 200, method: 5 };
pub(super) const ADMINS_ONLY: MethodId = MethodId { service: 200, method: 6 };
pub(super) const LARGE: MethodId = MethodId { service: 200, method: 7 };
pub(super) const GATED: MethodId = MethodId { service: 200, method: 8 };
pub(super) const TELL: MethodId = MethodId { service: 200, method: 9 };

const DESCRIPTOR: Descriptor = Descriptor {
    id: 200,
    name: "test",
    methods: &[
        MethodDescriptor { id: 1, name: "echo", callers: Caller::ANY },
        MethodDescriptor { id: 2, name: "later", callers: Caller::ANY },
        MethodDescriptor { id: 3, name: "never", callers: Caller::ANY },
        MethodDescriptor { id: 4, name: "count", callers: Caller::ANY },
        MethodDescriptor { id: 5, name: "raw", callers: Caller::ANY },
        MethodDescriptor { id: 6, name: "admins-only", callers: &[Caller::Admin] },
        MethodDescriptor { id: 7, name: "large", callers: Caller::ANY },
        MethodDescriptor { id: 8, name: "gated", callers: Caller::ANY },
        MethodDescriptor { id: 9, name: "tell", callers: Caller::ANY },
    ],
};

/// A service of every shape.
#[derive(Debug, Default)]
pub(super) struct TestService {
    /// Calls that began and were not dropped.
    pub(super) running: Arc<AtomicUsize>,
    pub(super) changed: Arc<Notify>,
    pub(super) gate: Arc<Notify>,
    pub(super) told: Arc<Mutex<Vec<Bytes>>>,
    /// Replies that a stream has handed over.
    pub(super) sent: Arc<AtomicUsize>,
}

impl TestService {
    pub(super) async fn until(&self, mut reached: impl FnMut(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    fn begin(&self) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        Running(self.running.clone(), self.changed.clone())
    }
}

struct Running(Arc<AtomicUsize>, Arc<Notify>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        self.1.notify_waiters();
    }
}

impl Service for TestService {
    fn descriptor(&self) -> Descriptor {
        DESCRIPTOR
    }

    fn handle(&self, call: Call) -> Answer {
        match call.method {
            1 | 6 => Answer::ready(call.body),
            2 => Answer::later(async move {
                tokio::task::yield_now().await;
                Ok(call.body)
            }),
            3 => {
                let running = self.begin();
                Answer::later(async move {
                    let _running = running;
                    std::future::pending().await
                })
            }
            4 => {
                let (running, sent, changed) = (self.begin(), self.sent.clone(), self.changed.clone());
                let count = u64::from_be_bytes(call.body[..8].try_into().unwrap());
                let padding = usize::from(call.body.len() > 8) * 64 * 1024;
                Answer::stream(move |mut sink| async move {
                    let _running = running;
                    for number in 0..count {
                        let mut body = number.to_be_bytes().to_vec();
                        body.resize(8 + padding, 0);
                        if sink.send(body.into()).await.is_err() {
                            return Ok(());
                        }
                        sent.fetch_add(1, Ordering::SeqCst);
                        changed.notify_waiters();
                    }
                    if count == 0 { std::future::pending().await } else { Ok(()) }
                })
            }
            5 => Answer::raw(|mut stream| async move {
                while let Ok(Some(bytes)) = stream.receive(usize::MAX).await {
                    if stream.send(bytes).await.is_err() {
                        return;
                    }
                }
                stream.finish();
                stream.delivered().await.ok();
            }),
            7 => Answer::ready(vec![7; usize::try_from(u64::from_be_bytes(call.body[..8].try_into().unwrap())).unwrap()]),
            8 => {
                let (running, gate) = (self.begin(), self.gate.clone());
                Answer::later(async move {
                    let _running = running;
                    gate.notified().await;
                    Ok(call.body)
                })
            }
            _ => {
                self.told.lock().unwrap().push(call.body);
                self.changed.notify_waiters();
                Answer::ready(Bytes::new())
            }
        }
    }
}

pub(super) fn request(identity: &Identity) -> LeafRequest {
    LeafRequest::new(identity, Validity::starting(now(), Duration::from_secs(3600)))
}
