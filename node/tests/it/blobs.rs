//! Large values, as people bring them and get them back, over real processes that are killed and files that are damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value as Json;

use crate::fixture::Site;

/// An upload outlives the replica that took it; everybody ends up with it, also one who comes late and one whose copy was damaged.
#[test]
fn a_blob_survives_the_replica_that_took_it_comes_to_a_late_learner_and_is_repaired() {
    let site = Site::found_at("lund,kiruna,visby,oslo", 8);
    site.edit(r#", "store-oslo"]"#, "]");
    let mut stores: Vec<_> = VOTERS.iter().map(|node| Some(site.start(node))).collect();
    let _host = site.start("host-lund");
    let case = a_case(&site);
    let file = site.path("large");
    fs::write(&file, content()).unwrap();
    let file = file.to_str().unwrap();

    let unknown = format!("content=blob:{}:70000", "ab".repeat(32));
    let refusal = site.fail(&["call", "casedesk.attach", &format!("case={case}"), "name=x", &unknown, "--as", "desk-lund"]);
    assert!(refusal.contains("no replica that could be asked has blob:abab"), "{refusal}");

    // The replica that takes it is killed in the middle.
    let mut put = site.caps(&["blob", "put", file, "--json", "--as", "desk-lund", "--timeout", "60s"]);
    let put = put.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let taker = wait_for(|| VOTERS.iter().position(|node| !blobs_of(&site, node, ".part").is_empty()));
    stores[taker] = None;
    let output = put.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stored: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert!(stored["voters"].as_u64().unwrap() >= 2, "{stored}");
    stores[taker] = Some(site.start(VOTERS[taker]));
    // Once more sends nothing.
    let again: Json = serde_json::from_str(&site.succeed(&["blob", "put", file, "--json", "--as", "desk-lund"])).unwrap();
    assert_eq!((&again["blob"], &again["sent"]), (&stored["blob"], &Json::from(0)));

    let blob = format!("content={}", stored["blob"].as_str().unwrap());
    let called = site.succeed(&["call", "casedesk.attach", &format!("case={case}"), "name=large", &blob, "--as", "desk-lund", "--json"]);
    let called: Json = serde_json::from_str(&called).unwrap();
    let document = called["result"]["document"][0].as_str().unwrap();
    let out = site.path("out");
    site.succeed(&["blob", "get", document, "content", "--out", out.to_str().unwrap(), "--as", "desk-lund"]);
    assert!(fs::read(&out).unwrap() == content());
    let at = called["position"].to_string();
    let part = ["blob", "get", document, "content", "--offset", "262000", "--length", "1000", "--at", &at, "--as", "desk-lund"];
    let output = site.run(&part);
    assert!(output.stdout == content()[262_000..263_000], "{}", String::from_utf8_lossy(&output.stderr));
    let refusal = site.fail(&["blob", "get", document, "content", "--as", "desk-kiruna"]);
    assert!(refusal.contains("no blob that you may read is there"), "{refusal}");

    let _oslo = site.start("store-oslo");
    // On a machine that is busy with other tests it may not be heard at once.
    wait_for(|| site.run(&["cabinet", "add-learner", "store-oslo"]).status.success().then_some(()));
    for node in VOTERS.iter().chain(&["store-oslo"]) {
        wait_for(|| (whole(&site, node).len() == 1).then_some(()));
    }

    stores[1] = None;
    let damaged = whole(&site, VOTERS[1]).remove(0);
    let undamaged = fs::read(&damaged).unwrap();
    let mut bytes = undamaged.clone();
    bytes[undamaged.len() / 2] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    stores[1] = Some(site.start(VOTERS[1]));
    wait_for(|| (blobs_of(&site, VOTERS[1], ".damaged-1").len() == 1 && whole(&site, VOTERS[1]).len() == 1).then_some(()));
    assert!(fs::read(&damaged).unwrap() == undamaged);
}

/// Files that are no blobs, objects that are none, and attributes that hold none.
#[test]
fn what_is_no_blob_is_said_to_be_none() {
    let site = Site::found();
    let _store = site.start("store-lund");
    let _host = site.start("host-lund");
    assert!(site.fail(&["blob", "put", "no-such-file"]).contains("cannot read no-such-file"));
    let directory = site.path("certs");
    assert!(site.fail(&["blob", "put", directory.to_str().unwrap()]).contains("is no file"));
    assert!(site.fail(&["blob", "get", "x", "content"]).contains("'x' is no object"));
    let case = a_case(&site);
    assert!(site.fail(&["blob", "get", &case, "subject", "--as", "desk-lund"]).contains("not_found[subject]"));
    let empty = site.path("empty");
    fs::write(&empty, b"").unwrap();
    let blob = site.succeed(&["blob", "put", empty.to_str().unwrap(), "--as", "desk-lund"]);
    assert!(blob.starts_with("blob:") && blob.trim_end().ends_with(":0"), "{blob}");
}

/// A case that the desk may work on.
pub(crate) fn a_case(site: &Site) -> String {
    for group in ["desk", "gateway"] {
        site.succeed(&["call", "people.add_group", &format!("name={group}"), "--as", "admin"]);
    }
    site.succeed(&["call", "people.add_user", "login=desk-lund", "name=Desk", "groups=desk", "--as", "admin"]);
    let node = "node=spiffe://caps.example/site/lund/layer/4/desk-lund";
    site.succeed(&["call", "people.bind_node", "login=desk-lund", node, "--as", "admin"]);
    let mail = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/mail/01-pump-larmar-mejeriet.eml");
    site.succeed(&["file", mail.to_str().unwrap(), "--as", "desk-lund"]);
    let cases: Json = serde_json::from_str(&site.succeed(&["query", "case", "--as", "desk-lund", "--json"])).unwrap();
    format!("#{}", cases["objects"][0]["id"].as_str().unwrap())
}

/// 20 MiB and some, in which no two chunks are equal.
fn content() -> Vec<u8> {
    (0..20_971_600_u32).map(|at| u8::try_from((at / 1_000 + at) % 251).unwrap()).collect()
}

/// The files of whole blobs that a node keeps.
pub(crate) fn whole(site: &Site, node: &str) -> Vec<PathBuf> {
    blobs_of(site, node, "").into_iter().filter(|path| path.file_name().is_some_and(|name| name.len() == 69)).collect()
}

fn blobs_of(site: &Site, node: &str, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(site.path("data").join(node).join("main")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("blob-") && name.to_string_lossy().ends_with(ending))
    };
    paths.filter(is_one).collect()
}

/// Looks until it is there; seconds, on a busy machine.
#[expect(clippy::disallowed_methods, reason = "these are real processes in real time")]
pub(crate) fn wait_for<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..4_000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("it never came to that");
}

const VOTERS: [&str; 3] = ["store-lund", "store-kiruna", "store-visby"];
