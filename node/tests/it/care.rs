//! A cabinet is backed up, lost and brought back; and a disk fills up.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::fixture::{Process, Site};

/// Work, a backup, more work, the next backup, work that no backup has; then everything is lost, and comes back as it was at a position.
#[test]
fn a_lost_cabinet_comes_back_from_its_backup() {
    let site = Site::found_at("lund,goteborg,kiruna", 6);
    let backup = site.path("backup");
    let backup = backup.to_str().unwrap();
    let running = start(&site);
    let commits: Vec<String> = (1..=3).map(|number| add_group(&site, number)).collect();
    let first = backed_up(&site, &["backup", backup]);
    assert_eq!((&first["position"], &first["verified"]), (&Json::from(3), &Json::from(true)));
    let fourth = add_group(&site, 4);
    let second = backed_up(&site, &["backup", backup, "--from", "store-kiruna"]);
    assert_eq!((&second["position"], &second["added"]), (&Json::from(4), &Json::from(1)));
    let lost = add_group(&site, 5);
    assert!(site.fail(&["backup", backup, "--from", "host-lund"]).contains("host-lund is of layer 2"));
    assert!(site.fail(&["backup", backup, "--as", "desk-lund"]).contains("no replica sent all of it"));

    let complaint = site.fail(&["restore", "--node", "store-lund", "--from", backup]);
    assert!(complaint.contains("does it run? stop it first"), "{complaint}");
    drop(running);
    site.succeed(&["check", "--state"]);
    let complaint = site.fail(&["restore", "--node", "store-lund", "--from", backup]);
    assert!(complaint.contains("have it set aside with --set-aside"), "{complaint}");
    let complaint = site.fail(&["restore", "--node", "store-lund", "--from", backup, "--to", "5", "--set-aside"]);
    assert!(complaint.contains("the backup ends at position 4: 5 is not in it"), "{complaint}");
    std::fs::remove_dir_all(site.path("data/store-kiruna/main")).unwrap();
    for store in STORES {
        let said = site.succeed(&["restore", "--node", store, "--from", backup, "--to", "3", "--set-aside", "--json"]);
        let restored: Json = serde_json::from_str(&said).unwrap();
        assert_eq!((&restored["position"], &restored["available"]), (&Json::from(3), &Json::from(4)));
        assert_eq!(restored["chain_head"], first["chain_head"]);
    }
    let checked = site.succeed(&["check", "--node", "store-lund"]);
    assert!(checked.contains("set aside: quarantine-0001-journal-0000000001"), "{checked}");

    let running = start(&site);
    let groups = site.succeed(&["query", "group", "--as", "admin"]);
    assert!(groups.contains("group-3") && !groups.contains("group-4"), "{groups}");
    assert!(!site.succeed(&["query", "group", "--as", "admin", "--at", "1"]).contains("group-2"));
    for (commit, position) in commits.iter().zip(1..) {
        assert_eq!(outcome(&site, commit), format!("accepted at position {position}"));
    }
    // What was acknowledged later is not said to have happened.
    for commit in [&fourth, &lost] {
        assert_eq!(outcome(&site, commit), "it has not happened yet; with --seal it never will");
    }
    add_group(&site, 6);
    // The old backup is of what happened otherwise.
    let complaint = site.fail(&["backup", backup]);
    assert!(complaint.contains("the backup is of another history"), "{complaint}");
    drop(running);

    // And once more, all of it, at two of three: the third one begins with nothing and is let in.
    std::fs::remove_dir_all(site.path("data")).unwrap();
    for store in &STORES[..2] {
        site.succeed(&["restore", "--node", store, "--from", backup]);
    }
    let _running = start(&site);
    assert_eq!(outcome(&site, &fourth), "accepted at position 4");
    until(&site, &["cabinet", "--json"], |picture| {
        let kiruna =
            picture["members"].as_array().unwrap().iter().find(|member| member["node"] == "store-kiruna" && !member["position"].is_null());
        kiruna.is_some_and(|kiruna| kiruna["part"] == "voter" || kiruna["part"] == "leader")
    });
}

/// A backup that lost its end, or a bit, is found out; what only looks so is not.
#[test]
fn a_damaged_backup_is_named() {
    let site = Site::found();
    let store = site.start("store-lund");
    let _host = site.start("host-lund");
    add_group(&site, 1);
    let (whole, cut, flipped) = (site.path("whole"), site.path("cut"), site.path("flipped"));
    site.succeed(&["backup", whole.to_str().unwrap()]);
    // Up to here the segment is used after the first one.
    let at_second = std::fs::read(whole.join(SEGMENT)).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    add_group(&site, 2);
    site.succeed(&["backup", whole.to_str().unwrap(), "--no-verify"]);
    let check = |directory: &Path| site.run(&["check", directory.to_str().unwrap()]);
    assert!(check(&whole).status.success());
    for copy in [&cut, &flipped] {
        std::fs::create_dir(copy).unwrap();
        for name in ["backup.json", SEGMENT] {
            std::fs::copy(whole.join(name), copy.join(name)).unwrap();
        }
    }
    let mut bytes = std::fs::read(whole.join(SEGMENT)).unwrap();
    bytes[400] ^= 4;
    std::fs::write(flipped.join(SEGMENT), &bytes).unwrap();
    let said = String::from_utf8(check(&flipped).stdout).unwrap();
    assert!(said.contains("NOT SOUND: journal-0000000001 is damaged at offset"), "{said}");
    // All from the second backup on is gone, without a trace in the journal itself.
    bytes[400] ^= 4;
    bytes.truncate(at_second);
    std::fs::write(cut.join(SEGMENT), &bytes).unwrap();
    let output = check(&cut);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("journal: sound") && said.contains("the end of the backup is lost"), "{said}");
    drop(store);
    let complaint = site.fail(&["restore", "--node", "store-lund", "--from", cut.to_str().unwrap(), "--set-aside"]);
    assert!(complaint.contains("its end is lost"), "{complaint}");
}

/// Refused early, said so, reads go on, and it ends in good order.
#[test]
fn a_replica_whose_disk_is_nearly_full_refuses_commits_and_serves_reads() {
    let site = Site::found();
    let Some(disk) = SmallDisk::mount(&site.path("data/store-lund"), 110) else { return };
    let store = site.start("store-lund");
    let host = site.start("host-lund");
    add_group(&site, 1);
    let filler = disk.path.join("filler");
    std::fs::write(&filler, vec![1; 40 << 20]).unwrap();
    let complaint = until_it_fails(&site);
    assert!(complaint.contains("the disk of store-lund, which leads, is nearly full: make room there"), "{complaint}");
    let groups = site.succeed(&["query", "group", "--as", "admin"]);
    assert!(groups.contains("group-1"), "{groups}");
    drop(host);
    assert!(store.terminate(), "it ends in good order");
    site.succeed(&["check", "--node", "store-lund"]);
    std::fs::remove_file(&filler).unwrap();
    let _store = site.start("store-lund");
    let _host = site.start("host-lund");
    add_group(&site, 2);
}

/// A file system of its own, in memory.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// `None`, and a word about it, where this process may not mount.
    fn mount(path: &Path, size_mib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size_mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: it takes root to mount a small disk");
            return None;
        }
        Some(Self { path: path.to_owned() })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may have it open still.
        Command::new("umount").arg("-l").arg(&self.path).status().ok();
    }
}

fn start(site: &Site) -> Vec<Process> {
    let stores = STORES.map(|store| site.start(store));
    let mut running: Vec<Process> = stores.into();
    running.push(site.start("host-lund"));
    running
}

/// Makes a commit and says which.
fn add_group(site: &Site, number: u32) -> String {
    let name = format!("name=group-{number}");
    let said = site.succeed(&["call", "people.add_group", &name, "--as", "admin"]);
    let commit = said.lines().find_map(|line| line.strip_prefix("commit ")?.split(' ').next().map(str::to_owned));
    commit.unwrap_or_else(|| panic!("no commit in {said}"))
}

fn backed_up(site: &Site, arguments: &[&str]) -> Json {
    serde_json::from_str(&site.succeed(&[arguments, &["--json"]].concat())).unwrap()
}

fn outcome(site: &Site, commit: &str) -> String {
    site.succeed(&["outcome", commit, "--as", "admin"]).trim().to_owned()
}

/// Asks until the answer is as wanted.
#[expect(clippy::disallowed_methods, reason = "these are real processes in real time")]
fn until(site: &Site, arguments: &[&str], is_so: impl Fn(&Json) -> bool) {
    let mut last = String::new();
    for _ in 0..120 {
        last = String::from_utf8(site.run(arguments).stdout).unwrap();
        if serde_json::from_str(&last).is_ok_and(|answer| is_so(&answer)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    panic!("it never came to that: {last}");
}

/// Makes commits until one is refused: a disk is looked at a few times a second.
fn until_it_fails(site: &Site) -> String {
    for number in 0..20 {
        let output = site.run(&["call", "people.add_group", &format!("name=more-{number}"), "--as", "admin", "--timeout", "3s"]);
        if !output.status.success() {
            return String::from_utf8(output.stderr).unwrap();
        }
    }
    panic!("commits go on succeeding");
}

const STORES: [&str; 3] = ["store-goteborg", "store-kiruna", "store-lund"];
const SEGMENT: &str = "journal-0000000001";
