//! The demo's story, played by real processes.

use crate::fixture::caps;

#[test]
fn nothing_is_lost_when_leaders_and_hosts_are_killed() {
    let output = caps().args(["demo", "--once", "--json"]).output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complaint}");
    let verdict: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    for promise in ["lost", "doubled", "watch_gaps", "watch_repeats", "failed_calls"] {
        assert_eq!(verdict[promise], 0, "{promise}: {verdict}");
    }
    assert_eq!(verdict["equal_heads"], true, "{verdict}");
    assert!(verdict["acknowledged"].as_u64().unwrap() > 100, "{verdict}");
    assert_eq!(verdict["refused"], 12, "{verdict}");
    assert_eq!(verdict["write_gap_ms"]["each"].as_array().unwrap().len(), 5, "{verdict}");
    assert_eq!(verdict["replicas"].as_object().unwrap().len(), 3, "{verdict}");
}
