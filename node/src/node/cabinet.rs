//! A node of layer 1: journal and state, the replica between them and the overlay.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
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

fn settings(deployment: &Deployment, node: &Node) -> anyhow::Result<Settings> {
    let cabinet = &deployment.cabinet;
    let voters = deployment.nodes.iter().filter(|node| cabinet.voters.contains(&node.name)).map(|node| node.identity.clone());
    let voters = Settings::numbered(voters);
    let mine = voters.iter().find(|(_, identity)| *identity == node.identity);
    let (id, _) = mine.with_context(|| format!("{} keeps no replica: add it to `voters` in {}", node.name, deployment.path.display()))?;
    Ok(Settings {
        cabinet: Name::new(&cabinet.name)?,
        id: *id,
        state: match cabinet.state {
            StateKind::Memory => caps_store::StateKind::Memory,
            StateKind::Sled => caps_store::StateKind::Sled(deployment.data_of(node).join("state")),
        },
        timing: Timing { tick: cabinet.tick, ..Timing::default() },
        voters,
    })
}

/// Tells the overlay now and then how far this replica is, so that readers find one that is fresh enough.
async fn report(store: Store, overlay: Overlay, environment: Environment) {
    loop {
        overlay.report(0, store.status().position.0);
        sleep(environment.rng.jitter(REPORT_EVERY)).await;
    }
}

const REPORT_EVERY: Duration = Duration::from_millis(500);
