//! Where front ends come from: processes of one machine, each with a port of its own, started by whoever works there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use caps_certs_gen::{NodeCredentials, TrustAnchors};
use caps_model::Services;
use caps_node::deployment::Deployment;
use caps_node::node::{self, Place};
use caps_overlay::{Environment, Overlay, Rng, Tasks};

use crate::crypto;
use crate::machine::{MachineClock, MachineWorkers, Speed};
use crate::network::{MachineId, Network};

/// The way to start front ends on one machine; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// The node.
    pub(super) name: String,
    pub(super) deployment: Arc<Deployment>,
    pub(super) network: Network,
    pub(super) machine: MachineId,
    pub(super) address: SocketAddr,
    pub(super) clock: Arc<MachineClock>,
    pub(super) speed: Speed,
    pub(super) rng: Rng,
    pub(super) credentials: NodeCredentials,
    pub(super) anchors: TrustAnchors,
    pub(super) opened: Arc<AtomicU64>,
    pub(super) processes: Processes,
}

/// The processes of a machine that are no server.
pub(super) type Processes = Arc<Mutex<Vec<(SocketAddr, Tasks)>>>;

impl Door {
    /// Under which numbers whoever comes from here finds its cabinet.
    pub(crate) fn services(&self) -> Services {
        self.deployment.services_for(&self.name)
    }

    /// Starts one more process, which joins the overlay as a leaf.
    pub(crate) async fn open(&self) -> anyhow::Result<Overlay> {
        let port = self.opened.fetch_add(1, Ordering::Relaxed) % PORTS;
        // As from a real system, another one each time.
        let port = FIRST_PORT + u16::try_from(port).expect("it was taken modulo the number of ports");
        let address = SocketAddr::new(self.address.ip(), port);
        let tasks = Tasks::default();
        let environment = Environment {
            socket: self.network.bind(self.machine, address),
            provider: crypto::provider(),
            rng: self.rng.fork(),
            wall_clock: self.clock.clone(),
            workers: Arc::new(MachineWorkers { network: self.network.clone(), rng: self.rng.fork(), speed: self.speed }),
            tasks: tasks.clone(),
        };
        let place = Place { environment, credentials: self.credentials.clone(), anchors: self.anchors.clone() };
        let overlay = node::leaf_in(&self.deployment, place).await?;
        let mut processes = lock(&self.processes);
        // Those that have ended by themselves are forgotten.
        processes.retain(|(address, tasks)| {
            let lives = tasks.count() > 0;
            if !lives {
                self.network.unbind(*address);
            }
            lives
        });
        processes.push((address, tasks));
        Ok(overlay)
    }
}

pub(super) fn lock(processes: &Processes) -> MutexGuard<'_, Vec<(SocketAddr, Tasks)>> {
    processes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ports that front ends get.
const FIRST_PORT: u16 = 49_152;
const PORTS: u64 = 16_384;
