//! What lies between the sites: lines and links, as the deployment file tells them.
//!
//! Each site has an access line, each node may have one of its own, and between two sites lies a backbone. A datagram takes the shared ways that
//! [`Network::hops`] names, one after the other. Real processes need none of this; whoever simulates the deployment does.

pub(super) mod check;
mod figures;
pub(super) mod file;
mod quantity;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use figures::LinkFigures;
pub use file::Link;

use super::profile::Profile;
use super::region::Region;
use super::{DeploymentError, Node};

/// The lines of sites and nodes, and what is between the sites. Whoever tries another line changes it here and asks for the hops again.
#[derive(Debug, Clone)]
pub struct Network {
    /// The file it was read from.
    path: PathBuf,
    /// Each site's access.
    pub sites: BTreeMap<String, Access>,
    /// The lines of nodes that have one of their own.
    pub nodes: BTreeMap<String, &'static Profile>,
    /// The links that the file gives, one way each: from the first site to the second. They win over regions.
    pub links: BTreeMap<(String, String), LinkFigures>,
}

/// How a site is joined to the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// Its line to the backbone.
    pub line: &'static Profile,
    /// Where in the world it is.
    pub region: Option<Region>,
    /// Where the file names the site, counted from 1.
    declared_line: usize,
}

/// One of the shared ways that a datagram takes, in its direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    /// Which it is: hops with the same name are the same way, with one queue for all who use it.
    pub id: HopId,
    /// What it does to a datagram.
    pub figures: LinkFigures,
}

/// The name of a shared way in one direction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HopId {
    /// A node's own line, away from the node.
    NodeUp(String),
    /// The network inside a site; one for both directions.
    Lan(String),
    /// A site's line, away from the site.
    SiteUp(String),
    /// From one site's line to another's.
    Backbone {
        /// The site it comes from.
        from: String,
        /// The site it goes to.
        to: String,
    },
    /// A site's line, towards the site.
    SiteDown(String),
    /// A node's own line, towards the node.
    NodeDown(String),
}

impl Network {
    /// What a `[[link]]` that somebody writes elsewhere says: its two sites, and its figures there and back. A complaint comes with the byte where
    /// it stands.
    pub fn understand(&self, link: &Link) -> Result<(String, String, LinkFigures, LinkFigures), (usize, String)> {
        let (one, other) = check::ends(link, self)?;
        let (there, back) = check::directions(link)?;
        Ok((one, other, there, back))
    }

    /// The ways that a datagram takes from one node to another, in order; none from a node to itself.
    ///
    /// Between two sites without a link and without regions there is no way: the error says which, and what to add.
    pub fn hops(&self, from: &Node, to: &Node) -> Result<Vec<Hop>, DeploymentError> {
        if from.name == to.name {
            return Ok(Vec::new());
        }
        let mut hops = Vec::new();
        if let Some(line) = self.nodes.get(&from.name) {
            hops.push(Hop { id: HopId::NodeUp(from.name.clone()), figures: line.up });
        }
        if from.site == to.site {
            hops.push(Hop { id: HopId::Lan(from.site.clone()), figures: Profile::inside_sites().up });
        } else {
            hops.extend(self.between(&from.site, &to.site)?);
        }
        if let Some(line) = self.nodes.get(&to.name) {
            hops.push(Hop { id: HopId::NodeDown(to.name.clone()), figures: line.down });
        }
        Ok(hops)
    }

    fn between(&self, from: &str, to: &str) -> Result<[Hop; 3], DeploymentError> {
        let line = |site: &str| self.sites.get(site).map_or(Profile::of_sites(), |access| access.line);
        let backbone = HopId::Backbone { from: from.to_owned(), to: to.to_owned() };
        Ok([
            Hop { id: HopId::SiteUp(from.to_owned()), figures: line(from).up },
            Hop { id: backbone, figures: self.backbone(from, to)? },
            Hop { id: HopId::SiteDown(to.to_owned()), figures: line(to).down },
        ])
    }

    fn backbone(&self, from: &str, to: &str) -> Result<LinkFigures, DeploymentError> {
        if let Some(figures) = self.links.get(&(from.to_owned(), to.to_owned())) {
            return Ok(*figures);
        }
        let region = |site| self.sites.get(site).and_then(|access| access.region);
        match (region(from), region(to)) {
            (Some(here), Some(there)) => Ok(LinkFigures::ideal(here.round_trip(there) / 2)),
            _ => Err(self.nothing_between(from, to)),
        }
    }

    /// The complaint stands where the later of the two sites is declared: whoever adds a site forgets its link.
    fn nothing_between(&self, from: &str, to: &str) -> DeploymentError {
        let declared = |site| self.sites.get(site).map_or(1, |access| access.declared_line);
        let (first, second) = if declared(from) <= declared(to) { (from, to) } else { (to, from) };
        let problem = format!(
            "nothing lies between {first} and {second}: add a [[link]] with between = [{first:?}, {second:?}] and a profile or an rtt, or give both \
             sites a region"
        );
        DeploymentError::Wrong { path: self.path.clone(), line: declared(second), problem }
    }
}

impl fmt::Display for HopId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeUp(name) | Self::SiteUp(name) => write!(f, "{name} up"),
            Self::Lan(site) => write!(f, "inside {site}"),
            Self::Backbone { from, to } => write!(f, "{from} to {to}"),
            Self::SiteDown(name) | Self::NodeDown(name) => write!(f, "{name} down"),
        }
    }
}

#[cfg(test)]
mod tests;
