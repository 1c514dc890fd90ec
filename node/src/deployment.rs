//! The deployment file: one `caps.toml` holds every site, node and setting; each process picks its part by name.

mod cabinet;
mod check;
mod file;
pub mod front_end;
pub mod network;
pub mod profile;
pub mod region;
pub mod survival;
pub mod workload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use caps_adapters::sql::Target;
use caps_certs_gen::{Identity, Layer};
use caps_model::{Name, Services};
use caps_store::state::SqlPlace;

pub use cabinet::{Cabinet, StateKind};
pub use front_end::FrontEnd;
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
    /// The cabinets, in the file's order; at least one.
    pub cabinets: Vec<Cabinet>,
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
    /// Of layer 1: the cabinets that it may keep a replica of. Of layers 2 and 4: the one that it serves, or works with.
    pub cabinets: Vec<Name>,
    /// Of layer 4: what it serves to the outside.
    pub front_end: FrontEnd,
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
    /// A cabinet was asked for that the file does not have.
    #[error("{}: there is no cabinet {name:?}; it has {}", .path.display(), .known.join(", "))]
    NoSuchCabinet {
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

    /// The first cabinet of the file: the one that is meant where no other is named.
    ///
    /// # Panics
    /// Never: a file without a cabinet makes no deployment.
    pub fn cabinet(&self) -> &Cabinet {
        self.cabinets.first().expect("a deployment has a cabinet")
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// Never: a file without a cabinet makes no deployment.
    pub fn cabinet_mut(&mut self) -> &mut Cabinet {
        self.cabinets.first_mut().expect("a deployment has a cabinet")
    }

    /// The cabinet of this name.
    pub fn cabinet_named(&self, name: &str) -> Result<&Cabinet, DeploymentError> {
        self.cabinets.iter().find(|cabinet| cabinet.name.as_str() == name).ok_or_else(|| DeploymentError::NoSuchCabinet {
            path: self.path.clone(),
            name: name.to_owned(),
            known: self.cabinets.iter().map(|cabinet| cabinet.name.to_string()).collect(),
        })
    }

    /// The cabinets that a node keeps, serves or works with, in the file's order. The administrator is of no node, and means the first.
    pub fn cabinets_of<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Cabinet> {
        self.cabinets.iter().filter(|cabinet| node.cabinets.contains(&cabinet.name))
    }

    /// The cabinet that a node of layer 2 serves, or one of layer 4 works with.
    pub fn cabinet_of(&self, node: &Node) -> &Cabinet {
        self.cabinets.iter().find(|cabinet| node.cabinets.contains(&cabinet.name)).unwrap_or_else(|| self.cabinet())
    }

    /// Under which numbers a node of this name finds the cabinet that it works with; the administrator and strangers mean the first.
    pub fn services_for(&self, name: &str) -> Services {
        let node = self.nodes.iter().find(|node| node.name == name);
        node.map_or_else(|| self.cabinet(), |node| self.cabinet_of(node)).services()
    }

    /// The nodes that may keep a replica of a cabinet, in the file's order.
    pub fn keepers<'a>(&'a self, cabinet: &'a Cabinet) -> impl Iterator<Item = &'a Node> {
        self.layer(Layer::Cabinet).filter(|node| node.cabinets.contains(&cabinet.name))
    }

    /// What a node of layer 1 materialises the journal of a cabinet into. A password that stands in a variable of the environment is looked up there.
    pub fn state_of(&self, node: &Node, cabinet: &Cabinet) -> anyhow::Result<caps_store::StateKind> {
        let data = self.data_of(node, cabinet);
        Ok(match &cabinet.state {
            StateKind::Memory => caps_store::StateKind::Memory,
            StateKind::Sled => caps_store::StateKind::Sled(data.join("state")),
            StateKind::Sqlite => {
                caps_store::StateKind::Sql(SqlPlace { target: Target::file(&data.join("state.sqlite")), space: String::new() })
            }
            StateKind::Database(target) => {
                let target = target.completed(|name| std::env::var(name).ok()).with_context(|| format!("cannot use {target}"))?;
                caps_store::StateKind::Sql(SqlPlace { target, space: space(node, cabinet) })
            }
        })
    }

    /// Where a node of layer 1 keeps the journal, the state and the blobs of a cabinet.
    pub fn data_of(&self, node: &Node, cabinet: &Cabinet) -> PathBuf {
        self.data.join(&node.name).join(cabinet.name.as_str())
    }
}

impl Node {
    /// The address that other nodes dial.
    pub fn dialled(&self) -> Option<SocketAddr> {
        self.announce.or(self.listen)
    }
}

/// The schema of a replica: told from those of all others in the same database, and short enough for each of them.
fn space(node: &Node, cabinet: &Cabinet) -> String {
    let whole = format!("caps_{}_{}", cabinet.name, node.name).replace(|char: char| !char.is_ascii_alphanumeric(), "_");
    if whole.len() <= SPACE_BYTES_MAX {
        return whole;
    }
    format!("{}_{:x}", &whole[..SPACE_BYTES_MAX - 17], fnv(whole.as_bytes()))
}

/// FNV-1a: a name that is cut stays told from others that begin so.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Bytes of a name in PostgreSQL.
const SPACE_BYTES_MAX: usize = 63;

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
        assert_eq!(deployment.cabinet().state, StateKind::Sled);
        assert_eq!(deployment.data_of(&deployment.nodes[0], deployment.cabinet()), Path::new("data/store-lund/main"));
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
            (
                "[cabinet]",
                "[cabinet]\nstate = \"oracle\"",
                "caps.toml:25: a state is \"memory\", \"sled\", \"sqlite\", or a database: a database is postgres://",
            ),
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
    fn several_cabinets_are_told_apart() {
        let more = "[[cabinet]]\nname = \"archive\"\nvoters = [\"store-lund\"]\nstate = \"memory\"\n\n[[cabinet]]\nname = \"personnel\"\nvoters = [\"store-lund\"]\n";
        let text =
            GOOD.replacen("layer = 4", "layer = 4\ncabinet = \"archive\"", 1).replacen("[cabinet]\nvoters = [\"store-lund\"]\n", more, 1);
        let deployment = parse(&text).unwrap();
        let names = |node: &str| deployment.node(node).unwrap().cabinets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("store-lund"), ["archive", "personnel"]);
        assert_eq!(names("host-lund"), ["archive"], "the first, if none is said");
        assert_eq!(deployment.cabinet_named("archive").unwrap().state, StateKind::Memory);
        assert_ne!(deployment.services_for("host-lund"), deployment.cabinet_named("personnel").unwrap().services());
        assert_eq!(
            deployment.cabinet_named("main").unwrap_err().to_string(),
            "caps.toml: there is no cabinet \"main\"; it has archive, personnel"
        );
        let table = [
            ("\"personnel\"", "\"archive\"", "caps.toml:31: there are two cabinets named archive"),
            ("\"personnel\"", "\"Personnel\"", "caps.toml:31: a name is lower-case letters"),
            ("cabinet = \"archive\"", "cabinet = \"main\"", "caps.toml:23: there is no cabinet \"main\"; the file has archive, personnel"),
            (
                "cabinet = \"archive\"",
                "cabinets = [\"archive\"]",
                "caps.toml:23: a node of layer 4 has one cabinet: write cabinet = \"archive\"",
            ),
            ("layer = 1", "layer = 1\ncabinet = \"archive\"", "caps.toml:11: a node of layer 1 may keep several cabinets"),
            ("voters = [\"store-lund\"]\nstate", "voter = [\"store-lund\"]\nstate", "caps.toml:27: unknown field `voter`"),
            (
                "[[cabinet]]\nname = \"archive\"",
                "[[node]]\nname = \"store-malmo\"\nsite = \"lund\"\nlayer = 1\nlisten = \"127.0.0.1:4102\"\n[[cabinet]]\nname = \"archive\"",
                "caps.toml:26: store-malmo keeps no cabinet: name it among the voters or learners of one, or say what it may come to keep",
            ),
        ];
        for (from, to, expected) in table {
            assert!(text.contains(from), "{from}");
            let error = parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(expected), "{to}: {error}");
        }
        let spare =
            "[[node]]\nname = \"store-malmo\"\nsite = \"lund\"\nlayer = 1\nlisten = \"127.0.0.1:4102\"\ncabinets = [\"personnel\"]\n";
        let with_spare = parse(&format!("{text}{spare}")).unwrap();
        let personnel = with_spare.cabinet_named("personnel").unwrap();
        assert_eq!(with_spare.keepers(personnel).map(|node| node.name.as_str()).collect::<Vec<_>>(), ["store-lund", "store-malmo"]);
    }

    #[test]
    fn asking_for_a_node_that_is_not_there_lists_those_that_are() {
        let error = parse(GOOD).unwrap().node("store-lind").unwrap_err().to_string();
        assert_eq!(error, "caps.toml: there is no node \"store-lind\"; it has store-lund, host-lund, desk-lund");
    }
}
