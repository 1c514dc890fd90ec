//! Fidelity: predictions held against real processes on an emulated line.
//!
//! One front end does each operation of the deployment file, again and again: once in a world, and once as real `caps` processes in network
//! namespaces, over the same links ([`emulator`](crate::emulator)). The replica that leads out there leads in here as well. How fast this
//! machine is, is found out first, on a line that does nothing: what a disk's `fdatasync` takes, and what a datagram costs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use caps_node::deployment::Deployment;
use caps_node::deployment::profile::Profile;
use serde::Serialize;
use serde_json::Value as Json;

use crate::assess::alone;
use crate::emulator::{Company, Setup};
use crate::machine::Speed;

/// What is compared.
#[derive(Debug)]
pub struct Plan {
    /// The deployment; its files are read again by real processes.
    pub deployment: Deployment,
    /// The front end that does everything.
    pub front_end: String,
    /// The line that its site has, one after the other.
    pub profiles: Vec<&'static Profile>,
    /// How often each operation is done.
    pub times: u32,
    /// The seed of both worlds.
    pub seed: u64,
    /// The `caps` program.
    pub caps: PathBuf,
}

/// A prediction and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The line.
    pub profile: String,
    /// The operation.
    pub operation: String,
    /// Predicted and measured, in milliseconds.
    pub p50_ms: (f64, f64),
    /// Predicted and measured, in milliseconds.
    pub p95_ms: (f64, f64),
}

/// The machine that was measured.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// Its speed, as the world takes it.
    pub speed: Speed,
}

/// Finds out how fast this machine is.
pub async fn calibrate(plan: &Plan, told: &impl Fn(&str)) -> anyhow::Result<Calibration> {
    told("measuring the disk");
    let sync = measured_sync()?;
    told("measuring this machine on lines that do nothing");
    let ideal = Profile::named("ideal").context("there is a profile named ideal")?;
    let usual = Speed { sync, ..Speed::default() };
    let (leader, real) = on_real_processes(plan, ideal).await?;
    let predicted = in_a_world(plan, ideal, &leader, usual)?;
    // What a list costs beyond nothing is datagrams and what follows from them.
    let (name, real_ms, _) = real.first().context("the deployment has operations")?;
    let predicted_ms = predicted.iter().find(|(known, ..)| known == name).map_or(*real_ms, |(_, p50, _)| *p50);
    let slower = (real_ms / predicted_ms).clamp(0.1, 50.0);
    Ok(Calibration { speed: Speed { datagram: usual.datagram.mul_f64(slower), ..usual } })
}

/// Compares on one line.
pub async fn compare(plan: &Plan, profile: &'static Profile, calibration: Calibration) -> anyhow::Result<Vec<Compared>> {
    let (leader, measured) = on_real_processes(plan, profile).await?;
    let predicted = in_a_world(plan, profile, &leader, calibration.speed)?;
    let pair = |(operation, p50, p95): &(String, f64, f64)| {
        let (_, expected_p50, expected_p95) = predicted.iter().find(|(name, ..)| name == operation)?;
        Some(Compared {
            profile: profile.name.to_owned(),
            operation: operation.clone(),
            p50_ms: (*expected_p50, *p50),
            p95_ms: (*expected_p95, *p95),
        })
    };
    Ok(measured.iter().filter_map(pair).collect())
}

/// An operation with its p50 and p95 in milliseconds.
type Felt = (String, f64, f64);

fn in_a_world(plan: &Plan, profile: &'static Profile, leader: &str, speed: Speed) -> anyhow::Result<Vec<Felt>> {
    let mut deployment = with_line(plan, profile)?;
    let voters = &mut deployment.cabinet_mut().voters;
    let place = voters.iter().position(|voter| voter == leader).with_context(|| format!("{leader} is no voter"))?;
    voters.swap(0, place);
    alone(&deployment, plan.seed, speed, &plan.front_end, plan.times)
}

/// The leader, and what was measured.
async fn on_real_processes(plan: &Plan, profile: &'static Profile) -> anyhow::Result<(String, Vec<Felt>)> {
    let deployment = with_line(plan, profile)?;
    let setup = Setup { seed: plan.seed, caps: plan.caps.clone(), directory: None };
    let company = Company::start(&deployment, setup).await?;
    let measured = errands(plan, &deployment, &company).await;
    company.stop().await?;
    measured
}

async fn errands(plan: &Plan, deployment: &Deployment, company: &Company) -> anyhow::Result<(String, Vec<Felt>)> {
    // From a front end beside a host: this is not what is measured.
    let near = deployment.layer(caps_certs_gen::Layer::FrontEnd).map(|node| node.name.as_str()).find(|name| *name != plan.front_end);
    let near = near.unwrap_or(&plan.front_end);
    let admin = ["--as", "admin"];
    company.run(near, &[&["call", "people.add_group", "name=desk"][..], &admin].concat()).await?;
    company.run(near, &[&["call", "people.add_group", "name=gateway"][..], &admin].concat()).await?;
    for node in deployment.layer(caps_certs_gen::Layer::FrontEnd) {
        let (login, name) = (format!("login={}", node.name), format!("name={}", node.name));
        let bind = format!("node={}", node.identity.uri());
        company.run(near, &[&["call", "people.add_user", &login, &name, "groups=desk"][..], &admin].concat()).await?;
        company.run(near, &[&["call", "people.bind_node", &login, &bind][..], &admin].concat()).await?;
    }
    let stock = (plan.times * 2 + 20).to_string();
    company.run(near, &["workload", "run", "--operation", "mail filed", "--times", &stock]).await?;
    let times = plan.times.to_string();
    let mut measured = Vec::new();
    for operation in &deployment.workload.operations {
        let printed =
            company.run(&plan.front_end, &["--json", "workload", "run", "--operation", &operation.name, "--times", &times]).await?;
        let summary: Json = serde_json::from_str(printed.trim()).context("caps workload prints JSON")?;
        let ms = |key: &str| summary["operations"][0][key].as_f64().map(|us| us / 1_000.0);
        if let (Some(p50), Some(p95)) = (ms("p50_us"), ms("p95_us")) {
            measured.push((operation.name.clone(), p50, p95));
        }
    }
    Ok((leader(company, near).await?, measured))
}

async fn leader(company: &Company, near: &str) -> anyhow::Result<String> {
    let printed = company.run(near, &["--json", "status", "--as", "admin"]).await?;
    let status: Json = serde_json::from_str(printed.trim()).context("caps status prints JSON")?;
    let nodes = status["nodes"].as_array().context("caps status lists nodes")?;
    let leader = nodes.iter().find(|node| node["replica"]["role"] == "leader").and_then(|node| node["node"].as_str());
    Ok(leader.context("no replica leads")?.to_owned())
}

fn with_line(plan: &Plan, profile: &'static Profile) -> anyhow::Result<Deployment> {
    let mut deployment = plan.deployment.clone();
    let site = deployment.node(&plan.front_end)?.site.clone();
    deployment.network.sites.get_mut(&site).with_context(|| format!("there is no site {site}"))?.line = profile;
    Ok(deployment)
}

/// What writing a little and `fdatasync` take here, on average.
fn measured_sync() -> anyhow::Result<Duration> {
    use std::io::Write as _;
    const TIMES: u32 = 200;
    let directory = std::env::temp_dir().join(format!("caps-fidelity-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let took = (|| {
        let mut file = std::fs::File::create(directory.join("sync"))?;
        file.set_len(1 << 20)?;
        file.sync_all()?;
        let begin = now();
        for _ in 0..TIMES {
            file.write_all(&[7; 1024])?;
            file.sync_data()?;
        }
        anyhow::Ok(begin.elapsed() / TIMES)
    })();
    remove(&directory);
    took
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!(%error, directory = %directory.display(), "cannot remove");
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures the real machine")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
