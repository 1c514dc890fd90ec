//! One node: the parts of its layer, wired together and joined to the overlay.

mod cabinet;
mod disk;
mod front_end;
mod host;
mod running;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use caps_certs_gen::{Identity, Inspection, Layer, NodeCredentials, TrustAnchors};
use caps_overlay::{Config, Environment, Overlay, Seed};
use caps_store::storage::Storage;

pub use running::Running;

use crate::deployment::{Cabinet, Deployment, Node};

/// Starts a node of the deployment on this machine: replicas on layer 1, a host on layer 2, on layer 4 what the front end serves.
pub async fn start(deployment: &Deployment, node: &Node) -> anyhow::Result<Running> {
    let listen = match node.listen {
        Some(listen) if node.layer != Layer::FrontEnd => listen,
        _ if node.front_end.serves() => ANY,
        _ => anyhow::bail!(
            "{} is a front end that serves nothing: give it web = {{ listen = \"ADDRESS:PORT\" }} or a mail gateway in the deployment file, or use it \
             for commands with --as {}, for example `caps watch case --as {}`",
            node.name,
            node.name,
            node.name
        ),
    };
    start_in(deployment, node, Place::here(deployment, &node.identity, listen)?, |cabinet| disk::open(deployment, node, cabinet)).await
}

/// Starts a node in a place of the caller's choice, on layer 1 with the journal of each cabinet in what `storage` opens for it: this is
/// how simulations build the nodes that [`start`] builds on a real machine.
pub async fn start_in(
    deployment: &Deployment,
    node: &Node,
    place: Place,
    storage: impl FnMut(&Cabinet) -> anyhow::Result<Arc<dyn Storage>>,
) -> anyhow::Result<Running> {
    match node.layer {
        Layer::Cabinet => cabinet::start(deployment, node, place, storage).await,
        Layer::Host => host::start(deployment, node, place).await,
        Layer::FrontEnd => front_end::start(deployment, node, place).await,
    }
}

/// What a node gets from where it runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// Socket, randomness, clocks, workers and tasks.
    pub environment: Environment,
    /// Its certificate and key.
    pub credentials: NodeCredentials,
    /// Whom it trusts.
    pub anchors: TrustAnchors,
}

impl Place {
    /// This machine, with what `certs-gen` made for the identity.
    fn here(deployment: &Deployment, identity: &Identity, listen: SocketAddr) -> anyhow::Result<Self> {
        let (credentials, anchors) = papers(deployment, identity)?;
        Ok(Self { environment: environment(listen)?, credentials, anchors })
    }
}

/// Joins the overlay for a while with the papers of a node, or the administrator's when `name` is `admin`: makes calls, serves none, claims no
/// name and no address.
pub async fn leaf(deployment: &Deployment, name: &str) -> anyhow::Result<Overlay> {
    let identity = match name {
        "admin" => Identity::admin(&deployment.domain, "admin")?,
        name => deployment.node(name)?.identity.clone(),
    };
    leaf_in(deployment, Place::here(deployment, &identity, ANY)?).await
}

/// Joins the overlay as a leaf from a place of the caller's choice, as whoever its credentials say.
pub async fn leaf_in(deployment: &Deployment, place: Place) -> anyhow::Result<Overlay> {
    let Place { environment, credentials, anchors } = place;
    let identity = credentials.identity().clone();
    let config = Config { announce: None, seeds: seeds(deployment, &identity), ..Config::default() };
    let overlay = Overlay::start(credentials, anchors, config, Vec::new(), environment).await;
    overlay.with_context(|| format!("{identity} cannot join the overlay"))
}

/// When the certificate of a node ends: microseconds since 1970; `None` when it is not on this machine.
pub(crate) fn certificate_end(deployment: &Deployment, name: &str) -> Option<i64> {
    let file = deployment.certificates.join("nodes").join(name).join("cert.pem");
    let leaf = Inspection::of_file(file).ok()?.into_iter().next()?;
    let Inspection::Certificate(facts) = leaf else { return None };
    let since_1970 = SystemTime::from(facts.validity.not_after).duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_1970.as_micros()).ok()
}

/// The environment of a real process on this socket.
fn environment(listen: SocketAddr) -> anyhow::Result<Environment> {
    Environment::real(listen)
        .with_context(|| format!("cannot listen on {listen}: if another process has it, end that one or change `listen`"))
}

/// The node's own certificate and key, and whom it trusts.
fn papers(deployment: &Deployment, identity: &Identity) -> anyhow::Result<(NodeCredentials, TrustAnchors)> {
    let directory = papers_of(deployment, identity);
    let make = format!("certs-gen --dir {}", deployment.certificates.display());
    let credentials = NodeCredentials::load(&directory)
        .with_context(|| format!("no credentials for {} in {}: make them with `{make}`", identity.name(), directory.display()))?;
    anyhow::ensure!(
        credentials.identity() == identity,
        "the certificate in {} is for {}, and the deployment file says {identity}",
        directory.display(),
        credentials.identity()
    );
    let anchors = TrustAnchors::load(&deployment.certificates)
        .with_context(|| format!("no root certificate under {}: make it with `{make}`", deployment.certificates.display()))?;
    Ok((credentials, anchors))
}

fn papers_of(deployment: &Deployment, identity: &Identity) -> PathBuf {
    let kind = if identity.is_admin() { "admins" } else { "nodes" };
    deployment.certificates.join(kind).join(identity.name())
}

/// Everybody in the file that listens, except the node itself: whom it may dial is the overlay's to decide.
fn seeds(deployment: &Deployment, me: &Identity) -> Vec<Seed> {
    let others = deployment.nodes.iter().filter(|node| node.identity != *me);
    others.filter_map(|node| node.dialled().map(|address| Seed { identity: node.identity.clone(), address })).collect()
}

/// What a server tells the overlay about itself.
fn server_config(deployment: &Deployment, node: &Node) -> Config {
    Config { announce: node.dialled(), seeds: seeds(deployment, &node.identity), ..Config::default() }
}

/// Any port of any interface: for those whom nobody dials.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
