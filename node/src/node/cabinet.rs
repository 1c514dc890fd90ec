//! A node of layer 1: journal and state, the replica between them and the overlay.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use caps_certs_gen::{Identity, Layer};
use caps_model::Name;
use caps_overlay::{Environment, Overlay};
use caps_store::storage::Storage;
use caps_store::{Settings, Store, Timing};
use tokio::time::sleep;

use super::running::Part;
use super::{Place, Running, server_config};
use crate::deployment::{Deployment, Node, StateKind};

/// Opens what is in the storage, joins the overlay, and serves.
pub(super) async fn start(deployment: &Deployment, node: &Node, place: Place, storage: Arc<dyn Storage>) -> anyhow::Result<Running> {
    warn_of_placement(deployment);
    let Place { environment, credentials, anchors } = place;
    let store = Store::open(settings(deployment, node)?, storage, &environment)
        .with_context(|| format!("cannot serve what is in {}", deployment.data_of(node).display()))?;
    let overlay = Overlay::start(credentials, anchors, server_config(deployment, node), store.services(), environment.clone()).await?;
    store.run(overlay.clone());
    environment.tasks.spawn(report(store.clone(), overlay.clone(), environment.clone()));
    let position = store.status().position;
    tracing::info!(node = %node.identity, listen = %overlay.local_address(), %position, cabinet = deployment.cabinet.name, "serving");
    Ok(Running::new(overlay, Part::Replica(store)))
}

/// Who keeps the cabinet at first is what the file says; a node of layer 1 that it does not name waits until it is added.
fn settings(deployment: &Deployment, node: &Node) -> anyhow::Result<Settings> {
    let cabinet = &deployment.cabinet;
    let named = |names: &[String]| -> Vec<Identity> {
        deployment.nodes.iter().filter(|node| names.contains(&node.name)).map(|node| node.identity.clone()).collect()
    };
    Ok(Settings {
        cabinet: Name::new(&cabinet.name)?,
        identity: node.identity.clone(),
        founders: Settings::founders(named(&cabinet.voters), named(&cabinet.learners)),
        peers: deployment.layer(Layer::Cabinet).map(|node| node.identity.clone()).collect(),
        state: match cabinet.state {
            StateKind::Memory => caps_store::StateKind::Memory,
            StateKind::Sled => caps_store::StateKind::Sled(deployment.data_of(node).join("state")),
        },
        timing: Timing { tick: cabinet.tick, ..Timing::default() },
        reserve_bytes: cabinet.reserve_bytes,
    })
}

/// Warns when the voters that the file names do not survive what they are to survive.
fn warn_of_placement(deployment: &Deployment) {
    let Some(goal) = deployment.cabinet.survives else { return };
    let voters: Vec<&Node> = deployment.nodes.iter().filter(|node| deployment.cabinet.voters.contains(&node.name)).collect();
    if let Some(missing) = goal.missing(deployment, &voters) {
        tracing::warn!(cabinet = deployment.cabinet.name, survives = %goal, "the voters in the file do not meet the goal: {missing}");
    }
}

/// Tells the overlay now and then how far this replica is, so that readers find one that is fresh enough.
async fn report(store: Store, overlay: Overlay, environment: Environment) {
    loop {
        overlay.report(0, store.status().position.0);
        sleep(environment.rng.jitter(REPORT_EVERY)).await;
    }
}

const REPORT_EVERY: Duration = Duration::from_millis(500);
