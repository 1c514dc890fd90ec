//! The company: its deployment, and its processes.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use caps_certs_gen::Layer;
use caps_frontend::Client;
use caps_model::messages::cabinet::{ReplicaRole, ReplicaStatus};
use caps_model::messages::host::HostStatus;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::deployment::{Deployment, Node};
use crate::founding::{FrontEnd, Plan, found};
use crate::node;

/// A deployment whose nodes run as processes of this machine.
#[derive(Debug)]
pub(super) struct Company {
    directory: PathBuf,
    config: PathBuf,
    deployment: Deployment,
    running: BTreeMap<String, Child>,
    administrator: Client,
}

impl Company {
    /// Founds the company, starts its servers, and waits until they have agreed on a leader. Its mail goes to `relay`, and its
    /// replicas keep their states in `state`.
    pub(super) async fn found(directory: &Path, relay: SocketAddr, state: &str) -> anyhow::Result<Self> {
        let config = found(directory, &plan(relay, state)?, crate::ambient::now(), &mut crate::ambient::random()?)?;
        for inside in ["logs", "mail"] {
            std::fs::create_dir_all(directory.join(inside))?;
        }
        super::corpus::write(&directory.join("mail"))?;
        let deployment = Deployment::read(&config)?;
        let administrator = Client::new(node::leaf(&deployment, "admin").await?, deployment.cabinet().services(), PATIENCE);
        let directory = directory.to_owned();
        let mut company = Self { directory, config, deployment, running: BTreeMap::new(), administrator };
        for name in company.servers() {
            company.start(&name)?;
        }
        company.settled().await?;
        Ok(company)
    }

    /// The company's servers by name: replicas first.
    pub(super) fn servers(&self) -> Vec<String> {
        let of = |layer| self.deployment.layer(layer).map(|node| node.name.clone());
        of(Layer::Cabinet).chain(of(Layer::Host)).collect()
    }

    /// The front ends that serve the outside: only they are processes of their own.
    pub(super) fn serving(&self) -> impl Iterator<Item = &Node> {
        self.deployment.layer(Layer::FrontEnd).filter(|node| node.front_end.serves())
    }

    /// The deployment.
    pub(super) fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Joins as a front end of this name.
    pub(super) async fn client(&self, name: &str, patience: Duration) -> anyhow::Result<Client> {
        Ok(Client::new(node::leaf(&self.deployment, name).await?, self.deployment.services_for(name), patience))
    }

    /// The deployment file.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// The directory with a mail in each file.
    pub(super) fn mail(&self) -> PathBuf {
        self.directory.join("mail")
    }

    /// A client that acts as the administrator.
    pub(super) fn administrator(&self) -> &Client {
        &self.administrator
    }

    /// Starts the process of a server.
    pub(super) fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let mut command = self.command(name)?;
        command.args(["run", "--node", name]);
        let child = command.stdout(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
        self.running.insert(name.to_owned(), child);
        Ok(())
    }

    /// Starts what serves the outside, and waits until it does.
    pub(super) async fn serve(&mut self) -> anyhow::Result<()> {
        let serving: Vec<Node> = self.serving().cloned().collect();
        for node in &serving {
            self.start(&node.name)?;
        }
        let until = Instant::now() + PATIENCE;
        let listens = serving.iter().flat_map(|node| {
            let mail = node.front_end.mail.as_ref().and_then(|mail| mail.listen);
            node.front_end.web.as_ref().map(|web| web.listen).into_iter().chain(mail)
        });
        for listen in listens {
            while tokio::net::TcpStream::connect(listen).await.is_err() {
                self.nobody_ended()?;
                anyhow::ensure!(Instant::now() < until, "nothing listens on {listen} after {PATIENCE:?}");
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Kills a server as `kill -9` does.
    pub(super) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let mut child = self.running.remove(name).with_context(|| format!("{name} is not running"))?;
        child.kill().await.with_context(|| format!("cannot kill {name}"))
    }

    /// A command line as this front end or server would type it; errors go to its log.
    pub(super) fn command(&self, name: &str) -> anyhow::Result<Command> {
        let log = self.directory.join("logs").join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        command.arg("--config").arg(&self.config).stdin(Stdio::null()).stderr(log).kill_on_drop(true);
        Ok(command)
    }

    /// How everything is, as a host sees it.
    pub(super) async fn status(&self) -> anyhow::Result<HostStatus> {
        Ok(self.administrator.status().await?)
    }

    /// The replicas that answer, by node.
    pub(super) async fn replicas(&self) -> anyhow::Result<BTreeMap<String, ReplicaStatus>> {
        let replicas = self.status().await?.replicas;
        Ok(replicas.into_iter().filter_map(|(_, replica)| replica.ok()).map(|replica| (replica.node.clone(), replica)).collect())
    }

    /// The node of the present leader.
    pub(super) async fn leader(&self) -> anyhow::Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let replicas = self.replicas().await?;
            // A replica that has not heard of its successor yet still believes itself leader: the latest term counts.
            let leader = replicas.values().filter(|replica| replica.role == ReplicaRole::Leader).max_by_key(|replica| replica.term);
            if let Some(leader) = leader {
                return Ok(leader.node.clone());
            }
            anyhow::ensure!(Instant::now() < until, "no replica became leader within {PATIENCE:?}");
            sleep(POLL).await;
        }
    }

    /// Waits until every replica answers, knows the same leader, and has come equally far.
    pub(super) async fn settled(&mut self) -> anyhow::Result<BTreeMap<String, ReplicaStatus>> {
        let voters = self.deployment.cabinet().voters.len();
        let until = Instant::now() + PATIENCE;
        loop {
            self.nobody_ended()?;
            // Hosts that are starting refuse or do not answer yet: that is what is waited for.
            let replicas = self.replicas().await.unwrap_or_default();
            let mut marks = replicas.values().map(|replica| (replica.leader.clone(), replica.position));
            let first = marks.next();
            let agreed = first.as_ref().is_some_and(|(leader, _)| leader.is_some()) && marks.all(|mark| Some(mark) == first);
            if agreed && replicas.len() == voters {
                return Ok(replicas);
            }
            let seen: Vec<String> = replicas.values().map(|replica| format!("{} at {}", replica.node, replica.position)).collect();
            anyhow::ensure!(Instant::now() < until, "the replicas did not agree within {PATIENCE:?}; seen: {}", seen.join(", "));
            sleep(POLL).await;
        }
    }

    /// Ends every process in an orderly way.
    pub(super) async fn stop(&mut self) {
        for child in self.running.values() {
            terminate(child);
        }
        for (name, mut child) in std::mem::take(&mut self.running) {
            match tokio::time::timeout(PATIENCE, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(ended) => tracing::warn!(name, ?ended, "did not end well"),
                Err(_) => tracing::warn!(name, "did not end in time"),
            }
        }
        self.administrator.overlay().drain(PATIENCE).await;
    }

    fn nobody_ended(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("{name} ended with {status}; its log: {}", self.directory.join("logs").join(format!("{name}.log")).display());
            }
        }
        Ok(())
    }
}

/// Asks a process to end: SIGTERM.
pub(super) fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // A process that has ended by itself needs no signal.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    }
}

/// `relay` is where its mail goes.
fn plan(relay: SocketAddr, state: &str) -> anyhow::Result<Plan> {
    let sites = ["lund", "goteborg", "kiruna"];
    let [malmo, kiruna, goteborg] = free_tcp_ports()?;
    let web = |port: u16| format!("web = {{ listen = \"127.0.0.1:{port}\" }}\n");
    let mail = format!("mail = {{ listen = \"127.0.0.1:{goteborg}\", relay = \"smtp://{relay}\", retry = \"2s\" }}\n");
    let front_ends = [
        ("desk-malmo", "malmo", String::new()),
        ("gateway-malmo", "malmo", String::new()),
        ("gateway-lund", "lund", String::new()),
        ("desk-kiruna", "kiruna", String::new()),
        ("console-malmo", "malmo", web(malmo)),
        ("console-kiruna", "kiruna", web(kiruna)),
        ("gateway-goteborg", "goteborg", mail),
    ];
    Ok(Plan {
        domain: "pumps.example".to_owned(),
        server_sites: sites.map(str::to_owned).to_vec(),
        front_ends: front_ends.map(|(name, site, serves)| FrontEnd { name: name.to_owned(), site: site.to_owned(), serves }).to_vec(),
        addresses: free_addresses(sites.len() * 2)?,
        state: state.to_owned(),
    })
}

/// Loopback addresses that nobody uses now. They are held together, so that all differ, and released together.
fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let sockets = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>().context("no free port on loopback")?;
    sockets.iter().map(|socket| socket.local_addr().context("no address of a bound socket")).collect()
}

/// TCP ports of loopback that nobody uses now.
fn free_tcp_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let sockets: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().context("no free port on loopback")?;
    let mut ports = [0; N];
    for (port, socket) in ports.iter_mut().zip(&sockets) {
        *port = socket.local_addr().context("no address of a bound socket")?.port();
    }
    Ok(ports)
}

/// How long anything of the demo may take before it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How often the demo looks.
const POLL: Duration = Duration::from_millis(50);
