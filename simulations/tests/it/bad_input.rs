//! Mistakes that people make: one clear line, and exit status 2.

use std::path::Path;
use std::process::Command;

use crate::library::directory;

#[test]
fn unknown_file_is_named_with_what_a_scenario_is() {
    let complaint = fail(&["run", "/nowhere/calm.toml"]);
    assert!(complaint.contains("/nowhere/calm.toml") && complaint.contains("scenarios are files such as"), "{complaint}");
}

#[test]
fn seeds_that_are_none_are_named() {
    let calm = directory().join("calm.toml").display().to_string();
    // clap adds how the command is used: more than one line.
    for (arguments, expected) in [
        (["run", &calm, "--seed", "many"], "invalid value 'many'"),
        (["run", &calm, "--seeds", "1..x"], "\"x\" is not a seed"),
        (["run", &calm, "--seeds", "9..3"], "the range 9..3 is empty"),
        (["replay", &calm, "--seed", "-1"], "-1"),
        (["soak", &calm, "--for", "long"], "invalid value 'long'"),
    ] {
        let (status, complaint) = run(&arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
    }
}

#[test]
fn scenario_that_does_not_end_is_stopped() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("endless.toml");
    let text = std::fs::read_to_string(directory().join("calm.toml")).unwrap();
    let text = text.replace("../deployments", directory().join("../deployments").to_str().unwrap());
    std::fs::write(&path, text.replace("length = \"30s\"", "length = \"10days\"\nreal_limit = \"2s\"")).unwrap();
    let complaint = fail(&["run", path.to_str().unwrap(), "--json"]);
    assert!(complaint.contains("longer than its limit of 2s in real time: raise real_limit"), "{complaint}");
}

#[test]
fn deployment_without_links_says_between_which_sites() {
    let here = tempfile::tempdir().unwrap();
    let deployment = std::fs::read_to_string(directory().join("../deployments/nine.toml")).unwrap();
    let kept: Vec<&str> = deployment.split("\n\n").filter(|part| !part.starts_with("[[link]]")).collect();
    std::fs::write(here.path().join("caps.toml"), kept.join("\n\n")).unwrap();
    let path = here.path().join("scenario.toml");
    std::fs::write(&path, "about = \"Nothing lies between.\"\ndeployment = \"caps.toml\"\nlength = \"5s\"\n").unwrap();
    let complaint = fail(&["run", path.to_str().unwrap()]);
    assert!(
        complaint.contains("caps.toml:") && complaint.contains("nothing lies between") && complaint.contains("[[link]]"),
        "{complaint}"
    );
}

#[test]
fn deployment_that_is_not_there_is_named_with_the_line() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("scenario.toml");
    std::fs::write(&path, "about = \"Somewhere else.\"\ndeployment = \"other.toml\"\nlength = \"5s\"\n").unwrap();
    let complaint = fail(&["run", path.to_str().unwrap()]);
    assert!(complaint.contains("scenario.toml:2: there is no deployment") && complaint.contains("other.toml"), "{complaint}");
}

#[test]
fn empty_library_is_no_library() {
    let here = tempfile::tempdir().unwrap();
    let complaint = fail(&["scenarios", "--dir", here.path().to_str().unwrap()]);
    assert!(complaint.contains("there is no scenario in"), "{complaint}");
    assert!(fail(&["scenarios", "--dir", "/nowhere"]).contains("--dir"));
}

#[test]
fn deployment_taken_for_a_scenario_is_refused() {
    let nine = Path::new(&directory()).join("../deployments/nine.toml");
    let complaint = fail(&["run", nine.to_str().unwrap()]);
    assert!(complaint.contains("nine.toml:") && complaint.contains("unknown field"), "{complaint}");
}

/// Fails as it must: status 2, one line.
fn fail(arguments: &[&str]) -> String {
    let (status, complaint) = run(arguments);
    assert_eq!(status, Some(2), "{arguments:?}: {complaint}");
    assert_eq!(complaint.trim().lines().count(), 1, "{complaint}");
    complaint
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_caps-sim")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
