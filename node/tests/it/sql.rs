//! A cabinet whose replicas keep their state in a database.

use std::process::Command;

use crate::fixture::Site;

fn filed(site: &Site) {
    for group in ["desk", "gateway"] {
        site.succeed(&["call", "people.add_group", &format!("name={group}"), "--as", "admin"]);
    }
    site.succeed(&["call", "people.add_user", "login=desk-lund", "name=Desk", "groups=desk", "--as", "admin"]);
    let node = "node=spiffe://caps.example/site/lund/layer/4/desk-lund";
    site.succeed(&["call", "people.bind_node", "login=desk-lund", node, "--as", "admin"]);
    let mails = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/mail");
    site.succeed(&["file", mails, "--as", "desk-lund"]);
    site.succeed(&["call", "casedesk.add_agent", "name=Astrid"]);
}

/// SQLite's file is read by others while the node works, lost, and made anew from the journal.
#[test]
fn state_in_sqlite_is_read_by_others_lost_and_rebuilt() {
    let site = Site::found();
    site.edit("state = \"sled\"", "state = \"sqlite\"");
    let store = site.start("store-lund");
    let _host = site.start("host-lund");
    filed(&site);
    let file = site.path("data/store-lund/main/state.sqlite");
    let asked = "SELECT status, COUNT(*) FROM \"case\" GROUP BY status ORDER BY status";
    let counted = sqlite(&file, asked);
    let all: u64 = counted.lines().map(|line| line.split('|').nth(1).unwrap().parse::<u64>().unwrap()).sum();
    let cases = site.succeed(&["query", "case", "--count", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&cases).unwrap()["count"], all, "{counted}");
    assert!(site.fail(&["rebuild", "--node", "store-lund"]).contains("does it run? stop it first"));
    assert!(store.terminate());
    assert!(site.succeed(&["check", "--node", "store-lund", "--state"]).contains("state: as the journal says"));

    std::fs::remove_file(&file).unwrap();
    assert!(site.succeed(&["rebuild", "--node", "store-lund"]).contains("is rebuilt, at position"));
    assert_eq!(sqlite(&file, asked), counted);
    assert!(site.succeed(&["check", "--node", "store-lund", "--state"]).contains("state: as the journal says"));
    sqlite(&file, "UPDATE caps_entry SET v = x'00' WHERE k = (SELECT MAX(k) FROM caps_entry WHERE substr(k, 1, 1) = x'6f')");
    assert!(site.fail(&["check", "--node", "store-lund", "--state"]).contains("is not sound"));
    assert!(site.fail(&["rebuild", "--node", "host-lund"]).contains("only nodes of layer 1 keep a state"));
    site.succeed(&["rebuild", "--node", "store-lund"]);
    let _store = site.start("store-lund");
    assert!(site.succeed(&["query", "case", "--count", "--json", "--linearizable"]).contains(&format!("{all}")));
}

/// A database that is not there, or whose password is not set, is said to be so.
#[test]
fn database_that_cannot_be_used_is_named_without_its_password() {
    let site = Site::found();
    site.edit("state = \"sled\"", "state = \"postgres://caps:${CAPS_NO_SUCH_VARIABLE}@127.0.0.1:1/caps\"");
    let complaint = site.fail(&["run", "--node", "store-lund"]);
    assert!(complaint.contains("cannot use postgres://127.0.0.1:1/caps") && complaint.contains("not set"), "{complaint}");
    site.edit("${CAPS_NO_SUCH_VARIABLE}", "sesame");
    let complaint = site.fail(&["run", "--node", "store-lund"]);
    assert!(complaint.contains("cannot be reached"), "{complaint}");
    assert!(!complaint.contains("sesame"), "{complaint}");
}

/// What a statement prints in Python's SQLite, a line a row.
fn sqlite(file: &std::path::Path, statement: &str) -> String {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); r = c.execute(sys.argv[2]).fetchall(); c.commit(); \
                  print('\\n'.join('|'.join(map(str, row)) for row in r))";
    let output = Command::new("python3").args(["-c", script]).arg(file).arg(statement).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
