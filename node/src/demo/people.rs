//! Who works at the company: groups, agents, and the front ends that act by themselves.

use super::company::{Company, PATIENCE};
use crate::people::{self, call};

/// The password of the demo's agents, printed for everybody to see.
pub(super) const PASSWORD: &str = "correct-horse-battery";

/// Makes the groups, a user for each agent and each front end, and the agents of the case desk.
pub(super) async fn settle(company: &Company) -> anyhow::Result<()> {
    let administrator = company.administrator();
    let group_of = |node: &crate::deployment::Node| if node.name.starts_with("gateway") { "gateway" } else { "desk" };
    people::settle(administrator.overlay(), company.deployment(), PATIENCE, group_of).await?;
    for (login, name) in AGENTS {
        let user = [("login", login), ("name", name), ("password", PASSWORD), ("groups", "desk")];
        call(administrator, "people", "add_user", &user).await?;
    }
    Ok(())
}

/// Login and name.
const AGENTS: [(&str, &str); 2] = [("astrid", "Astrid Lind"), ("bjorn", "Björn Öberg")];
