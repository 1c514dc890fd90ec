use std::rc::Rc;

use caps_adapters::sql::{Dialect, LocalServer};
use caps_model::Query;
use caps_model::messages::Get;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use super::*;
use crate::cabinet::workload::{Plan, commit, create, plan, query, seeded, update};
use crate::cabinet::{Cabinet, Proposal};
use crate::state::MemoryState;
use crate::state::conformance::{answers, suite_over};

/// A database, and what it takes to have one.
struct Database {
    place: SqlPlace,
    _server: Box<dyn std::any::Any>,
}

fn sqlite() -> Database {
    let directory = tempfile::tempdir().unwrap();
    Database { place: sqlite_in(&directory), _server: Box::new(directory) }
}

/// A state in an SQLite file in a directory.
pub(crate) fn sqlite_in(directory: &TempDir) -> SqlPlace {
    SqlPlace { target: Target::file(&directory.path().join("state.sqlite")), space: String::new() }
}

/// A server of its own, of Debian's package.
fn served(dialect: Dialect) -> Database {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(LocalServer::start(dialect, directory.path())).unwrap();
    let place = SqlPlace { target: server.target().clone(), space: "caps_main_store".to_owned() };
    Database { place, _server: Box::new((server, runtime, directory)) }
}

impl Database {
    fn fresh(&self) -> SqlState {
        SqlState::discard(&self.place).unwrap();
        let (state, opened) = SqlState::open(&self.place, 0).unwrap();
        assert_eq!(opened, SqlOpened::Fresh);
        state
    }

    /// Everything that a state must do, and what it must say after failures.
    fn conforms(self) {
        let database = Rc::new(self);
        let of_suite = database.clone();
        suite_over(Rc::new(move || Box::new(of_suite.fresh())));
        database.answers_as_memory_does();
        database.is_emptied_when_it_is_ahead();
        database.is_emptied_when_it_is_of_another_release();
        database.keeps_what_was_written_when_the_connection_breaks();
        database.has_views_of_entities();
        database.is_seen_by_others_while_questions_never_pause();
    }

    /// Random commits, then random queries: as many as `CAPS_QUERIES` says.
    fn answers_as_memory_does(&self) {
        let wanted: usize = std::env::var("CAPS_QUERIES").map_or(240, |count| count.parse().unwrap());
        let asked = std::cell::Cell::new(0);
        let strategy = (prop::collection::vec(plan(), 1..60), prop::collection::vec(query(), QUERIES));
        let mut runner = TestRunner::new(seeded(u32::try_from(wanted.div_ceil(QUERIES)).unwrap()));
        runner
            .run(&strategy, |(plans, queries)| {
                asked.set(asked.get() + queries.len());
                self.answers_equally(&plans, &queries)
            })
            .unwrap();
        eprintln!("{}: {} random queries answered as in memory", self.place.target.dialect().name(), asked.get());
    }

    fn answers_equally(&self, plans: &[Plan], queries: &[Query]) -> Result<(), TestCaseError> {
        let mut memory = Cabinet::new(MemoryState::new());
        let mut cabinet = Cabinet::new(self.fresh());
        let mut log: Vec<Proposal> = Vec::new();
        for (place, plan) in plans.iter().enumerate() {
            let proposal = plan.proposal(&memory);
            prop_assert_eq!(memory.next(&proposal), cabinet.next(&proposal));
            log.push(proposal);
            if place == plans.len() / 2 {
                drop(cabinet);
                let (state, opened) = SqlState::open(&self.place, log.len() as u64).unwrap();
                prop_assert!(matches!(opened, SqlOpened::Kept | SqlOpened::Fresh), "{:?}", opened);
                cabinet = Cabinet::new(state);
                for proposal in &log[usize::try_from(cabinet.mark().index).unwrap()..] {
                    cabinet.next(proposal);
                }
            }
        }
        prop_assert_eq!(answers(&memory, queries), answers(&cabinet, queries));
        Ok(())
    }

    fn is_emptied_when_it_is_ahead(&self) {
        let mut cabinet = Cabinet::new(self.fresh());
        cabinet.commit(commit(1, vec![create(1, "case", vec![])]));
        drop(cabinet);
        assert_eq!(SqlState::open(&self.place, 1).unwrap().1, SqlOpened::Kept);
        let (state, opened) = SqlState::open(&self.place, 0).unwrap();
        assert!(matches!(opened, SqlOpened::Emptied { .. }), "{opened:?}");
        assert_eq!((state.mark(), state.object(ObjectId(1)).unwrap()), (Mark::default(), None));
    }

    fn is_emptied_when_it_is_of_another_release(&self) {
        let mut cabinet = Cabinet::new(self.fresh());
        cabinet.commit(commit(1, vec![create(1, "case", vec![("number", vec![caps_model::Value::Int(1)])])]));
        drop(cabinet);
        self.ask("UPDATE caps_schema SET version = 99");
        let (state, opened) = SqlState::open(&self.place, 1).unwrap();
        assert_eq!((opened, state.mark()), (SqlOpened::Fresh, Mark::default()));
    }

    fn keeps_what_was_written_when_the_connection_breaks(&self) {
        let kill = match self.place.target.dialect() {
            Dialect::PostgreSql => {
                "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user"
            }
            Dialect::MariaDb => "",
            // Nobody else is at the other end of a file.
            Dialect::Sqlite => return,
        };
        let mut cabinet = Cabinet::new(self.fresh());
        for id in 1..200_u128 {
            cabinet.commit(commit(id, vec![create(id, "case", vec![("number", vec![caps_model::Value::Int(1)])])]));
            if id % 50 == 0 {
                match kill {
                    "" => self.kill_others(),
                    kill => drop(self.ask(kill)),
                }
            }
        }
        let ids: Vec<ObjectId> = (1..200).map(ObjectId).collect();
        assert!(cabinet.get(&Get { objects: ids }).unwrap().objects.iter().all(Option::is_some));
        drop(cabinet);
        let (state, _) = SqlState::open(&self.place, 199).unwrap();
        assert_eq!((state.mark().position, state.counts().objects), (Position(199), 199));
        assert_eq!(state.objects_of(&Name::fixed("case"), None, false, 500).unwrap().len(), 199);
    }

    fn has_views_of_entities(&self) {
        let text = |text: &str| vec![caps_model::Value::text(text)];
        let number = |number| vec![caps_model::Value::Int(number)];
        let mut cabinet = Cabinet::new(self.fresh());
        cabinet.commit(commit(1, vec![create(1, "case", vec![("status", text("new")), ("number", number(1))])]));
        cabinet.commit(commit(2, vec![create(2, "case", vec![("status", text("O'Brien\\ \"x\"")), ("number", number(2))])]));
        cabinet.commit(commit(3, vec![update(1, vec![("status", text("closed"))])]));
        cabinet.commit(commit(4, vec![crate::cabinet::workload::delete(2)]));
        drop(cabinet);
        let quoted = |name: &str| self.place.target.dialect().quoted(name);
        let (case, history) = (quoted("case"), quoted("case_history"));
        let shown = |statement: &str| {
            let rows = self.ask(statement);
            let cell = |cell: &Cell| match cell.as_bytes() {
                Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                None => cell.as_int().map_or("-".to_owned(), |number| number.to_string()),
            };
            rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(shown(&format!("SELECT number, status FROM {case} ORDER BY number")), ["1 closed"]);
        let all = shown(&format!("SELECT number, status, valid_from, valid_to FROM {history} ORDER BY valid_from"));
        assert_eq!(all, ["1 new 1 3", "2 O'Brien\\ \"x\" 2 4", "1 closed 3 -"]);
        let as_of_two =
            format!("SELECT number, status FROM {history} WHERE valid_from <= 2 AND (valid_to > 2 OR valid_to IS NULL) ORDER BY number");
        assert_eq!(shown(&as_of_two), ["1 new", "2 O'Brien\\ \"x\""]);
        assert_eq!(shown(&format!("SELECT COUNT(*) FROM {history} WHERE valid_from_time IS NOT NULL")), ["3"]);
    }

    fn is_seen_by_others_while_questions_never_pause(&self) {
        let mut cabinet = Cabinet::new(self.fresh());
        cabinet.commit(commit(1, vec![create(1, "case", vec![("number", vec![caps_model::Value::Int(1)])])]));
        let state = cabinet.state();
        let place = &self.place;
        // Another connection takes as long as many questions, which go on meanwhile.
        let is_seen = || {
            std::thread::scope(|scope| {
                let other = scope.spawn(move || ask(place, "SELECT COUNT(*) FROM caps_object"));
                while !other.is_finished() {
                    state.fate(CommitId(9)).unwrap();
                }
                other.join().unwrap()[0][0].as_int() == Some(1)
            })
        };
        assert!((0..100_000).any(|_| is_seen()), "what was written stays unseen for as long as somebody asks");
    }

    fn ask(&self, statement: &str) -> Vec<Row> {
        ask(&self.place, statement)
    }

    fn kill_others(&self) {
        with_connection(&self.place, async |connection| {
            let others = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'root'";
            for row in connection.query(others, &[]).await.unwrap() {
                // It may be gone by itself.
                connection.run(&format!("KILL {}", row[0].as_int().unwrap())).await.ok();
            }
        });
    }
}

/// The rows of a statement, asked by somebody else.
fn ask(place: &SqlPlace, statement: &str) -> Vec<Row> {
    with_connection(place, async |connection| connection.query(statement, &[]).await.unwrap())
}

fn with_connection<T>(place: &SqlPlace, ask: impl AsyncFnOnce(&mut caps_adapters::sql::Connection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let patience = std::time::Duration::from_secs(20);
        let mut connection = caps_adapters::sql::Connection::open(&place.target, patience).await.unwrap();
        schema::enter(&mut connection, place).await.unwrap();
        ask(&mut connection).await
    })
}

#[test]
fn sqlite_conforms() {
    sqlite().conforms();
}

#[test]
fn postgresql_conforms() {
    served(Dialect::PostgreSql).conforms();
}

#[test]
fn mariadb_conforms() {
    served(Dialect::MariaDb).conforms();
}

#[test]
fn a_database_that_is_not_there_is_said_to_be_away() {
    for url in ["postgres://caps@127.0.0.1:1/caps", "mysql://caps@127.0.0.1:1/caps"] {
        let place = SqlPlace { target: Target::parse(url).unwrap(), space: "x".to_owned() };
        let error = SqlState::open(&place, 0).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("cannot be reached"), "{cause}");
    }
}

const QUERIES: usize = 12;
