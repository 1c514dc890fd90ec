//! What users do, done for real and written down.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value as Json;

use crate::fixture::{Process, Site};

const OPERATIONS: &str = r##"
[[operation]]
name = "mail filed"
limit = "15s"
step = [{ file_mail = { text = "Pump $n stands still", bytes = 4000 } }]

[[operation]]
name = "case answered and closed"
limit = "15s"
step = [
  { connect = true },
  { login = { user = "astrid", password = "correct-horse-battery" } },
  { query = { entity = "case", filter = "status = new", order = "number desc", limit = 20, pick = "any" } },
  { get = { objects = "found", at_most = 1 } },
  { think = "10ms" },
  { query = { entity = "message", filter = "case = $found", limit = 20 } },
  { history = { object = "found.case" } },
  { call = { module = "casedesk", method = "reply", arguments = { case = "$found.case", text = "We come. ($n)" } } },
  { get = { objects = "result.message" } },
  { call = { module = "casedesk", method = "close", arguments = { case = "$found.case", reason = "done" } } },
]

[[operation]]
name = "nothing to do"
limit = "15s"
step = [
  { query = { entity = "case", filter = "number = 0" } },
  { get = { objects = "found" } },
]

[[operation]]
name = "closed twice"
limit = "15s"
step = [
  { query = { entity = "case", filter = "status = closed", limit = 1 } },
  { call = { module = "casedesk", method = "close", arguments = { case = "$found", reason = "again" } } },
]

[[operation]]
name = "console"
limit = "15s"
step = [{ watch = { entity = "case", filter = "status != closed", for = "8h" } }]

[[users]]
operation = "mail filed"
site = "lund"
count = 2
every = "100ms"

[[users]]
operation = "console"
front_end = "desk-lund"
count = 1
"##;

/// A site at work: servers, the group of the desk, an agent, and a front end that is one of it.
fn site_at_work() -> (Site, [Process; 2]) {
    let site = Site::found();
    let mut file = std::fs::OpenOptions::new().append(true).open(site.path("caps.toml")).unwrap();
    file.write_all(OPERATIONS.as_bytes()).unwrap();
    let servers = [site.start("store-lund"), site.start("host-lund")];
    let admin = |arguments: &[&str]| drop(site.succeed(&[&["--as", "admin", "--timeout", "30s", "call"], arguments].concat()));
    admin(&["people.add_group", "name=desk"]);
    admin(&["people.add_group", "name=gateway"]);
    admin(&["people.add_user", "login=astrid", "name=Astrid", "password=correct-horse-battery", "groups=desk"]);
    admin(&["people.add_user", "login=desk-lund", "name=Desk", "groups=desk"]);
    admin(&["people.bind_node", "login=desk-lund", "node=spiffe://caps.example/site/lund/layer/4/desk-lund"]);
    (site, servers)
}

fn run(site: &Site, arguments: &[&str]) -> Json {
    let printed = site.succeed(&[&["workload", "run", "--json"], arguments].concat());
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn operations_are_done_and_held_against_their_limits() {
    let (site, _servers) = site_at_work();
    let mails = run(&site, &["--operation", "mail filed", "--times", "5"]);
    let mails = &mails["operations"][0];
    assert_eq!((&mails["done"], &mails["failed"], &mails["verdict"]), (&5.into(), &0.into(), &"pass".into()), "{mails}");

    let samples = site.path("samples.jsonl");
    let closed = ["--operation", "case answered and closed", "--times", "3", "--samples", samples.to_str().unwrap()];
    let closed = run(&site, &closed);
    assert_eq!(closed["operations"][0]["done"], 3, "{closed}");
    let samples = std::fs::read_to_string(samples).unwrap();
    let samples: Vec<Json> = samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(samples.len(), 3);
    let kinds: Vec<&str> = samples[0]["steps"].as_array().unwrap().iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["connect", "login", "query", "get", "think", "query", "history", "call", "get", "call"]);
    let felt: u64 = samples[0]["steps"].as_array().unwrap().iter().map(|step| step["felt_us"].as_u64().unwrap()).sum();
    // Each step's time is cut to whole microseconds.
    assert!(samples[0]["felt_us"].as_u64().unwrap() - felt <= 10, "{}", samples[0]);
    let left: Json = serde_json::from_str(&site.succeed(&["query", "case", "status = closed", "--json"])).unwrap();
    assert_eq!(left["objects"].as_array().unwrap().len(), 3);

    let idle = run(&site, &["--operation", "nothing to do", "--times", "2"]);
    assert_eq!((&idle["operations"][0]["idle"], &idle["operations"][0]["verdict"]), (&2.into(), &"".into()), "{idle}");
    let complaint = site.fail(&["workload", "run", "--operation", "closed twice"]);
    assert!(complaint.contains("1 of 1 operations are not as they should be"), "{complaint}");
}

#[test]
fn users_work_until_they_are_stopped() {
    let (site, _servers) = site_at_work();
    let all = run(&site, &["--for", "3s"]);
    let (mails, console) = (&all["operations"][0], &all["operations"][1]);
    assert!(mails["done"].as_u64().unwrap() > 0 && mails["failed"] == 0, "{all}");
    // The console ends with the run, not after eight hours, and showed what the others filed.
    assert_eq!((&console["done"], &console["failed"]), (&1.into(), &0.into()), "{all}");
    assert!(console["updates"].as_u64().unwrap() > 0, "{all}");
    // Ctrl-C ends the work in order, and what was measured is told.
    let samples = site.path("samples.jsonl");
    let mut command = site.caps(&["workload", "run", "--for", "1h", "--json", "--samples", samples.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    while std::fs::metadata(&samples).map_or(0, |file| file.len()) == 0 {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["operations"][0]["done"].as_u64().unwrap() > 0, "{told}");
    let table = site.succeed(&["workload", "list"]);
    assert!(table.contains("case answered and closed") && table.contains("2 at desk-lund"), "{table}");
}

#[test]
fn nobody_to_work_is_said() {
    let site = Site::found();
    let complaint = site.fail(&["workload", "run"]);
    assert!(complaint.contains("has no [[users]]"), "{complaint}");
    let complaint = site.fail(&["workload", "run", "--operation", "x"]);
    assert!(complaint.contains("there is no operation \"x\""), "{complaint}");
}

#[test]
fn recorded_operation_is_done_again_with_other_objects() {
    let (site, _servers) = site_at_work();
    run(&site, &["--operation", "mail filed", "--times", "4"]);
    let script = r#"
        set -e
        id=$("$CAPS" query case 'status = new' --order number --limit 10 --json | sed 's/.*"id":"\([a-z0-9]*\)".*/\1/')
        "$CAPS" get "$id" > /dev/null
        "$CAPS" query message "case = #$id" > /dev/null
        "$CAPS" watch case > watched & console=$!
        until grep -q 'that is all' watched; do sleep 0.05; done
        kill "$console"; wait "$console"
        "$CAPS" call casedesk.close "case=#$id" "reason=it's \$5 done" > /dev/null
    "#;
    let file = site.path("caps.toml");
    let mut command =
        site.caps(&["record", "closed by hand", "--limit", "15s", "--into", file.to_str().unwrap(), "--", "sh", "-c", script]);
    let output = command.env("CAPS", env!("CARGO_BIN_EXE_caps")).current_dir(site.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file).unwrap();
    let recorded = &text[text.find("closed by hand").unwrap()..];
    let expected = [
        r#"query = { entity = "case", filter = "status = new", order = "number", limit = 10 }"#,
        r#"get = { objects = "found", at_most = 1 }"#,
        r#"query = { entity = "message", filter = "case = $found", limit = 50 }"#,
        r#"watch = { entity = "case", for = "#,
        r#"arguments = { case = "$found.case", reason = "it's $$5 done" } }"#,
    ];
    for line in expected {
        assert!(recorded.contains(line), "{line} is not in {recorded}");
    }
    let again = run(&site, &["--operation", "closed by hand", "--times", "2"]);
    assert_eq!(again["operations"][0]["done"], 2, "{again}");
    let complaint = site.fail(&["record", "closed by hand", "--", "true"]);
    assert!(complaint.contains("already"), "{complaint}");
    let complaint = site.fail(&["record", "nothing", "--", "true"]);
    assert!(complaint.contains("nothing was recorded"), "{complaint}");
}
