//! Who may use the case desk: its groups, and the front ends that act by themselves.

use std::time::Duration;

use caps_certs_gen::Layer;
use caps_frontend::{Client, ClientError};
use caps_model::{Name, Record, Value};
use caps_overlay::Overlay;

use crate::deployment::{Cabinet, Deployment, Node};

/// In every cabinet that has hosts: makes the groups that the case desk knows, and a user for each front end that works with the cabinet, who is in the group
/// that `group_of` says.
pub async fn settle(
    administrator: &Overlay,
    deployment: &Deployment,
    patience: Duration,
    group_of: impl Fn(&Node) -> &'static str,
) -> Result<(), ClientError> {
    let has_hosts = |cabinet: &&Cabinet| deployment.layer(Layer::Host).any(|host| host.cabinets.contains(&cabinet.name));
    for cabinet in deployment.cabinets.iter().filter(has_hosts) {
        let client = Client::new(administrator.clone(), cabinet.services(), patience);
        for group in ["desk", "gateway"] {
            call(&client, "people", "add_group", &[("name", group)]).await?;
        }
        let front_ends = deployment.layer(Layer::FrontEnd).filter(|node| !node.identity.is_admin());
        for node in front_ends.filter(|node| deployment.cabinet_of(node).name == cabinet.name) {
            let user = [("login", node.name.as_str()), ("name", node.name.as_str()), ("groups", group_of(node))];
            call(&client, "people", "add_user", &user).await?;
            call(&client, "people", "bind_node", &[("login", &node.name), ("node", node.identity.uri())]).await?;
        }
    }
    Ok(())
}

pub(crate) async fn call(
    client: &Client,
    module: &'static str,
    method: &'static str,
    arguments: &[(&'static str, &str)],
) -> Result<Record, ClientError> {
    let arguments = arguments.iter().map(|(name, text)| (Name::fixed(name), vec![Value::text(*text)])).collect();
    Ok(client.call(Name::fixed(module), Name::fixed(method), arguments).await?.result)
}
