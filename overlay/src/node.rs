//! What all connections of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caps_certs_gen::{Identity, NodeCredentials, TrustAnchors};
use tokio::time::Instant;

use crate::config::{Config, StartError};
use crate::dispatch::Dispatch;
use crate::endpoint::Endpoint;
use crate::environment::Environment;
use crate::frame::Header;
use crate::header::MethodId;
use crate::hello::{Generation, Hello};
use crate::limits::{Limits, Timing};
use crate::options::CallOptions;
use crate::paths::PathRules;
use crate::policy::Policy;
use crate::refusals::Refusals;
use crate::service::Service;
use crate::tls::Tls;
use crate::watch;

/// What all connections of a node share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) environment: Environment,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) timing: Timing,
    pub(crate) paths: PathRules,
    /// What we tell every peer about ourselves.
    pub(crate) hello: Hello,
    pub(crate) tls: Arc<Tls>,
    pub(crate) endpoint: Endpoint,
    pub(crate) dispatch: Dispatch,
    pub(crate) refusals: Refusals,
    /// When the node started; the cores count time from here.
    pub(crate) epoch: Instant,
    draining: watch::Sender<bool>,
    calls: AtomicU64,
}

impl Node {
    pub(crate) fn new(
        credentials: NodeCredentials,
        anchors: &TrustAnchors,
        config: &Config,
        services: Vec<Arc<dyn Service>>,
        environment: Environment,
        epoch: Instant,
    ) -> Result<Self, StartError> {
        let identity = credentials.identity().clone();
        if let Some(seed) = config.seeds.iter().find(|seed| seed.identity.domain() != identity.domain()) {
            return Err(StartError::ForeignSeed(seed.identity.clone()));
        }
        let tls = Arc::new(Tls::new(credentials, anchors, &environment)?);
        let dispatch = Dispatch::new(services)?;
        let endpoint = Endpoint::new(tls.clone(), config.limits.clone(), config.timing.clone(), config.paths.clone(), &environment)?;
        let generation = Generation { random: environment.rng.next_u64(), started_micros: environment.wall_clock.now_micros() };
        Ok(Self {
            identity,
            policy: config.policy.clone(),
            limits: config.limits.clone(),
            timing: config.timing.clone(),
            paths: config.paths.clone(),
            hello: Hello { generation, announce: config.announce },
            tls,
            endpoint,
            dispatch,
            refusals: Refusals::default(),
            epoch,
            draining: watch::Sender::new(false),
            calls: AtomicU64::new(1),
            environment,
        })
    }

    /// The header of a new call. Its number stays with it wherever it is sent.
    pub(crate) fn header(&self, method: MethodId, options: &CallOptions, deadline: Duration) -> Header {
        Header {
            method,
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            priority: options.priority,
            position: options.position,
            call_id: self.calls.fetch_add(1, Ordering::Relaxed),
            trace: options.trace,
        }
    }

    /// Begins to drain; says whether that is new.
    pub(crate) fn begin_draining(&self) -> bool {
        !self.draining.send_replace(true)
    }

    /// Whether the node is draining.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the node drains.
    pub(crate) async fn draining_begun(&self) {
        // The sender lives as long as the node, so this only ends when it has begun.
        drop(self.draining.subscribe().wait_for(|draining| *draining).await);
    }
}
