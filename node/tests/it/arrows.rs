//! The arrows of the architecture: which crate of ours may know which.

use std::collections::BTreeMap;
use std::path::Path;

/// Crate, its directory, and every crate of ours that it may import.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("caps-certs-gen", "certs-gen", &[]),
    ("caps-overlay", "overlay", &["caps-certs-gen"]),
    ("caps-adapters", "adapters", &[]),
    ("caps-model", "node/model", &[]),
    ("caps-store", "node/store", &["caps-adapters", "caps-model", "caps-overlay"]),
    ("caps-logic", "node/logic", &["caps-model", "caps-overlay"]),
    ("caps-modules", "node/logic/modules", &["caps-logic"]),
    ("caps-frontend", "node/frontend", &["caps-adapters", "caps-model", "caps-overlay"]),
    (
        "caps-node",
        "node",
        &["caps-adapters", "caps-certs-gen", "caps-frontend", "caps-logic", "caps-model", "caps-modules", "caps-overlay", "caps-store"],
    ),
    (
        "caps-simulations",
        "simulations",
        &["caps-adapters", "caps-certs-gen", "caps-frontend", "caps-model", "caps-node", "caps-overlay", "caps-store"],
    ),
];

/// Crates of others that few crates of ours may import. bincode: the model has the codec, the store derives its own records.
const OWNED: &[(&str, &[&str])] = &[
    ("sled", &["caps-store"]),
    ("raft", &["caps-store"]),
    ("quinn", &["caps-overlay", "caps-simulations"]),
    ("foca", &["caps-overlay"]),
    ("bincode", &["caps-model", "caps-store"]),
    ("rcgen", &["caps-certs-gen"]),
    ("mail-parser", &["caps-adapters"]),
    ("axum", &["caps-adapters"]),
    ("hyper", &["caps-adapters"]),
    ("quick-xml", &["caps-adapters"]),
    ("maud", &["caps-frontend"]),
    ("sqlx", &["caps-adapters"]),
    ("lettre", &["caps-adapters"]),
];

#[test]
fn no_crate_imports_against_the_arrows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, directory, allowed) in ARROWS {
        for dependency in dependencies(&root.join(directory).join("Cargo.toml"), "dependencies") {
            let ours = dependency.starts_with("caps-");
            assert!(!ours || allowed.contains(&dependency.as_str()), "{name} imports {dependency}");
            let owners = OWNED.iter().find(|(owned, _)| *owned == dependency).map(|(_, owners)| *owners);
            assert!(owners.is_none_or(|owners| owners.contains(name)), "{name} imports {dependency}, which belongs to {owners:?}");
        }
    }
}

fn dependencies(manifest: &Path, section: &str) -> Vec<String> {
    let text = std::fs::read_to_string(manifest).unwrap();
    let manifest: BTreeMap<String, toml::Value> = toml::from_str(&text).unwrap();
    manifest[section].as_table().unwrap().keys().cloned().collect()
}
