//! A real mail server that takes everything and puts it into a directory.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::office::{free_port, until};

/// Exim from Debian's packages, on a port and in a directory of its own.
pub(crate) struct Exim {
    directory: TempDir,
    /// Where it takes mail.
    pub(crate) port: u16,
    running: Option<Child>,
}

impl Exim {
    /// One that does not run yet.
    pub(crate) fn new() -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
        let path = directory.path().display();
        for inside in ["spool", "log", "mail"] {
            std::fs::create_dir(directory.path().join(inside)).unwrap();
        }
        let file = include_str!("exim.conf").replace("{path}", &path.to_string()).replace("{port}", &port.to_string());
        std::fs::write(directory.path().join("exim.conf"), file).unwrap();
        if is_root() {
            // It gives up root at once, and is then who owns these.
            run(Command::new("chown").args(["-R", "Debian-exim:Debian-exim"]).arg(directory.path()));
        }
        Self { directory, port, running: None }
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn start(&mut self) {
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=Debian-exim", "--regid=Debian-exim", "--clear-groups", "exim4"]);
                command
            }
            false => Command::new("/usr/sbin/exim4"),
        };
        command.arg("-C").arg(self.directory.path().join("exim.conf")).args(["-bdf", "-q1s"]);
        self.running = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("exim takes connections", || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok().map(drop));
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The mails that it put into its directory.
    pub(crate) fn mails(&self) -> Vec<String> {
        let Ok(new) = std::fs::read_dir(self.directory.path().join("mail/new")) else { return Vec::new() };
        new.map(|entry| read(&entry.unwrap().path())).collect()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
