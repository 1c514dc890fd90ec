//! How fast a simulation goes: a deployment of any size at work, and what it takes of the real computer.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use caps_adapters::mail::Limits;
use caps_frontend::{Client, ClientError, gateway};
use caps_model::{Name, ObjectId};
use caps_node::deployment::Deployment;
use caps_node::deployment::region::Region;
use caps_node::people;
use caps_overlay::{Layer, Rng};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{Speed, World};

/// What a world of some size takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// Nodes in it.
    pub nodes: usize,
    /// Virtual seconds that were measured, after everybody had joined.
    pub virtual_seconds: f64,
    /// Real seconds that they took, on one thread.
    pub real_seconds: f64,
    /// Seconds of the core that they took: less than the real ones where others wanted it too.
    pub cpu_seconds: f64,
    /// Virtual seconds in a second of the core.
    pub virtual_per_cpu_second: f64,
    /// Seconds of the core until everybody had joined.
    pub joining_cpu_seconds: f64,
    /// Kilobytes of memory a node.
    pub memory_kb_per_node: f64,
    /// Datagrams a virtual second.
    pub datagrams_per_second: f64,
    /// Calls of front ends that were answered, and that were not.
    pub answered: u64,
    /// Calls that were not.
    pub failed: u64,
}

/// Measures a world of so many nodes for this long. For memory to mean anything the process has to be new.
pub fn measure(nodes: usize, length: Duration, seed: u64) -> anyhow::Result<Pace> {
    let deployment = Deployment::parse(Path::new("speed.toml"), &deployment(nodes))?;
    let before_kb = memory_kb()?;
    World::run(deployment, seed, Speed::default(), move |mut world| async move {
        let tally = join(&mut world).await?;
        sleep(SETTLING).await;
        let joining_cpu_seconds = cpu_seconds()?;
        let (begin, sent) = (real_now(), world.counts().sent);
        tally.reset();
        sleep(length).await;
        let (real, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds()? - joining_cpu_seconds);
        Ok(Pace {
            nodes,
            virtual_seconds: length.as_secs_f64(),
            real_seconds: real,
            cpu_seconds: cpu,
            virtual_per_cpu_second: length.as_secs_f64() / cpu,
            joining_cpu_seconds,
            memory_kb_per_node: (memory_kb()? - before_kb) / nodes as f64,
            datagrams_per_second: (world.counts().sent - sent) as f64 / length.as_secs_f64(),
            answered: tally.answered(),
            failed: tally.failed(),
        })
    })
}

/// Starts everybody: servers, then front ends, each of which makes a call about every ten seconds: it reads a case, and now and then
/// files a mail.
async fn join(world: &mut World) -> anyhow::Result<Tally> {
    world.start_servers().await?;
    let services = world.deployment().cabinet().services();
    let administrator = world.administrator().await?;
    let deployment = world.deployment().clone();
    people::settle(&administrator, &deployment, PATIENCE, |_| "desk").await?;
    administrator.drain(Duration::from_secs(1)).await;
    let (tally, mut case) = (Tally::default(), None);
    let names = world.names(Layer::FrontEnd).into_iter().filter(|name| name != crate::world::ADMIN);
    for name in names.collect::<Vec<_>>() {
        let overlay = world.front_end(&name).await?;
        let (client, rng, tally) = (Client::new(overlay.clone(), services, PATIENCE), world.fork_rng(), tally.clone());
        let case = match case {
            Some(case) => case,
            None => *case.insert(file_a_mail(&name, 0, &client).await?.context("a mail becomes a case")?),
        };
        overlay.environment().tasks.spawn(Box::pin(work(name, client, case, rng, tally)));
        sleep(BETWEEN_JOINS).await;
    }
    Ok(tally)
}

async fn work(name: String, client: Client, case: ObjectId, rng: Rng, tally: Tally) {
    for number in 1_u64.. {
        sleep(rng.jitter(BETWEEN_CALLS)).await;
        let answered = match rng.below(MAIL_ONCE_IN) {
            0 => file_a_mail(&name, number, &client).await.is_ok(),
            _ => client.get(vec![case]).await.is_ok(),
        };
        tally.count(answered);
    }
}

/// Says which case the mail became.
async fn file_a_mail(name: &str, number: u64, client: &Client) -> Result<Option<ObjectId>, ClientError> {
    let mail = format!(
        "From: {name} <{name}@customers.example>\r\nTo: desk@pumps.example\r\nSubject: Pump {number} drips\r\n\
         Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <{number}-{name}@customers.example>\r\n\r\nIt has dripped since Monday.\r\n"
    );
    let arguments = gateway::file_mail_arguments(mail.as_bytes(), &Limits::default()).expect("the mail above is well formed");
    let called = client.call_as(client.new_commit(), Name::fixed("casedesk"), Name::fixed("file_mail"), arguments).await?;
    Ok(called.result.get("case").and_then(|values| values.first()?.as_reference()))
}

/// Calls that were answered, and calls that were not.
#[derive(Clone, Debug, Default)]
struct Tally(std::sync::Arc<[std::sync::atomic::AtomicU64; 2]>);

impl Tally {
    fn count(&self, answered: bool) {
        self.0[usize::from(!answered)].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn reset(&self) {
        self.0.iter().for_each(|count| count.store(0, std::sync::atomic::Ordering::Relaxed));
    }

    fn answered(&self) -> u64 {
        self.0[0].load(std::sync::atomic::Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.0[1].load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A deployment of so many nodes: up to five replicas, a tenth hosts, the rest front ends, at up to ten sites in as many regions.
fn deployment(nodes: usize) -> String {
    let sites = (nodes / 3).clamp(1, Region::ALL.len());
    let replicas = if nodes < 30 { 3.min(nodes) } else { 5 };
    let hosts = (nodes / 10).max(sites.min(nodes.saturating_sub(replicas)));
    let voters: Vec<String> = (0..replicas).map(|number| format!("\"replica-{number}\"")).collect();
    let mut text = format!("domain = \"pumps.example\"\n[cabinet]\nvoters = [{}]\nstate = \"memory\"\n", voters.join(", "));
    for (site, region) in Region::ALL.iter().take(sites).enumerate() {
        text += &format!("[[site]]\nname = \"site-{site}\"\nregion = \"{}\"\n", region.name());
    }
    for number in 0..nodes {
        let site = number % sites;
        let [c, d] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let (name, layer) = match number {
            number if number < replicas => (format!("replica-{number}"), 1),
            number if number < replicas + hosts => (format!("host-{number}"), 2),
            number => (format!("desk-{number}"), 4),
        };
        text += &format!("[[node]]\nname = \"{name}\"\nsite = \"site-{site}\"\nlayer = {layer}\n");
        if layer < 4 {
            text += &format!("listen = \"10.9.{c}.{d}:4433\"\n");
        }
    }
    text
}

/// The memory that this process has, as proc_pid_status(5) tells it.
fn memory_kb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("this system does not tell how much memory a process has")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("VmRSS is a number")?;
    Ok(kibibytes * 1.024)
}

/// What this thread has had of its core.
fn cpu_seconds() -> anyhow::Result<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[expect(clippy::disallowed_methods, reason = "how long it really takes is what is measured")]
fn real_now() -> std::time::Instant {
    std::time::Instant::now()
}

const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_CALLS: Duration = Duration::from_secs(10);
const MAIL_ONCE_IN: u64 = 50;
const BETWEEN_JOINS: Duration = Duration::from_millis(10);
const SETTLING: Duration = Duration::from_secs(20);
