//! The URL of a database, and what is quoted in statements.

use caps_adapters::sql::{Dialect, Target};

use super::oracle::text;

/// A URL whose password is never shown, a line each: scheme, user, more of the password, what stands behind it; and a name and a text in a statement.
pub(super) fn target(input: &[u8]) {
    let given = text(input);
    if let Ok(target) = Target::parse(&given) {
        assert!(format!("{target}").len() <= given.len() + 10);
    }
    let mut lines = given.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (scheme, user, more, place) = (line(), line(), line(), line());
    let scheme = ["postgres", "mysql", "mariadb"][scheme.len() % 3];
    assert_kept(&format!("{scheme}://{user}:{SECRET}{more}@{place}"));
    assert_kept(&format!("{scheme}://{user}{place}?password={SECRET}{more}"));
    for dialect in [Dialect::PostgreSql, Dialect::MariaDb, Dialect::Sqlite] {
        let quote = if dialect == Dialect::MariaDb { '`' } else { '"' };
        assert_eq!(unquoted(&dialect.quoted(&given), quote, false), given.replace('\0', ""));
        assert_eq!(unquoted(&dialect.literal(&given), '\'', dialect == Dialect::MariaDb), given.replace('\0', ""));
    }
}

fn assert_kept(url: &str) {
    let shown = match Target::parse(url) {
        Ok(target) => {
            let completed = target.completed(|_| Some("v@/?#:w".to_owned()));
            assert!(target.completed(|_| None).is_ok() != url.contains("${"));
            format!("{target} {target:?} {completed:?}")
        }
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(SECRET), "{url}: {shown}");
}

/// What a quoted thing stands for; it ends where the statement's reader ends it.
fn unquoted(text: &str, quote: char, has_escapes: bool) -> String {
    let mut chars = text.strip_prefix(quote).expect("it begins with a quote").chars();
    let mut inner = String::new();
    loop {
        match chars.next().expect("it is closed") {
            char if char == quote => match chars.next() {
                Some(next) if next == quote => inner.push(quote),
                Some(next) => panic!("{next:?} stands behind the end of {text:?}"),
                None => return inner,
            },
            '\\' if has_escapes => inner.push(chars.next().expect("something is escaped")),
            char => inner.push(char),
        }
    }
}

const SECRET: &str = "S3cr3t-of-the-database";

pub(super) const TARGETS: &[&[u8]] = &[
    b"postgres://u:p@h:5432/n?sslmode=require",
    b"\nu\nx\nh/n",
    b"a\nu\n/?#\nh:1/n?a=b@c",
    b"sqlite:/var/lib/x.db?mode=rwc",
    b"mariadb://${USER}:${PASSWORD}@h/n",
    b"it's \"quoted\" `here` \\' ",
];
