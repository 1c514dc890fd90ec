//! Cruelty to real processes: three replicas and two hosts on loopback are killed, round after round, while others work with them.
//!
//! What it does: starts `caps run` processes in a directory of their own ([`company`]), lets clients and front ends work ([`load`]), kills some
//! of the processes at a moment or at a point of their disk work ([`plan`], [`point`]), starts them again, and holds what is there against what
//! was promised ([`reckoning`]): everything acknowledged once, nothing else, all replicas equal, every follower told of everything, and a
//! recorded history that has an order ([`history`](crate::history)). Beside it stand [`corruption`], which damages the files of one replica,
//! and [`power`], which cuts the power of simulated machines at every change of their disks.
//!
//! What it never does: kill a process that it did not start, or prove anything about a disk that loses what was not synced. The page cache
//! survives `kill -9`; that is what [`power`] is for.
//!
//! It lives in this crate because this is the one that may know all the others, and that other programs never contain.

pub mod client;
pub mod company;
pub mod corruption;
pub mod ledger;
pub mod load;
pub mod node;
pub mod plan;
pub mod point;
pub mod power;
pub mod reckoning;
pub mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use caps_certs_gen::{Identity, Layer};
use caps_frontend::Client;
use caps_model::Position;
use caps_model::messages::cabinet::{ReplicaRole, ReplicaStatus};
use caps_node::people;
use tokio::time::{Instant, sleep};

use client::{CabinetClient, Fate};
use company::{CLIENTS, Company, GATEWAYS, HOSTS, Programs, REPLICAS};
use ledger::Entry;
use load::Load;
use plan::{Mode, Plan, Strike, Victim};
use reckoning::{Heads, ProblemKind, Reckoning};
use report::Round;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The programs.
    pub programs: Programs,
    /// Where everything is kept.
    pub directory: PathBuf,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Which rounds.
    pub mode: Mode,
    /// Where histories go; those of rounds with something wrong are always kept, in the directory.
    pub histories: Option<PathBuf>,
}

/// A company under torture.
#[derive(Debug)]
pub struct Torture {
    settings: Settings,
    company: Company,
    clients: Vec<CabinetClient>,
    gateways: Vec<Client>,
    heads: Heads,
    /// Rounds since the data was wiped.
    rounds_of_era: u64,
    /// Everything acknowledged since then: it must be there at the end of the era, too.
    era: Vec<Entry>,
}

impl Torture {
    /// Founds the company, starts everybody, and waits until they have agreed.
    pub async fn begin(settings: Settings) -> anyhow::Result<Self> {
        let company = Company::found(&settings.directory, settings.programs.clone())?;
        let deployment = company.deployment().clone();
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let identity = company::client(&deployment.domain, number)?;
            clients.push(CabinetClient::join(&deployment, &identity, company.lives()).await?);
        }
        let (gateways, heads, era) = (Vec::new(), Heads::default(), Vec::new());
        let mut torture = Self { settings, company, clients, gateways, heads, rounds_of_era: 0, era };
        torture.found_era().await?;
        Ok(torture)
    }

    /// One round. An error is a fault of the torturer; what the tortured did wrong is in the round.
    pub async fn round(&mut self, number: u64) -> anyhow::Result<Round> {
        let began = Instant::now();
        let plan = Plan::draw(self.settings.seed, number, self.settings.mode);
        let mut round = Round { number, what: plan.strike.to_string(), ..Round::default() };
        if self.rounds_of_era >= ERA_ROUNDS {
            self.end_era(&mut round.reckoning).await?;
            self.company.stop().await?;
            self.company.wipe()?;
            self.found_era().await?;
        }
        self.rounds_of_era += 1;
        let load = Load::new(number, self.clients.clone(), self.gateways.clone(), plan.needs_large());
        let from = self.settled(&mut round.reckoning).await?;
        let mut working = load.begin(from).await?;
        sleep(plan.before).await;
        self.strike(&plan, &mut round).await?;
        sleep(plan.after).await;
        working.finish().await?;
        match self.settled(&mut round.reckoning).await {
            Ok(position) => {
                let reckoning = Reckoning::of(&load, position.0).await;
                round.take(reckoning);
            }
            Err(error) => round.reckoning.wrong(ProblemKind::Late, format!("{error:#}")),
        }
        working.dismiss().await;
        self.era.extend(load.ledger.open().entries.iter().filter(|entry| matches!(entry.fate, Fate::Accepted(_))).cloned());
        self.keep_history(&load, &round)?;
        round.took = began.elapsed();
        Ok(round)
    }

    /// Looks once more for everything since the last beginning, and ends everybody in an orderly way.
    pub async fn end(mut self) -> anyhow::Result<Reckoning> {
        let mut reckoning = Reckoning::default();
        self.end_era(&mut reckoning).await?;
        self.company.stop().await?;
        self.dismiss_gateways().await;
        for client in &self.clients {
            client.leave().await;
        }
        Ok(reckoning)
    }

    /// Where everything is.
    pub fn directory(&self) -> &Path {
        self.company.directory()
    }

    /// After an orderly end and a new start, everything that was acknowledged in all rounds of the era is still there, once.
    async fn end_era(&mut self, reckoning: &mut Reckoning) -> anyhow::Result<()> {
        self.company.stop().await?;
        self.company.start_all()?;
        let position = self.settled(reckoning).await?;
        let mut again = Reckoning::default();
        again.entries(&self.clients[0], &self.era, position.0).await;
        reckoning.problems.extend(again.problems);
        self.era.clear();
        Ok(())
    }

    async fn dismiss_gateways(&mut self) {
        for gateway in self.gateways.drain(..) {
            gateway.overlay().drain(FAREWELL).await;
            gateway.overlay().environment().tasks.shutdown().await;
        }
    }

    async fn found_era(&mut self) -> anyhow::Result<()> {
        self.heads.clear();
        self.rounds_of_era = 0;
        self.company.start_all()?;
        let mut nothing = Reckoning::default();
        self.settled(&mut nothing).await?;
        let deployment = self.company.deployment().clone();
        let services = deployment.cabinet().services();
        let admin = Identity::admin(&deployment.domain, "admin")?;
        let admin = Client::new(client::join(&deployment, &admin, "admins", Layer::Host).await?, services, GATEWAY_PATIENCE);
        people::settle(admin.overlay(), &deployment, GATEWAY_PATIENCE, |_| "desk").await?;
        // A client remembers how far it has seen; in a new cabinet nobody ever comes as far. So there are new front ends.
        self.dismiss_gateways().await;
        self.gateways.push(admin);
        self.dismiss_gateways().await;
        for name in GATEWAYS {
            let identity = &deployment.node(name)?.identity;
            self.gateways.push(Client::new(client::join(&deployment, identity, "nodes", Layer::Host).await?, services, GATEWAY_PATIENCE));
        }
        Ok(())
    }

    async fn strike(&mut self, plan: &Plan, round: &mut Round) -> anyhow::Result<()> {
        match &plan.strike {
            Strike::Kill { victims, again } => {
                let mut names = Vec::new();
                for victim in victims {
                    names.push(self.name_of(*victim).await);
                }
                round.kills += names.len() as u64;
                self.company.kill(&names).await?;
                sleep(plan.dead_for).await;
                self.company.start_all()?;
                if let Some((victim, after)) = again {
                    sleep(*after).await;
                    let name = self.name_of(*victim).await;
                    if self.company.runs(&name) {
                        round.kills += 1;
                        self.company.kill(&[name]).await?;
                    }
                    self.company.start_all()?;
                }
            }
            Strike::Hold { victim, held_for } => {
                let name = self.name_of(*victim).await;
                round.holds += 1;
                self.company.hold(&name, true)?;
                sleep(*held_for).await;
                self.company.hold(&name, false)?;
            }
            Strike::Points { victim, first, second } => {
                let name = self.name_of(*victim).await;
                round.kills += 1;
                self.company.kill(std::slice::from_ref(&name)).await?;
                for point in [Some(*first), *second].into_iter().flatten() {
                    self.company.start_doomed(&name, point)?;
                    if self.company.dies(&name, POINT_PATIENCE).await? {
                        round.kills += 1;
                        round.reached.push(point.to_string());
                    } else {
                        round.missed.push(point.to_string());
                        self.company.kill(std::slice::from_ref(&name)).await?;
                    }
                }
                sleep(plan.dead_for).await;
                self.company.start_all()?;
            }
        }
        Ok(())
    }

    async fn name_of(&self, victim: Victim) -> String {
        match victim {
            Victim::Replica(number) => REPLICAS[number].to_owned(),
            Victim::Host(number) => HOSTS[number].to_owned(),
            Victim::Leader => self.leader().await.unwrap_or_else(|| REPLICAS[0].to_owned()),
        }
    }

    async fn leader(&self) -> Option<String> {
        for (replica, name) in REPLICAS.iter().enumerate() {
            if let Ok(ReplicaStatus { role: ReplicaRole::Leader, .. }) = self.clients[0].status(replica).await {
                return Some((*name).to_owned());
            }
        }
        None
    }

    /// Waits until every replica answers, and all are at the same position in the same way. Whoever has ended by itself is started again, once.
    async fn settled(&mut self, reckoning: &mut Reckoning) -> anyhow::Result<Position> {
        let until = Instant::now() + SETTLE_PATIENCE;
        loop {
            for (name, why) in self.company.ended()? {
                let opened = why.contains("serving");
                let kind = if opened { ProblemKind::Ended } else { ProblemKind::NotOpened };
                reckoning.wrong(kind, format!("{name} {why}"));
                if reckoning.problems.len() > PROBLEMS_MAX {
                    bail!("{name} does not stay up: {why}");
                }
            }
            self.company.start_all()?;
            let mut statuses = Vec::new();
            for (replica, name) in REPLICAS.iter().enumerate() {
                let Ok(status) = self.clients[0].status(replica).await else { break };
                if let Some(problem) = self.heads.take(name, &status) {
                    reckoning.wrong(ProblemKind::Unequal, problem);
                }
                statuses.push(status);
            }
            let position = statuses.first().map(|status| status.position);
            let agreed = statuses.len() == REPLICAS.len()
                && statuses.iter().all(|status| Some(status.position) == position && status.leader.is_some());
            if let (true, Some(position)) = (agreed, position) {
                return Ok(position);
            }
            let seen: Vec<String> = statuses.iter().map(|status| format!("{} at {}", status.node, status.position)).collect();
            anyhow::ensure!(Instant::now() < until, "the replicas did not agree within {SETTLE_PATIENCE:?}; seen: {}", seen.join(", "));
            sleep(POLL).await;
        }
    }

    fn keep_history(&self, load: &Load, round: &Round) -> anyhow::Result<()> {
        let wrong = !round.reckoning.problems.is_empty();
        let directory = match &self.settings.histories {
            Some(directory) => directory.clone(),
            None if wrong => self.company.directory().join("histories"),
            None => return Ok(()),
        };
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let file = directory.join(format!("round-{}.jsonl", round.number));
        load.recorder.write(&file).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Rounds before everything is begun anew: journals are read whole at every start, and a thousand starts shall not wait for old rounds.
const ERA_ROUNDS: u64 = 25;

/// How long replicas may take to open, to elect, and to come to the same position.
const SETTLE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a replica may take to come to the point at which it dies.
const POINT_PATIENCE: Duration = Duration::from_secs(3);

/// How long a front end tries.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(15);

const POLL: Duration = Duration::from_millis(10);

/// How long a client's last words may take.
const FAREWELL: Duration = Duration::from_millis(100);

const PROBLEMS_MAX: usize = 12;
