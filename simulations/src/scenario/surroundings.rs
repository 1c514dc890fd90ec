//! What a scenario says about the surroundings of its nodes: NATs, machines that are slower than others, links that change on a timetable.

use std::time::Duration;

use caps_certs_gen::Layer;
use caps_node::deployment::Deployment;
use caps_node::deployment::network::{HopId, Link, LinkFigures};
use serde::Deserialize;
use toml::Spanned;

use super::file::{Complaint, FileSpeed, LENGTH, known_site, within};
use crate::machine::Speed;
use crate::network::Filtering;
use crate::world::World;

/// The surroundings of a scenario's nodes, where they differ from what the deployment says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Surroundings {
    nats: Vec<(String, Filtering, Duration)>,
    machines: Vec<(String, Speed)>,
    relinks: Vec<Relink>,
}

/// From some time on there is another link between two sites.
#[derive(Clone, Debug, PartialEq)]
struct Relink {
    at: Duration,
    one: String,
    other: String,
    there: LinkFigures,
    back: LinkFigures,
}

/// `[[nat]]`: front ends by name, or all of a site, each behind a NAT of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileNat {
    #[serde(default)]
    front_ends: Vec<Spanned<String>>,
    site: Option<Spanned<String>>,
    filtering: Filtering,
    timeout: Spanned<String>,
}

/// `[[machine]]`: one that is faster or slower than the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileMachine {
    node: Spanned<String>,
    datagram: Option<Spanned<String>>,
    sync: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
}

/// `[[schedule]]`: when a link becomes which other one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSchedule {
    at: Spanned<String>,
    link: Link,
}

impl Surroundings {
    /// Checks what the file says against the deployment and the scenario.
    pub(super) fn understand(
        deployment: &Deployment,
        length: Duration,
        usual: Speed,
        nats: &[FileNat],
        machines: &[FileMachine],
        schedules: &[FileSchedule],
    ) -> Result<Self, Complaint> {
        let mut surroundings = Self::default();
        for nat in nats {
            let timeout = within(&nat.timeout, LENGTH)?;
            for name in behind(deployment, nat)? {
                surroundings.nats.push((name, nat.filtering, timeout));
            }
        }
        for machine in machines {
            let name = machine.node.get_ref();
            deployment.node(name).map_err(|error| (machine.node.span().start, error.to_string()))?;
            let speed = FileSpeed { datagram: machine.datagram.clone(), sync: machine.sync.clone(), password: machine.password.clone() };
            surroundings.machines.push((name.clone(), speed.understand(usual)?));
        }
        for schedule in schedules {
            let at = within(&schedule.at, (Duration::ZERO, LENGTH.1))?;
            if at >= length {
                return Err((schedule.at.span().start, format!("this link changes at {at:?}, and the scenario is over at {length:?}")));
            }
            let (one, other, there, back) = deployment.network.understand(&schedule.link)?;
            surroundings.relinks.push(Relink { at, one, other, there, back });
        }
        surroundings.relinks.sort_by_key(|relink| relink.at);
        Ok(surroundings)
    }

    /// Puts them around the nodes, before any of them is started.
    pub(super) fn surround(&self, world: &mut World) -> anyhow::Result<()> {
        for (name, filtering, timeout) in &self.nats {
            world.put_behind_nat(name, *filtering, *timeout)?;
        }
        for (name, speed) in &self.machines {
            world.set_speed(name, *speed)?;
        }
        Ok(())
    }

    /// Changes the links whose time has come, and says which: each once.
    pub(super) fn relink(&mut self, world: &World, since: Duration) -> Vec<String> {
        let due = self.relinks.partition_point(|relink| relink.at <= since);
        let changed = self.relinks.drain(..due).map(|Relink { one, other, there, back, .. }| {
            let told = format!("between {one} and {other} there is another link now: {there}");
            world.network().set_link(&HopId::Backbone { from: one.clone(), to: other.clone() }, there);
            world.network().set_link(&HopId::Backbone { from: other, to: one }, back);
            told
        });
        changed.collect()
    }
}

/// The names of the front ends behind a NAT.
fn behind(deployment: &Deployment, nat: &FileNat) -> Result<Vec<String>, Complaint> {
    if let Some(site) = &nat.site {
        known_site(deployment, site.get_ref()).map_err(|problem| (site.span().start, problem))?;
        if let Some(name) = nat.front_ends.first() {
            return Err((name.span().start, "a NAT is in front of a site or of front ends by name: give one of the two".to_owned()));
        }
        let there = deployment.layer(Layer::FrontEnd).filter(|node| node.site == *site.get_ref());
        return Ok(there.map(|node| node.name.clone()).collect());
    }
    if nat.front_ends.is_empty() {
        return Err((nat.timeout.span().start, "nobody is behind this NAT: add front_ends = [\"NAME\"] or site = \"NAME\"".to_owned()));
    }
    let front_end = |name: &Spanned<String>| match deployment.node(name.get_ref()) {
        Ok(node) if node.layer == Layer::FrontEnd => Ok(node.name.clone()),
        Ok(node) => Err((name.span().start, format!("{} is a server: nobody would find it behind a NAT", node.name))),
        Err(error) => Err((name.span().start, error.to_string())),
    };
    nat.front_ends.iter().map(front_end).collect()
}
