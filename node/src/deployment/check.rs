//! From what the file says to what makes sense; or one clear complaint and its place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use caps_certs_gen::{Identity, Layer};
use caps_model::Name;
use toml::Spanned;

use super::{Cabinet, Deployment, FrontEnd, Node, StateKind, file, front_end, network, workload};
use crate::modules as known;

/// The byte where something is wrong, and what.
pub(super) type Complaint = (usize, String);

pub(super) fn deployment(path: &Path, text: &str, file: file::File) -> Result<Deployment, Complaint> {
    let base = path.parent().unwrap_or(Path::new(""));
    let domain = file.domain.get_ref();
    Identity::admin(domain, "x").map_err(|error| complain(&file.domain, format!("domain {domain:?}: {error}")))?;
    let sites = sites(&file.site)?;
    let mut nodes = nodes(domain, &sites, &file.node)?;
    let modules = modules(&file.modules)?;
    let cabinets = cabinets(&file.cabinet.0, &nodes, &modules)?;
    for (node, written) in nodes.iter_mut().zip(&file.node) {
        node.cabinets = cabinets_of(node, written, &cabinets)?;
    }
    front_end::check::front_ends(base, domain, &mut nodes, &file.node)?;
    let modules = all_modules(&cabinets);
    let workload = workload::check::workload(&file.operation, &file.users, &sites, &nodes, &modules)?;
    let network = network::check::network(path, text, &file)?;
    Ok(Deployment {
        path: path.to_owned(),
        domain: domain.clone(),
        certificates: base.join(&file.certificates),
        data: base.join(&file.data),
        sites,
        nodes,
        cabinets,
        workload,
        network,
    })
}

fn sites(sites: &[file::Site]) -> Result<Vec<String>, Complaint> {
    let mut names: Vec<String> = Vec::new();
    for site in sites {
        let name = site.name.get_ref();
        if names.contains(name) {
            return Err(complain(&site.name, format!("there are two sites named {name}")));
        }
        names.push(name.clone());
    }
    Ok(names)
}

fn nodes(domain: &str, sites: &[String], nodes: &[file::Node]) -> Result<Vec<Node>, Complaint> {
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let mut checked: Vec<Node> = Vec::new();
    for node in nodes {
        let node = one_node(domain, sites, node, &mut taken)?;
        checked.push(node);
        let (last, earlier) = checked.split_last().expect("one was just pushed");
        if earlier.iter().any(|other| other.name == last.name) {
            let name = &nodes[earlier.len()].name;
            return Err(complain(name, format!("there are two nodes named {}: names are unique in a deployment", last.name)));
        }
    }
    Ok(checked)
}

fn one_node(domain: &str, sites: &[String], node: &file::Node, taken: &mut BTreeMap<SocketAddr, String>) -> Result<Node, Complaint> {
    let (name, site) = (node.name.get_ref(), node.site.get_ref());
    if !sites.contains(site) {
        return Err(complain(&node.site, format!("there is no site {site:?}; the file has {}", sites.join(", "))));
    }
    let layer = match *node.layer.get_ref() {
        1 => Layer::Cabinet,
        2 => Layer::Host,
        4 => Layer::FrontEnd,
        3 => return Err(complain(&node.layer, "layer 3 is inside layer 2: a node is of layer 1, 2 or 4".to_owned())),
        other => return Err(complain(&node.layer, format!("there is no layer {other}: a node is of layer 1, 2 or 4"))),
    };
    let identity = Identity::node(domain, site, layer, name).map_err(|error| complain(&node.name, error.to_string()))?;
    let listen = node.listen.as_ref().map(address).transpose()?;
    if listen.is_none() && layer != Layer::FrontEnd {
        return Err(complain(&node.name, format!("{name} needs an address to listen on: add listen = \"ADDRESS:PORT\"")));
    }
    if let (Some(address), Some(place)) = (listen, &node.listen)
        && let Some(other) = taken.insert(address, name.clone())
    {
        return Err(complain(place, format!("{address} is taken by {other}: give {name} another port")));
    }
    let announce = node.announce.as_ref().map(address).transpose()?;
    Ok(Node {
        name: name.clone(),
        identity,
        site: site.clone(),
        layer,
        listen,
        announce,
        cabinets: Vec::new(),
        front_end: FrontEnd::default(),
    })
}

fn cabinets(written: &[file::Cabinet], nodes: &[Node], modules: &[String]) -> Result<Vec<Cabinet>, Complaint> {
    let mut checked: Vec<Cabinet> = Vec::new();
    for cabinet in written {
        let place = cabinet.name.as_ref().map_or_else(|| cabinet.voters.span().start, |name| name.span().start);
        let cabinet = self::cabinet(cabinet, nodes, modules)?;
        let problem = match checked.iter().find(|other| other.services() == cabinet.services()) {
            Some(other) if other.name == cabinet.name => {
                Some(format!("there are two cabinets named {}: give one of them another name", cabinet.name))
            }
            Some(other) => Some(format!("cabinet {} would be found where {} is: give one of them another name", cabinet.name, other.name)),
            None if checked.len() == CABINETS_MAX => Some(format!("there are more than {CABINETS_MAX} cabinets")),
            None => None,
        };
        if let Some(problem) = problem {
            return Err((place, problem));
        }
        checked.push(cabinet);
    }
    match checked.is_empty() {
        true => Err((0, "there is no cabinet: add [cabinet] with its voters".to_owned())),
        false => Ok(checked),
    }
}

/// The cabinets that a node has to do with: what is written, and what follows from it.
fn cabinets_of(node: &Node, written: &file::Node, cabinets: &[Cabinet]) -> Result<Vec<Name>, Complaint> {
    let known = |name: &Spanned<String>| {
        let found = cabinets.iter().find(|cabinet| cabinet.name.as_str() == name.get_ref());
        found.map(|cabinet| cabinet.name.clone()).ok_or_else(|| {
            let names: Vec<&str> = cabinets.iter().map(|cabinet| cabinet.name.as_str()).collect();
            complain(name, format!("there is no cabinet {:?}; the file has {}", name.get_ref(), names.join(", ")))
        })
    };
    if node.layer != Layer::Cabinet {
        if let Some(name) = written.cabinets.first() {
            let problem = format!("a node of layer {} has one cabinet: write cabinet = {:?}", node.layer.number(), name.get_ref());
            return Err(complain(name, problem));
        }
        let named = written.cabinet.as_ref().map(known).transpose()?;
        return Ok(vec![named.unwrap_or_else(|| cabinets[0].name.clone())]);
    }
    if let Some(name) = &written.cabinet {
        return Err(complain(name, format!("a node of layer 1 may keep several cabinets: write cabinets = [{:?}]", name.get_ref())));
    }
    let said = written.cabinets.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let keeps = |cabinet: &&Cabinet| {
        cabinets.len() == 1 || said.contains(&cabinet.name) || cabinet.voters.contains(&node.name) || cabinet.learners.contains(&node.name)
    };
    let kept: Vec<Name> = cabinets.iter().filter(keeps).map(|cabinet| cabinet.name.clone()).collect();
    match kept.is_empty() {
        true => {
            let problem = format!(
                "{} keeps no cabinet: name it among the voters or learners of one, or say what it may come to keep with cabinets = [\"{}\"]",
                node.name, cabinets[0].name
            );
            Err(complain(&written.name, problem))
        }
        false => Ok(kept),
    }
}

/// The modules of all cabinets, each once.
fn all_modules(cabinets: &[Cabinet]) -> Vec<String> {
    let all: BTreeSet<&String> = cabinets.iter().flat_map(|cabinet| &cabinet.modules).collect();
    all.into_iter().cloned().collect()
}

fn cabinet(cabinet: &file::Cabinet, nodes: &[Node], all: &[String]) -> Result<Cabinet, Complaint> {
    let name = match &cabinet.name {
        None => Name::fixed("main"),
        Some(name) => Name::new(name.get_ref()).map_err(|error| complain(name, error.to_string()))?,
    };
    let voters = cabinet.voters.get_ref();
    if voters.is_empty() {
        return Err(complain(&cabinet.voters, "no voters: name the nodes of layer 1 that keep the cabinet".to_owned()));
    }
    let voters = replicas(voters, nodes, &[])?;
    let learners = replicas(&cabinet.learners, nodes, &voters)?;
    Ok(Cabinet {
        name,
        voters,
        learners,
        survives: cabinet.survives,
        state: cabinet.state.as_ref().map_or(Ok(StateKind::Sled), state)?,
        tick: cabinet.tick.as_ref().map(duration).transpose()?.unwrap_or(TICK),
        reserve_bytes: cabinet.reserve_mib.map_or(caps_store::RESERVE_BYTES, |mib| u64::from(mib) << 20),
        modules: cabinet.modules.as_deref().map_or_else(|| Ok(all.to_vec()), modules)?,
    })
}

fn state(text: &Spanned<String>) -> Result<StateKind, Complaint> {
    // It is not repeated: it may hold a password.
    let known = "a state is \"memory\", \"sled\", \"sqlite\", or a database";
    StateKind::parse(text.get_ref()).map_err(|error| complain(text, format!("{known}: {error}")))
}

/// The names of nodes that may keep a replica, each once.
fn replicas(names: &[Spanned<String>], nodes: &[Node], others: &[String]) -> Result<Vec<String>, Complaint> {
    let mut checked: Vec<String> = Vec::new();
    for written in names {
        let name = written.get_ref();
        let Some(node) = nodes.iter().find(|node| node.name == *name) else {
            return Err(complain(written, format!("there is no node {name:?}")));
        };
        if node.layer != Layer::Cabinet {
            return Err(complain(written, format!("{name} is of layer {}: only nodes of layer 1 vote", node.layer.number())));
        }
        if checked.contains(name) || others.contains(name) {
            return Err(complain(written, format!("{name} is named twice: a node votes or learns")));
        }
        checked.push(name.clone());
    }
    Ok(checked)
}

fn modules(names: &[Spanned<String>]) -> Result<Vec<String>, Complaint> {
    for name in names {
        if !known::NAMES.contains(&name.get_ref().as_str()) {
            let known = known::NAMES.join(", ");
            return Err(complain(name, format!("there is no module {:?}; this build has {known}", name.get_ref())));
        }
    }
    Ok(names.iter().map(|name| name.get_ref().clone()).collect())
}

pub(super) fn address(text: &Spanned<String>) -> Result<SocketAddr, Complaint> {
    let written = text.get_ref();
    let not_one = || complain(text, format!("{written:?} is not an address: write it as 127.0.0.1:4101 or [::1]:4101"));
    let address: SocketAddr = written.parse().map_err(|_| not_one())?;
    match address.port() {
        0 => Err(complain(text, format!("{written:?} has port 0: others must know where to dial"))),
        _ => Ok(address),
    }
}

fn duration(text: &Spanned<String>) -> Result<Duration, Complaint> {
    let written = text.get_ref();
    let not_one = || complain(text, format!("{written:?} is not a duration: write it as 50ms, 2s or 5m20s"));
    let duration = humantime::parse_duration(written).map_err(|_| not_one())?;
    match duration {
        d if d < Duration::from_millis(5) || d > Duration::from_secs(10) => {
            Err(complain(text, format!("a tick is between 5ms and 10s, not {written}")))
        }
        d => Ok(d),
    }
}

pub(super) fn complain<T>(place: &Spanned<T>, problem: String) -> Complaint {
    (place.span().start, problem)
}

/// More cabinets than one process can tell its peers of.
const CABINETS_MAX: usize = 10;

/// The consensus clock's tick on lines up to about 100 ms of round trip.
const TICK: Duration = Duration::from_millis(50);
