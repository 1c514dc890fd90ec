//! A node of layer 1: for each of its cabinets journal and state and the replica between them and the overlay.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use caps_certs_gen::Identity;
use caps_overlay::{Environment, Overlay};
use caps_store::storage::Storage;
use caps_store::{Settings, Store, Timing};
use tokio::time::sleep;

use super::running::Part;
use super::{Place, Running, server_config};
use crate::deployment::{Cabinet, Deployment, Node};

/// Opens what is in the storage of each cabinet, joins the overlay, and serves.
pub(super) async fn start(
    deployment: &Deployment,
    node: &Node,
    place: Place,
    mut storage: impl FnMut(&Cabinet) -> anyhow::Result<Arc<dyn Storage>>,
) -> anyhow::Result<Running> {
    let Place { environment, credentials, anchors } = place;
    let mut stores = Vec::new();
    for cabinet in deployment.cabinets_of(node) {
        warn_of_placement(deployment, cabinet);
        let store = Store::open(settings(deployment, node, cabinet)?, storage(cabinet)?, &environment)
            .with_context(|| format!("cannot serve what is in {}", deployment.data_of(node, cabinet).display()))?;
        stores.push(store);
    }
    let services = stores.iter().flat_map(Store::services).collect();
    let overlay = Overlay::start(credentials, anchors, server_config(deployment, node), services, environment.clone()).await?;
    for (store, cabinet) in stores.iter().zip(deployment.cabinets_of(node)) {
        store.run(overlay.clone());
        let position = store.status().position;
        tracing::info!(node = %node.identity, listen = %overlay.local_address(), %position, cabinet = %cabinet.name, "serving");
    }
    environment.tasks.spawn(report(stores.clone(), overlay.clone(), environment.clone()));
    Ok(Running::new(overlay, Part::Replicas(stores)))
}

/// Who keeps the cabinet at first is what the file says; a node of layer 1 that it does not name waits until it is added.
pub(crate) fn settings(deployment: &Deployment, node: &Node, cabinet: &Cabinet) -> anyhow::Result<Settings> {
    let named = |names: &[String]| -> Vec<Identity> {
        deployment.nodes.iter().filter(|node| names.contains(&node.name)).map(|node| node.identity.clone()).collect()
    };
    Ok(Settings {
        cabinet: cabinet.name.clone(),
        identity: node.identity.clone(),
        founders: Settings::founders(named(&cabinet.voters), named(&cabinet.learners)),
        peers: deployment.keepers(cabinet).map(|node| node.identity.clone()).collect(),
        state: deployment.state_of(node, cabinet)?,
        timing: Timing { tick: cabinet.tick, ..Timing::default() },
        reserve_bytes: cabinet.reserve_bytes,
    })
}

/// Warns when the voters that the file names do not survive what they are to survive.
fn warn_of_placement(deployment: &Deployment, cabinet: &Cabinet) {
    let Some(goal) = cabinet.survives else { return };
    let voters: Vec<&Node> = deployment.nodes.iter().filter(|node| cabinet.voters.contains(&node.name)).collect();
    if let Some(missing) = goal.missing(deployment, &voters) {
        tracing::warn!(cabinet = %cabinet.name, survives = %goal, "the voters in the file do not meet the goal: {missing}");
    }
}

/// Tells the overlay now and then how far the replicas are, so that readers find one that is fresh enough.
async fn report(stores: Vec<Store>, overlay: Overlay, environment: Environment) {
    loop {
        let positions: Vec<(u16, u64)> = stores.iter().map(|store| (store.number(), store.status().position.0)).collect();
        overlay.report(0, &positions);
        sleep(environment.rng.jitter(REPORT_EVERY)).await;
    }
}

const REPORT_EVERY: Duration = Duration::from_millis(500);
