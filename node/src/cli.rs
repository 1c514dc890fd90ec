//! The command line: what can be asked for, and who answers.

mod audit;
mod backup;
mod blob;
mod cabinet;
mod call;
mod check;
mod completions;
mod connect;
mod export;
mod file;
mod fresh;
mod import;
mod init;
mod login;
mod mail;
mod moment;
mod obliterate;
mod outcome;
mod past;
mod ping;
mod progress;
mod read;
mod rebuild;
mod record;
mod restore;
mod run;
mod schema;
mod scratch;
mod status;
mod watch;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use caps_overlay::Overlay;
use clap::{Args, Parser, Subcommand};

use crate::demo;
use crate::deployment::{Cabinet, Deployment};
use crate::node;

pub(crate) use connect::interrupted;
pub(crate) use status::Picture;

/// Joins the processes of a layered business application into one overlay.
#[derive(Debug, Parser)]
#[command(name = "caps", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The deployment file.
    #[arg(long, global = true, env = "CAPS_CONFIG", default_value = "caps.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The front end to act as, or `admin` for the administrator; the file's first front end if not given.
    #[arg(long = "as", global = true, env = "CAPS_AS", value_name = "NODE")]
    pub(crate) actor: Option<String>,
    /// The cabinet; the one that the front end works with if not given, or the file's first for the administrator.
    #[arg(long, global = true, env = "CAPS_CABINET", value_name = "NAME")]
    pub(crate) cabinet: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Give up after this long.
    #[arg(long, global = true, default_value = "15s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,
}

impl Global {
    /// The cabinet that is meant by whoever acts: the one that is named, else that of the actor's node; the administrator's is the first.
    fn cabinet<'a>(&self, deployment: &'a Deployment, actor: &str) -> anyhow::Result<&'a Cabinet> {
        Ok(match &self.cabinet {
            Some(name) => deployment.cabinet_named(name)?,
            None if actor == ADMIN => deployment.cabinet(),
            None => deployment.cabinet_of(deployment.node(actor)?),
        })
    }

    /// Who acts in commands for administrators: the administrator, unless another is named.
    fn administrator(&self) -> &str {
        self.actor.as_deref().unwrap_or(ADMIN)
    }

    /// Joins as whoever acts in commands for administrators.
    async fn administer(&self, deployment: &Deployment) -> anyhow::Result<Overlay> {
        node::leaf(deployment, self.administrator()).await
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a deployment: certificates and caps.toml for some sites.
    Init(init::Init),
    /// Run one node of the deployment until SIGTERM.
    Run(run::Run),
    /// Show a three-site company at work on this machine.
    Demo(demo::Demo),
    /// Show sites, nodes, leader, positions, round-trip times and certificates.
    Status(status::Status),
    /// Show who keeps the cabinet and what it survives; or change that.
    Cabinet(cabinet::Cabinet),
    /// Copy the cabinet while it works.
    Backup(backup::Backup),
    /// Make a node's journal from a backup, as the cabinet was at its end or earlier.
    Restore(restore::Restore),
    /// Make a node's state anew from its journal.
    Rebuild(rebuild::Rebuild),
    /// Examine what a node keeps, or a backup, without changing it.
    Check(check::Check),
    /// Measure the way to a node, or learn why there is none.
    Ping(ping::Ping),
    /// Act for a user from now on.
    Login(login::Login),
    /// Act for the front end's own node again.
    Logout(login::Logout),
    /// List the objects of an entity that satisfy a filter.
    Query(read::Query),
    /// Show objects by id.
    Get(read::Get),
    /// Follow the objects of an entity that satisfy a filter.
    Watch(watch::Watch),
    /// Call a method of a module.
    Call(call::Call),
    /// Bring large values to the cabinet, and get them back.
    Blob(blob::Blob),
    /// Call a method with each row of a query to another database.
    Import(import::Import),
    /// Write the objects of an entity into a table of another database.
    Export(export::Export),
    /// File mails (RFC 5322 files) with the case desk.
    File(file::File),
    /// Send mail by SMTP, and look after what waits to be sent.
    Mail(mail::Mail),
    /// Show what ever happened to an object.
    History(read::History),
    /// Show what differs between two moments.
    Diff(past::Diff),
    /// Show who made a commit, through what, when and why.
    Why(past::Why),
    /// Ask what became of a commit.
    Outcome(outcome::Outcome),
    /// Take values of an object away for ever.
    Obliterate(obliterate::Obliterate),
    /// Verify the history of a cabinet without trusting whoever keeps it.
    Audit(audit::Audit),
    /// Show what the modules declare.
    Schema(schema::Schema),
    /// Do what the deployment file's users do, and measure it.
    Workload(workload::Workload),
    /// Write down what commands ask for, as an operation of the deployment file.
    Record(record::Record),
    /// Print completions for a shell.
    Completions(completions::Completions),
}

impl Cli {
    /// What is logged if nobody says otherwise: a node tells what happens to it; commands print answers, and log only faults.
    pub fn log_level(&self) -> &'static str {
        match self.command {
            Command::Run(_) => "info",
            Command::Backup(_) | Command::Restore(_) => "warn",
            _ => "error",
        }
    }

    /// Does what was asked for.
    pub async fn run(self) -> anyhow::Result<()> {
        let global = &self.global;
        match self.command {
            Command::Init(command) => command.run(global),
            Command::Run(command) => command.run(global).await,
            Command::Demo(command) => command.run(global).await,
            Command::Status(command) => command.run(global).await,
            Command::Cabinet(command) => command.run(global).await,
            Command::Backup(command) => command.run(global).await,
            Command::Restore(command) => command.run(global),
            Command::Rebuild(command) => command.run(global),
            Command::Check(command) => command.run(global),
            Command::Ping(command) => command.run(global).await,
            Command::Login(command) => command.run(global).await,
            Command::Logout(command) => command.run(global).await,
            Command::Query(command) => command.run(global).await,
            Command::Get(command) => command.run(global).await,
            Command::Watch(command) => command.run(global).await,
            Command::Call(command) => command.run(global).await,
            Command::Blob(command) => command.run(global).await,
            Command::File(command) => command.run(global).await,
            Command::Import(command) => command.run(global).await,
            Command::Export(command) => command.run(global).await,
            Command::Mail(command) => command.run(global).await,
            Command::History(command) => command.run(global).await,
            Command::Diff(command) => command.run(global).await,
            Command::Why(command) => command.run(global).await,
            Command::Outcome(command) => command.run(global).await,
            Command::Obliterate(command) => command.run(global).await,
            Command::Audit(command) => command.run(global).await,
            Command::Schema(command) => command.run(global).await,
            Command::Workload(command) => command.run(global).await,
            Command::Record(command) => command.run(global).await,
            Command::Completions(command) => {
                command.run();
                Ok(())
            }
        }
    }
}

/// Who `--as admin` is.
const ADMIN: &str = "admin";

const EXAMPLES: &str = "\
Examples:
  caps demo                                   a three-site company at work on this machine
  caps init --dir deployment                  certificates and caps.toml for three sites
  caps run --node store-lund                  one node of it
  caps status                                 how everybody is
  caps query case 'status = open and priority >= 3'
  caps watch case --as desk-kiruna            see cases change, live
  caps call casedesk.close case=#01jd... reason='pump replaced'

Each command has its own --help with examples.";
