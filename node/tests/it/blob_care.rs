//! Blobs are backed up, examined, restored and obliterated, over real processes and files.

use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;

use crate::blobs::{a_case, wait_for, whole};
use crate::fixture::{Process, Site};

/// The whole way: two backups, damage found, a restore to an earlier moment and to the present, from a backup and from one without blobs.
#[test]
fn blobs_go_with_backups_and_come_back() {
    let site = Site::found_at("lund,kiruna,visby", 6);
    let running = start(&site);
    let case = a_case(&site);
    let first = attach(&site, &case, "first", 1);
    let backup = site.path("backup");
    let backup = backup.to_str().unwrap();
    let made = json(&site, &["backup", backup]);
    assert_eq!((&made["blobs"]["count"], &made["blobs"]["added"]), (&Json::from(1), &Json::from(1)), "{made}");
    let moment = made["position"].to_string();
    let second = attach(&site, &case, "second", 2);
    let made = json(&site, &["backup", backup]);
    assert_eq!((&made["blobs"]["count"], &made["blobs"]["added"]), (&Json::from(2), &Json::from(1)), "{made}");
    assert_eq!(made["blobs"]["sent_bytes"], Json::from(SIZE));
    let manifest: Json = serde_json::from_slice(&fs::read(site.path("backup/backup.json")).unwrap()).unwrap();
    assert_eq!(manifest["blobs"], serde_json::json!({"count": 2, "size_bytes": 2 * SIZE}));

    // What is damaged is named, and mended by the next backup; so is what is cut short or gone.
    let file = PathBuf::from(backup).join(file_of(&first.blob));
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[good.len() - 1] ^= 1;
    for damage in [Some(bad), Some(good[..1_000].to_vec()), None] {
        match &damage {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let output = site.run(&["check", backup]);
        let said = String::from_utf8(output.stdout).unwrap();
        let word = if damage.is_some() { "damaged" } else { "missing" };
        assert!(!output.status.success() && said.contains(&format!("{word}: {}", first.blob)), "{said}");
        assert_eq!(json(&site, &["backup", backup])["blobs"]["added"], 1);
        assert!(fs::read(&file).unwrap() == good);
    }
    let said = site.succeed(&["check", backup]);
    assert!(said.contains("blobs: 2 proven"), "{said}");
    running.into_iter().for_each(|process| assert!(process.terminate()));
    let said = site.succeed(&["check", "--node", "store-lund", "--json"]);
    assert_eq!(serde_json::from_str::<Json>(&said).unwrap()["blobs"]["whole"], 2);

    // Everything is lost; back to before the second one.
    fs::remove_dir_all(site.path("data")).unwrap();
    for store in VOTERS {
        let restored = json(&site, &["restore", "--node", store, "--from", backup, "--to", &moment]);
        assert_eq!(restored["blobs"]["copied"], 1, "{restored}");
        assert_eq!(whole(&site, store).len(), 1);
    }
    let running = start(&site);
    assert!(got(&site, &first.document) == content(1));
    drop(running);

    // A blob that no source has is in the way, unless it is said that it is not.
    fs::remove_dir_all(site.path("data")).unwrap();
    fs::rename(&file, site.path("kept")).unwrap();
    let complaint = site.fail(&["restore", "--node", VOTERS[0], "--from", backup]);
    assert!(complaint.contains(&first.blob) && complaint.contains("--without-blobs"), "{complaint}");
    assert!(!site.path(format!("data/{}/main/journal-0000000001", VOTERS[0])).exists());
    let restored = json(&site, &["restore", "--node", VOTERS[0], "--from", backup, "--without-blobs"]);
    assert_eq!(restored["blobs"]["missing"], serde_json::json!([first.blob]));
    fs::remove_dir_all(site.path("data")).unwrap();
    // As the release before made them.
    let path = site.path("backup/backup.json");
    let mut old = manifest;
    old.as_object_mut().unwrap().remove("blobs");
    fs::write(&path, old.to_string()).unwrap();
    let said = site.succeed(&["check", backup]);
    assert!(said.contains("left them out") && said.contains(&first.blob), "{said}");
    for store in VOTERS {
        let said = site.succeed(&["restore", "--node", store, "--from", backup]);
        assert!(said.contains("1 blobs are MISSING: the release that made the backup left them out"), "{said}");
    }
    let _running = start(&site);
    assert!(got(&site, &second.document) == content(2));
}

/// A blob goes with the last value that names it: from every replica, from the next backup, and from what an older backup gives.
#[test]
fn a_blob_goes_with_the_last_value_that_names_it() {
    let site = Site::found_at("lund,kiruna,visby", 6);
    let mut stores: Vec<_> = VOTERS.iter().map(|node| Some(site.start(node))).collect();
    let host = site.start("host-lund");
    let case = a_case(&site);
    let one = attach(&site, &case, "one", 1);
    let other = attach(&site, &case, "other", 1);
    let backup = site.path("backup");
    let backup = backup.to_str().unwrap();
    site.succeed(&["backup", backup]);
    let name = PathBuf::from(backup).join(file_of(&one.blob));
    let obliterate = |document: &str| {
        json(&site, &["obliterate", document, "content", "--reason", "asked for", "--yes", "--as", "admin", "--timeout", "20s"])
    };
    let told = obliterate(&one.document);
    assert_eq!(told["blobs_left"], serde_json::json!([one.blob]), "{told}");
    assert!(got(&site, &other.document) == content(1));

    // One is away, and does it when it comes back.
    stores[2] = None;
    let told = obliterate(&other.document);
    assert_eq!((&told["blobs_left"], &told["carried_out_everywhere"]), (&serde_json::json!([]), &Json::from(false)), "{told}");
    let taken = told["nodes"].as_array().unwrap().iter().filter(|node| node["blobs_taken"] == 1).count();
    assert_eq!(taken, 2, "{told}");
    for store in &VOTERS[..2] {
        assert_eq!(whole(&site, store).len(), 0, "{store}");
    }
    assert_eq!(whole(&site, VOTERS[2]).len(), 1);
    stores[2] = Some(site.start(VOTERS[2]));
    wait_for(|| whole(&site, VOTERS[2]).is_empty().then_some(()));
    let refusal = site.fail(&["blob", "get", &other.document, "content", "--as", "desk-lund"]);
    assert!(refusal.contains("no blob that you may read is there"), "{refusal}");

    // The backup of then is of then; whoever restores it on a node that knows better is told, and nothing comes back.
    for store in &mut stores {
        assert!(store.take().unwrap().terminate());
    }
    let restore = ["restore", "--node", VOTERS[0], "--from", backup, "--set-aside"];
    let complaint = site.fail(&restore);
    assert!(complaint.contains("knows of 2 obliterations") && complaint.contains("--obliterations-from"), "{complaint}");
    let old = site.path("old");
    let old = old.to_str().unwrap();
    let data = site.path("data");
    fs::rename(&data, old).unwrap();
    fs::create_dir(&data).unwrap();
    let own = format!("{old}/{}/main", VOTERS[0]);
    let restored = json(&site, &["restore", "--node", VOTERS[0], "--from", backup, "--obliterations-from", &own]);
    assert_eq!((&restored["obliterations_carried"], &restored["blobs"]["copied"]), (&Json::from(2), &Json::from(1)), "{restored}");
    assert_eq!(whole(&site, VOTERS[0]).len(), 1, "until it starts");
    fs::remove_dir_all(&data).unwrap();
    fs::rename(old, &data).unwrap();
    VOTERS.iter().zip(&mut stores).for_each(|(node, store)| *store = Some(site.start(node)));

    // The next backup has it no more.
    assert!(name.exists());
    let made = json(&site, &["backup", backup]);
    assert_eq!((&made["blobs"]["count"], &made["blobs"]["removed"]), (&Json::from(0), &Json::from(1)), "{made}");
    assert!(!name.exists());
    site.succeed(&["check", backup]);
    // Whoever brings it later brings a new one.
    let again = attach(&site, &case, "again", 1);
    assert!(got(&site, &again.document) == content(1));
    drop(host);
    drop(stores);
    site.succeed(&["check"]);
}

/// What was set aside is listed, and goes when that is asked for; a node without a journal keeps it.
#[test]
fn what_was_set_aside_is_removed_when_asked_for() {
    let site = Site::found();
    let store = site.start("store-lund");
    let _host = site.start("host-lund");
    site.succeed(&["call", "people.add_group", "name=Rumpelstilzchen", "--as", "admin"]);
    let purge = ["check", "--node", "store-lund", "--purge-quarantined"];
    assert!(site.fail(&purge).contains("does its node run? stop it first"));
    assert!(store.terminate());
    assert!(site.succeed(&purge).contains("nothing was set aside"));
    let backup = site.path("copy");
    fs::create_dir(&backup).unwrap();
    let data = site.path("data/store-lund/main");
    fs::copy(data.join("journal-0000000001"), backup.join("journal-0000000001")).unwrap();
    site.succeed(&["restore", "--node", "store-lund", "--from-peers"]);
    let listed = site.succeed(&purge);
    assert!(listed.contains("quarantine-0001-journal-0000000001, 16.00 MiB") && listed.contains("state.quarantine-1, "), "{listed}");
    assert!(listed.contains("say --yes"), "{listed}");
    let needed = [&purge[..], &["--yes"]].concat();
    assert!(site.fail(&needed).contains("there is no journal yet"));
    site.succeed(&["restore", "--node", "store-lund", "--from", backup.to_str().unwrap()]);
    let said = json(&site, &needed);
    assert_eq!(said["removed"], 2, "{said}");
    let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.contains("quarantine")), "{names:?}");
    let _store = site.start("store-lund");
    assert!(site.succeed(&["query", "group", "--as", "admin"]).contains("Rumpelstilzchen"));
}

struct Attached {
    blob: String,
    document: String,
}

fn start(site: &Site) -> Vec<Process> {
    let mut running: Vec<Process> = VOTERS.iter().map(|store| site.start(store)).collect();
    running.push(site.start("host-lund"));
    running
}

/// Brings a blob and attaches it to a case.
fn attach(site: &Site, case: &str, name: &str, seed: u8) -> Attached {
    let file = site.path(name);
    fs::write(&file, content(seed)).unwrap();
    let blob = site.succeed(&["blob", "put", file.to_str().unwrap(), "--as", "desk-lund", "--timeout", "30s"]).trim().to_owned();
    let (case, content) = (format!("case={case}"), format!("content={blob}"));
    let called = json(site, &["call", "casedesk.attach", &case, &format!("name={name}"), &content, "--as", "desk-lund"]);
    let document = called["result"]["document"][0].as_str().unwrap().to_owned();
    Attached { blob, document }
}

fn got(site: &Site, document: &str) -> Vec<u8> {
    let out = site.path("got");
    site.succeed(&["blob", "get", document, "content", "--out", out.to_str().unwrap(), "--as", "desk-lund"]);
    fs::read(out).unwrap()
}

fn json(site: &Site, arguments: &[&str]) -> Json {
    serde_json::from_str(&site.succeed(&[arguments, &["--json"]].concat())).unwrap()
}

/// Two chunks and a bit.
fn content(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|at| u8::try_from((at / 1_000 + at) % 251).unwrap() ^ seed).collect()
}

fn file_of(blob: &str) -> String {
    format!("blob-{}", blob.split(':').nth(1).unwrap())
}

const SIZE: u64 = 600_000;
const VOTERS: [&str; 3] = ["store-lund", "store-kiruna", "store-visby"];
