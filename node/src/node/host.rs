//! A node of layer 2: modules in this process, the cabinet at the other end of the overlay.

use std::sync::Arc;

use caps_logic::{Host, HostEnvironment, HostService, OverlayCabinet};
use caps_overlay::Overlay;

use super::running::Part;
use super::{Place, Running, server_config};
use crate::deployment::{Deployment, Node};
use crate::modules;

/// Loads the modules, joins the overlay, and serves.
pub(super) async fn start(deployment: &Deployment, node: &Node, place: Place) -> anyhow::Result<Running> {
    let Place { environment, credentials, anchors } = place;
    let declared = deployment.cabinet_of(node);
    let cabinet = Arc::new(OverlayCabinet::new(declared.services()));
    let loaded = declared.modules.iter().filter_map(|name| modules::named(name, &deployment.domain)).collect();
    let host = Host::new(node.identity.clone(), loaded, cabinet.clone(), HostEnvironment::from(&environment))?;
    let service = Arc::new(HostService::new(host.clone(), declared.services()));
    let overlay = Overlay::start(credentials, anchors, server_config(deployment, node), vec![service], environment).await?;
    cabinet.connect(overlay.clone());
    host.start();
    let modules = declared.modules.join(",");
    tracing::info!(node = %node.identity, listen = %overlay.local_address(), cabinet = %declared.name, %modules, "serving");
    Ok(Running::new(overlay, Part::Host(cabinet)))
}
