//! Who may use the case desk: its groups, and the front ends that act by themselves.

use caps_certs_gen::Layer;
use caps_frontend::{Client, ClientError};
use caps_model::{Name, Record, Value};

use crate::deployment::{Deployment, Node};

/// Makes the groups that the case desk knows.
pub async fn add_groups(administrator: &Client) -> Result<(), ClientError> {
    for group in ["desk", "gateway"] {
        call(administrator, "people", "add_group", &[("name", group)]).await?;
    }
    Ok(())
}

/// Makes a user for each front end of the deployment, who is in the group that `group_of` says.
pub async fn bind_front_ends(
    administrator: &Client,
    deployment: &Deployment,
    group_of: impl Fn(&Node) -> &'static str,
) -> Result<(), ClientError> {
    for node in deployment.layer(Layer::FrontEnd).filter(|node| !node.identity.is_admin()) {
        let user = [("login", node.name.as_str()), ("name", node.name.as_str()), ("groups", group_of(node))];
        call(administrator, "people", "add_user", &user).await?;
        call(administrator, "people", "bind_node", &[("login", &node.name), ("node", node.identity.uri())]).await?;
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
