//! `caps status`.

mod effects;

use std::collections::BTreeMap;
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_frontend::paths::{Ends, Path};
use caps_frontend::{Client, Paths};
use caps_model::Name;
use caps_model::messages::cabinet::{ReplicaRole, ReplicaStatus};
use caps_model::messages::host::HostStatus;
use caps_overlay::{MemberState, Overlay};
use clap::Args;
use serde_json::{Value as Json, json};

use self::effects::Effects;
use super::Global;
use super::connect::{actor, with_client};
use crate::deployment::{Cabinet, Deployment, Node};
use crate::output::say;
use crate::output::{self, micros};

/// Show sites, nodes, leader, positions, round-trip times and certificates.
///
/// What a host says of itself and of the replicas; a node that nobody answers for is shown with the reason. Below, what the hosts measure between
/// sites, and what is to be done in the world and is not done yet, such as mail for a server that is away. Of several cabinets, one is shown
/// at a time: the one that the front end works with, or --cabinet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps status\n  caps status --json\n  caps status --as admin\n  caps status --cabinet archive")]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let cabinet = global.cabinet(&deployment, &actor(global, &deployment)?)?;
        with_client(global, async |client| {
            let picture = Picture::take(&deployment, cabinet, &client).await?;
            match global.json {
                true => say!("{}", picture.json()),
                false => say!("{}", picture.table()),
            }
            Ok(())
        })
        .await
    }
}

/// How every node of a deployment is, as seen from here.
pub(crate) struct Picture {
    cabinet: Name,
    rows: Vec<Row>,
    paths: Paths,
    effects: Option<Effects>,
    refusals: u64,
}

struct Row {
    node: Node,
    /// In words: `up`, `down`, or why nobody knows.
    state: String,
    replica: Option<ReplicaStatus>,
    host: Option<HostStatus>,
    round_trip: Option<Duration>,
    certificate_expires: Option<i64>,
}

impl Picture {
    /// Asks everybody. Nodes that do not answer are part of the picture, so this fails only when no host answers at all.
    pub(crate) async fn take(deployment: &Deployment, cabinet: &Cabinet, client: &Client) -> anyhow::Result<Self> {
        let first = client.status().await?;
        let replicas: BTreeMap<String, Result<ReplicaStatus, String>> = first.replicas.iter().cloned().collect();
        let mut rows: Vec<Row> = Vec::new();
        for node in deployment.nodes.iter().filter(|node| node.cabinets.contains(&cabinet.name)) {
            let row = match node.layer {
                Layer::Cabinet => replica_row(client.overlay(), node, replicas.get(node.identity.uri())).await,
                Layer::Host => host_row(client, node).await,
                Layer::FrontEnd => front_end_row(node),
            };
            rows.push(row);
        }
        let peers: BTreeMap<String, i64> = rows
            .iter()
            .filter_map(|row| row.host.as_ref())
            .flat_map(|host| host.peers.iter().map(|peer| (peer.identity.clone(), peer.certificate_expires)))
            .collect();
        for row in &mut rows {
            if row.node.layer == Layer::FrontEnd && peers.contains_key(row.node.identity.uri()) {
                "up".clone_into(&mut row.state);
            }
            // What the node proved itself with to us or to a host counts; for those out of reach, what is on this machine.
            let proved = row.certificate_expires.or_else(|| peers.get(row.node.identity.uri()).copied());
            row.certificate_expires = proved.or_else(|| crate::node::certificate_end(deployment, &row.node.name));
        }
        let paths = Paths::of(rows.iter().filter_map(|row| Some((&row.node.identity, row.host.as_ref()?))));
        let effects = Effects::take(client).await;
        Ok(Self { cabinet: cabinet.name.clone(), rows, paths, effects, refusals: client.overlay().refusals() })
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = output::table(&["SITE", "NODE", "LAYER", "STATE", "ROLE", "KEPT IN", "POSITION", "RTT", "CERTIFICATE"]);
        for row in &self.rows {
            let role = row.replica.as_ref().map_or("", |replica| role(replica.role));
            let kept = row.replica.as_ref().map_or(String::new(), |replica| replica.state.clone());
            let position = row.replica.as_ref().map_or(String::new(), |replica| replica.position.to_string());
            let rtt = row.round_trip.map_or(String::new(), |rtt| micros(u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)).to_string());
            let certificate = row.certificate_expires.map_or(String::new(), |at| format!("until {}", &output::moment(at)[..10]));
            let layer = row.node.layer.number().to_string();
            table.add_row([
                row.node.site.clone(),
                row.node.name.clone(),
                layer,
                row.state.clone(),
                role.to_owned(),
                kept,
                position,
                rtt,
                certificate,
            ]);
        }
        let mut paths = output::table(&["PATH", "RTT", "LOSS"]);
        for ((one, other), path) in self.paths.iter() {
            let rtt = micros(u64::try_from(path.round_trip.as_micros()).unwrap_or(u64::MAX)).to_string();
            let between = if one == other { format!("within {one}") } else { format!("{one} - {other}") };
            paths.add_row([between, rtt, format!("{:.1} %", path.loss * 100.0)]);
        }
        let paths = if paths.is_empty() { String::new() } else { format!("\n{paths}") };
        let effects = self.effects.as_ref().and_then(Effects::line).map_or(String::new(), |line| format!("\n{line}"));
        format!("{table}{paths}{effects}")
    }

    /// For programs.
    pub(crate) fn json(&self) -> Json {
        let nodes: Vec<Json> = self.rows.iter().map(Row::json).collect();
        let effects = self.effects.as_ref().map(Effects::json);
        let path = |((one, other), path): (&Ends, &Path)| {
            json!({
                "sites": [one, other], "rtt_us": u64::try_from(path.round_trip.as_micros()).unwrap_or(u64::MAX),
                "loss": path.loss, "measured": path.measured,
            })
        };
        let paths: Vec<Json> = self.paths.iter().map(path).collect();
        json!({
            "cabinet": self.cabinet.as_str(), "nodes": nodes, "paths": paths, "effects": effects, "refused_connections": self.refusals,
        })
    }
}

impl Row {
    fn json(&self) -> Json {
        let replica = self.replica.as_ref().map(|replica| {
            json!({
                "role": role(replica.role), "term": replica.term, "leader": replica.leader, "position": replica.position.0,
                "chain_head": output::hex(&replica.chain_head),
                "committed_index": replica.committed_index, "durable_index": replica.durable_index, "objects": replica.objects,
                "journal_bytes": replica.journal_bytes, "subscriptions": replica.subscriptions, "state": replica.state,
                "obliterated_index": replica.obliterated_index, "redacted_index": replica.redacted_index,
                "quarantined_files": replica.quarantined,
            })
        });
        let host = self.host.as_ref().map(|host| {
            let took = |percent| host.latencies.percentile(percent).map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            json!({
                "calls": host.calls, "conflicts": host.conflicts, "subscriptions": host.subscriptions,
                "took_us": {"p50": took(50), "p99": took(99)},
            })
        });
        json!({
            "site": self.node.site, "node": self.node.name, "layer": self.node.layer.number(), "identity": self.node.identity.uri(),
            "state": self.state, "replica": replica, "host": host,
            "rtt_us": self.round_trip.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            "certificate_expires": self.certificate_expires.map(output::moment),
        })
    }
}

/// A replica is asked about through a host; only an administrator can also reach it.
async fn replica_row(overlay: &Overlay, node: &Node, replica: Option<&Result<ReplicaStatus, String>>) -> Row {
    let (state, replica) = match replica {
        Some(Ok(replica)) => ("up".to_owned(), Some(replica.clone())),
        Some(Err(error)) => (format!("down: {error}"), None),
        None => (member_state(overlay, node), None),
    };
    let reached = match overlay.identity().is_admin() {
        true => overlay.ping(&node.identity, PING).await.ok(),
        false => None,
    };
    Row {
        node: node.clone(),
        state,
        replica,
        host: None,
        round_trip: reached.as_ref().map(|pong| pong.round_trip),
        certificate_expires: reached.map(|pong| pong.certificate_expires.saturating_mul(1_000_000)),
    }
}

async fn host_row(client: &Client, node: &Node) -> Row {
    let row = Row { node: node.clone(), state: String::new(), replica: None, host: None, round_trip: None, certificate_expires: None };
    let pong = match client.overlay().ping(&node.identity, PING).await {
        Ok(pong) => pong,
        Err(error) => return Row { state: format!("down: {error}"), ..row },
    };
    let reached =
        Row { round_trip: Some(pong.round_trip), certificate_expires: Some(pong.certificate_expires.saturating_mul(1_000_000)), ..row };
    match client.status_of(&node.identity).await {
        Ok(host) => Row { state: "up".to_owned(), host: Some(host), ..reached },
        Err(error) => Row { state: format!("up, but {error}"), ..reached },
    }
}

/// Front ends come and go: nobody keeps a list of them, and only those that a host is connected to are known to be up.
fn front_end_row(node: &Node) -> Row {
    Row { node: node.clone(), state: "front end".to_owned(), replica: None, host: None, round_trip: None, certificate_expires: None }
}

fn member_state(overlay: &Overlay, node: &Node) -> String {
    match overlay.directory().get(&node.identity).map(|member| member.state) {
        Some(MemberState::Up) => "up".to_owned(),
        Some(MemberState::Suspect) => "suspected".to_owned(),
        Some(MemberState::Leaving) => "leaving".to_owned(),
        Some(MemberState::Down) => "down".to_owned(),
        None => "unknown".to_owned(),
    }
}

fn role(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Leader => "leader",
        ReplicaRole::Follower => "follower",
        ReplicaRole::Candidate => "candidate",
        ReplicaRole::Learner => "learner",
        ReplicaRole::Outside => "outside",
    }
}

/// One unreachable node must not make the picture slow.
const PING: Duration = Duration::from_secs(2);
