//! `caps demo`: a three-site company at work on this machine, every node a process of its own.

mod company;
mod corpus;
mod database;
mod gateway;
mod live;
mod people;
mod sink;
mod story;
mod verdict;
mod watcher;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::cli::Global;
use caps_overlay::Tasks;
use company::Company;
use database::Database;
use sink::Sink;

/// Show a three-site company at work on this machine.
///
/// Makes certificates and caps.toml for the sites lund, goteborg and kiruna, starts a replica and a host at each as processes of their own on
/// free loopback ports, and front ends at some of them and at a fourth site, malmo: two consoles for browsers, and a gateway that takes mail by SMTP
/// and sends replies to a sink, which the demo shows. Files real-looking mails and shows what becomes of them, until Ctrl-C. With --once it plays
/// a fixed story instead: mail from two front ends at once, the leader killed five times in mid-load, a host killed, everything restarted and
/// compared. The exit status says whether anything was lost.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps demo\n  caps demo --dir /tmp/pumps\n  caps demo --once --json\n  caps demo --state postgres")]
pub struct Demo {
    /// Where to keep certificates, caps.toml, data and logs; a temporary directory, removed afterwards, if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Play the fixed story, compare, and exit.
    #[arg(long)]
    once: bool,
    /// What replicas keep their states in: sled, sqlite, memory, the URL of a database; or postgres or mariadb, for which the demo starts a server of
    /// its own from Debian's package.
    #[arg(long, default_value = "sled", value_name = "STATE")]
    state: String,
}

impl Demo {
    pub(crate) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let directory = self.directory()?;
        let tasks = Tasks::default();
        let sink = Sink::open(&tasks).await?;
        let database = Database::open(&self.state, &directory).await?;
        let mut company = Company::found(&directory, sink.address(), &database.state).await?;
        let played = match self.once {
            true => story::play(&mut company, global.json).await,
            false => live::show(&mut company, &sink, &database).await,
        };
        company.stop().await;
        database.close().await;
        tasks.shutdown().await;
        let kept = played.is_err() || self.dir.is_some();
        if kept {
            eprintln!("certificates, data and logs are in {}", directory.display());
        } else {
            std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        played
    }

    fn directory(&self) -> anyhow::Result<PathBuf> {
        let directory = match &self.dir {
            Some(directory) => directory.clone(),
            None => std::env::temp_dir().join(format!("caps-demo-{}", std::process::id())),
        };
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        // Processes are started with it from wherever they are.
        directory.canonicalize().with_context(|| format!("cannot find {}", directory.display()))
    }
}
