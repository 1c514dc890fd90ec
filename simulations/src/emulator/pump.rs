//! The thread of a lab: reads packets from devices, lets the switch carry them, writes them when they are due.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use super::namespaces::{Tun, hurry};
use super::packet::Packet;
use super::switch::Switch;

/// The devices of a lab, and the switch between them.
#[derive(Debug)]
pub(super) struct Pump {
    switch: Arc<Mutex<Switch>>,
    tuns: Vec<Tun>,
    /// Becomes readable when the lab ends.
    end: OwnedFd,
}

impl Pump {
    /// Devices in the order of the plan's nodes; whatever makes `end` readable ends [`run`](Self::run).
    pub(super) fn new(switch: Arc<Mutex<Switch>>, tuns: Vec<Tun>, end: OwnedFd) -> Self {
        Self { switch, tuns, end }
    }

    /// Carries packets until the end. To be called on a thread of its own, which it makes an urgent one.
    pub(super) fn run(self) -> io::Result<()> {
        if let Err(error) = hurry() {
            tracing::warn!(%error, "the lab's thread is an ordinary one: delays will be less exact while the machine is busy");
        }
        // Otherwise the system may let timers of an ordinary thread wait for 50 us more.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let _awake = stay_awake();
        let mut room = vec![0; PACKET_BYTES_MAX];
        loop {
            let readable = self.wait()?;
            if readable.last() == Some(&true) {
                return Ok(());
            }
            let mut switch = lock(&self.switch);
            for (place, _) in readable.iter().enumerate().filter(|(_, readable)| **readable) {
                self.read(place, &mut switch, &mut room)?;
            }
            while let Some((to, packet)) = switch.deliver(now_ns()) {
                self.write(to, &packet);
            }
        }
    }

    /// Waits until a device is readable or a packet due; says which devices are readable and, last, whether the lab has ended.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let due_ns = lock(&self.switch).next_ns();
        let timeout = due_ns.map(|due_ns| timespec(due_ns.saturating_sub(now_ns()).saturating_sub(SPIN_NS)));
        let devices = self.tuns.iter().map(|tun| PollFd::new(tun.device(), PollFlags::IN));
        let mut waited: Vec<PollFd<'_>> = devices.chain([PollFd::new(&self.end, PollFlags::IN)]).collect();
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(waited.iter().map(|waited| waited.revents().contains(PollFlags::IN)).collect())
    }

    fn read(&self, place: usize, switch: &mut Switch, room: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCH_PACKETS {
            let size = match self.tuns[place].device().read(room) {
                Ok(size) => size,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => break,
                Err(error) => return Err(error),
            };
            if let Some(packet) = Packet::parse(&room[..size]) {
                switch.take(now_ns(), place, packet);
            }
        }
        Ok(())
    }

    /// Lets a packet into a namespace. Where the system does not want it, it is lost, as on any network.
    fn write(&self, place: usize, packet: &Packet) {
        if let Err(error) = self.tuns[place].device().write(packet.as_bytes()) {
            tracing::debug!(%error, place, "a packet was not taken");
        }
    }
}

/// Asks the system to keep its processors from sleeping when idle, for as long as the file is open (Linux: Documentation/power/pm_qos_interface):
/// waking one up takes a virtual machine 0.1 ms, twice for each packet.
fn stay_awake() -> Option<File> {
    let ask = || {
        let mut latency = File::options().write(true).open("/dev/cpu_dma_latency")?;
        latency.write_all(&0_i32.to_ne_bytes())?;
        io::Result::Ok(latency)
    };
    ask().inspect_err(|error| tracing::warn!(%error, "processors may sleep: delays will be less exact")).ok()
}

/// The switch; whoever panicked while having it was only reading counters.
pub(super) fn lock(switch: &Mutex<Switch>) -> MutexGuard<'_, Switch> {
    switch.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanoseconds
}

fn timespec(ns: u64) -> Timespec {
    Timespec::try_from(Duration::from_nanos(ns)).expect("centuries of nanoseconds fit")
}

/// So long before a packet is due the thread stops sleeping and looks again and again: waking up takes about this long.
const SPIN_NS: u64 = 50_000;

/// Packets read from a device before the others have their turn.
const BATCH_PACKETS: usize = 32;

/// The largest IPv4 packet.
const PACKET_BYTES_MAX: usize = 65_535;
