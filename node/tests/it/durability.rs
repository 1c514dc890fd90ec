//! The order of things at the border to the disk, as the system sees it.

use std::process::{Child, Command, Stdio};

use crate::fixture::{Process, Site};

/// With one replica its own disk decides: if the journal cannot be synced, nobody may be told that a commit happened, and the node must stop.
/// Were the acknowledgement to leave before `fdatasync`, the call would succeed.
#[test]
fn commit_whose_sync_fails_is_not_acknowledged_and_the_node_stops() {
    let site = Site::found();
    let store = site.start("store-lund");
    let _host = site.start("host-lund");
    site.succeed(&["call", "people.add_group", "name=desk", "--as", "admin"]);
    let mut strace = attach(&store, &["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]);
    let complaint = site.fail(&["call", "people.add_group", "name=gateway", "--as", "admin", "--timeout", "5s"]);
    assert!(complaint.contains("caps outcome"), "{complaint}");
    assert!(!store.wait(), "the node went on after a failed sync");
    strace.wait().unwrap();
}

/// Between the datagram that brings a commit and the last one sent for it lies an `fdatasync` of the journal.
#[test]
fn journal_is_synced_between_question_and_answer() {
    let site = Site::found();
    let store = site.start("store-lund");
    let _host = site.start("host-lund");
    site.succeed(&["call", "people.add_group", "name=desk", "--as", "admin"]);
    let trace = site.path("trace");
    let mut strace = attach(&store, &["-y", "-e", "trace=fdatasync,sendmsg,sendmmsg,recvmsg,recvmmsg", "-o", trace.to_str().unwrap()]);
    site.succeed(&["call", "people.add_group", "name=gateway", "--as", "admin"]);
    drop(store);
    strace.wait().unwrap();
    let text = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let synced = lines.iter().position(|line| line.contains("fdatasync(") && line.contains("journal-"));
    let synced = synced.unwrap_or_else(|| panic!("no fdatasync of the journal:\n{text}"));
    assert!(lines[..synced].iter().any(|line| line.contains("recvm")), "nothing was asked before the sync:\n{text}");
    assert!(lines[synced..].iter().any(|line| line.contains("sendm")), "nothing was answered after the sync:\n{text}");
}

/// Attaches strace to a node and waits until it is.
fn attach(node: &Process, arguments: &[&str]) -> Child {
    let mut command = Command::new("strace");
    command.args(["-f", "-p", &node.pid().to_string()]).args(arguments);
    let mut strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("strace is installed");
    let said = strace.stderr.take().unwrap();
    crate::fixture::wait_for_line(said, "attached");
    strace
}
