//! Which database, by its URL.

use std::fmt;
use std::path::Path;

use super::Dialect;

/// A database, and how to log in there.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    dialect: Dialect,
    url: String,
}

/// Why a URL names no database. It never repeats the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It begins with none of those that are known.
    #[error("a database is postgres://USER:PASSWORD@HOST:PORT/NAME, mysql://USER:PASSWORD@HOST:PORT/NAME or sqlite:FILE")]
    Scheme,
    /// It is to be completed from the environment, which has nothing of that name.
    #[error("the URL of the database names a variable of the environment, written ${{NAME}}, that is not set")]
    Variable,
    /// Nothing follows.
    #[error("the URL of the database names none: write it as postgres://USER:PASSWORD@HOST:PORT/NAME")]
    Empty,
}

impl Target {
    /// Reads `postgres://...`, `mysql://...`, `mariadb://...` or `sqlite:FILE`.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = url.split_once(':').ok_or(TargetError::Scheme)?;
        let (dialect, url) = match scheme {
            "postgres" | "postgresql" => (Dialect::PostgreSql, url.to_owned()),
            "mysql" => (Dialect::MariaDb, url.to_owned()),
            "mariadb" => (Dialect::MariaDb, format!("mysql:{rest}")),
            "sqlite" => (Dialect::Sqlite, url.to_owned()),
            _ => return Err(TargetError::Scheme),
        };
        let named = rest.strip_prefix("//").unwrap_or(rest);
        if named.is_empty() || (dialect != Dialect::Sqlite && named.len() == rest.len()) {
            return Err(TargetError::Empty);
        }
        Ok(Self { dialect, url })
    }

    /// The file of an SQLite database, which is made if it is not there.
    pub fn file(path: &Path) -> Self {
        Self { dialect: Dialect::Sqlite, url: format!("sqlite://{}?mode=rwc", escaped(path)) }
    }

    /// The same; if it is a file that is named as seen from a directory, as seen from where this process is.
    #[must_use]
    pub fn below(self, directory: &Path) -> Self {
        let file = self.url.strip_prefix("sqlite:").filter(|_| self.dialect == Dialect::Sqlite);
        let file = file.map(|file| file.strip_prefix("//").unwrap_or(file)).filter(|file| !file.starts_with(['/', ':']));
        match file {
            Some(file) if !directory.as_os_str().is_empty() => {
                Self { url: format!("sqlite://{}/{file}", escaped(directory)), dialect: self.dialect }
            }
            _ => self,
        }
    }

    /// The target with each `${NAME}` of its URL replaced by what `variable` says, so that a password need not stand in a file.
    pub fn completed(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, TargetError> {
        let mut pieces = self.url.split("${");
        let mut url = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}').ok_or(TargetError::Variable)?;
            url.push_str(&variable(name).ok_or(TargetError::Variable)?);
            url.push_str(rest);
        }
        Ok(Self { dialect: self.dialect, url })
    }

    /// How it writes what the databases write differently.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// All of it, the password included.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// A path in a URL: what means something there is written otherwise.
fn escaped(path: &Path) -> String {
    let escape = |char: char| match char {
        '%' | '?' | '#' => format!("%{:02X}", u32::from(char)),
        char => char.to_string(),
    };
    path.to_string_lossy().chars().map(escape).collect()
}

/// Without user, password and options, of which one may be a password. Where a raw `@` behind a `?` leaves open which of them it belongs to, nothing but
/// the scheme is shown.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plain, options) = self.url.split_once('?').unwrap_or((&self.url, ""));
        match plain.split_once("://") {
            Some((scheme, _)) if self.dialect != Dialect::Sqlite && options.contains('@') => write!(f, "{scheme}://..."),
            // Whoever forgot to encode a password may have `/` in it, so that the last `@` counts, wherever it stands.
            Some((scheme, rest)) if self.dialect != Dialect::Sqlite => {
                write!(f, "{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
            }
            _ => f.write_str(plain),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_seen_from_a_directory() {
        for (written, below) in [
            ("sqlite:staff.db", "sqlite://etc%3F/staff.db"),
            ("sqlite://staff.db?mode=ro", "sqlite://etc%3F/staff.db?mode=ro"),
            ("sqlite:///staff.db", "sqlite:///staff.db"),
            ("sqlite:/staff.db", "sqlite:/staff.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("postgres://db/caps", "postgres://db/caps"),
        ] {
            let target = Target::parse(written).unwrap();
            assert_eq!((target.clone().below(Path::new("etc?")).url(), target.clone().below(Path::new(""))), (below, target), "{written}");
        }
    }

    #[test]
    fn urls_are_read_and_never_shown_with_their_passwords() {
        let shown = |url: &str| Target::parse(url).map(|target| (target.dialect(), target.to_string()));
        assert_eq!(
            shown("postgres://u:secret@db:5432/caps?sslmode=require"),
            Ok((Dialect::PostgreSql, "postgres://db:5432/caps".to_owned()))
        );
        assert_eq!(shown("mariadb://u:se@cret@db/caps"), Ok((Dialect::MariaDb, "mysql://db/caps".to_owned())));
        assert_eq!(shown("sqlite:state.db").map(|(dialect, _)| dialect), Ok(Dialect::Sqlite));
        for (url, error) in [
            ("oracle://x", TargetError::Scheme),
            ("x", TargetError::Scheme),
            ("postgres://", TargetError::Empty),
            ("postgres:x", TargetError::Empty),
        ] {
            assert_eq!(shown(url), Err(error), "{url}");
        }
        let target = Target::parse("postgres://caps:${CAPS_PASSWORD}@db/caps").unwrap();
        let completed = target.completed(|name| (name == "CAPS_PASSWORD").then(|| "secret".to_owned())).unwrap();
        assert_eq!((completed.url(), completed.to_string().as_str()), ("postgres://caps:secret@db/caps", "postgres://db/caps"));
        assert_eq!(target.completed(|_| None), Err(TargetError::Variable));
        assert!(!format!("{:?}", Target::parse("mysql://u:secret@db/x").unwrap()).contains("secret"));
    }

    #[test]
    fn passwords_are_not_shown_wherever_they_stand() {
        for (url, expected) in [
            ("postgres://db?password=secret", "postgres://db"),
            ("postgres://db/caps?password=secret", "postgres://db/caps"),
            ("postgres://u:sec/ret@db/caps", "postgres://db/caps"),
            ("postgres://u:sec?ret@db/caps", "postgres://..."),
            ("postgres://db/caps?password=sec@ret", "postgres://..."),
            ("sqlite:///var/a@b.db?mode=rwc", "sqlite:///var/a@b.db"),
            ("sqlite:state.db", "sqlite:state.db"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.to_string().as_str(), format!("{target:?}")), (expected, format!("Target({expected})")), "{url}");
        }
    }
}
