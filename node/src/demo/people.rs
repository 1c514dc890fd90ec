//! Who works at the company: groups, agents, and the front ends that act by themselves.

use caps_certs_gen::Layer;
use caps_frontend::Client;
use caps_model::{Name, Record, Value};

use super::company::Company;

/// The password of the demo's agents, printed for everybody to see.
pub(super) const PASSWORD: &str = "correct-horse-battery";

/// Makes the groups, a user for each agent and each front end, and the agents of the case desk.
pub(super) async fn settle(company: &Company) -> anyhow::Result<()> {
    let administrator = company.administrator();
    for group in ["desk", "gateway"] {
        call(administrator, "people", "add_group", &[("name", group)]).await?;
    }
    for (login, name) in AGENTS {
        let user = [("login", login), ("name", name), ("password", PASSWORD), ("groups", "desk")];
        call(administrator, "people", "add_user", &user).await?;
    }
    for node in company.deployment().layer(Layer::FrontEnd) {
        let group = if node.name.starts_with("gateway") { "gateway" } else { "desk" };
        let user = [("login", node.name.as_str()), ("name", node.name.as_str()), ("groups", group)];
        call(administrator, "people", "add_user", &user).await?;
        call(administrator, "people", "bind_node", &[("login", &node.name), ("node", node.identity.uri())]).await?;
    }
    Ok(())
}

async fn call(client: &Client, module: &'static str, method: &'static str, arguments: &[(&'static str, &str)]) -> anyhow::Result<Record> {
    let arguments = arguments.iter().map(|(name, text)| (Name::fixed(name), vec![Value::text(*text)])).collect();
    Ok(client.call(Name::fixed(module), Name::fixed(method), arguments).await?.result)
}

/// Login and name.
const AGENTS: [(&str, &str); 2] = [("astrid", "Astrid Lind"), ("bjorn", "Björn Öberg")];
