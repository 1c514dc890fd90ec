//! One run of a scenario: a storm, a time to heal, and the reckoning.

mod faults;
mod healing;
mod orders;
mod reckoning;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_frontend::Client;
use caps_node::people;
use caps_overlay::Rng;
use tokio::time::{Instant, sleep_until, timeout};

use self::faults::{Ending, TRY_AGAIN};
use super::actor::{self, Actor};
use super::fault::Planned;
use super::ledger::{Ledger, WriteState};
use super::monitor::{Monitor, STEP};
use super::outcome::{Outcome, Violation};
use super::{Scenario, panics};
use crate::world::{ADMIN, World};

/// Runs a scenario under a seed, with these faults instead of those that it plans if they are given. `told` hears of virtual time as it passes.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    plan: Option<Vec<Planned>>,
    told: impl Fn(Duration) + Send + Sync + 'static,
) -> anyhow::Result<Outcome> {
    panics::watch();
    let scenario = scenario.clone();
    let plan = plan.unwrap_or_else(|| scenario.plan(seed));
    World::run(scenario.deployment.clone(), seed, scenario.speed, move |world| async move {
        Box::pin(Run::new(scenario, seed, plan, world).go(told)).await
    })
}

struct Run {
    scenario: Scenario,
    seed: u64,
    plan: Vec<Planned>,
    world: World,
    rng: Rng,
    ledger: Ledger,
    monitor: Monitor,
    /// The clients of front ends that are alive.
    clients: BTreeMap<String, Client>,
    lives: BTreeMap<String, u64>,
    /// Who is to be started, and when.
    comebacks: BTreeMap<String, Instant>,
    /// Processes that are held.
    paused: BTreeSet<String>,
    /// Nodes whose disk or clock had a fault: they may stop by themselves, and may not be able to start.
    sick: BTreeSet<String>,
    /// What administrators want of the replicas, in the order in which they want it.
    orders: VecDeque<orders::Standing>,
    /// Nodes of layer 1 that do not belong to the cabinet.
    outside: BTreeSet<String>,
    faults: BTreeMap<String, u64>,
    violations: Vec<Violation>,
    story: Vec<(Duration, String)>,
}

impl Run {
    fn new(scenario: Scenario, seed: u64, plan: Vec<Planned>, world: World) -> Self {
        let rng = world.fork_rng();
        let cabinet = world.deployment().cabinet();
        let belongs = |name: &String| cabinet.voters.contains(name) || cabinet.learners.contains(name);
        let outside = world.names(Layer::Cabinet).into_iter().filter(|name| !belongs(name)).collect();
        Self {
            scenario,
            seed,
            plan,
            rng,
            world,
            ledger: Ledger::default(),
            monitor: Monitor::default(),
            clients: BTreeMap::new(),
            lives: BTreeMap::new(),
            comebacks: BTreeMap::new(),
            paused: BTreeSet::new(),
            sick: BTreeSet::new(),
            orders: VecDeque::new(),
            outside,
            faults: BTreeMap::new(),
            violations: Vec::new(),
            story: Vec::new(),
        }
    }

    async fn go(mut self, told: impl Fn(Duration)) -> anyhow::Result<Outcome> {
        let real = RealLimit::begin(self.scenario.real_limit);
        self.settle().await?;
        self.storm(&told, &real).await?;
        let healed = self.heal(&told, &real).await?;
        let reckoning = match healed {
            Some(_) => self.reckon().await?,
            // What did not recover may have lost something too: whoever can be asked is asked.
            None => timeout(self.scenario.heal, self.reckon()).await.ok().and_then(Result::ok).unwrap_or_default(),
        };
        self.look();
        let unmet = self.scenario.expect.unmet(&self.ledger, self.world.counts().sent);
        let book = self.ledger.open();
        Ok(Outcome {
            unmet,
            scenario: self.scenario.path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            seed: self.seed,
            trace: self.world.trace_hash(),
            virtual_seconds: self.world.now().as_secs_f64(),
            faults: self.faults.values().sum(),
            faults_by_kind: self.faults,
            violations: self.violations,
            acknowledged: book.acknowledged_at.len() as u64,
            refused: book.count(|state| *state == WriteState::Refused),
            open_happened: reckoning.open_happened,
            open_not_happened: reckoning.open_not_happened,
            orphaned: reckoning.orphaned,
            reads: book.reads,
            failed: book.failed.clone(),
            followed: book.seen.values().map(|seen| seen.versions.len() as u64).sum(),
            longest_lateness_ms: u64::try_from(book.longest_lateness.as_millis()).unwrap_or(u64::MAX),
            leaders: self.monitor.terms(),
            longest_write_gap_ms: u64::try_from(book.longest_gap().as_millis()).unwrap_or(u64::MAX),
            healed_in_ms: healed.map(|healed| u64::try_from(healed.as_millis()).unwrap_or(u64::MAX)),
            datagrams: self.world.counts(),
            story: self.story,
        })
    }

    /// Starts everybody, and lets front ends use the case desk.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.scenario.surroundings.surround(&mut self.world)?;
        self.world.start_servers().await?;
        let administrator = self.world.administrator().await?;
        let deployment = self.world.deployment().clone();
        people::settle(&administrator, &deployment, SETTLING, |_| "desk").await?;
        administrator.drain(Duration::from_secs(1)).await;
        // Otherwise it would come back as a front end when its site does.
        self.world.crash(ADMIN)?;
        for name in self.front_ends() {
            self.employ(&name).await?;
        }
        self.tell("everybody is at work");
        Ok(())
    }

    fn front_ends(&self) -> Vec<String> {
        self.world.deployment().layer(Layer::FrontEnd).filter(|node| !node.identity.is_admin()).map(|node| node.name.clone()).collect()
    }

    /// Starts a front end, and puts it to work.
    async fn employ(&mut self, name: &str) -> anyhow::Result<()> {
        let overlay = self.world.front_end(name).await?;
        let life = {
            let life = self.lives.entry(name.to_owned()).or_default();
            *life += 1;
            *life
        };
        let services = self.world.deployment().services_for(name);
        let client = Client::new(overlay.clone(), services, self.scenario.load.patience);
        let actor = |client: Client, rng: Rng| Actor {
            name: name.to_owned(),
            life,
            client,
            ledger: self.ledger.clone(),
            clock: self.world.clock(),
            rng,
            load: self.scenario.load.clone(),
            forbidden: actor::forbidden(self.world.deployment()),
        };
        let tasks = &overlay.environment().tasks;
        tasks.spawn(Box::pin(actor(client.clone(), self.rng.fork()).work()));
        let place = self.front_ends().iter().position(|other| other == name).unwrap_or(usize::MAX);
        if place < self.scenario.load.watchers {
            for entity in ["case", "message"] {
                let watching = Client::new(overlay.clone(), services, self.scenario.load.patience);
                tasks.spawn(Box::pin(actor(watching, self.rng.fork()).follow(entity)));
            }
        }
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }

    /// Lets everything happen that is planned.
    async fn storm(&mut self, told: &impl Fn(Duration), real: &RealLimit) -> anyhow::Result<()> {
        let begin = Instant::now();
        let end = begin + self.scenario.length;
        let mut plan: VecDeque<Planned> = self.plan.clone().into();
        let mut endings: Vec<Ending> = Vec::new();
        loop {
            let now = Instant::now();
            while plan.front().is_some_and(|next| begin + next.at <= now) {
                let Some(Planned { lasts, fault, .. }) = plan.pop_front() else { break };
                let nodes = self.begin(&fault, lasts).await?;
                if let Some(nodes) = nodes {
                    endings.push(Ending { at: now + lasts, fault, nodes });
                    endings.sort_by_key(|ending| ending.at);
                }
            }
            while endings.first().is_some_and(|ending| ending.at <= now) {
                let ending = endings.remove(0);
                self.end(&ending.fault, &ending.nodes)?;
            }
            self.flap(&endings, now - begin);
            for changed in self.scenario.surroundings.relink(&self.world, now - begin) {
                self.tell(&changed);
            }
            self.come_back(now).await?;
            self.carry_out().await?;
            self.look();
            told(self.world.now());
            real.check()?;
            if now >= end || self.violations.len() >= VIOLATIONS_MAX {
                break;
            }
            let moments = plan.front().map(|next| begin + next.at).into_iter().chain(endings.first().map(|ending| ending.at));
            let moments = moments.chain(self.comebacks.values().copied());
            let next = moments.chain([now + STEP, end]).filter(|at| *at > now).min();
            sleep_until(next.unwrap_or(end)).await;
        }
        for ending in endings {
            self.end(&ending.fault, &ending.nodes)?;
        }
        Ok(())
    }

    /// Holds everything against the invariants, and buries who has stopped.
    fn look(&mut self) {
        let found = self.monitor.look(&self.world, &self.ledger);
        if let Some((term, leader)) = found.new_leader {
            self.tell(&format!("{leader} leads in term {term}"));
        }
        for violation in found.violations {
            self.tell(&format!("VIOLATION {violation}"));
            self.violations.push(violation);
        }
        for (name, reason) in found.stopped {
            if !self.sick.contains(&name) {
                self.broken("stays-up", format!("{name} stopped by itself: {reason}"));
            }
            self.tell(&format!("{name} stopped: {reason}"));
            // Whatever it had not synced is gone or not: after a failed sync nobody knows.
            if let Err(error) = self.world.power_cut(&name) {
                self.broken("restart", format!("{error:#}"));
            }
            self.comebacks.insert(name, Instant::now() + TRY_AGAIN);
        }
    }

    fn nodes_at(&self, site: &str) -> Vec<String> {
        let people = self.world.deployment().nodes.iter().filter(|node| !node.identity.is_admin());
        people.filter(|node| node.site == site).map(|node| node.name.clone()).collect()
    }

    fn servers(&self) -> Vec<String> {
        self.world.names(Layer::Cabinet).into_iter().chain(self.world.names(Layer::Host)).collect()
    }

    fn is_front_end(&self, name: &str) -> bool {
        self.world.deployment().node(name).is_ok_and(|node| node.layer == Layer::FrontEnd)
    }

    fn broken(&mut self, invariant: &str, what: String) {
        let violation = Violation { at: self.world.now().as_secs_f64(), invariant: invariant.to_owned(), what };
        self.tell(&format!("VIOLATION {violation}"));
        self.violations.push(violation);
    }

    fn tell(&mut self, what: &str) {
        tracing::info!(at = ?self.world.now(), "{what}");
        self.world.network().note(what);
        if self.story.len() < STORY_LINES_MAX {
            self.story.push((self.world.now(), what.to_owned()));
        }
    }
}

/// The bound in real time, against worlds that get nowhere.
struct RealLimit {
    begin: std::time::Instant,
    limit: Duration,
}

impl RealLimit {
    #[expect(clippy::disallowed_methods, reason = "this bound is about the real world")]
    fn begin(limit: Duration) -> Self {
        Self { begin: std::time::Instant::now(), limit }
    }

    fn check(&self) -> anyhow::Result<()> {
        let took = self.begin.elapsed();
        anyhow::ensure!(
            took < self.limit,
            "the run takes longer than its limit of {:?} in real time: raise real_limit in the scenario",
            self.limit
        );
        Ok(())
    }
}

/// For the first settings, before anything happens.
const SETTLING: Duration = Duration::from_secs(60);

/// After so many a run has told enough.
const VIOLATIONS_MAX: usize = 20;

const STORY_LINES_MAX: usize = 100_000;

/// Questions asked at the same time.
const AT_ONCE: usize = 16;
