//! A small deployment of real processes, for one test.

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// One site in a directory of its own: a replica, a host and a front end.
pub(crate) struct Site {
    directory: TempDir,
}

/// A node's process, killed when the test is done with it.
pub(crate) struct Process {
    child: Child,
}

impl Site {
    /// Makes certificates and `caps.toml` for the site `lund`.
    pub(crate) fn found() -> Self {
        Self::found_at("lund", 2)
    }

    /// Makes certificates and `caps.toml` for several sites, which take so many ports.
    pub(crate) fn found_at(sites: &str, ports: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_ports(ports).to_string();
        let output = caps().args(["init", "--sites", sites, "--port", &port, "--dir"]).arg(directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { directory }
    }

    /// A path inside the deployment's directory.
    pub(crate) fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(inside)
    }

    /// The deployment file's text with one thing replaced.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let file = self.path("caps.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        std::fs::write(file, text.replacen(from, to, 1)).unwrap();
    }

    /// `caps` with this deployment's file.
    pub(crate) fn caps(&self, arguments: &[&str]) -> Command {
        let mut command = caps();
        command.arg("--config").arg(self.path("caps.toml")).args(arguments);
        command
    }

    /// What `caps` printed, and whether it succeeded.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.caps(arguments).output().unwrap()
    }

    /// What `caps` printed on standard output; it must succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `caps` complained about; it must fail, and not by a panic.
    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?} succeeded");
        assert!(!complaint.contains("panicked"), "{complaint}");
        complaint
    }

    /// Starts a node and waits until it says that it serves.
    pub(crate) fn start(&self, node: &str) -> Process {
        let command = self.caps(&["run", "--node", node]);
        Process::ready(command)
    }
}

impl Process {
    /// Starts a `caps run` and waits until it says that it serves.
    pub(crate) fn ready(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_line(child.stderr.take().unwrap(), "serving");
        Self { child }
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself, and says whether it ended well.
    pub(crate) fn wait(mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// Asks it to end, and says whether it ended well.
    pub(crate) fn terminate(mut self) -> bool {
        let pid = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program under test.
pub(crate) fn caps() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_caps"));
    command.env_remove("CAPS_CONFIG").env_remove("CAPS_AS").env_remove("CAPS_LOG");
    command
}

/// Waits until a process says something; goes on reading, so that it never waits for room.
pub(crate) fn wait_for_line(output: impl Read + Send + 'static, wanted: &str) {
    let mut lines = BufReader::new(output).lines();
    let mut said = Vec::new();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.contains(wanted) => break,
            Some(Ok(line)) => said.push(line),
            _ => panic!("ended before it said {wanted:?}: {}", said.join("\n")),
        }
    }
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
}

/// The first of some neighbouring ports that nobody uses.
fn free_ports(count: u16) -> u16 {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < 64_000 && (1..count).all(|next| UdpSocket::bind(("127.0.0.1", port + next)).is_ok()) {
            return port;
        }
    }
}
