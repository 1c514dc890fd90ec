//! The processes of a store. They end with their value.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// Processes that were started here.
#[derive(Debug, Default)]
pub(crate) struct Servers(Vec<Child>);

impl Servers {
    /// Starts one more; what it says goes to a file in `place`.
    pub(crate) fn start(&mut self, mut command: Command, place: &Path, name: &str) -> anyhow::Result<()> {
        let log = File::create(place.join(format!("{name}.log")))?;
        let out = log.try_clone()?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn();
        self.0.push(child.with_context(|| format!("cannot start {program}: is it installed?"))?);
        Ok(())
    }

    /// Their numbers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.0.iter().map(Child::id).collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already needs no more.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Ports that nobody uses now, neither for datagrams nor for streams: held together, so that all differ.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let mut held = Vec::new();
    while held.len() < count {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
        let port = listener.local_addr()?.port();
        if let Ok(socket) = UdpSocket::bind(("127.0.0.1", port)) {
            held.push((port, listener, socket));
        }
    }
    Ok(held.into_iter().map(|(port, ..)| port).collect())
}
