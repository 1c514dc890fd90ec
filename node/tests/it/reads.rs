//! How fresh a read is, as whoever asks decides.

use serde_json::Value as Json;

use crate::fixture::Site;

/// One replica alone still answers from what it has; that nothing is newer anywhere, it cannot know.
#[test]
fn linearizable_read_needs_a_majority_and_others_do_not() {
    let site = Site::found_at("lund,malmo,kiruna", 6);
    let stores = [site.start("store-lund"), site.start("store-malmo"), site.start("store-kiruna")];
    let _host = site.start("host-lund");
    let called: Json = serde_json::from_str(&site.succeed(&["call", "people.add_group", "name=pump", "--as", "admin", "--json"])).unwrap();
    let position = called["position"].as_u64().unwrap();
    let groups = site.succeed(&["query", "group", "--as", "admin", "--linearizable"]);
    assert!(groups.contains("pump"), "{groups}");
    let groups = site.succeed(&["query", "group", "--as", "admin", "--at-least", &position.to_string()]);
    assert!(groups.contains("pump"), "{groups}");
    let complaint = site.fail(&["query", "group", "--as", "admin", "--at-least", "1000000", "--timeout", "2s"]);
    assert!(complaint.contains("no replica that can be asked has come to position 1000000"), "{complaint}");

    let [lund, malmo, kiruna] = stores;
    drop((malmo, kiruna));
    let complaint = site.fail(&["query", "group", "--as", "admin", "--linearizable", "--timeout", "3s"]);
    assert!(complaint.contains("no answer within"), "{complaint}");
    assert!(site.succeed(&["query", "group", "--as", "admin"]).contains("pump"));
    drop(lund);
}
