//! Who does what where: the deployment's users, one entry for each thing at each front end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use caps_certs_gen::{Identity, Layer};
use caps_node::deployment::workload::{Operation, Step, Template, Users};
use caps_node::deployment::{Deployment, FrontEnd, Node};

use super::rehearsal::hurried;

/// What is done, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) operation: String,
    pub(super) front_end: String,
}

/// Some users who do the same at one front end.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) key: Key,
    pub(super) operation: Arc<Operation>,
    pub(super) site: String,
    pub(super) users: u32,
    pub(super) every: Option<Duration>,
    pub(super) limit: Option<Duration>,
}

/// Everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Cast {
    pub(super) parts: Vec<Part>,
    /// What is measured beside what users do: commits near each host, and cold starts without the start.
    extra: Vec<(Key, Arc<Operation>)>,
}

impl Cast {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let mut cast = Self::default();
        for users in &deployment.workload.users {
            let mut here: BTreeMap<&str, u32> = BTreeMap::new();
            for number in 0..users.count {
                *here.entry(users.front_end(number)).or_default() += 1;
            }
            cast.parts.extend(here.into_iter().map(|(front_end, count)| part(users, front_end, count)));
        }
        for part in cast.parts.iter().filter(|part| part.operation.steps.contains(&Step::Connect)) {
            let mut warm = (*hurried(&part.operation)).clone();
            warm.steps.retain(|step| *step != Step::Connect);
            warm.name = warm_name(&warm.name);
            if !warm.steps.is_empty() {
                cast.extra.push((Key { operation: warm.name.clone(), ..part.key.clone() }, Arc::new(warm)));
            }
        }
        for node in deployment.nodes.iter().filter(|node| node.name.starts_with(PROBE)) {
            cast.extra.push((Key { operation: COMMIT.to_owned(), front_end: node.name.clone() }, commit()));
        }
        cast
    }

    /// Everything that can be done again and again in a short time, with a name for each.
    pub(super) fn measured(&self) -> impl Iterator<Item = (Key, Arc<Operation>)> + '_ {
        let stays_open = |part: &&Part| part.operation.steps.iter().any(|step| matches!(step, Step::Watch { .. }));
        let parts = self.parts.iter().filter(move |part| !stays_open(part)).map(|part| (part.key.clone(), hurried(&part.operation)));
        parts.chain(self.extra.iter().cloned())
    }

    /// The front end that gives the cabinet something to show: near a host, if there is a choice.
    pub(super) fn stocker(&self, deployment: &Deployment) -> Option<String> {
        let probe = deployment.nodes.iter().find(|node| node.name.starts_with(PROBE));
        probe.map(|node| node.name.clone()).or_else(|| self.parts.first().map(|part| part.key.front_end.clone()))
    }
}

/// The deployment with one more front end beside the hosts of each site, where commits are measured.
pub(super) fn with_probes(deployment: &Deployment) -> Deployment {
    let mut deployment = deployment.clone();
    let mut sites: Vec<String> = deployment.layer(Layer::Host).map(|node| node.site.clone()).collect();
    sites.dedup();
    for site in sites {
        let name = format!("{PROBE}{site}");
        let Ok(identity) = Identity::node(&deployment.domain, &site, Layer::FrontEnd, &name) else { continue };
        let cabinets = vec![deployment.cabinet().name.clone()];
        deployment.nodes.push(Node {
            name,
            identity,
            site,
            layer: Layer::FrontEnd,
            listen: None,
            announce: None,
            cabinets,
            front_end: FrontEnd::default(),
        });
    }
    deployment
}

/// The name under which a cold start without the start is measured.
pub(super) fn warm_name(name: &str) -> String {
    format!("{name}, connected")
}

fn part(users: &Users, front_end: &str, count: u32) -> Part {
    Part {
        key: Key { operation: users.operation.name.clone(), front_end: front_end.to_owned() },
        operation: users.operation.clone(),
        site: users.site.clone(),
        users: count,
        every: users.every,
        limit: users.limit(),
    }
}

/// The smallest thing that every deployment with the case desk can commit.
fn commit() -> Arc<Operation> {
    let text = Template::of_text("Pump $n drips").expect("the template is well formed");
    Arc::new(Operation { name: COMMIT.to_owned(), about: None, limit: None, steps: vec![Step::FileMail { text, size_bytes: 500 }] })
}

/// What commits near a host are measured as.
pub(super) const COMMIT: &str = "(commit)";

/// The names of the front ends that only measure begin so.
pub(super) const PROBE: &str = "probe-";
