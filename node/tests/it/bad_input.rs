//! Mistakes that people make, and what they are told.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use sha2::{Digest, Sha256};

use crate::fixture::{Site, caps};

#[test]
fn missing_deployment_file_says_how_to_make_one() {
    let output = caps().args(["status", "--config", "/nowhere/caps.toml"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("/nowhere/caps.toml") && complaint.contains("caps init"), "{complaint}");
}

#[test]
fn typo_in_the_file_is_named_with_its_line() {
    let site = Site::found();
    site.edit("voters", "vaters");
    let complaint = site.fail(&["run", "--node", "store-lund"]);
    assert!(complaint.contains("caps.toml:") && complaint.contains("unknown field `vaters`"), "{complaint}");
}

#[test]
fn unknown_node_lists_the_known_ones() {
    let complaint = Site::found().fail(&["run", "--node", "store-lind"]);
    assert!(complaint.contains("store-lund, host-lund, desk-lund"), "{complaint}");
}

#[test]
fn front_end_is_not_run_as_a_server() {
    let complaint = Site::found().fail(&["run", "--node", "desk-lund"]);
    assert!(complaint.contains("caps watch case --as desk-lund"), "{complaint}");
}

#[test]
fn port_in_use_stops_the_node_and_is_named() {
    let site = Site::found();
    let text = std::fs::read_to_string(site.path("caps.toml")).unwrap();
    let listen = text.lines().find(|line| line.starts_with("listen")).unwrap();
    let address = listen.split('"').nth(1).unwrap();
    let _taken = UdpSocket::bind(address).unwrap();
    let complaint = site.fail(&["run", "--node", "store-lund"]);
    assert!(complaint.contains(address) && complaint.contains("in use"), "{complaint}");
}

#[test]
fn journal_of_a_newer_version_stops_the_node() {
    let site = Site::found();
    assert!(site.start("store-lund").terminate());
    let journal = std::fs::read_dir(site.path("data/store-lund/main")).unwrap().map(|entry| entry.unwrap().path());
    let segment = journal.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-"))).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // The version is at 8, the check over the rest of the header at 96: see JOURNAL.md.
    bytes[8] += 1;
    let check = Sha256::new().chain_update(&bytes[..96]).chain_update(&bytes[104..136]).finalize();
    bytes[96..104].copy_from_slice(&check[..8]);
    std::fs::write(&segment, bytes).unwrap();
    let complaint = site.fail(&["run", "--node", "store-lund"]);
    assert!(complaint.contains("written by another release: format 3 is unknown here"), "{complaint}");
}

#[test]
fn second_process_of_a_node_is_refused() {
    let site = Site::found();
    let _first = site.start("store-lund");
    let text = std::fs::read_to_string(site.path("caps.toml")).unwrap();
    let listen = text.lines().find(|line| line.starts_with("listen")).unwrap().to_owned();
    site.edit(&listen, "listen = \"127.0.0.1:1\"");
    let complaint = site.fail(&["run", "--node", "store-lund"]);
    assert!(complaint.contains("data/store-lund"), "{complaint}");
}

#[test]
fn key_that_is_not_there_says_where_it_should_be() {
    let site = Site::found();
    std::fs::remove_file(site.path("certs/nodes/desk-lund/key.pem")).unwrap();
    let complaint = site.fail(&["status"]);
    assert!(complaint.contains("certs/nodes/desk-lund") && complaint.contains("certs-gen"), "{complaint}");
}

#[test]
fn nobody_answers_and_that_is_said_in_time() {
    let complaint = Site::found().fail(&["status", "--timeout", "1s"]);
    assert!(complaint.contains("host-lund"), "{complaint}");
}

#[test]
fn founding_twice_is_refused() {
    let site = Site::found();
    let output = caps().args(["init", "--dir"]).arg(site.path("")).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && complaint.contains("there already"), "{complaint}");
}

#[test]
fn keys_are_for_their_owner_only() {
    let site = Site::found();
    for key in ["certs/ca/root.key", "certs/nodes/store-lund/key.pem", "certs/admins/admin/key.pem"] {
        let mode = std::fs::metadata(site.path(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn front_end_is_refused_by_layer_1_and_told_why() {
    let site = Site::found();
    let (_store, _host) = (site.start("store-lund"), site.start("host-lund"));
    let complaint = site.fail(&["ping", "store-lund", "--as", "desk-lund"]);
    assert!(complaint.contains("no business"), "{complaint}");
    let answer = site.succeed(&["ping", "store-lund", "--as", "admin", "--count", "1"]);
    assert!(answer.contains("TLS 1.3"), "{answer}");
}
