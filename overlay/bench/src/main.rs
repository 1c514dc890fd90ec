//! Measures the overlay side by side with raw quinn and with tonic, in one run, on loopback.
//!
//! Each measurement is a server process and a client process of this same program, both on one current-thread runtime,
//! with mutual TLS 1.3 and P-256 certificates. The cases take turns in rounds, so that whatever else the machine does
//! falls upon all of them; medians over the rounds are reported, with their spread.
//!
//! [`stores`] does the same with the cabinet beside etcd and NATS, [`web`] with pages and JSON beside a bare HTTP server.
//!
//! It never fails because a figure is bad: aims that are not met are shown as short. Start reading at [`case`], which says
//! what is measured; then [`run`], which takes the turns; then one file per family: [`raw_quinn`], [`tonic_calls`],
//! [`overlay_calls`], [`leaves`].

mod case;
mod run;

mod certificates;
mod load;
mod meter;
mod processes;

mod framing;
mod leaves;
mod overlay_calls;
mod raw_quinn;
mod tonic_calls;

mod ratio;
mod report;

mod stores;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::case::Case;
use crate::processes::Target;
use crate::run::Settings;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.child {
        None => run::run(&cli.settings),
        Some(Child::Stores(stores)) => stores.run(),
        Some(Child::Web(web)) => web.run(),
        Some(Child::ServeHttp { directory, count, address }) => web::serve(&directory, count, address),
        Some(Child::Serve { case, certificates }) => processes::serve(find(&case)?, &certificates),
        Some(Child::Measure { case, certificates, address, server_pid, seconds }) => {
            processes::measure(find(&case)?, &Target { certificates, address, server_pid, seconds })
        }
    }
}

fn find(name: &str) -> anyhow::Result<Case> {
    Case::all().into_iter().find(|case| case.name() == name).with_context(|| format!("there is no case {name}"))
}

/// Measures the overlay side by side with raw quinn and tonic on this machine.
///
/// Prints a table of medians and the ratios that the project aims at, and writes both to a file. An aim that is not met is
/// shown as short and does not fail the run.
#[derive(Debug, Parser)]
#[command(name = "caps-bench", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    child: Option<Child>,
}

/// What else can be measured, and what this program runs as its own children.
#[derive(Debug, Subcommand)]
enum Child {
    /// Measure the cabinet beside etcd and NATS JetStream, three processes each.
    Stores(stores::Stores),
    /// Measure a console page and JSON reads beside a bare axum handler.
    Web(web::Web),
    /// Serves files from memory until it is ended.
    #[command(hide = true)]
    ServeHttp { directory: PathBuf, count: usize, address: SocketAddr },
    /// Serves one case until its standard input ends.
    #[command(hide = true)]
    Serve { case: String, certificates: PathBuf },
    /// Measures one case once and prints its figures.
    #[command(hide = true)]
    Measure { case: String, certificates: PathBuf, address: SocketAddr, server_pid: u32, seconds: f64 },
}

const EXAMPLES: &str = "\
Examples:
  caps-bench                              everything, about three minutes
  caps-bench --only calls-256             small calls at concurrency 256, by every way
  caps-bench --only overlay-lane          every measurement of calls that share a lane
  caps-bench --only bulk --only cold      two families
  caps-bench --seconds 3 --rounds 9       longer and steadier
  caps-bench --json                       the report as one line of JSON, for programs
  caps-bench stores                       commits and local reads beside etcd and NATS
  caps-bench stores --only cabinet,etcd --work write --callers 256 --state memory
  caps-bench web --callers 1,8,64         pages and JSON beside a bare axum handler

From the work tree: cargo run --release -p caps-overlay-bench -- --only bulk";
