//! Nodes with networks of their own, joined by emulated links.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use super::namespaces::{Namespace, Tun};
use super::plan::{NETMASK, Plan, PlanError};
use super::pump::{Pump, lock};
use super::switch::{Carried, LinkReport, Switch};

/// Networks at work. Dropping it takes them down; processes that are still in them then reach nobody any more.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    namespaces: Vec<Namespace>,
    switch: Arc<Mutex<Switch>>,
    end: OwnedFd,
    pump: Option<JoinHandle<io::Result<()>>>,
}

/// Why there is no lab. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The caller may not do that on this machine.
    #[error("a lab needs the right to make network namespaces: run it as root")]
    NotPermitted(#[source] io::Error),
    /// The machine has no TUN devices.
    #[error("a lab needs /dev/net/tun, which this machine does not have: `modprobe tun`, or give it to the container")]
    NoTun(#[source] io::Error),
    /// The machine refuses something else.
    #[error("the machine refuses {what}")]
    Refused {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

impl Lab {
    /// Makes the networks of a plan. Losses, jitter and the like are drawn from the seed: the same packets in the same order on a link meet
    /// the same fate.
    pub fn new(plan: Plan, seed: u64) -> Result<Self, LabError> {
        let mut namespaces = Vec::new();
        let mut tuns = Vec::new();
        for place in 0..plan.nodes.len() {
            let (namespace, tun) = Namespace::new(super::plan::address(place), NETMASK, MTU_BYTES).map_err(LabError::of_namespace)?;
            namespaces.push(namespace);
            tuns.push(tun);
        }
        let switch = Arc::new(Mutex::new(Switch::new(&plan, seed)));
        let refused = |cause| LabError::Refused { what: "a thread for the lab", cause };
        let (pump, end) = start(switch.clone(), tuns).map_err(refused)?;
        Ok(Self { plan, namespaces, switch, end, pump: Some(pump) })
    }

    /// A command that will run at a node, whose address is the only one it has. It is killed if the thread that starts it ends before it.
    pub fn command(&self, node: &str, program: impl AsRef<std::ffi::OsStr>) -> Result<Command, CommandError> {
        let mut command = Command::new(program);
        self.namespace(node)?.hold(&mut command)?;
        Ok(command)
    }

    /// Does something, as making a socket, from a node's place.
    pub fn at<T: Send>(&self, node: &str, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T, CommandError> {
        Ok(self.namespace(node)?.within(work)?)
    }

    /// The address of a node.
    pub fn address(&self, node: &str) -> Result<Ipv4Addr, PlanError> {
        self.plan.address(node)
    }

    /// The counters of each link.
    pub fn links(&self) -> Vec<LinkReport> {
        lock(&self.switch).links()
    }

    /// What became of the packets, and how exact their delays were.
    pub fn carried(&self) -> Carried {
        lock(&self.switch).carried()
    }

    fn namespace(&self, node: &str) -> Result<&Namespace, PlanError> {
        Ok(&self.namespaces[self.plan.place(node)?])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Eight bytes always fit into the counter of an eventfd that nobody else writes to.
        rustix::io::write(&self.end, &1_u64.to_ne_bytes()).expect("an open eventfd takes a one");
        if let Some(Ok(Err(error))) = self.pump.take().map(JoinHandle::join) {
            tracing::warn!(%error, "the lab had stopped carrying packets");
        }
    }
}

/// Why nothing can run at a node.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such node.
    #[error(transparent)]
    NoSuchNode(#[from] PlanError),
    /// The machine refuses it.
    #[error("the machine refuses to enter the node's network")]
    Refused(#[from] io::Error),
}

impl LabError {
    fn of_namespace(cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted(cause),
            io::ErrorKind::NotFound => Self::NoTun(cause),
            _ => Self::Refused { what: "a network namespace with a TUN device", cause },
        }
    }

    /// Whether this machine can have no lab at all, whatever the plan: a test then has nothing to test.
    pub fn is_of_the_machine(&self) -> bool {
        matches!(self, Self::NotPermitted(_) | Self::NoTun(_))
    }
}

/// Starts the thread; the handle beside it ends it when written to.
fn start(switch: Arc<Mutex<Switch>>, tuns: Vec<Tun>) -> io::Result<(JoinHandle<io::Result<()>>, OwnedFd)> {
    let end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let pump = Pump::new(switch, tuns, end.try_clone()?);
    Ok((std::thread::Builder::new().name("lab".to_owned()).spawn(|| pump.run())?, end))
}

/// What devices take; links with a smaller one drop what is larger, as real ones do to datagrams that must not be fragmented.
const MTU_BYTES: u16 = 1500;

#[cfg(test)]
mod tests;
