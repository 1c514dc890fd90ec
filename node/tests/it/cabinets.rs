//! Several cabinets in the processes of one deployment.

use crate::fixture::{Site, caps};

/// Two replicas that each keep two cabinets, and a host for each cabinet.
fn two_cabinets() -> Site {
    let site = Site::found_at("lund,kiruna", 4);
    site.edit("[cabinet]", "[[cabinet]]");
    let personnel = "[[cabinet]]\nname = \"personnel\"\nvoters = [\"store-lund\", \"store-kiruna\"]\n\n[[site]]";
    site.edit("[[site]]", personnel);
    site.edit("name = \"host-kiruna\"", "name = \"host-kiruna\"\ncabinet = \"personnel\"");
    site.edit("name = \"desk-kiruna\"", "name = \"desk-kiruna\"\ncabinet = \"personnel\"");
    site
}

#[test]
fn what_is_in_one_cabinet_is_not_in_the_other_and_both_survive_a_kill() {
    let site = two_cabinets();
    let (lund, kiruna) = (site.start("store-lund"), site.start("store-kiruna"));
    let (_main, _personnel) = (site.start("host-lund"), site.start("host-kiruna"));
    let add = |cabinet: &str, name: &str| {
        site.succeed(&["call", "people.add_group", &format!("name={name}"), "--as", "admin", "--cabinet", cabinet]);
    };
    let groups = |cabinet: &str| site.succeed(&["query", "group", "--as", "admin", "--cabinet", cabinet]);
    add("main", "pump");
    add("personnel", "payroll");
    let both = |name: &str, other: &str, groups: &str| assert!(groups.contains(name) && !groups.contains(other), "{groups}");
    both("pump", "payroll", &groups("main"));
    both("payroll", "pump", &groups("personnel"));
    // A front end works with its own cabinet, unless another is named.
    let status = site.succeed(&["status", "--as", "desk-kiruna"]);
    assert!(status.contains("host-kiruna") && !status.contains("host-lund"), "{status}");
    let status = site.succeed(&["status"]);
    assert!(status.contains("host-lund") && !status.contains("host-kiruna"), "the first front end works with the other one: {status}");
    let picture = site.succeed(&["cabinet", "--cabinet", "personnel"]);
    assert!(picture.starts_with("cabinet personnel: store-"), "{picture}");
    site.succeed(&["cabinet", "transfer", "store-kiruna", "--cabinet", "personnel"]);
    site.succeed(&["cabinet", "transfer", "store-lund"]);

    drop(kiruna);
    let kiruna = site.start("store-kiruna");
    add("main", "valve");
    add("personnel", "holidays");
    both("valve", "holidays", &groups("main"));
    both("holidays", "valve", &groups("personnel"));

    // A file of another company, or of the past, finds nobody rather than somebody else's cabinet.
    let file = std::fs::read_to_string(site.path("caps.toml")).unwrap();
    std::fs::write(site.path("other.toml"), file.replace("\"personnel\"", "\"salaries\"")).unwrap();
    let mut other = caps();
    other.arg("--config").arg(site.path("other.toml")).args([
        "query",
        "group",
        "--as",
        "admin",
        "--cabinet",
        "salaries",
        "--timeout",
        "2s",
    ]);
    let complaint = String::from_utf8(other.output().unwrap().stderr).unwrap();
    assert!(
        complaint.contains("any node of layer 2 that offers this is not known here") || complaint.contains("no such service"),
        "{complaint}"
    );
    assert!(site.fail(&["query", "group", "--cabinet", "salaries"]).contains("there is no cabinet \"salaries\"; it has main, personnel"));

    let backup = site.path("backup").display().to_string();
    let said = site.succeed(&["backup", &backup, "--cabinet", "personnel"]);
    assert!(said.contains("backed up personnel from"), "{said}");
    assert!(site.fail(&["backup", &backup]).contains("personnel"));
    let heads = ["main", "personnel"].map(|cabinet| site.succeed(&["audit", "head", "--cabinet", cabinet]));
    assert_ne!(heads[0], heads[1]);

    assert!(lund.terminate() && kiruna.terminate());
    let checked = site.succeed(&["check", "--node", "store-lund"]);
    assert!(checked.contains("data/store-lund/main") && checked.contains("data/store-lund/personnel"), "{checked}");
    let checked = site.succeed(&["check", "--node", "store-lund", "--cabinet", "personnel"]);
    assert!(!checked.contains("data/store-lund/main"), "{checked}");
    let complaint = site.fail(&["restore", "--node", "store-lund", "--from", &backup]);
    assert!(complaint.contains("store-lund keeps main, personnel: say which one with --cabinet NAME"), "{complaint}");
}

#[test]
fn a_journal_that_lies_where_it_lay_once_is_not_overlooked() {
    let site = Site::found();
    let replica = site.start("store-lund");
    assert!(replica.terminate());
    for entry in std::fs::read_dir(site.path("data/store-lund/main")).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), site.path("data/store-lund").join(entry.file_name())).unwrap();
    }
    let complaint = site.fail(&["run", "--node", "store-lund"]);
    assert!(complaint.contains("each cabinet has a directory of its own now: move what is there into"), "{complaint}");
}
