//! A database server of one's own: for a demonstration, a test or a measurement, which must disturb no other.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{Connection, Dialect, Target, TargetError};

/// A PostgreSQL or MariaDB server on a free port of loopback, which ends with this, or with the process.
///
/// Whoever can reach the port is its administrator: there is no password.
#[derive(Debug)]
pub struct LocalServer {
    child: Child,
    target: Target,
    url: String,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum LocalServerError {
    /// It is not installed.
    #[error("{program} is not on this machine: install the Debian package {package}")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// A database without a server was asked for.
    #[error("SQLite has no server")]
    NoServer,
    /// A program of it could not be run.
    #[error("{program} cannot be run")]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program of it failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program.
        program: String,
        /// What it said.
        said: String,
    },
    /// It runs and does not answer.
    #[error("the server takes no connections after {}s", PATIENCE.as_secs())]
    Silent,
    /// Its own URL was not understood.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl LocalServer {
    /// Makes an empty database in a directory that is there and empty, and starts a server over it. Where this process is root, the server runs as
    /// the user that its package has made; that user must be able to reach the directory.
    pub async fn start(dialect: Dialect, directory: &Path) -> Result<Self, LocalServerError> {
        let port = free_port().map_err(|source| not_run("a socket", source))?;
        let data = directory.join("data");
        let (command, url) = match dialect {
            Dialect::PostgreSql => {
                let programs = newest_postgresql().ok_or(LocalServerError::Missing { program: "initdb", package: "postgresql" })?;
                give(directory, "postgres").await?;
                let mut make = as_user("postgres", &programs.join("initdb"));
                finish(make.args(["-U", "caps", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "-D"]).arg(&data)).await?;
                let mut command = as_user("postgres", &programs.join("postgres"));
                command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
                command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
                (command, format!("postgres://caps@127.0.0.1:{port}/postgres"))
            }
            Dialect::MariaDb => {
                let program = Path::new("/usr/sbin/mariadbd");
                if !program.exists() {
                    return Err(LocalServerError::Missing { program: "mariadbd", package: "mariadb-server" });
                }
                give(directory, "mysql").await?;
                let data = format!("--datadir={}", data.display());
                // A server that starts clears its temporary directory: one that all share is no good.
                let mut make = as_user("mysql", Path::new("/usr/bin/mariadb-install-db"));
                make.env("TMPDIR", directory);
                finish(make.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data])).await?;
                let mut command = as_user("mysql", program);
                command.env("TMPDIR", directory);
                command.args(["--no-defaults", &data, "--bind-address=127.0.0.1", &format!("--port={port}")]);
                command.arg(format!("--socket={}", directory.join("socket").display()));
                (command, format!("mysql://root@127.0.0.1:{port}/mysql"))
            }
            Dialect::Sqlite => return Err(LocalServerError::NoServer),
        };
        Self::run(command, url).await
    }

    /// How to reach it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The same, as text: there is no secret in it.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn run(mut command: Command, url: String) -> Result<Self, LocalServerError> {
        let target = Target::parse(&url)?;
        let program = program_of(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().map_err(|source| not_run(&program, source))?;
        let mut server = Self { child, target, url };
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Ok(connection) = Connection::open(&server.target, PATIENCE).await {
                connection.close().await;
                return Ok(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(LocalServerError::Failed { program, said: format!("it ended with {status}") });
            }
            sleep(POLL).await;
        }
        Err(LocalServerError::Silent)
    }

    /// Ends it, and waits until it has ended: its directory may be removed then.
    pub async fn stop(mut self) {
        // There is nothing to save. If it is gone already, all is well.
        self.child.start_kill().ok();
        timeout(PATIENCE, self.child.wait()).await.ok();
    }
}

/// The programs of the newest version of PostgreSQL that is installed.
fn newest_postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).filter(|programs| programs.join("initdb").exists());
    programs.max()
}

/// Lets a user have a directory, if we are root: these servers refuse to be.
async fn give(directory: &Path, user: &str) -> Result<(), LocalServerError> {
    if is_root() { finish(Command::new("chown").arg(user).arg(directory)).await } else { Ok(()) }
}

/// A program that ends when this process does, as another user if this one is root. `setpriv` becomes the program.
fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

async fn finish(command: &mut Command) -> Result<(), LocalServerError> {
    let program = program_of(command);
    let output = command.stdin(Stdio::null()).output().await.map_err(|source| not_run(&program, source))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LocalServerError::Failed { program, said })
}

/// The program, not what runs it as somebody.
fn program_of(command: &Command) -> String {
    let words = command.as_std().get_args().map(|word| word.to_string_lossy());
    let named = words.into_iter().find(|word| word.starts_with('/'));
    named.map_or_else(|| command.as_std().get_program().to_string_lossy().into_owned(), std::borrow::Cow::into_owned)
}

fn not_run(program: &str, source: io::Error) -> LocalServerError {
    LocalServerError::NotRun { program: program.to_owned(), source }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(50);
