//! The deployment file of a lab: the same deployment, at the lab's addresses, with data of its own.

use std::path::{Path, PathBuf};

use anyhow::Context;
use caps_node::deployment::Deployment;
use toml::{Table, Value};

use super::plan::Plan;

/// Writes a copy of the deployment's file into a directory, and returns where it is. In the copy each server listens at the node's address in
/// the plan, on its own port; journals, states and sessions are kept in that directory, so that no lab touches the real ones.
pub(super) fn write(deployment: &Deployment, plan: &Plan, directory: &Path) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(&deployment.path).with_context(|| format!("cannot read {}", deployment.path.display()))?;
    let mut file: Table = text.parse().with_context(|| format!("{} is no TOML any more", deployment.path.display()))?;
    let certificates = std::path::absolute(&deployment.certificates).context("there is no current directory")?;
    for (key, place) in [("certificates", certificates), ("data", directory.join("data"))] {
        let place = place.into_os_string().into_string().ok().context("a lab's directories need names in Unicode")?;
        file.insert(key.to_owned(), Value::String(place));
    }
    for node in file.get_mut("node").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_table_mut) {
        resettle(node, deployment, plan)?;
    }
    let copy = directory.join("caps.toml");
    std::fs::write(&copy, file.to_string()).with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
}

fn resettle(node: &mut Table, deployment: &Deployment, plan: &Plan) -> anyhow::Result<()> {
    let name = node.get("name").and_then(Value::as_str).context("a node has lost its name")?.to_owned();
    if let Some(listen) = deployment.node(&name)?.listen {
        let address = format!("{}:{}", plan.address(&name)?, listen.port());
        node.insert("listen".to_owned(), Value::String(address));
    }
    // Nothing translates addresses in a lab.
    node.remove("announce");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
domain = "pumps.example"
certificates = "papers"

[[site]]
name = "lund"

[[node]]
name = "store-lund"
site = "lund"
layer = 1
listen = "127.0.0.1:4101"
announce = "192.0.2.7:999"

[[node]]
name = "host-lund"
site = "lund"
layer = 2
listen = "127.0.0.1:4201"

[[node]]
name = "desk-lund"
site = "lund"
layer = 4

[cabinet]
voters = ["store-lund"]
tick = "80ms"
"#;

    #[test]
    fn the_copy_differs_in_addresses_and_directories_only() {
        let directory = tempfile::tempdir().unwrap();
        let original = directory.path().join("original.toml");
        std::fs::write(&original, FILE).unwrap();
        let before = Deployment::read(&original).unwrap();
        let copy = write(&before, &Plan::of(&before).unwrap(), directory.path()).unwrap();
        let after = Deployment::read(&copy).unwrap();
        let addresses: Vec<_> = after.nodes.iter().map(|node| node.dialled().map(|address| address.to_string())).collect();
        assert_eq!(addresses, [Some("198.18.0.1:4101".to_owned()), Some("198.18.0.2:4201".to_owned()), None]);
        assert_eq!(after.certificates, directory.path().join("papers"));
        assert_eq!(after.data, directory.path().join("data"));
        assert_eq!(after.cabinet().tick, before.cabinet().tick);
    }
}
