//! Nothing in a node may read a clock or roll dice that the world does not hold: one such line, and no seed replays any more.
//!
//! Clippy bans the calls that it can name (clippy.toml) and iteration over hash maps; this test reads the sources for the rest.

use std::path::{Path, PathBuf};

/// What runs inside a simulated node.
const INSIDE: [&str; 10] = [
    "overlay/src",
    "adapters/src",
    "node/model/src",
    "node/store/src",
    "node/logic/src",
    "node/logic/modules/src",
    "node/frontend/src",
    "node/src/node",
    "node/src/node.rs",
    "node/src/people.rs",
];

/// What must not be there, and what to use.
const UNPINNED: [(&str, &str); 19] = [
    ("SystemTime::now", "Environment::wall_clock"),
    ("std::time::Instant::now", "tokio::time::Instant::now"),
    ("thread_rng", "Environment::rng"),
    ("rand::rng()", "Environment::rng"),
    ("rand::random", "Environment::rng"),
    ("OsRng", "Environment::rng"),
    ("SysRng", "Environment::rng"),
    ("from_os_rng", "Environment::rng"),
    ("getrandom", "Environment::rng"),
    ("SystemRandom", "Environment::provider"),
    ("RandomState", "a map with an order"),
    ("thread::spawn", "Environment::workers"),
    ("thread::Builder", "Environment::workers"),
    ("thread::sleep", "tokio::time::sleep"),
    ("spawn_blocking", "Environment::workers"),
    ("block_in_place", "Environment::workers"),
    ("tokio::spawn", "Environment::tasks"),
    ("EndpointConfig::default", "EndpointConfig::new with a reset key from Environment::rng"),
    ("process::id", "Environment::rng"),
];

/// The real environment, which simulation replaces; what belongs to a state on disk or in a database, which simulation does not use; and a thread that only decodes, for whoever
/// waits for it: what comes of it, and in which order, depends on no pace.
const SHELL: [&str; 6] = [
    "overlay/src/real.rs",
    "overlay/src/environment.rs",
    "node/store/src/state/sled/database.rs",
    "node/store/src/state/sled/keeper.rs",
    "node/store/src/state/sql/link.rs",
    "node/store/src/replay/ahead.rs",
];

#[test]
fn nodes_have_no_unpinned_source_of_time_or_chance() {
    let mut found = Vec::new();
    for path in sources() {
        found.extend(complaints(&path, &std::fs::read_to_string(root().join(&path)).unwrap()));
    }
    assert!(found.is_empty(), "no seed would replay any more:\n{}", found.join("\n"));
}

#[test]
fn shell_is_where_this_test_believes_it_to_be() {
    let sources = sources();
    for path in SHELL {
        assert!(sources.iter().any(|source| source == Path::new(path)), "{path} is not there any more: shorten the list");
    }
}

#[test]
fn each_kind_of_unpinned_source_is_found() {
    let found = |text: &str| !complaints(Path::new("overlay/src/x.rs"), text).is_empty();
    for (unpinned, _) in UNPINNED {
        assert!(found(&format!("fn f() {{\n    let x = {unpinned};\n}}\n")), "{unpinned}");
        assert!(!found(&format!("fn f() {{\n    // not {unpinned}\n}}\n")), "{unpinned}");
    }
    assert!(found("use std::time::{Duration, Instant};\nlet x = Instant::now();\n"));
    assert!(!found("use std::time::Duration;\nuse tokio::time::Instant;\nlet x = Instant::now();\n"));
    assert!(found("tokio::select! {\n    // first\n    x = y => {}\n}\n"));
    assert!(!found("tokio::select! {\n    // The order is that of urgency.\n    biased;\n    x = y => {}\n}\n"));
    assert!(found("futures_util::select! { x = y => {} }\n"));
    // What only tests have is theirs.
    assert!(!found("fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() { thread_rng(); }\n}\n"));
}

/// What is wrong with a source, each with its line.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let code: Vec<&str> = text.lines().map(code_of).collect();
    let own = code.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(code.len());
    let std_instant = text.lines().any(|line| line.starts_with("use std::time::") && line.contains("Instant"));
    for (number, line) in code[..own].iter().enumerate() {
        let mut complain = |what: &str, instead: &str| found.push(format!("{}:{}: {what}; use {instead}", path.display(), number + 1));
        for (unpinned, instead) in UNPINNED {
            if line.contains(unpinned) && !SHELL.iter().any(|shell| path == Path::new(shell)) {
                complain(unpinned, instead);
            }
        }
        if std_instant && line.contains("Instant::now") {
            complain("the real clock", "tokio::time::Instant::now");
        }
        if let Some((_, rest)) = line.split_once("select!") {
            let same_line = rest.split_once('{').map_or("", |(_, rest)| rest).trim();
            let next = std::iter::once(same_line).chain(code[number + 1..].iter().map(|line| line.trim())).find(|line| !line.is_empty());
            if next != Some("biased;") {
                complain("select! without biased", "biased, and say why this order");
            }
        }
    }
    found
}

/// A line without its comment.
fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The sources of nodes, from the repository's root; files of tests left out.
fn sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    let mut left: Vec<PathBuf> = INSIDE.iter().map(PathBuf::from).collect();
    while let Some(path) = left.pop() {
        let whole = root().join(&path);
        let is_of_tests =
            path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "testing" | "testing.rs")));
        if is_of_tests {
            continue;
        }
        if whole.is_dir() {
            left.extend(std::fs::read_dir(&whole).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources.sort();
    assert!(sources.len() > 50, "only {} sources: has the tree moved?", sources.len());
    sources
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
