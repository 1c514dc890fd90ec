//! Webhooks of real processes to a real server of another make, over TLS.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value as Json;

use crate::fixture::Site;
use crate::office::until;

/// The receiver, and what it told so far; killed when the test is done with it.
struct Receiver {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    port: u64,
}

impl Receiver {
    fn start(certificate: &Path, key: &Path, secret: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/web/receiver.py");
        let mut command = Command::new("python3");
        let mut child = command.arg(script).args([certificate, key]).arg(secret).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut receiver = Self { child, lines, port: 0 };
        receiver.port = receiver.next()["port"].as_u64().unwrap();
        receiver
    }

    /// What it tells next.
    fn next(&mut self) -> Json {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A receiver that still knows only the old secret is away twice; then it has each event once, under the id of the first attempt.
#[test]
fn event_reaches_a_receiver_under_one_id_until_it_is_taken() {
    let site = Site::found();
    let (certificate, key) = (site.path("receiver.pem"), site.path("receiver.key"));
    self_signed(&certificate, &key);
    let mut receiver = Receiver::start(&certificate, &key, OLD);
    std::fs::write(site.path("crm.secret"), format!("{NEW}\n{OLD}\n")).unwrap();
    site.edit("modules = [\"casedesk\"]", "modules = [\"casedesk\", \"webhooks\"]");
    let node = "name = \"desk-lund\"\nsite = \"lund\"\nlayer = 4\n";
    let url = format!("https://localhost:{}/hooks?from=caps", receiver.port);
    let endpoint =
        format!("{{ endpoint = \"crm\", url = \"{url}\", secret = \"crm.secret\", authorities = \"receiver.pem\", retry = \"200ms\" }}");
    site.edit(node, &format!("{node}webhooks = [{endpoint}]\n"));
    let _store = site.start("store-lund");
    let _host = site.start("host-lund");
    let administer = |arguments: &[&str]| drop(site.succeed(&[&["call"], arguments, &["--as", "admin"]].concat()));
    for group in ["desk", "gateway"] {
        administer(&["people.add_group", &format!("name={group}")]);
    }
    let domain = std::fs::read_to_string(site.path("caps.toml")).unwrap();
    let domain = domain.lines().find(|line| line.starts_with("domain")).unwrap().split('"').nth(1).unwrap().to_owned();
    administer(&["people.add_user", "login=desk-lund", "name=Desk", "groups=gateway", "groups=desk"]);
    administer(&["people.bind_node", "login=desk-lund", &format!("node=spiffe://{domain}/site/lund/layer/4/desk-lund")]);
    let desk = site.start("desk-lund");
    administer(&["webhooks.add", "name=cases", "endpoint=crm", "events=case.created", "events=case.changed", "group=desk"]);

    let mail = site.path("mail.eml");
    std::fs::write(&mail, "From: ann@example.com\r\nSubject: Pump\r\nMessage-ID: <1@example.com>\r\n\r\nIt leaks.\r\n").unwrap();
    site.succeed(&["file", mail.to_str().unwrap(), "--as", "desk-lund"]);
    let attempts: Vec<Json> = (0..3).map(|_| receiver.next()).collect();
    assert_eq!(attempts.iter().map(|attempt| &attempt["status"]).collect::<Vec<_>>(), [503, 503, 204], "{attempts:?}");
    for attempt in &attempts {
        assert_eq!((&attempt["id"], &attempt["body"]), (&attempts[0]["id"], &attempts[0]["body"]), "each attempt says the same");
        assert_eq!((attempt["path"].as_str(), attempt["signatures"].as_u64()), (Some("/hooks?from=caps"), Some(2)));
    }
    let case = objects(&site, "case").remove(0);
    let body = &attempts[0]["body"];
    assert_eq!((body["type"].as_str(), &body["data"]["id"]), (Some("case.created"), &case["id"]), "{body}");
    let done = until("it is noted that it is done", || {
        objects(&site, "effect").into_iter().find(|effect| effect["attributes"]["status"][0] == "done")
    });
    assert_eq!((&done["attributes"]["key"][0], &done["attributes"]["attempts"][0]), (&attempts[0]["id"], &Json::from(3)));

    // What comes next is the next event: the one before it is not sent again.
    let case = format!("case=#{}", case["id"].as_str().unwrap());
    site.succeed(&["call", "casedesk.close", &case, "reason=repaired", "--as", "desk-lund"]);
    let next = receiver.next();
    assert_ne!(next["id"], attempts[0]["id"]);
    assert_eq!((next["body"]["type"].as_str(), next["status"].as_u64()), (Some("case.changed"), Some(503)));
    assert_eq!(next["body"]["data"]["changed"], serde_json::json!(["close_reason", "closed_at", "status"]));
    assert_eq!((receiver.next()["id"].clone(), receiver.next()["status"].as_u64()), (next["id"].clone(), Some(204)));

    // What an endpoint refuses for good is given up at once, and said to be.
    site.succeed(&["call", "casedesk.reopen", &case, "--as", "desk-lund"]);
    site.succeed(&["call", "casedesk.set_priority", &case, "priority=4", "--as", "desk-lund"]);
    let refused = std::iter::repeat_with(|| receiver.next()).find(|attempt| attempt["status"] == 410).unwrap();
    let queue = until("it is given up", || {
        let queue = site.succeed(&["mail", "queue", "--as", "desk-lund"]);
        queue.contains("dead").then_some(queue)
    });
    assert!(queue.contains("the endpoint refuses it: 410") && queue.contains("Gone for good"), "{queue}");
    let status = site.succeed(&["status", "--as", "desk-lund"]);
    assert!(status.contains("1 given up") && status.contains("webhook to crm"), "{status}");
    assert_eq!(objects(&site, "effect").iter().filter(|effect| effect["attributes"]["key"][0] == refused["id"]).count(), 1);
    assert!(desk.terminate(), "it ends well");
}

#[test]
fn secret_that_is_none_is_said_when_the_front_end_starts() {
    let site = Site::found();
    let node = "name = \"desk-lund\"\nsite = \"lund\"\nlayer = 4\n";
    let endpoint = "{ endpoint = \"crm\", url = \"http://127.0.0.1:9/\", secret = \"crm.secret\" }";
    site.edit(node, &format!("{node}webhooks = [{endpoint}]\n"));
    let complaint = site.fail(&["run", "--node", "desk-lund"]);
    assert!(complaint.contains("cannot read the secret") && complaint.contains("crm.secret"), "{complaint}");
    std::fs::write(site.path("crm.secret"), "hunter2\n").unwrap();
    let complaint = site.fail(&["run", "--node", "desk-lund"]);
    assert!(complaint.contains("line 1 is no secret: write it as whsec_") && !complaint.contains("hunter2"), "{complaint}");
}

fn objects(site: &Site, entity: &str) -> Vec<Json> {
    let page: Json = serde_json::from_str(&site.succeed(&["query", entity, "--json", "--as", "desk-lund"])).unwrap();
    page["objects"].as_array().unwrap().clone()
}

/// A certificate for `localhost`, and its key.
fn self_signed(certificate: &Path, key: &Path) {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]);
    command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
    let output = command.arg(key).arg("-out").arg(certificate).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
