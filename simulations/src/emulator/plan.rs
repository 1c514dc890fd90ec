//! What a lab is made of: nodes, and the links between them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use caps_node::deployment::network::{Hop, HopId, LinkFigures};
use caps_node::deployment::{Deployment, DeploymentError};

/// Nodes, one-way links, and the links on the way from each node to each other one.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub(super) nodes: Vec<String>,
    pub(super) links: Vec<(HopId, LinkFigures)>,
    /// The way from a node to another, as places in `nodes` and `links`. Without one, no packet gets there.
    pub(super) ways: BTreeMap<(usize, usize), Vec<usize>>,
}

/// Why a lab cannot be planned so. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// More nodes than a lab has addresses and file descriptors for.
    #[error("a lab has room for {NODES_MAX} nodes: this deployment has more")]
    TooManyNodes,
    /// Two nodes have one name.
    #[error("there are two nodes named {0}")]
    NameTaken(String),
    /// The deployment file does not say what lies between two sites.
    #[error(transparent)]
    NoWay(#[from] DeploymentError),
    /// A node was asked for that is not in the lab.
    #[error("there is no node {name:?} in the lab; it has {}", .known.join(", "))]
    NoSuchNode {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
}

impl Plan {
    /// Nodes that do not reach each other yet.
    pub fn new(nodes: impl IntoIterator<Item = String>) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for node in nodes {
            if plan.nodes.contains(&node) {
                return Err(PlanError::NameTaken(node));
            }
            if plan.nodes.len() == NODES_MAX {
                return Err(PlanError::TooManyNodes);
            }
            plan.nodes.push(node);
        }
        Ok(plan)
    }

    /// The nodes of a deployment, and what its file says lies between them.
    pub fn of(deployment: &Deployment) -> Result<Self, PlanError> {
        let mut plan = Self::new(deployment.nodes.iter().map(|node| node.name.clone()))?;
        for from in &deployment.nodes {
            for to in deployment.nodes.iter().filter(|to| to.name != from.name) {
                plan.way(&from.name, &to.name, deployment.network.hops(from, to)?)?;
            }
        }
        Ok(plan)
    }

    /// Lets packets pass from one node to another, over these links in this order. Links of the same id are one link, with one queue, and do
    /// what was said of them first.
    pub fn way(&mut self, from: &str, to: &str, hops: impl IntoIterator<Item = Hop>) -> Result<(), PlanError> {
        let ends = (self.place(from)?, self.place(to)?);
        let way = hops.into_iter().map(|hop| self.link(hop)).collect();
        self.ways.insert(ends, way);
        Ok(())
    }

    /// The address that a node has in the lab.
    pub fn address(&self, node: &str) -> Result<Ipv4Addr, PlanError> {
        Ok(address(self.place(node)?))
    }

    pub(super) fn place(&self, node: &str) -> Result<usize, PlanError> {
        let found = self.nodes.iter().position(|name| name == node);
        found.ok_or_else(|| PlanError::NoSuchNode { name: node.to_owned(), known: self.nodes.clone() })
    }

    fn link(&mut self, hop: Hop) -> usize {
        if let Some(place) = self.links.iter().position(|(known, _)| *known == hop.id) {
            return place;
        }
        self.links.push((hop.id, hop.figures));
        self.links.len() - 1
    }
}

/// The address of the node at a place: the lab's network is 198.18.0.0/15, set aside for measurements (RFC 2544, section C.2.2), so that no
/// real network is hidden by it.
pub(super) fn address(place: usize) -> Ipv4Addr {
    let low = |number: usize| u8::try_from(number).expect("a lab has fewer than 250 x 250 nodes");
    Ipv4Addr::new(198, 18, low(place / 250), low(1 + place % 250))
}

/// The node that has an address.
pub(super) fn place_of(address: Ipv4Addr) -> Option<usize> {
    match address.octets() {
        [198, 18, high, low @ 1..=250] => Some(usize::from(high) * 250 + usize::from(low) - 1),
        _ => None,
    }
}

/// The lab's network, as a mask.
pub(super) const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 254, 0, 0);

/// Each node takes two file descriptors, and 1024 is the customary limit.
const NODES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_node_has_an_address_of_its_own_that_leads_back_to_it() {
        for place in 0..NODES_MAX {
            assert_eq!(place_of(address(place)), Some(place));
        }
        assert_eq!(place_of(Ipv4Addr::new(198, 18, 0, 0)), None);
        assert_eq!(place_of(Ipv4Addr::new(10, 0, 0, 1)), None);
    }

    #[test]
    fn links_of_one_id_are_one_link() {
        let mut plan = Plan::new(["a", "b", "c"].map(str::to_owned)).unwrap();
        let figures = LinkFigures::ideal(Duration::from_millis(1));
        for (from, to) in [("a", "b"), ("a", "c")] {
            let hops = [HopId::NodeUp("a".to_owned()), HopId::NodeDown(to.to_owned())];
            plan.way(from, to, hops.map(|id| Hop { id, figures })).unwrap();
        }
        assert_eq!(plan.ways[&(0, 1)], [0, 1]);
        assert_eq!(plan.ways[&(0, 2)], [0, 2]);
    }

    #[test]
    fn impossible_plans_are_refused() {
        assert_eq!(Plan::new(["a", "a"].map(str::to_owned)).unwrap_err().to_string(), "there are two nodes named a");
        assert!(matches!(Plan::new((0..=NODES_MAX).map(|n| n.to_string())), Err(PlanError::TooManyNodes)));
        let error = Plan::new(["a", "b"].map(str::to_owned)).unwrap().way("a", "c", []).unwrap_err();
        assert_eq!(error.to_string(), "there is no node \"c\" in the lab; it has a, b");
    }
}
