//! Founding a deployment: certificates for everybody, and the `caps.toml` that describes it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::ambient;
use crate::deployment::Deployment;
use anyhow::Context;
use caps_certs_gen::{Algorithm, Directory, Identity, Layer, Order, Random};

/// What a new deployment shall have.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The trust domain.
    pub(crate) domain: String,
    /// Sites with a replica and a host each.
    pub(crate) server_sites: Vec<String>,
    /// The front ends. Their sites may have nothing else.
    pub(crate) front_ends: Vec<FrontEnd>,
    /// The addresses of the replicas and hosts: two for each server site, in this order.
    pub(crate) addresses: Vec<SocketAddr>,
    /// What replicas keep their states in, as it stands in `caps.toml`.
    pub(crate) state: String,
}

/// A front end that a new deployment shall have.
#[derive(Debug, Clone)]
pub(crate) struct FrontEnd {
    /// Its name.
    pub(crate) name: String,
    /// Its site.
    pub(crate) site: String,
    /// What it serves, as it stands in `caps.toml`; lines, or nothing.
    pub(crate) serves: String,
}

/// Makes `certs/` and `caps.toml` in a directory that has neither. Returns the path of the latter.
pub(crate) fn found(directory: &Path, plan: &Plan, now: SystemTime, random: &mut Random<'_>) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let file = directory.join("caps.toml");
    anyhow::ensure!(!file.exists(), "{} is there already: choose another --dir, or move it away", file.display());
    let nodes = plan.nodes().into_iter().map(|(layer, name, site)| Ok(Identity::node(&plan.domain, &site, layer, &name)?));
    certify(&directory.join("certs"), &plan.domain, plan.sites(), nodes, now, random)?;
    let mut out =
        OpenOptions::new().write(true).create_new(true).open(&file).with_context(|| format!("cannot write {}", file.display()))?;
    out.write_all(plan.file().as_bytes()).and_then(|()| out.sync_all()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Makes certificates for everybody in a deployment whose directory of certificates is not there yet.
pub fn certify_deployment(deployment: &Deployment) -> anyhow::Result<()> {
    let nodes = deployment.nodes.iter().map(|node| Ok(node.identity.clone()));
    let sites = deployment.sites.iter().map(String::as_str);
    certify(&deployment.certificates, &deployment.domain, sites, nodes, ambient::now(), &mut ambient::random()?)
}

fn certify<'a>(
    directory: &Path,
    domain: &str,
    sites: impl IntoIterator<Item = &'a str>,
    nodes: impl IntoIterator<Item = anyhow::Result<Identity>>,
    now: SystemTime,
    random: &mut Random<'_>,
) -> anyhow::Result<()> {
    let mut authority = Directory::init(directory, domain, Algorithm::default(), now, random)?;
    for site in sites {
        authority.add_site(site, Algorithm::default(), now, random)?;
    }
    for identity in nodes {
        authority.issue(&Order::new(identity?), now, random)?;
    }
    authority.issue(&Order::new(Identity::admin(domain, "admin")?), now, random)?;
    Ok(())
}

impl Plan {
    fn sites(&self) -> Vec<&str> {
        let mut sites: Vec<&str> = self.server_sites.iter().map(String::as_str).collect();
        for FrontEnd { site, .. } in &self.front_ends {
            if !sites.contains(&site.as_str()) {
                sites.push(site);
            }
        }
        sites
    }

    fn nodes(&self) -> Vec<(Layer, String, String)> {
        let of = |layer, prefix: &str| {
            let nodes = self.server_sites.iter().map(|site| (layer, format!("{prefix}-{site}"), site.clone()));
            nodes.collect::<Vec<_>>()
        };
        let front_ends = self.front_ends.iter().map(|front_end| (Layer::FrontEnd, front_end.name.clone(), front_end.site.clone()));
        of(Layer::Cabinet, "store").into_iter().chain(of(Layer::Host, "host")).chain(front_ends).collect()
    }

    /// The text of `caps.toml`.
    fn file(&self) -> String {
        let voters: Vec<String> = self.server_sites.iter().map(|site| format!("\"store-{site}\"")).collect();
        let users = self.front_ends.first().map_or("lund", |front_end| &front_end.site);
        let mut text = HEAD.replace("{domain}", &self.domain).replace("{voters}", &voters.join(", ")).replace("{site}", users);
        text = text.replace("{state}", &self.state.replace('\\', "\\\\").replace('"', "\\\""));
        for site in self.sites() {
            write!(text, "\n[[site]]\nname = \"{site}\"\n").expect("writing to a string does not fail");
        }
        let mut addresses = self.addresses.iter();
        for (layer, name, site) in self.nodes() {
            let number = layer.number();
            write!(text, "\n[[node]]\nname = \"{name}\"\nsite = \"{site}\"\nlayer = {number}\n")
                .expect("writing to a string does not fail");
            if layer != Layer::FrontEnd
                && let Some(address) = addresses.next()
            {
                writeln!(text, "listen = \"{address}\"").expect("writing to a string does not fail");
            }
            text.extend(self.front_ends.iter().filter(|front_end| front_end.name == name).map(|front_end| front_end.serves.as_str()));
        }
        text
    }
}

const HEAD: &str = r#"# A CAPS deployment: every process picks its part with `caps run --node NAME`. A change takes effect when the node starts again.
# Relative directories start where this file is.

domain = "{domain}"       # the trust domain: the first part of every identity
certificates = "certs"    # what certs-gen made; each machine needs only its own node's directory, and crl/
data = "data"             # journals and states of layer 1: a directory for each node, and in that one for each cabinet
modules = ["casedesk"]    # the business logic that hosts load

[cabinet]
name = "main"
voters = [{voters}]       # an odd number, at different sites; once it is founded, `caps cabinet` changes who votes
# learners = ["store-..."]  # nodes of layer 1 that follow without a vote: they serve reads near whoever asks, and cost no commit a thing
# survives = "site"         # the goal: "node", "site" or "region"; `caps cabinet` says whether the voters' places meet it
state = "{state}"            # or "sled", "memory", "sqlite", "postgres://caps:${CAPS_DB_PASSWORD}@db.example/caps", "mysql://...": rebuilt from the journal if need be
tick = "50ms"             # the consensus clock: a dead leader is replaced in 12 to 20 ticks; raise it when voters are over 100 ms apart
# Several cabinets: write [[cabinet]] for each, with a name, voters and, if they differ, modules; hosts and front ends say cabinet = "NAME".

# What users do, how often, and how long they accept to wait: for `caps workload run`, and for simulations of this file.
# `caps record NAME -- COMMAND` writes down an operation from what you do. Remove the # to use this one.
#
# [[operation]]
# name = "case closed"
# limit = "1s"                # acceptable for 95 of 100 runs, from the start to the last reply, thinking not counted
# step = [
#   { query = { entity = "case", filter = "status = open", order = "number desc", limit = 20, pick = "any" } },
#   { think = "5s" },
#   { call = { module = "casedesk", method = "close", arguments = { case = "$found", reason = "done" } } },
# ]
#
# [[users]]
# operation = "case closed"
# site = "{site}"
# count = 10
# every = "10m"               # the mean time between two starts by one user

# layer 1 keeps the objects, layer 2 runs the modules, layer 4 is what people use.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            domain: "pumps.example".to_owned(),
            server_sites: vec!["lund".to_owned(), "kiruna".to_owned()],
            front_ends: vec![FrontEnd {
                name: "desk-malmo".to_owned(),
                site: "malmo".to_owned(),
                serves: "web = { listen = \"127.0.0.1:8080\" }\n".to_owned(),
            }],
            addresses: (0..4).map(|n| SocketAddr::from(([127, 0, 0, 1], 4100 + n))).collect(),
            state: "sled".to_owned(),
        }
    }

    #[test]
    fn founded_deployment_reads_back_and_is_not_founded_twice() {
        let directory = tempfile::tempdir().unwrap();
        let mut seed = 0_u8;
        let mut random = |bytes: &mut [u8]| {
            for byte in bytes {
                seed = seed.wrapping_mul(5).wrapping_add(113);
                *byte = seed;
            }
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        let file = found(directory.path(), &plan(), now, &mut random).unwrap();
        let deployment = Deployment::read(&file).unwrap();
        assert_eq!(deployment.sites, ["lund", "kiruna", "malmo"]);
        assert_eq!(deployment.nodes.len(), 5);
        assert_eq!(deployment.node("host-kiruna").unwrap().listen, Some(([127, 0, 0, 1], 4103).into()));
        assert!(deployment.node("desk-malmo").unwrap().front_end.web.is_some());
        assert!(deployment.certificates.join("nodes/host-kiruna/key.pem").exists());
        let example = std::fs::read_to_string(&file).unwrap().replace("\n# ", "\n").replace("\n#\n", "\n\n");
        let example = &example[example.find("[[operation]]").unwrap()..example.find("layer 1 keeps").unwrap()];
        let with_example = Deployment::parse(&file, &format!("{}\n{example}", std::fs::read_to_string(&file).unwrap())).unwrap();
        assert_eq!(with_example.workload.users[0].front_ends, ["desk-malmo"]);
        assert!(found(directory.path(), &plan(), now, &mut random).unwrap_err().to_string().contains("there already"));
    }
}
