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
    let plan = site.succeed(&["query", "case", "status = new", "--order", "due_at", "--explain"]);
    assert!(plan.contains("found by the database, for: status = new"), "{plan}");
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

/// Rows of another database become calls, each once; what was refused is told, and what changed is news.
#[test]
fn rows_are_imported_once_and_again_when_they_change() {
    let site = Site::found();
    let _store = site.start("store-lund");
    let _host = site.start("host-lund");
    let file = site.path("staff.db");
    sqlite(&file, "CREATE TABLE staff (id INTEGER PRIMARY KEY, login TEXT, full_name TEXT, changed INTEGER NOT NULL)");
    for (id, login, name, changed) in
        [(1, "'astrid'", "'Astrid Lind'", 1), (2, "'bjorn'", "'Björn O''Brien?'", 1), (3, "NULL", "'Nobody'", 2)]
    {
        sqlite(&file, &format!("INSERT INTO staff VALUES ({id}, {login}, {name}, {changed})"));
    }
    let (from, mark) = (format!("sqlite:{}", file.display()), site.path("staff.mark"));
    let asked = [
        &["import", "--from", &from, "--query", "SELECT * FROM staff", "--key", "id", "--call", "people.add_user"][..],
        &["--map", "login=login", "--map", "name=full_name", "--cursor", "changed", "--mark", mark.to_str().unwrap(), "--as", "admin"],
    ]
    .concat();
    let said = String::from_utf8(site.run(&asked).stdout).unwrap();
    assert!(said.contains("2 rows imported, 0 known before, 1 refused"), "{said}");
    assert!(said.contains("refused   id 3:") && said.contains("login"), "{said}");
    sqlite(&file, "UPDATE staff SET login = 'nobody', changed = 3 WHERE id = 3");
    assert!(site.succeed(&asked).contains("1 rows imported, 0 known before, 0 refused"), "only what changed is read");
    std::fs::remove_file(&mark).unwrap();
    assert!(site.succeed(&asked).contains("0 rows imported, 3 known before, 0 refused"), "nothing is done twice");
    let users = site.succeed(&["query", "user", "--json", "--as", "admin"]);
    assert!(users.contains("Björn O'Brien?") && users.contains("nobody"), "{users}");

    let wrong = |given: &[&str], said: &str| {
        let complaint = site.fail(&[&["import", "--as", "admin"], given].concat());
        assert!(complaint.contains(said), "{complaint}");
    };
    let of_staff = ["--from", from.as_str(), "--query", "SELECT * FROM staff", "--key", "id"];
    wrong(&[&of_staff[..], &["--call", "people.add_user"]].concat(), "give --map PARAMETER=COLUMN");
    wrong(&[&of_staff[..], &["--call", "people.fly", "--map", "login=login"]].concat(), "there is no method people.fly");
    wrong(&[&of_staff[..], &["--call", "people.add_user", "--map", "wings=login"]].concat(), "takes no wings");
    wrong(&[&of_staff[..], &["--call", "people.add_user", "--map", "login=wings"]].concat(), "no such column: q.wings");
    let away = ["--from", "postgres://x:${HOME}@127.0.0.1:1/x", "--query", "SELECT 1", "--key", "id"];
    wrong(&[&away[..], &["--call", "people.add_user", "--map", "login=login"]].concat(), "the database cannot be reached");
}

/// A table is kept equal to a query, also when whoever keeps it is killed.
#[test]
fn a_table_follows_the_cabinet_and_goes_on_after_a_kill() {
    let site = Site::found();
    let _store = site.start("store-lund");
    let _host = site.start("host-lund");
    filed(&site);
    let file = site.path("cases.db");
    let to = format!("sqlite:{}?mode=rwc", file.display());
    let once = site.succeed(&["export", "case", "status != closed", "--to", &to, "--columns", "number,status,due_at,messages"]);
    assert!(once.contains("rows written, 0 removed; at position"), "{once}");
    let cases: Json = serde_json::from_str(&site.succeed(&["query", "case", "--json", "--order", "number", "--limit", "1000"])).unwrap();
    let cases = cases["objects"].as_array().unwrap();
    let asked = "SELECT id, number, status, due_at IS NOT NULL, messages FROM \"case\" ORDER BY number";
    let lines: Vec<String> = sqlite(&file, asked).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), cases.len());
    assert!(lines[0].starts_with(&format!("{}|1|new|1|[\"", cases[0]["id"].as_str().unwrap())), "{}", lines[0]);

    let follow = ["export", "case", "status != closed", "--to", &to, "--table", "open", "--follow"];
    let open = || sqlite(&file, "SELECT number FROM open ORDER BY number").lines().count();
    let close = |place: usize| {
        let case = format!("case=#{}", cases[place]["id"].as_str().unwrap());
        site.succeed(&["call", "casedesk.close", &case, "reason=done", "--as", "desk-lund"]);
    };
    let mut following = site.caps(&follow).stdout(std::process::Stdio::null()).spawn().unwrap();
    let all = cases.len();
    crate::office::until("the table is there", || {
        let there = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'open'";
        (sqlite(&file, there).trim() == "1" && open() == all).then_some(())
    });
    close(0);
    crate::office::until("a case that was closed is out", || (open() == all - 1).then_some(()));
    following.kill().unwrap();
    following.wait().unwrap();
    close(1);
    close(2);
    let mut following = site.caps(&follow).stdout(std::process::Stdio::null()).spawn().unwrap();
    crate::office::until("it goes on", || (open() == all - 3).then_some(()));
    following.kill().unwrap();
    following.wait().unwrap();
    let complaint = site.fail(&["export", "case", "--to", &to, "--columns", "wings"]);
    assert!(complaint.contains("case has no attribute wings"), "{complaint}");
    assert!(site.fail(&["export", "cases", "--to", &to]).contains("there is no entity cases"));
    assert!(site.fail(&["export", "case", "--to", "oracle://x"]).contains("a database is postgres://"));
}

/// What the deployment file says of other databases, a front end does for as long as it runs, and goes on with after a kill.
#[test]
fn a_front_end_reads_and_writes_other_databases_by_itself() {
    let site = Site::found();
    let _store = site.start("store-lund");
    let _host = site.start("host-lund");
    filed(&site);
    let (staff, reports) = (site.path("staff.db"), site.path("reports.db"));
    sqlite(&staff, "CREATE TABLE staff (id INTEGER PRIMARY KEY, full_name TEXT, changed INTEGER NOT NULL)");
    sqlite(&staff, "INSERT INTO staff VALUES (1, 'Björn', 1), (2, NULL, 1)");
    let mut file = std::fs::read_to_string(site.path("caps.toml")).unwrap();
    let at = file.find("name = \"desk-lund\"\n").unwrap();
    let end = file[at..].find("\n\n").map_or(file.len(), |end| at + end + 1);
    file.insert_str(
        end,
        r#"
[[node.imports]]
name = "staff"
from = "sqlite:staff.db"
query = "SELECT * FROM staff"
key = "id"
cursor = "changed"
call = "casedesk.add_agent"
map = { name = "full_name" }
every = "1s"

[[node.exports]]
name = "agents"
to = "sqlite:reports.db?mode=rwc"
entity = "agent"
columns = ["name"]
"#,
    );
    std::fs::write(site.path("caps.toml"), file).unwrap();
    let names = || match reports.exists() && sqlite(&reports, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'agent'").trim() == "1" {
        true => sqlite(&reports, "SELECT name FROM agent ORDER BY name").lines().map(str::to_owned).collect(),
        false => Vec::new(),
    };
    let until = |what: &str, expected: &[&str]| crate::office::until(what, || (names() == expected).then_some(()));
    let front_end = site.start("desk-lund");
    // Astrid was there before; the row without a name is refused, and keeps no other one back.
    until("one row is an agent", &["Astrid", "Björn"]);
    sqlite(&staff, "INSERT INTO staff VALUES (3, 'Cecilia', 2)");
    until("a new row is one, too", &["Astrid", "Björn", "Cecilia"]);
    drop(front_end);
    sqlite(&staff, "INSERT INTO staff VALUES (4, 'David', 3)");
    let front_end = site.start("desk-lund");
    until("it goes on after a kill", &["Astrid", "Björn", "Cecilia", "David"]);
    assert!(std::fs::read_to_string(site.path("data/desk-lund/main/imports/staff.mark")).unwrap().contains('3'));
    assert!(front_end.terminate());
    let agents: Json = serde_json::from_str(&site.succeed(&["query", "agent", "--count", "--json"])).unwrap();
    assert_eq!(agents["count"], 4, "each row was one call");
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
