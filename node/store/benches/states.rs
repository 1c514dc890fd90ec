//! The same cabinet in every state, side by side: in memory, in sled, in SQLite, in PostgreSQL and in MariaDB.
//!
//! `cargo bench -p caps-store --bench states -- [OBJECTS]`, 20,000 if not given. The databases are servers of their own on this machine; one that is
//! not installed is left out.

mod shared;

use std::fs;
use std::path::{Path, PathBuf};

use caps_adapters::sql::{Dialect, LocalServer, Target};
use caps_model::ObjectId;
use caps_model::messages::Get;
use caps_overlay::Rng;
use caps_store::cabinet::{Cabinet, Proposed, admit};
use caps_store::state::{MemoryState, SledState, SqlPlace, SqlState, State};

use self::shared::{case, commit, now, per_second, queries, say};

fn main() {
    let objects = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20_000);
    let directory = std::env::temp_dir().join(format!("caps-bench-states-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("the temporary directory can be written");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    side_by_side(objects, &directory, &runtime);
    fs::remove_dir_all(&directory).expect("what was made can be removed");
}

fn side_by_side(objects: u64, directory: &Path, runtime: &tokio::runtime::Runtime) {
    measure("memory", Box::new(MemoryState::new()), objects);
    measure("sled", Box::new(SledState::open(&directory.join("sled"), 0).expect("it opens").0), objects);
    let file = Target::file(&directory.join("state.sqlite"));
    measure("sqlite", sql(file), objects);
    for dialect in [Dialect::PostgreSql, Dialect::MariaDb] {
        let of_server = own_directory(directory, dialect.name());
        match runtime.block_on(LocalServer::start(dialect, &of_server)) {
            Ok(server) => {
                measure(dialect.name(), sql(server.target().clone()), objects);
                runtime.block_on(server.stop());
            }
            Err(error) => say(dialect.name(), &format!("left out: {error}")),
        }
    }
}

fn measure(name: &str, state: Box<dyn State>, objects: u64) {
    let mut cabinet = Cabinet::new(state);
    let rng = Rng::seeded(1);
    let proposals: Vec<Vec<u8>> =
        (1..=objects).map(|index| admit(&commit(index, vec![case(index)]), &rng).expect("it is a small commit")).collect();
    let began = now();
    for (index, proposal) in (1..).zip(&proposals) {
        let proposed = Proposed::decode(proposal, index, 1).expect("it was made here");
        cabinet.apply(index, &proposed).expect("the state takes it");
    }
    // Whoever asks waits until everything is in the state.
    assert!(cabinet.get(&Get { objects: vec![ObjectId(u128::from(objects) << 32)] }).is_ok());
    say(&format!("{objects} commits into {name}"), &format!("{} commits/s", per_second(objects, began.elapsed())));
    queries(name, &cabinet, objects, TIMES);
}

fn sql(target: Target) -> Box<dyn State> {
    Box::new(SqlState::open(&SqlPlace { target, space: "bench".to_owned() }, 0).expect("it opens").0)
}

fn own_directory(directory: &Path, name: &str) -> PathBuf {
    let own = directory.join(name);
    fs::create_dir(&own).expect("the temporary directory can be written");
    own
}

const TIMES: usize = 200;
