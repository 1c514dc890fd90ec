//! What a cabinet is to survive, and whether the places of its voters let it.

use std::collections::BTreeMap;
use std::fmt;

use super::{Deployment, Node};

/// The largest thing that may fail at once without stopping commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Survival {
    /// One process, machine or disk.
    Node,
    /// A site.
    Site,
    /// All sites of a region. A site without a region is one by itself.
    Region,
}

impl Survival {
    /// All goals, the easiest first.
    pub const ALL: [Self; 3] = [Self::Node, Self::Site, Self::Region];

    /// What is missing for these voters to survive it, in words; `None`: nothing.
    pub fn missing(self, deployment: &Deployment, voters: &[&Node]) -> Option<String> {
        let mut lost: BTreeMap<String, usize> = BTreeMap::new();
        for voter in voters {
            *lost.entry(self.place(deployment, voter)).or_default() += 1;
        }
        let (place, with_it) = lost.into_iter().max_by_key(|(_, with_it)| *with_it)?;
        let (left, needed) = (voters.len() - with_it, voters.len() / 2 + 1);
        (left < needed).then(|| format!("without {place} {left} of {} voters are left, and {needed} are needed", voters.len()))
    }

    /// What fails together with a node.
    fn place(self, deployment: &Deployment, node: &Node) -> String {
        let region = || deployment.network.sites.get(&node.site)?.region.map(|region| region.name().to_owned());
        match self {
            Self::Node => node.name.clone(),
            Self::Site => node.site.clone(),
            Self::Region => region().unwrap_or_else(|| node.site.clone()),
        }
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Site => "site",
            Self::Region => "region",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn missing(sites: &[&str]) -> [Option<String>; 3] {
        let mut text = "domain = \"pumps.example\"\n".to_owned();
        for (site, region) in [("lund", "Ireland"), ("malmo", "Ireland"), ("kiruna", "Frankfurt")] {
            text += &format!("[[site]]\nname = \"{site}\"\nregion = \"{region}\"\n");
        }
        let mut voters = Vec::new();
        for (number, site) in sites.iter().enumerate() {
            text +=
                &format!("[[node]]\nname = \"store-{number}\"\nsite = \"{site}\"\nlayer = 1\nlisten = \"127.0.0.1:{}\"\n", 4101 + number);
            voters.push(format!("\"store-{number}\""));
        }
        text += &format!("[cabinet]\nvoters = [{}]\nsurvives = \"site\"\n", voters.join(", "));
        let deployment = Deployment::parse(Path::new("caps.toml"), &text).unwrap();
        assert_eq!(deployment.cabinet().survives, Some(Survival::Site));
        Survival::ALL.map(|goal| goal.missing(&deployment, &deployment.nodes.iter().collect::<Vec<_>>()))
    }

    #[test]
    fn a_goal_is_met_when_a_majority_is_left() {
        let alone = |place: &str| Some(format!("without {place} 0 of 1 voters are left, and 1 are needed"));
        assert_eq!(missing(&["lund"]), [alone("store-0"), alone("lund"), alone("Ireland")]);
        let region = Some("without Ireland 1 of 3 voters are left, and 2 are needed".to_owned());
        assert_eq!(missing(&["lund", "malmo", "kiruna"]), [None, None, region.clone()]);
        let site = Some("without lund 1 of 3 voters are left, and 2 are needed".to_owned());
        assert_eq!(missing(&["lund", "lund", "kiruna"]), [None, site, region]);
    }
}
