//! The two processes of a measurement: this program, started again.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};

use crate::case::{Case, Way, Workload};
use crate::certificates::{Certificates, Side};
use crate::load::Figures;
use crate::{leaves, overlay_calls, raw_quinn, tonic_calls};

/// Measures `case` once, with new processes.
pub(crate) fn measure_in_processes(case: Case, certificates: &Path, seconds: f64) -> anyhow::Result<Figures> {
    let server = Server::start(case, certificates)?;
    let client = this_program(case)?
        .arg("measure")
        .arg(case.name())
        .arg(certificates)
        .args([server.address.to_string(), server.process.id().to_string(), seconds.to_string()])
        .stderr(Stdio::piped())
        .output()
        .context("the client cannot be started")?;
    if !client.status.success() {
        bail!("{}", String::from_utf8_lossy(&client.stderr).trim());
    }
    serde_json::from_slice(&client.stdout).context("the client's figures cannot be read")
}

/// In the server process: serves until the parent lets go, and says at which address.
pub(crate) fn serve(case: Case, certificates: &Path) -> anyhow::Result<()> {
    std::thread::spawn(exit_with_parent);
    let certificates = Certificates::load(certificates, Side::Server)?;
    server_runtime(case.way)?.block_on(async {
        match case.way {
            Way::QuinnStream | Way::QuinnFramed => raw_quinn::serve(&certificates).await,
            Way::OverlayLane | Way::OverlayStream => overlay_calls::serve(certificates).await,
            Way::Tonic | Way::TonicTwoWorkers => tonic_calls::serve(&certificates).await,
        }
    })
}

/// Tells the parent that calls may come.
pub(crate) fn ready_at(address: SocketAddr) {
    println!("{address}");
}

/// In the client process: measures once and prints the figures.
pub(crate) fn measure(case: Case, target: &Target) -> anyhow::Result<()> {
    let certificates = Certificates::load(&target.certificates, Side::Client)?;
    let limit = Duration::from_secs_f64(target.seconds) + PATIENCE;
    let figures = current_thread()?.block_on(async {
        let measured = async {
            match (case.workload, case.way) {
                (Workload::Leaves, _) => leaves::measure(certificates, target).await,
                (_, Way::QuinnStream | Way::QuinnFramed) => raw_quinn::measure(case, &certificates, target).await,
                (_, Way::OverlayLane | Way::OverlayStream) => overlay_calls::measure(case, certificates, target).await,
                (_, Way::Tonic | Way::TonicTwoWorkers) => tonic_calls::measure(case, &certificates, target).await,
            }
        };
        tokio::time::timeout(limit, measured).await.context("the measurement did not end")?
    })?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// What a client measures.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) certificates: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) server_pid: u32,
    pub(crate) seconds: f64,
}

/// A server process; it ends with this value.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(case: Case, certificates: &Path) -> anyhow::Result<Self> {
        let mut process = this_program(case)?
            .arg("serve")
            .arg(case.name())
            .arg(certificates)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the server cannot be started")?;
        let stdout = process.stdout.take().expect("its standard output is a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().context("the server did not say its address")?;
        Ok(Self { process, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already needs no more.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn this_program(case: Case) -> anyhow::Result<Command> {
    let mut program = Command::new(std::env::current_exe().context("this program cannot be found")?);
    if case.workload == Workload::Cold {
        // An endpoint has 13 MiB of address space to receive into and touches little of it. After the first one is freed,
        // glibc would take the next from the heap and clear it all: a millisecond that no node, which has one endpoint, pays.
        program.env("MALLOC_MMAP_THRESHOLD_", MMAP_THRESHOLD_BYTES);
    }
    Ok(program)
}

/// No server outlives a run that was interrupted: the pipe from the parent ends with the parent.
fn exit_with_parent() {
    drop(io::stdin().read(&mut [0]));
    std::process::exit(0);
}

fn server_runtime(way: Way) -> io::Result<Runtime> {
    match way {
        Way::TonicTwoWorkers => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        _ => current_thread(),
    }
}

fn current_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Below the size of an endpoint's buffer, above everything else.
const MMAP_THRESHOLD_BYTES: &str = "4194304";

/// How much longer than planned a measurement may take: enough for a thousand handshakes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
