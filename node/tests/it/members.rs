//! Who keeps the cabinet, as an administrator sees and changes it.

use serde_json::Value as Json;

use crate::fixture::Site;

/// A replica is added from nothing, gets a vote, leads; then the first one goes.
#[test]
fn a_cabinet_moves_from_one_site_to_another() {
    let site = Site::found_at("lund,kiruna", 4);
    site.edit("voters = [\"store-lund\", \"store-kiruna\"]", "voters = [\"store-lund\"]\nsurvives = \"site\"");
    let _lund = site.start("store-lund");
    let _host = site.start("host-lund");
    site.succeed(&["call", "people.add_group", "name=pump", "--as", "admin"]);
    let picture = site.succeed(&["cabinet"]);
    assert!(picture.contains("store-lund leads"), "{picture}");
    assert!(picture.contains("survives a site (the goal): no: without lund 0 of 1 voters are left, and 1 are needed"), "{picture}");

    let complaint = site.fail(&["cabinet", "add-learner", "store-kiruna"]);
    assert!(complaint.contains("store-kiruna does not answer: start it first"), "{complaint}");
    let kiruna = site.start("store-kiruna");
    assert!(site.fail(&["cabinet", "promote", "store-kiruna"]).contains("add it first with `caps cabinet add-learner store-kiruna`"));
    site.succeed(&["cabinet", "add-learner", "store-kiruna"]);
    wait_until(&site, |picture| part(picture, "store-kiruna") == "learner" && behind(picture, "store-kiruna") == 0);
    site.succeed(&["cabinet", "promote", "store-kiruna"]);
    site.succeed(&["cabinet", "transfer", "store-kiruna"]);
    let picture = wait_until(&site, |picture| part(picture, "store-kiruna") == "leader");
    assert!(picture["commit_cost_us"]["lund"].is_u64(), "{picture}");
    site.succeed(&["call", "people.add_group", "name=valve", "--as", "admin"]);
    let said = site.succeed(&["cabinet", "remove", "store-lund"]);
    assert!(said.contains("store-lund does not keep the cabinet any more"), "{said}");
    wait_until(&site, |picture| part(picture, "store-lund") == "outside");
    assert!(site.fail(&["cabinet", "remove", "store-kiruna"]).contains("store-kiruna is the last voter"));
    assert!(site.fail(&["cabinet", "remove", "host-lund"]).contains("host-lund is of layer 2"));
    // The file still names the one that has left; the log counts, also after a restart.
    assert!(kiruna.terminate());
    let _kiruna = site.start("store-kiruna");
    wait_until(&site, |picture| part(picture, "store-kiruna") == "leader");
    let groups = site.succeed(&["query", "group", "--as", "admin"]);
    assert!(groups.contains("pump") && groups.contains("valve"), "{groups}");
}

/// Asks until the picture is as wanted. An election and a repair take seconds.
#[expect(clippy::disallowed_methods, reason = "these are real processes in real time")]
fn wait_until(site: &Site, is_so: impl Fn(&Json) -> bool) -> Json {
    let mut last = String::new();
    for _ in 0..60 {
        let output = site.run(&["cabinet", "--json"]);
        last = String::from_utf8(output.stdout).unwrap();
        if let Ok(picture) = serde_json::from_str(&last)
            && is_so(&picture)
        {
            return picture;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    panic!("it never came to that: {last}");
}

fn member<'a>(picture: &'a Json, node: &str) -> &'a Json {
    let members = picture["members"].as_array().unwrap();
    members.iter().find(|member| member["node"] == node).unwrap()
}

fn part<'a>(picture: &'a Json, node: &str) -> &'a str {
    member(picture, node)["part"].as_str().unwrap()
}

fn behind(picture: &Json, node: &str) -> u64 {
    member(picture, node)["behind"].as_u64().unwrap_or(u64::MAX)
}
