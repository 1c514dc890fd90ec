//! The deployment that is tortured, and its processes. Whoever is killed here was started here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use caps_certs_gen::{Directory, Identity, Layer, Order};
use caps_node::deployment::Deployment;
use caps_node::founding;
use rand::TryRng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::point::Point;

/// A deployment of one site on loopback: three replicas, two hosts, and front ends.
#[derive(Debug)]
pub struct Company {
    directory: PathBuf,
    deployment: Deployment,
    programs: Programs,
    running: BTreeMap<String, Child>,
    lives: Lives,
}

/// What the processes run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The `caps` program.
    pub caps: PathBuf,
    /// This program: it becomes `caps` after it has seen to it that no process outlives the torturer, or is a replica that dies at a point.
    pub this: PathBuf,
}

/// How often each node was killed or started, for those who must know that they spoke with the same process all the time.
#[derive(Clone, Debug, Default)]
pub struct Lives(Arc<BTreeMap<String, AtomicU64>>);

impl Company {
    /// Makes the deployment in an empty directory. Nobody runs yet.
    pub fn found(directory: &Path, programs: Programs) -> anyhow::Result<Self> {
        fs::create_dir_all(directory.join("logs")).with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize().with_context(|| format!("cannot find {}", directory.display()))?;
        let config = directory.join("caps.toml");
        let addresses = free_addresses(REPLICAS.len() + HOSTS.len())?;
        fs::write(&config, file(&addresses)).with_context(|| format!("cannot write {}", config.display()))?;
        let deployment = Deployment::read(&config)?;
        founding::certify_deployment(&deployment)?;
        certify_clients(&deployment)?;
        let names = REPLICAS.iter().chain(&HOSTS).map(|name| ((*name).to_owned(), AtomicU64::new(0)));
        let lives = Lives(Arc::new(names.collect()));
        Ok(Self { directory, deployment, programs, running: BTreeMap::new(), lives })
    }

    /// Where everything is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The deployment.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// How often each node was killed or started.
    pub fn lives(&self) -> Lives {
        self.lives.clone()
    }

    /// Where a replica keeps its data.
    pub fn data_of(&self, name: &str) -> PathBuf {
        self.deployment.data.join(name).join(self.deployment.cabinet().name.as_str())
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for name in REPLICAS.iter().chain(&HOSTS) {
            if !self.running.contains_key(*name) {
                self.start(name)?;
            }
        }
        Ok(())
    }

    /// Starts a node: `caps run`.
    pub fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let mut command = Command::new(&self.programs.this);
        command.args(["torture", "launch", "--"]).arg(&self.programs.caps);
        command.arg("--config").arg(&self.deployment.path).args(["run", "--node", name]);
        self.spawn(name, command)
    }

    /// Starts a replica that dies at a point.
    pub fn start_doomed(&mut self, name: &str, point: Point) -> anyhow::Result<()> {
        let mut command = Command::new(&self.programs.this);
        command.args(["torture", "node", "--config"]).arg(&self.deployment.path).args(["--node", name, "--die-at", &point.to_string()]);
        self.spawn(name, command)
    }

    fn spawn(&mut self, name: &str, mut command: Command) -> anyhow::Result<()> {
        let log = self.log(name);
        let log = File::options().create(true).append(true).open(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // Ctrl-C is for whoever tortures, who then ends the processes.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).process_group(0);
        self.lives.turn(name);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        self.running.insert(name.to_owned(), child);
        Ok(())
    }

    /// Kills nodes as `kill -9` does, all at once, and waits until they are gone.
    pub async fn kill(&mut self, names: &[String]) -> anyhow::Result<()> {
        let mut dying = Vec::new();
        for name in names {
            let mut child = self.running.remove(name).with_context(|| format!("{name} does not run"))?;
            self.lives.turn(name);
            child.start_kill().with_context(|| format!("cannot kill {name}"))?;
            dying.push(child);
        }
        for mut child in dying {
            child.wait().await?;
        }
        Ok(())
    }

    /// Holds a node, or lets it go on.
    pub fn hold(&self, name: &str, held: bool) -> anyhow::Result<()> {
        let signal = if held { Signal::STOP } else { Signal::CONT };
        let pid = self.pid(name).with_context(|| format!("{name} does not run"))?;
        kill_process(pid, signal).with_context(|| format!("cannot hold {name}"))
    }

    fn pid(&self, name: &str) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.running.get(name)?.id()?).ok()?)
    }

    /// Waits until a node has died by itself. `false`: it still lives.
    pub async fn dies(&mut self, name: &str, within: Duration) -> anyhow::Result<bool> {
        let child = self.running.get_mut(name).with_context(|| format!("{name} does not run"))?;
        let Ok(ended) = timeout(within, child.wait()).await else { return Ok(false) };
        ended?;
        self.running.remove(name);
        self.lives.turn(name);
        Ok(true)
    }

    /// Nodes that have ended by themselves although nobody asked them to, with the end of what they said. They count as not running afterwards.
    pub fn ended(&mut self) -> anyhow::Result<Vec<(String, String)>> {
        let mut ended = Vec::new();
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                ended.push((name.clone(), status));
            }
        }
        let told = ended.into_iter().map(|(name, status)| {
            self.running.remove(&name);
            self.lives.turn(&name);
            let log = fs::read_to_string(self.log(&name)).unwrap_or_default();
            let mut last: Vec<&str> = log.lines().rev().take(LINES_TOLD).collect();
            last.reverse();
            (name, format!("{status}: {}", last.join(" | ")))
        });
        Ok(told.collect())
    }

    /// Whether a node's process runs, as far as is known.
    pub fn runs(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    /// Ends everybody in an orderly way, hosts first; who does not end in time is killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        for names in [&HOSTS[..], &REPLICAS[..]] {
            self.end(names).await?;
        }
        Ok(())
    }

    /// Ends these nodes in an orderly way.
    pub async fn end(&mut self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            if let Some(pid) = self.pid(name) {
                // One that has ended by itself needs no signal.
                kill_process(pid, Signal::TERM).ok();
            }
        }
        for name in names {
            let Some(mut child) = self.running.remove(*name) else { continue };
            self.lives.turn(name);
            if timeout(STOP_PATIENCE, child.wait()).await.is_err() {
                child.kill().await?;
            }
        }
        Ok(())
    }

    /// Forgets everything that the replicas have written. Nobody may run.
    pub fn wipe(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.deployment.data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot remove the data"),
            _ => Ok(()),
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{name}.log"))
    }
}

impl Lives {
    /// How often a node was killed or started.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |life| life.load(Ordering::Relaxed))
    }

    fn turn(&self, name: &str) {
        if let Some(life) = self.0.get(name) {
            life.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The papers of clients that speak with the cabinet as hosts do. They are in no deployment file, so that nobody looks for a host there.
fn certify_clients(deployment: &Deployment) -> anyhow::Result<()> {
    let mut directory = Directory::open(&deployment.certificates)?;
    let mut random = |bytes: &mut [u8]| rand::rngs::SysRng.try_fill_bytes(bytes).expect("the certificates before had random bytes, too");
    for number in 0..CLIENTS {
        directory.issue(&Order::new(client(&deployment.domain, number)?), now(), &mut random)?;
    }
    Ok(())
}

/// The identity of a client that speaks with the cabinet itself.
pub fn client(domain: &str, number: usize) -> anyhow::Result<Identity> {
    Ok(Identity::node(domain, SITE, Layer::Host, &format!("client-{number}"))?)
}

#[expect(clippy::disallowed_methods, reason = "certificates hold from now on, and this is no node")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Addresses that nobody uses now. They are held together, so that all differ, and released together.
fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let sockets = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>().context("no free port on loopback")?;
    sockets.iter().map(|socket| socket.local_addr().context("a bound socket has no address")).collect()
}

fn file(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<String> = REPLICAS.iter().map(|name| format!("{name:?}")).collect();
    let mut text = format!("domain = \"torture.example\"\n\n[[site]]\nname = \"{SITE}\"\n\n[cabinet]\n");
    text += &format!("voters = [{}]\ntick = \"20ms\"\n", quoted.join(", "));
    let layered = REPLICAS.iter().map(|name| (name, 1)).chain(HOSTS.iter().map(|name| (name, 2)));
    for ((name, layer), address) in layered.zip(addresses) {
        text += &format!("\n[[node]]\nname = \"{name}\"\nsite = \"{SITE}\"\nlayer = {layer}\nlisten = \"{address}\"\n");
    }
    for name in GATEWAYS {
        text += &format!("\n[[node]]\nname = \"{name}\"\nsite = \"{SITE}\"\nlayer = 4\n");
    }
    text
}

/// The replicas.
pub const REPLICAS: [&str; 3] = ["store-a", "store-b", "store-c"];

/// The hosts.
pub const HOSTS: [&str; 2] = ["host-a", "host-b"];

/// The front ends.
pub const GATEWAYS: [&str; 2] = ["gateway-a", "gateway-b"];

/// Clients that speak with the cabinet themselves.
pub const CLIENTS: usize = 5;

const SITE: &str = "here";

/// How long an orderly end may take before it is not waited for any more.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

const LINES_TOLD: usize = 4;
