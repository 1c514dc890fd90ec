//! `caps-sim lab`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use caps_certs_gen::Layer;
use caps_node::deployment::Deployment;
use tokio::signal::unix::{SignalKind, signal};

use super::company::{Company, Setup};
use super::lab::Lab;

/// Run a deployment as real processes on an emulated network.
///
/// Each node gets a network namespace of its own, and the lines and links of the deployment file lie between them. Every server is started
/// there as `caps run`, with data of its own. Then COMMAND runs at the place of a front end; without one, the lab stays until Ctrl-C and tells
/// now and then what passed its links. Needs root and /dev/net/tun.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  caps-sim lab caps.toml\n  caps-sim lab caps.toml --as desk-kiruna -- caps status\n  \
    caps-sim lab caps.toml --seed 7 --as desk-malmo -- bash")]
pub struct LabCommand {
    /// The deployment file.
    #[arg(default_value = "caps.toml", value_name = "FILE")]
    file: PathBuf,
    /// Decides losses, jitter and the like.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The node at whose place COMMAND runs; the file's first front end if not given.
    #[arg(long = "as", value_name = "NODE")]
    actor: Option<String>,
    /// The caps program; the one beside this program if not given.
    #[arg(long, value_name = "PROGRAM")]
    caps: Option<PathBuf>,
    /// Where to keep data and logs; a temporary directory, removed afterwards, if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What to run, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl LabCommand {
    /// Does it, in an event loop of its own. The exit code is COMMAND's.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the system gives no event loop")?;
        runtime.block_on(self.at_work())
    }

    async fn at_work(self) -> anyhow::Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let deployment = Deployment::read(&self.file)?;
        let actor = self.actor(&deployment)?;
        let caps = self.caps.clone().map_or_else(beside_this_program, Ok)?;
        let company = tokio::select! {
            // A signal first: whoever gives up on a lab does not want it any more. Dropping what there is ends it.
            biased;
            _ = terminate.recv() => return Ok(ExitCode::FAILURE),
            _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
            company = Company::start(&deployment, Setup { seed: self.seed, caps, directory: self.dir.clone() }) => company?,
        };
        eprintln!("{} serves in a lab, seed {}; its file is {}", deployment.domain, self.seed, company.deployment().path.display());
        let has_command = !self.command.is_empty();
        let code = tokio::select! {
            // A signal first: without a command there is no other end.
            biased;
            _ = terminate.recv() => ExitCode::FAILURE,
            // The terminal sends Ctrl-C to COMMAND as well, and what that does with it is its own affair.
            _ = interrupt.recv(), if !has_command => ExitCode::SUCCESS,
            code = self.command(&company, &actor), if has_command => code?,
            () = stay(&company), if !has_command => ExitCode::SUCCESS,
        };
        report(company.lab());
        company.stop().await?;
        Ok(code)
    }

    async fn command(&self, company: &Company, actor: &str) -> anyhow::Result<ExitCode> {
        let (program, arguments) = self.command.split_first().context("there is no command")?;
        let status = company.command(actor, program)?.args(arguments).status().await;
        let status = status.with_context(|| format!("cannot start {}", program.display()))?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    }

    fn actor(&self, deployment: &Deployment) -> anyhow::Result<String> {
        if let Some(actor) = &self.actor {
            return Ok(deployment.node(actor)?.name.clone());
        }
        let first = deployment.layer(Layer::FrontEnd).next().or(deployment.nodes.first());
        first.map(|node| node.name.clone()).with_context(|| format!("{} has no nodes", deployment.path.display()))
    }
}

/// Reports now and then, for ever.
async fn stay(company: &Company) {
    for node in &company.deployment().nodes {
        if let Ok(address) = company.lab().address(&node.name) {
            eprintln!("  {:<20} {address}", node.name);
        }
    }
    eprintln!("Ctrl-C ends it");
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        report(company.lab());
    }
}

/// Tells what passed the links that were used, and how exact the delays were.
fn report(lab: &Lab) {
    eprintln!("{:<40} {:>10} {:>12} {:>8} {:>8} {:>10}", "LINK", "PACKETS", "BYTES", "LOST", "MARKED", "WAITED");
    for link in lab.links().iter().filter(|link| link.stats.offered > 0) {
        let stats = link.stats;
        let waited = Duration::from_nanos(stats.queueing_sum_ns / stats.offered.max(1));
        eprintln!(
            "{:<40} {:>10} {:>12} {:>8} {:>8} {:>10}",
            link.id.to_string(),
            stats.offered,
            stats.offered_bytes,
            stats.offered - stats.passed,
            stats.marked,
            format!("{:.1}ms", waited.as_secs_f64() * 1e3)
        );
    }
    let carried = lab.carried();
    let late = Duration::from_nanos(carried.late_sum_ns / carried.delivered.max(1));
    let latest = Duration::from_nanos(carried.late_max_ns);
    eprintln!("{} packets delivered, {late:?} late on average, {latest:?} at most", carried.delivered);
    if carried.too_many > 0 {
        eprintln!("{} packets dropped by the lab itself, which had too many under way", carried.too_many);
    }
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe().context("cannot find this program's own file")?.with_file_name("caps"))
}

const REPORT_EVERY: Duration = Duration::from_secs(30);
