//! The deployment file: one `caps.toml` holds every site, node and setting; each process picks its part by name.

mod check;
mod file;
pub mod network;
pub mod profile;
pub mod region;
pub mod survival;
pub mod workload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use caps_certs_gen::{Identity, Layer};

pub use network::Network;
pub use survival::Survival;
pub use workload::Workload;

/// A deployment that makes sense: names are unique, every reference resolves, no two processes share an address.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The file it was read from.
    pub path: PathBuf,
    /// The trust domain: the `<domain>` of every identity.
    pub domain: String,
    /// The directory that `certs-gen` filled.
    pub certificates: PathBuf,
    /// The directory under which each node of layer 1 keeps its own.
    pub data: PathBuf,
    /// The sites, in the file's order.
    pub sites: Vec<String>,
    /// The nodes, in the file's order.
    pub nodes: Vec<Node>,
    /// The cabinet.
    pub cabinet: Cabinet,
    /// The modules that hosts load.
    pub modules: Vec<String>,
    /// What users do.
    pub workload: Workload,
    /// What lies between the nodes.
    pub network: Network,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the deployment.
    pub name: String,
    /// Its identity, as its certificate must have it.
    pub identity: Identity,
    /// Its site.
    pub site: String,
    /// Its layer.
    pub layer: Layer,
    /// The UDP address it listens on; a front end needs none.
    pub listen: Option<SocketAddr>,
    /// The address that others dial, where it differs from the one listened on.
    pub announce: Option<SocketAddr>,
}

/// Where the cabinet lives and how its replicas agree.
#[derive(Debug, Clone)]
pub struct Cabinet {
    /// Its name.
    pub name: String,
    /// The nodes that vote at first. Once the cabinet is founded, its log says who votes (`caps cabinet`).
    pub voters: Vec<String>,
    /// The nodes that follow without a vote at first: they serve reads and subscriptions near whoever asks.
    pub learners: Vec<String>,
    /// What it is to survive, if that is said: a node warns at its start when the places of the voters do not let it.
    pub survives: Option<Survival>,
    /// What a replica materialises its journal into.
    pub state: StateKind,
    /// One tick of the consensus clock: a dead leader is replaced in 12 to 20 of them.
    pub tick: Duration,
    /// Bytes of its disk that a replica keeps free: with less it orders no commits, with half of that it takes in nothing more. 0: none.
    pub reserve_bytes: u64,
}

/// What a replica materialises its journal into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// In memory: rebuilt from the journal at each start.
    Memory,
    /// In sled, the embedded default.
    Sled,
}

/// Why a deployment file cannot be used. Shows where and says what to change.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The file cannot be read.
    #[error("{}: {cause}; give the deployment file with --config FILE, or make one with `caps init`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}: {problem}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to change.
        problem: String,
    },
    /// A node was asked for that the file does not have.
    #[error("{}: there is no node {name:?}; it has {}", .path.display(), .known.join(", "))]
    NoSuchNode {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The names in the file.
        known: Vec<String>,
    },
}

impl Deployment {
    /// Reads and checks a deployment file.
    pub fn read(path: &Path) -> Result<Self, DeploymentError> {
        let unreadable = |cause| DeploymentError::Unreadable { path: path.to_owned(), cause };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(path, &text)
    }

    /// Checks the text of a deployment file; `path` is where relative directories start, and what errors name.
    pub fn parse(path: &Path, text: &str) -> Result<Self, DeploymentError> {
        let wrong =
            |(at, problem): (usize, String)| DeploymentError::Wrong { path: path.to_owned(), line: file::line_of(text, at), problem };
        let file: file::File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong((at, error.message().to_owned()))
        })?;
        check::deployment(path, text, file).map_err(wrong)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Result<&Node, DeploymentError> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| DeploymentError::NoSuchNode {
            path: self.path.clone(),
            name: name.to_owned(),
            known: self.nodes.iter().map(|node| node.name.clone()).collect(),
        })
    }

    /// The nodes of a layer, in the file's order.
    pub fn layer(&self, layer: Layer) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.layer == layer)
    }

    /// Where a node of layer 1 keeps its journal and state.
    pub fn data_of(&self, node: &Node) -> PathBuf {
        self.data.join(&node.name)
    }
}

impl Node {
    /// The address that other nodes dial.
    pub fn dialled(&self) -> Option<SocketAddr> {
        self.announce.or(self.listen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
domain = "pumps.example"

[[site]]
name = "lund"

[[node]]
name = "store-lund"
site = "lund"
layer = 1
listen = "127.0.0.1:4101"

[[node]]
name = "host-lund"
site = "lund"
layer = 2
listen = "127.0.0.1:4201"

[[node]]
name = "desk-lund"
site = "lund"
layer = 4

[cabinet]
voters = ["store-lund"]
"#;

    fn parse(text: &str) -> Result<Deployment, String> {
        Deployment::parse(Path::new("caps.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn good_file_is_understood() {
        let deployment = parse(GOOD).unwrap();
        assert_eq!(deployment.node("host-lund").unwrap().identity.uri(), "spiffe://pumps.example/site/lund/layer/2/host-lund");
        assert_eq!(deployment.cabinet.state, StateKind::Sled);
        assert_eq!(deployment.layer(Layer::FrontEnd).count(), 1);
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let table = [
            ("domain =", "domian =", "caps.toml:2: unknown field `domian`"),
            ("layer = 2", "layer = 3", "caps.toml:16: layer 3 is inside layer 2: a node is of layer 1, 2 or 4"),
            ("127.0.0.1:4201", "127.0.0.1:4101", "caps.toml:17: 127.0.0.1:4101 is taken by store-lund: give host-lund another port"),
            ("127.0.0.1:4201", "localhost", "caps.toml:17: \"localhost\" is not an address: write it as 127.0.0.1:4101 or [::1]:4101"),
            ("name = \"host-lund\"", "name = \"store-lund\"", "caps.toml:14: there are two nodes named store-lund"),
            ("name = \"host-lund\"", "name = \"Host\"", "caps.toml:14:"),
            ("site = \"lund\"\nlayer = 4", "site = \"lind\"\nlayer = 4", "caps.toml:21: there is no site \"lind\"; the file has lund"),
            ("voters = [\"store-lund\"]", "voters = [\"store-lumd\"]", "caps.toml:25: there is no node \"store-lumd\""),
            ("voters = [\"store-lund\"]", "voters = [\"host-lund\"]", "caps.toml:25: host-lund is of layer 2: only nodes of layer 1 vote"),
            (
                "voters = [\"store-lund\"]",
                "voters = [\"store-lund\"]\nlearners = [\"store-lund\"]",
                "caps.toml:26: store-lund is named twice: a node votes or learns",
            ),
            ("[cabinet]", "[cabinet]\nsurvives = \"war\"", "caps.toml:25: unknown variant `war`, expected one of `node`, `site`, `region`"),
            ("voters = [\"store-lund\"]", "voters = []", "caps.toml:25: no voters: name the nodes of layer 1 that keep the cabinet"),
            ("listen = \"127.0.0.1:4201\"", "", "caps.toml:14: host-lund needs an address to listen on: add listen = \"ADDRESS:PORT\""),
            ("[cabinet]", "[cabinet]\nstate = \"oracle\"", "caps.toml:25: unknown variant `oracle`, expected `memory` or `sled`"),
            ("[cabinet]", "[cabinet]\nreserve_mib = -1", "caps.toml:25: invalid value: integer `-1`, expected u32"),
            ("[cabinet]", "[cabinet]\ntick = \"fast\"", "caps.toml:25: \"fast\" is not a duration: write it as 50ms, 2s or 5m20s"),
            ("[cabinet]", "modules = [\"crm\"]\n[cabinet]", "caps.toml:24: unknown field `modules`"),
            (
                "domain = \"pumps.example\"",
                "domain = \"pumps.example\"\nmodules = [\"crm\"]",
                "caps.toml:3: there is no module \"crm\"; this build has casedesk",
            ),
            ("domain = \"pumps.example\"", "domain = \"Pumps Example\"", "caps.toml:2:"),
            ("[[site]]", "[[site]", "caps.toml:4:"),
        ];
        for (from, to, expected) in table {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(expected), "{to}: {error}");
        }
    }

    #[test]
    fn asking_for_a_node_that_is_not_there_lists_those_that_are() {
        let error = parse(GOOD).unwrap().node("store-lind").unwrap_err().to_string();
        assert_eq!(error, "caps.toml: there is no node \"store-lind\"; it has store-lund, host-lund, desk-lund");
    }
}
