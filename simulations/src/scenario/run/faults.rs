//! What a run does to the world, and how it takes it back.

use std::time::Duration;

use caps_node::deployment::network::HopId;
use caps_store::storage::Storage;
use tokio::time::Instant;

use super::Run;
use crate::scenario::fault::{Fault, Target};

/// The end of a fault that has begun.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) at: Instant,
    pub(super) fault: Fault,
    /// The nodes that it really happened to.
    pub(super) nodes: Vec<String>,
}

impl Run {
    /// Begins a fault. `None`: it has nothing to happen to.
    pub(super) async fn begin(&mut self, fault: &Fault, lasts: Duration) -> anyhow::Result<Option<Vec<String>>> {
        let nodes = match (fault.node(), fault) {
            (Some(target), _) => match self.node_of(target) {
                Some(node) if self.world.is_up(&node) => vec![node],
                _ => return Ok(None),
            },
            (None, Fault::SiteDown { site }) => self.nodes_at(site).into_iter().filter(|node| self.world.is_up(node)).collect(),
            (None, Fault::Swizzle) => self.servers(),
            (None, _) => Vec::new(),
        };
        *self.faults.entry(fault.kind().to_owned()).or_default() += 1;
        let told = match fault.node() {
            Some(Target::Node(_)) | None => format!("{fault}, for {lasts:?}"),
            Some(_) => format!("{fault} ({}), for {lasts:?}", nodes.join(", ")),
        };
        self.tell(&told);
        for node in &nodes {
            self.afflict(fault, node, lasts).await?;
        }
        match fault {
            Fault::Partition { sites } => self.separate(sites, true)?,
            Fault::OneWay { from, to } => self.cut(from, to, true)?,
            Fault::Degrade { from, to, loss, delay_ms } => self.degrade(from, to, *loss, i64::try_from(*delay_ms).unwrap_or(0)),
            Fault::Swizzle => self.swizzle(&nodes, lasts)?,
            _ => {}
        }
        Ok(Some(nodes))
    }

    /// What a fault does to one node.
    async fn afflict(&mut self, fault: &Fault, node: &str, lasts: Duration) -> anyhow::Result<()> {
        if let Some(order) = fault.order() {
            self.take_order(order, node);
        }
        match fault {
            Fault::Corrupt { .. } => {
                self.kill(node, true)?;
                self.corrupt(node)?;
            }
            Fault::Crash { .. } => self.kill(node, false)?,
            Fault::PowerCut { .. } | Fault::SiteDown { .. } => self.kill(node, true)?,
            Fault::Restart { .. } => {
                // A process that is held cannot end in good order.
                self.world.set_paused(node, false)?;
                self.world.stop(node).await?;
                self.clients.remove(node);
            }
            Fault::Pause { .. } => {
                self.paused.insert(node.to_owned());
                self.world.set_paused(node, true)?;
            }
            Fault::Clog { .. } => self.world.network().clog(self.world.machine_id(node)?, lasts),
            Fault::Isolate { .. } => self.isolate(node, true)?,
            Fault::ClockJump { seconds, .. } => {
                // With a clock before its certificate's beginning no node starts.
                self.sick.insert(node.to_owned());
                self.world.machine_clock(node)?.jump(seconds * 1_000_000);
            }
            Fault::ClockDrift { ppm, .. } => self.world.machine_clock(node)?.drift(*ppm),
            Fault::DiskFull { .. } => {
                self.sick.insert(node.to_owned());
                self.world.disks(node)?.for_each(|disk| disk.limit_capacity(0));
            }
            Fault::SyncFails { .. } => {
                self.sick.insert(node.to_owned());
                self.world.disks(node)?.for_each(|disk| disk.fail_sync(0));
            }
            Fault::NatRebind { .. } => self.world.rebind(node)?,
            Fault::AddressChange { .. } => self.world.move_away(node)?,
            _ => {}
        }
        Ok(())
    }

    /// Undoes what can be undone.
    pub(super) fn end(&mut self, fault: &Fault, nodes: &[String]) -> anyhow::Result<()> {
        match fault {
            Fault::Partition { sites } => self.separate(sites, false)?,
            Fault::OneWay { from, to } => self.cut(from, to, false)?,
            Fault::Flap { from, to } => {
                self.cut(from, to, false)?;
                self.cut(to, from, false)?;
            }
            Fault::Degrade { from, to, loss, delay_ms } => self.degrade(from, to, -*loss, -i64::try_from(*delay_ms).unwrap_or(0)),
            _ => {}
        }
        for node in nodes {
            match fault {
                Fault::Crash { .. } | Fault::PowerCut { .. } | Fault::SiteDown { .. } | Fault::Restart { .. } | Fault::Corrupt { .. } => {
                    self.comebacks.insert(node.clone(), Instant::now());
                }
                Fault::Pause { .. } => {
                    self.paused.remove(node);
                    self.world.set_paused(node, false)?;
                }
                Fault::Isolate { .. } => self.isolate(node, false)?,
                Fault::ClockJump { seconds, .. } => self.world.machine_clock(node)?.jump(-seconds * 1_000_000),
                Fault::ClockDrift { .. } => self.world.machine_clock(node)?.drift(0),
                Fault::DiskFull { .. } => self.world.disks(node)?.for_each(|disk| disk.limit_capacity(u64::MAX)),
                _ => continue,
            }
            self.tell(&format!("end of {}: {node}", fault.kind()));
        }
        Ok(())
    }

    /// Starts again whoever's time has come. A server that cannot start, because its disk is still full, tries again: so does systemd.
    pub(super) async fn come_back(&mut self, now: Instant) -> anyhow::Result<()> {
        let due: Vec<String> = self.comebacks.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.comebacks.remove(&name);
            if self.world.is_up(&name) {
                continue;
            }
            if self.is_front_end(&name) {
                self.employ(&name).await?;
                self.tell(&format!("{name} is back"));
                continue;
            }
            match self.world.start(&name).await {
                Ok(()) => {
                    self.tell(&format!("{name} is back"));
                }
                Err(error) if self.sick.contains(&name) => {
                    self.tell(&format!("{name} does not start: {error:#}"));
                    self.world.crash(&name)?;
                    self.comebacks.insert(name, now + TRY_AGAIN);
                }
                Err(error) => {
                    self.world.crash(&name)?;
                    self.broken("restart", format!("{name} does not start again: {error:#}"));
                }
            }
        }
        Ok(())
    }

    fn kill(&mut self, node: &str, power: bool) -> anyhow::Result<()> {
        if power {
            self.world.power_cut(node)?
        } else {
            self.world.crash(node)?
        };
        self.clients.remove(node);
        self.paused.remove(node);
        Ok(())
    }

    /// Flips one bit in the first half of what a journal holds. (The end of it, damaged, looks like a write that a crash tore: JOURNAL.md.)
    fn corrupt(&mut self, node: &str) -> anyhow::Result<()> {
        let disk = self.world.disk(node)?.clone();
        let segments: Vec<String> = disk.list()?.into_iter().filter(|name| name.starts_with("journal-")).collect();
        let place = self.rng.below(segments.len() as u64);
        let Some(segment) = usize::try_from(place).ok().and_then(|place| segments.get(place)) else { return Ok(()) };
        let file = disk.open(segment)?;
        let mut bytes = vec![0; usize::try_from(file.size_bytes()?)?];
        file.read_at(0, &mut bytes)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
        let (offset, bit) = (self.rng.below(used / 2), self.rng.below(8));
        disk.flip_bit(segment, offset, u8::try_from(bit)?);
        self.tell(&format!("bit {bit} of byte {offset} of {segment} of {node} is flipped"));
        Ok(())
    }

    fn isolate(&self, node: &str, apart: bool) -> anyhow::Result<()> {
        let me = self.world.machine_id(node)?;
        for other in self.world.deployment().nodes.iter().filter(|other| other.name != node) {
            let other = self.world.machine_id(&other.name)?;
            self.world.network().set_apart(me, other, apart);
            self.world.network().set_apart(other, me, apart);
        }
        Ok(())
    }

    fn separate(&self, sites: &[String], apart: bool) -> anyhow::Result<()> {
        for inside in sites {
            for outside in self.world.deployment().sites.iter().filter(|site| !sites.contains(site)) {
                self.cut(inside, outside, apart)?;
                self.cut(outside, inside, apart)?;
            }
        }
        Ok(())
    }

    fn cut(&self, from: &str, to: &str, apart: bool) -> anyhow::Result<()> {
        for a in self.nodes_at(from) {
            for b in self.nodes_at(to) {
                self.world.network().set_apart(self.world.machine_id(&a)?, self.world.machine_id(&b)?, apart);
            }
        }
        Ok(())
    }

    fn degrade(&self, from: &str, to: &str, loss: f64, delay_ms: i64) {
        for id in [backbone(from, to), backbone(to, from)] {
            self.world.network().change_link(&id, |figures| {
                figures.loss = (figures.loss + loss).clamp(0.0, 1.0);
                let delay = i64::try_from(figures.delay.as_micros()).unwrap_or(i64::MAX).saturating_add(delay_ms * 1_000);
                figures.delay = Duration::from_micros(u64::try_from(delay).unwrap_or(0));
            });
        }
    }

    /// Clogs every server, one by one, until all are free at about the end, in another order.
    fn swizzle(&self, nodes: &[String], lasts: Duration) -> anyhow::Result<()> {
        for node in nodes {
            let within = lasts.mul_f64(self.rng.below(1_000) as f64 / 1_000.0);
            self.world.network().clog(self.world.machine_id(node)?, within);
        }
        Ok(())
    }

    /// Lines that flap are down every other second.
    pub(super) fn flap(&self, endings: &[Ending], since: Duration) {
        for ending in endings {
            if let Fault::Flap { from, to } = &ending.fault {
                let down = since.as_secs().is_multiple_of(2);
                // Both sites were checked when the scenario was read.
                self.cut(from, to, down).and_then(|()| self.cut(to, from, down)).ok();
            }
        }
    }

    fn node_of(&self, target: &Target) -> Option<String> {
        match target {
            Target::Node(name) => Some(name.clone()),
            Target::Leader => self.world.leader(),
            Target::Follower => {
                let leader = self.world.leader();
                self.world.deployment().cabinet().voters.iter().find(|voter| Some(*voter) != leader.as_ref()).cloned()
            }
        }
    }
}

fn backbone(from: &str, to: &str) -> HopId {
    HopId::Backbone { from: from.to_owned(), to: to.to_owned() }
}

/// Between two attempts of a server that cannot start.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(1);
