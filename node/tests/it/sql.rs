//! A cabinet whose replicas keep their state in a database.

use std::collections::BTreeMap;
use std::process::Command;

use caps_adapters::sql::{Dialect, LocalServer};
use serde_json::Value as Json;

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
    sqlite(&file, "UPDATE caps_version SET body = x'00' WHERE object = (SELECT MAX(object) FROM caps_version)");
    assert!(site.fail(&["check", "--node", "store-lund", "--state"]).contains("is not sound"));
    assert!(site.fail(&["rebuild", "--node", "host-lund"]).contains("only nodes of layer 1 keep a state"));
    site.succeed(&["rebuild", "--node", "store-lund"]);
    let _store = site.start("store-lund");
    assert!(site.succeed(&["query", "case", "--count", "--json", "--linearizable"]).contains(&format!("{all}")));
}

/// The reports of SQL.md say what the cabinet says.
#[test]
fn reports_in_psql_equal_what_the_cabinet_answers() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(LocalServer::start(Dialect::PostgreSql, directory.path())).unwrap();
    let site = Site::found();
    site.edit("state = \"sled\"", &format!("state = \"{}\"", server.url()));
    let store = site.start("store-lund");
    let _host = site.start("host-lund");
    filed(&site);
    let objects = |arguments: &[&str]| -> Vec<Json> {
        let arguments = [&["query"], arguments, &["--json", "--limit", "1000"]].concat();
        serde_json::from_str::<Json>(&site.succeed(&arguments)).unwrap()["objects"].as_array().unwrap().clone()
    };
    let one = |object: &Json, name: &str| object["attributes"][name][0].clone();
    let cases = objects(&["case"]);
    for (number, case) in cases.iter().enumerate().take(9) {
        let case = format!("case=#{}", case["id"].as_str().unwrap());
        site.succeed(&["call", "casedesk.reply", &case, "text=We come on Monday.", "--as", "desk-lund"]);
        if number % 3 == 0 {
            site.succeed(&["call", "casedesk.close", &case, "reason=done", "--as", "desk-lund"]);
        }
    }
    let position = serde_json::from_str::<Json>(&site.succeed(&["query", "case", "--count", "--json"])).unwrap()["position"].to_string();
    for case in cases.iter().skip(9).take(5) {
        let case = format!("case=#{}", case["id"].as_str().unwrap());
        site.succeed(&["call", "casedesk.close", &case, "reason=done", "--as", "desk-lund"]);
    }
    let psql = |statement: &str| {
        let space = format!("{}?options=-csearch_path%3Dcaps_main_store_lund", server.url());
        let output = Command::new("psql").args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, &space]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // Visible to others a moment after it was applied.
    let now = serde_json::from_str::<Json>(&site.succeed(&["query", "case", "--count", "--json"])).unwrap()["position"].to_string();
    crate::office::until("all is in the database", || (psql("SELECT MAX(position) FROM caps_commits") == [now.clone()]).then_some(()));
    let reports = reports();

    let cases = objects(&["case"]);
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        *counted.entry(format!("lund|{}", one(case, "status").as_str().unwrap())).or_default() += 1;
    }
    let counted: Vec<String> = counted.iter().map(|(group, count)| format!("{group}|{count}")).collect();
    assert_eq!(psql(&reports[0]), counted);
    assert!(counted.len() >= 3, "{counted:?}");

    let mut waited: Vec<(i64, String)> = Vec::new();
    for message in objects(&["message", "direction = out"]) {
        let case = cases.iter().find(|case| one(&message, "case") == format!("#{}", case["id"].as_str().unwrap())).unwrap();
        let interval =
            format!("SELECT TIMESTAMPTZ '{}' - TIMESTAMPTZ '{}'", text(&one(&message, "received_at")), text(&one(case, "opened_at")));
        waited.push((one(case, "number").as_i64().unwrap(), psql(&interval)[0].clone()));
    }
    waited.sort();
    let waited: Vec<String> = waited.iter().map(|(number, waited)| format!("{number}|{waited}")).collect();
    assert_eq!(psql(&reports[1]), waited);
    assert_eq!(waited.len(), 9);

    // A week is long: the same report of a moment that the test has lived through.
    let then = psql(&format!("SELECT time FROM caps_commits WHERE position = {position}"))[0].clone();
    let report = reports[2].replace("now() - INTERVAL '7 days'", &format!("TIMESTAMPTZ '{then}'"));
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for case in objects(&["case", "--at", &position]) {
        *counted.entry(text(&one(&case, "status"))).or_default() += 1;
    }
    let counted: Vec<String> = counted.iter().map(|(status, count)| format!("{status}|{count}")).collect();
    assert_eq!(psql(&report), counted);
    assert_ne!(psql(&report), psql("SELECT status, COUNT(*) FROM \"case\" GROUP BY status ORDER BY status"));
    assert!(psql(&reports[2]).is_empty(), "there was nothing a week ago");
    assert!(store.terminate());
    runtime.block_on(server.stop());
}

/// The statements of SQL.md, in order.
fn reports() -> Vec<String> {
    let page = include_str!("../../store/SQL.md");
    page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn text(value: &Json) -> String {
    value.as_str().unwrap().to_owned()
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
