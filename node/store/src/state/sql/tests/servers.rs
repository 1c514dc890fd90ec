//! Database servers from Debian's packages, on ports and in directories of their own.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use caps_adapters::sql::Target;
use tempfile::TempDir;

/// A PostgreSQL server.
pub(super) struct PostgreSql {
    server: Server,
}

/// A MariaDB server.
pub(super) struct MariaDb {
    server: Server,
}

struct Server {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl PostgreSql {
    pub(super) fn start() -> Self {
        let (directory, port) = (owned_by("postgres"), free_port());
        let data = directory.path().join("data");
        let programs = newest(Path::new("/usr/lib/postgresql"));
        run(as_user("postgres", &programs.join("initdb"))
            .args(["-U", "caps", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data));
        let mut command = as_user("postgres", &programs.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(directory.path()).args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ]);
        Self { server: Server::start(command, port, directory) }
    }

    pub(super) fn target(&self) -> Target {
        Target::parse(&format!("postgres://caps@127.0.0.1:{}/postgres", self.server.port)).unwrap()
    }
}

impl MariaDb {
    pub(super) fn start() -> Self {
        let (directory, port) = (owned_by("mysql"), free_port());
        let data = format!("--datadir={}", directory.path().join("data").display());
        run(as_user("mysql", Path::new("/usr/bin/mariadb-install-db")).args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            &data,
        ]));
        let mut command = as_user("mysql", Path::new("/usr/sbin/mariadbd"));
        command.args(["--no-defaults", &data, "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0", &format!("--port={port}")]);
        command.arg(format!("--socket={}", directory.path().join("socket").display()));
        Self { server: Server::start(command, port, directory) }
    }

    pub(super) fn target(&self) -> Target {
        Target::parse(&format!("mariadb://root@127.0.0.1:{}/mysql", self.server.port)).unwrap()
    }
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "a real process takes real time")]
    fn start(mut command: Command, port: u16, directory: TempDir) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { child, port, _directory: directory };
            }
            assert_eq!(child.try_wait().unwrap(), None, "{command:?} ended at once");
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{command:?} takes no connections");
    }
}

/// A server that is not needed any more has nothing to save. The signal goes to the server itself: `setpriv` has become it.
impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A directory of this user, if we are root and the program wants to be somebody else.
fn owned_by(user: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    if is_root() {
        run(Command::new("chown").arg(user).arg(directory.path()));
    }
    directory
}

fn as_user(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"]).arg(program);
    command
}

/// The programs of the newest version of PostgreSQL that is installed.
fn newest(of: &Path) -> std::path::PathBuf {
    let versions = std::fs::read_dir(of).expect("PostgreSQL is installed (Debian package postgresql)");
    let mut versions: Vec<_> = versions.map(|entry| entry.unwrap().path()).filter(|path| path.join("bin/initdb").exists()).collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is installed (Debian package postgresql)").join("bin")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
