//! All of a deployment at work in a lab: each server a process of its own, and front ends on demand.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use caps_certs_gen::Layer;
use caps_node::deployment::Deployment;
use caps_node::founding;
use futures_util::future::try_join_all;
use serde_json::Value as Json;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::copy;
use super::lab::Lab;
use super::plan::Plan;

/// A deployment at work in a lab. Whatever it started is killed when it is dropped, and when the thread that started it ends.
#[derive(Debug)]
pub struct Company {
    // In this order: processes end before their network does, and files are removed after both.
    servers: BTreeMap<String, Child>,
    lab: Lab,
    deployment: Deployment,
    caps: PathBuf,
    directory: Directory,
}

/// How a company is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Decides losses, jitter and the like.
    pub seed: u64,
    /// The `caps` program.
    pub caps: PathBuf,
    /// Where the copy of the deployment file, data and logs go; if not given, a temporary directory that is removed at the end.
    pub directory: Option<PathBuf>,
}

/// What a front end does: its name, and the arguments of `caps`.
pub type Errand = (String, Vec<String>);

/// Runs a deployment in a lab, lets front ends do their errands all at the same time, and returns what each printed, in the same order.
pub async fn run_errands(deployment: &Deployment, setup: Setup, errands: &[Errand]) -> anyhow::Result<Vec<String>> {
    let company = Company::start(deployment, setup).await?;
    let printed = try_join_all(errands.iter().map(|(front_end, arguments)| company.run(front_end, arguments))).await;
    company.stop().await?;
    printed
}

impl Company {
    /// Makes the lab, starts every server, and waits until all serve and the replicas have agreed on a leader. Lines and links are those of
    /// the deployment as it is given, which may have been changed since it was read; everything else is as its file says. If it has no
    /// certificates yet, it gets some that end with the lab.
    pub async fn start(deployment: &Deployment, setup: Setup) -> anyhow::Result<Self> {
        let caps =
            setup.caps.canonicalize().with_context(|| format!("there is no program {}: say where with --caps", setup.caps.display()))?;
        let plan = Plan::of(deployment)?;
        let directory = Directory::new(setup.directory)?;
        let deployment = certified(deployment, &directory)?;
        let deployment = Deployment::read(&copy::write(&deployment, &plan, directory.path())?)?;
        let lab = Lab::new(plan, setup.seed)?;
        let mut company = Self { servers: BTreeMap::new(), lab, deployment, caps, directory };
        for node in company.deployment.nodes.iter().filter(|node| node.layer != Layer::FrontEnd) {
            let child = company.start_server(&node.name).with_context(|| format!("cannot start {}", node.name))?;
            company.servers.insert(node.name.clone(), child);
        }
        company.settled().await?;
        Ok(company)
    }

    /// The networks it runs in.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Its deployment, at the lab's addresses.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// A command at a node's place. `caps` is found there, acts for that node, and needs no `--config`.
    pub fn command(&self, node: &str, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        let mut command = self.lab.command(node, program)?;
        command.env("CAPS_CONFIG", &self.deployment.path).env("CAPS_AS", node);
        let around = std::env::var_os("PATH").unwrap_or_default();
        let beside = self.caps.parent().map(Path::to_owned);
        let path = std::env::join_paths(beside.into_iter().chain(std::env::split_paths(&around)));
        command.env("PATH", path.with_context(|| format!("{} cannot be in PATH", self.caps.display()))?);
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        Ok(command)
    }

    /// Runs `caps` with these arguments as a front end, at its place; returns what it printed, or why it failed.
    pub async fn run(&self, front_end: &str, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<String> {
        let output = self.command(front_end, &self.caps)?.args(arguments).stdin(Stdio::null()).output().await;
        let output = output.with_context(|| format!("cannot start {}", self.caps.display()))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{front_end}: caps ended with {}: {}", output.status, complaint.trim());
        String::from_utf8(output.stdout).with_context(|| format!("{front_end}: caps printed something that is not text"))
    }

    /// Ends every server in an orderly way. Fails if one had ended before.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.nobody_ended()?;
        for child in self.servers.values() {
            terminate(child);
        }
        for (name, child) in &mut self.servers {
            let ended =
                timeout(STOP_PATIENCE, child.wait()).await.with_context(|| format!("{name} did not end within {STOP_PATIENCE:?}"))?;
            ended.with_context(|| format!("cannot wait for {name}"))?;
        }
        Ok(())
    }

    fn start_server(&self, name: &str) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log(name)).context("cannot write its log")?;
        let mut command = self.command(name, &self.caps)?;
        command.args(["run", "--node", name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Ctrl-C is for whoever started the lab, who then ends the servers.
        Ok(command.process_group(0).spawn()?)
    }

    /// Waits until every server is up, as a host sees it, and all replicas know the same leader.
    async fn settled(&mut self) -> anyhow::Result<()> {
        let Some(host) = self.deployment.layer(Layer::Host).next().map(|node| node.name.clone()) else {
            bail!("{} has no host (layer = 2): nobody could use what a lab would run", self.deployment.path.display())
        };
        // The papers of a front end, at the place of a host: asking takes no line that is about to be measured.
        let front_end = self.deployment.layer(Layer::FrontEnd).next().map_or("admin", |node| &node.name).to_owned();
        let until = Instant::now() + START_PATIENCE;
        loop {
            self.nobody_ended()?;
            let picture = self.run(&host, &["status", "--json", "--as", &front_end]).await;
            let missing = match &picture {
                Ok(picture) => missing(&serde_json::from_str(picture).context("`caps status --json` printed no JSON")?),
                Err(error) => Some(format!("{error:#}")),
            };
            let Some(missing) = missing else { return Ok(()) };
            ensure!(Instant::now() < until, "the servers did not agree within {START_PATIENCE:?}: {missing}");
            sleep(POLL).await;
        }
    }

    fn nobody_ended(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.servers {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(self.directory.log(name)).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(LOG_LINES_SHOWN).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                bail!("{name} ended with {status}; the end of its log:\n{}", last.join("\n"));
            }
        }
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.log(name)
    }
}

/// The deployment with certificates: its own, or new ones in the directory of the lab.
fn certified(deployment: &Deployment, directory: &Directory) -> anyhow::Result<Deployment> {
    let mut deployment = deployment.clone();
    if !deployment.certificates.exists() {
        deployment.certificates = directory.path().join("certs");
        founding::certify_deployment(&deployment)?;
    }
    Ok(deployment)
}

/// What keeps a company from being at work, by the answer of `caps status --json`; `None`: nothing.
fn missing(picture: &Json) -> Option<String> {
    let nodes = picture["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut leader = None;
    for node in nodes.iter().filter(|node| node["layer"] != Layer::FrontEnd.number()) {
        let name = node["node"].as_str().unwrap_or("a node");
        if node["state"] != "up" {
            return Some(format!("{name} is {}", node["state"].as_str().unwrap_or("unknown")));
        }
        if node["layer"] != Layer::Cabinet.number() {
            continue;
        }
        let known = node["replica"]["leader"].as_str().map(str::to_owned);
        if known.is_none() || leader.as_ref().is_some_and(|leader| *leader != known) {
            return Some(format!("{name} does not know the leader yet"));
        }
        leader = Some(known);
    }
    leader.is_none().then(|| "no replica is up".to_owned())
}

/// Asks a process to end: SIGTERM.
fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // A process that has ended by itself needs no signal.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    }
}

/// A directory for the files of a lab.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Directory {
    fn new(wanted: Option<PathBuf>) -> anyhow::Result<Self> {
        let temporary = wanted.is_none();
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let path = wanted.unwrap_or_else(|| std::env::temp_dir().join(format!("caps-lab-{}-{number}", std::process::id())));
        ensure!(!path.join("caps.toml").exists(), "{} has a caps.toml: choose an empty directory for the lab", path.display());
        std::fs::create_dir_all(path.join("logs")).with_context(|| format!("cannot make {}", path.display()))?;
        // Processes are started with it from wherever they are.
        let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        Ok(Self { path, temporary })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn log(&self, node: &str) -> PathBuf {
        self.path.join("logs").join(format!("{node}.log"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, directory = %self.path.display(), "cannot remove the lab's files");
        }
    }
}

/// Labs that this process has had files for.
static LABS: AtomicU64 = AtomicU64::new(0);

/// How long servers may take until they have agreed: some handshakes and an election over satellites, and more.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// How long a server may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How often servers are asked whether they have agreed.
const POLL: Duration = Duration::from_millis(200);

const LOG_LINES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_company_is_at_work_when_all_are_up_and_know_one_leader() {
        let picture = |store_state: &str, leader: Json, host_state: &str| {
            json!({"nodes": [
                {"node": "store-a", "layer": 1, "state": "up", "replica": {"leader": "store-a"}},
                {"node": "store-b", "layer": 1, "state": store_state, "replica": {"leader": leader}},
                {"node": "host-a", "layer": 2, "state": host_state, "replica": null},
                {"node": "desk-a", "layer": 4, "state": "front end", "replica": null},
            ]})
        };
        assert_eq!(missing(&picture("up", json!("store-a"), "up")), None);
        assert_eq!(missing(&picture("down: timeout", json!("store-a"), "up")).unwrap(), "store-b is down: timeout");
        assert_eq!(missing(&picture("up", json!("store-b"), "up")).unwrap(), "store-b does not know the leader yet");
        assert_eq!(missing(&picture("up", Json::Null, "up")).unwrap(), "store-b does not know the leader yet");
        assert_eq!(missing(&picture("up", json!("store-a"), "down")).unwrap(), "host-a is down");
        assert_eq!(missing(&json!({"nodes": []})).unwrap(), "no replica is up");
    }
}
