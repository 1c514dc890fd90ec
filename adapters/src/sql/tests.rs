//! Reading from and writing to databases of others, on all three.

use super::*;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Does the same with each database.
fn everywhere(mut check: impl AsyncFnMut(&Target)) {
    let directory = Directory::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        check(&Target::file(&directory.0.join("one.sqlite"))).await;
        for dialect in [Dialect::PostgreSql, Dialect::MariaDb] {
            let own = directory.0.join(dialect.name());
            std::fs::create_dir(&own).unwrap();
            let server = LocalServer::start(dialect, &own).await.unwrap();
            check(server.target()).await;
            server.stop().await;
        }
    });
}

/// A directory that is removed at the end.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("caps-sql-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(Path::new(&self.0)).ok();
    }
}

async fn texts(connection: &mut Connection, statement: &str) -> Vec<Vec<String>> {
    let rows = connection.query(statement, &[]).await.unwrap();
    let text = |cell: &Cell| match cell {
        Cell::Int(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        cell => cell.as_bytes().map_or("-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned()),
    };
    rows.iter().map(|row| row.iter().map(text).collect()).collect()
}

#[test]
fn rows_are_read_in_pages_and_changed_ones_again() {
    everywhere(async |target| {
        let mut connection = Connection::open(target, PATIENCE).await.unwrap();
        connection
            .run("CREATE TABLE agents (id INT PRIMARY KEY, name VARCHAR(50), seen TIMESTAMP(6) NULL, changed INT NOT NULL)")
            .await
            .unwrap();
        for (id, name, changed) in [(1, "'Åsa ? '''", 5), (2, "NULL", 5), (3, "'Bo'", 6), (10, "'Cy'", 5)] {
            let statement = format!("INSERT INTO agents VALUES ({id}, {name}, '2026-12-01 10:30:00.25', {changed})");
            connection.run(&statement).await.unwrap();
        }
        let columns = vec!["name".to_owned(), "seen".to_owned()];
        let mut extract = Extract { query: "SELECT * FROM agents WHERE id <> 99;".to_owned(), columns, key: "id".to_owned(), cursor: None };
        let mut keys = Vec::new();
        let mut after = None;
        loop {
            let page = extract.page(&mut connection, after.as_ref(), 3).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            keys.extend(page.into_iter().map(|(place, row)| (place.key.unwrap(), row)));
        }
        assert_eq!(keys.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "10"], "in the order of numbers");
        assert_eq!((keys[0].1[0].as_deref(), keys[1].1[0].as_deref()), (Some("Åsa ? '"), None));
        assert!(keys[0].1[1].as_deref().unwrap().starts_with("2026-12-01 10:30:00.25"), "{:?}", keys[0].1);

        extract.cursor = Some("changed".to_owned());
        let all = extract.page(&mut connection, None, 9).await.unwrap();
        let ids = |rows: &[TextRow]| rows.iter().map(|(place, _)| place.key.clone().unwrap()).collect::<Vec<_>>();
        assert_eq!(ids(&all), ["1", "2", "10", "3"]);
        let rest = extract.page(&mut connection, Some(&all[1].0), 9).await.unwrap();
        assert_eq!(ids(&rest), ["10", "3"]);
        connection.run("UPDATE agents SET changed = 7 WHERE id = 2").await.unwrap();
        let again = Place { cursor: Some("6".to_owned()), key: None };
        assert_eq!(ids(&extract.page(&mut connection, Some(&again), 9).await.unwrap()), ["3", "2"]);

        let nothing = Extract { query: "SELECT * FROM agents WHERE id > 99".to_owned(), ..extract.clone() };
        assert_eq!(nothing.page(&mut connection, Some(&all[1].0), 9).await, Ok(Vec::new()));

        extract.key = "name".to_owned();
        extract.cursor = None;
        let refused = extract.page(&mut connection, None, 9).await.unwrap_err();
        assert_eq!(refused, ExtractError::Null { column: "name".to_owned() });
        extract.query = "SELECT nothing FROM nowhere".to_owned();
        assert!(matches!(extract.page(&mut connection, None, 9).await, Err(ExtractError::Sql(SqlError::Wrong { .. }))));
        connection.run("DROP TABLE agents").await.unwrap();
    });
}

#[test]
fn a_table_is_kept_equal_with_how_far_it_is() {
    everywhere(async |target| {
        let mut connection = Connection::open(target, PATIENCE).await.unwrap();
        let columns = [
            ("subject", ColumnKind::Text),
            ("number", ColumnKind::Whole),
            ("weight", ColumnKind::Real),
            ("urgent", ColumnKind::Truth),
            ("opened", ColumnKind::Moment),
            ("price", ColumnKind::Decimal),
        ];
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
        let load = Load { table: "open cases".to_owned(), key: "id".to_owned(), columns };
        assert_eq!(load.open(&mut connection).await.unwrap(), Loaded { mark: None });
        let row = |id: &str, subject: &str| {
            vec![
                Cell::Text(id.to_owned()),
                Cell::Text(subject.to_owned()),
                Cell::Int(-3),
                Cell::Real(2.5),
                Cell::Int(1),
                Cell::Int(1_764_585_000_250_000),
                Cell::Text("12.50".to_owned()),
            ]
        };
        let nothing =
            |id: &str| vec![Cell::Text(id.to_owned()), Cell::NoText, Cell::NoInt, Cell::NoReal, Cell::NoInt, Cell::NoInt, Cell::NoText];
        load.begin(&mut connection).await.unwrap();
        load.clear(&mut connection).await.unwrap();
        load.put(&mut connection, &row("a", "it's; DROP TABLE \"x\" -- \\")).await.unwrap();
        load.put(&mut connection, &nothing("b")).await.unwrap();
        load.put(&mut connection, &row("c", "old")).await.unwrap();
        load.put(&mut connection, &row("c", "new")).await.unwrap();
        load.remove(&mut connection, "b").await.unwrap();
        load.complete(&mut connection, "17").await.unwrap();
        // What is not complete never was.
        load.begin(&mut connection).await.unwrap();
        load.clear(&mut connection).await.unwrap();
        drop(connection);
        let mut connection = Connection::open(target, PATIENCE).await.unwrap();
        assert_eq!(load.open(&mut connection).await.unwrap(), Loaded { mark: Some("17".to_owned()) });
        let dialect = target.dialect();
        let (table, text) = (dialect.quoted("open cases"), |column: &str| dialect.as_text(column));
        let shown = format!("SELECT id, subject, number, weight, {}, {} FROM {table} ORDER BY id", text("opened"), text("price"));
        let rows = texts(&mut connection, &shown).await;
        assert_eq!(rows.iter().map(|row| row[1].as_str()).collect::<Vec<_>>(), ["it's; DROP TABLE \"x\" -- \\", "new"]);
        assert_eq!(rows[0][2..4], ["-3", "2.5"]);
        assert!(rows[0][4].replace('T', " ").starts_with("2025-12-01 10:30:00.25"), "{rows:?}");
        assert!(rows[0][5].starts_with("12.5"), "{rows:?}");
        // Of other columns it does not know how far it is.
        let less = Load { columns: vec![("subject".to_owned(), ColumnKind::Text)], ..load };
        assert_eq!(less.open(&mut connection).await.unwrap(), Loaded { mark: None });
    });
}

#[test]
fn statements_are_given_up_by_the_server_too() {
    everywhere(async |target| {
        let slow = match target.dialect() {
            Dialect::PostgreSql => "SELECT CAST(pg_sleep(20) AS TEXT)",
            Dialect::MariaDb => "SELECT SLEEP(20)",
            // It runs within this process: whoever asks is answered in time, and the thread ends when it is done.
            Dialect::Sqlite => return,
        };
        let mut connection = Connection::open(target, Duration::from_millis(300)).await.unwrap();
        let given_up = connection.query(slow, &[]).await;
        assert_eq!(given_up, Err(SqlError::TimedOut { within: Duration::from_millis(300) }));
        let mut other = Connection::open(target, PATIENCE).await.unwrap();
        let running = match target.dialect() {
            Dialect::PostgreSql => {
                "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()"
            }
            _ => "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(20)%' AND id <> CONNECTION_ID()",
        };
        for _ in 0..200 {
            if texts(&mut other, running).await == [["0"]] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} works on for nobody", target.dialect().name());
    });
}
