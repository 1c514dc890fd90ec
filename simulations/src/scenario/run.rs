//! One run of a scenario: a storm, a time to heal, and the reckoning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_frontend::Client;
use caps_model::messages::{From, History, Outcome as CommitOutcome, Update};
use caps_model::{CommitId, Name, Object, ObjectId, Query};
use caps_node::deployment::network::HopId;
use caps_node::people;
use caps_overlay::Rng;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::actor::{self, Actor};
use super::fault::{Fault, Planned, Target};
use super::ledger::{Ledger, WriteState};
use super::monitor::{Monitor, STEP};
use super::outcome::{Outcome, Violation};
use super::{Scenario, closing, panics};
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
    faults: BTreeMap<String, u64>,
    violations: Vec<Violation>,
    story: Vec<(Duration, String)>,
}

/// The end of a fault that has begun.
#[derive(Debug)]
struct Ending {
    at: Instant,
    fault: Fault,
    /// The nodes that it really happened to.
    nodes: Vec<String>,
}

impl Run {
    fn new(scenario: Scenario, seed: u64, plan: Vec<Planned>, world: World) -> Self {
        let rng = world.fork_rng();
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
        let administrator = Client::new(self.world.administrator().await?, SETTLING);
        people::add_groups(&administrator).await?;
        let deployment = self.world.deployment().clone();
        people::bind_front_ends(&administrator, &deployment, |_| "desk").await?;
        administrator.overlay().drain(Duration::from_secs(1)).await;
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
        let client = Client::new(overlay.clone(), self.scenario.load.patience);
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
                let watching = Client::new(overlay.clone(), self.scenario.load.patience);
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
        let mut plan: std::collections::VecDeque<Planned> = self.plan.clone().into();
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

    /// Begins a fault. `None`: it has nothing to happen to.
    async fn begin(&mut self, fault: &Fault, lasts: Duration) -> anyhow::Result<Option<Vec<String>>> {
        let nodes = match (fault.node(), fault) {
            (Some(target), _) => match self.node_of(target) {
                Some(node) if self.world.is_up(&node) => vec![node],
                _ => return Ok(None),
            },
            (None, Fault::SiteDown { site }) => self.nodes_at(site).into_iter().filter(|node| self.world.is_up(node)).collect(),
            (None, Fault::Swizzle) => self.servers(),
            (None, _) => Vec::new(),
        };
        *self.faults.entry(fault.kind().to_owned()).or_default() += 1;
        let told = match fault.node() {
            Some(Target::Node(_)) | None => format!("{fault}, for {lasts:?}"),
            Some(_) => format!("{fault} ({}), for {lasts:?}", nodes.join(", ")),
        };
        self.tell(&told);
        for node in &nodes {
            self.afflict(fault, node, lasts).await?;
        }
        match fault {
            Fault::Partition { sites } => self.separate(sites, true)?,
            Fault::OneWay { from, to } => self.cut(from, to, true)?,
            Fault::Degrade { from, to, loss, delay_ms } => self.degrade(from, to, *loss, i64::try_from(*delay_ms).unwrap_or(0)),
            Fault::Swizzle => self.swizzle(&nodes, lasts)?,
            _ => {}
        }
        Ok(Some(nodes))
    }

    /// What a fault does to one node.
    async fn afflict(&mut self, fault: &Fault, node: &str, lasts: Duration) -> anyhow::Result<()> {
        match fault {
            Fault::Crash { .. } => self.kill(node, false)?,
            Fault::PowerCut { .. } | Fault::SiteDown { .. } => self.kill(node, true)?,
            Fault::Restart { .. } => {
                // A process that is held cannot end in good order.
                self.world.set_paused(node, false)?;
                self.world.stop(node).await?;
                self.clients.remove(node);
            }
            Fault::Pause { .. } => {
                self.paused.insert(node.to_owned());
                self.world.set_paused(node, true)?;
            }
            Fault::Clog { .. } => self.world.network().clog(self.world.machine_id(node)?, lasts),
            Fault::Isolate { .. } => self.isolate(node, true)?,
            Fault::ClockJump { seconds, .. } => {
                // With a clock before its certificate's beginning no node starts.
                self.sick.insert(node.to_owned());
                self.world.machine_clock(node)?.jump(seconds * 1_000_000);
            }
            Fault::ClockDrift { ppm, .. } => self.world.machine_clock(node)?.drift(*ppm),
            Fault::DiskFull { .. } => {
                self.sick.insert(node.to_owned());
                self.world.disk(node)?.limit_capacity(0);
            }
            Fault::SyncFails { .. } => {
                self.sick.insert(node.to_owned());
                self.world.disk(node)?.fail_sync(0);
            }
            Fault::NatRebind { .. } => self.world.rebind(node)?,
            Fault::AddressChange { .. } => self.world.move_away(node)?,
            _ => {}
        }
        Ok(())
    }

    /// Undoes what can be undone.
    fn end(&mut self, fault: &Fault, nodes: &[String]) -> anyhow::Result<()> {
        match fault {
            Fault::Partition { sites } => self.separate(sites, false)?,
            Fault::OneWay { from, to } => self.cut(from, to, false)?,
            Fault::Flap { from, to } => {
                self.cut(from, to, false)?;
                self.cut(to, from, false)?;
            }
            Fault::Degrade { from, to, loss, delay_ms } => self.degrade(from, to, -*loss, -i64::try_from(*delay_ms).unwrap_or(0)),
            _ => {}
        }
        for node in nodes {
            match fault {
                Fault::Crash { .. } | Fault::PowerCut { .. } | Fault::SiteDown { .. } | Fault::Restart { .. } => {
                    self.comebacks.insert(node.clone(), Instant::now());
                }
                Fault::Pause { .. } => {
                    self.paused.remove(node);
                    self.world.set_paused(node, false)?;
                }
                Fault::Isolate { .. } => self.isolate(node, false)?,
                Fault::ClockJump { seconds, .. } => self.world.machine_clock(node)?.jump(-seconds * 1_000_000),
                Fault::ClockDrift { .. } => self.world.machine_clock(node)?.drift(0),
                Fault::DiskFull { .. } => self.world.disk(node)?.limit_capacity(u64::MAX),
                _ => continue,
            }
            self.tell(&format!("end of {}: {node}", fault.kind()));
        }
        Ok(())
    }

    /// Starts again whoever's time has come. A server that cannot start, because its disk is still full, tries again: so does systemd.
    async fn come_back(&mut self, now: Instant) -> anyhow::Result<()> {
        let due: Vec<String> = self.comebacks.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.comebacks.remove(&name);
            if self.world.is_up(&name) {
                continue;
            }
            if self.is_front_end(&name) {
                self.employ(&name).await?;
                self.tell(&format!("{name} is back"));
                continue;
            }
            match self.world.start(&name).await {
                Ok(()) => {
                    self.tell(&format!("{name} is back"));
                }
                Err(error) if self.sick.contains(&name) => {
                    self.tell(&format!("{name} does not start: {error:#}"));
                    self.world.crash(&name)?;
                    self.comebacks.insert(name, now + TRY_AGAIN);
                }
                Err(error) => {
                    self.world.crash(&name)?;
                    self.broken("restart", format!("{name} does not start again: {error:#}"));
                }
            }
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

    /// Ends everything that is wrong, and waits until all is well. Gives how long that took; `None` when it took too long.
    async fn heal(&mut self, told: &impl Fn(Duration), real: &RealLimit) -> anyhow::Result<Option<Duration>> {
        self.tell("nothing more happens: healing");
        self.ledger.open().closed = true;
        self.world.network().reunite();
        for name in std::mem::take(&mut self.paused) {
            self.world.set_paused(&name, false)?;
        }
        for name in self.world.names(Layer::Cabinet) {
            self.world.disk(&name)?.limit_capacity(u64::MAX);
        }
        let everybody: Vec<String> = self.servers().into_iter().chain(self.front_ends()).collect();
        for name in everybody.iter().filter(|name| !self.world.is_up(name)) {
            self.comebacks.entry(name.clone()).or_insert_with(Instant::now);
        }
        let (begin, end) = (Instant::now(), Instant::now() + self.scenario.heal);
        let mut wrote = false;
        while Instant::now() < end {
            self.come_back(Instant::now()).await?;
            self.look();
            told(self.world.now());
            real.check()?;
            if self.comebacks.is_empty() {
                wrote = wrote || (self.everybody_went_home() && self.last_words(end).await);
                if wrote && self.is_settled() {
                    self.tell("all is well");
                    return Ok(Some(begin.elapsed()));
                }
            }
            sleep(STEP).await;
        }
        let why = match (self.unsettled(), wrote) {
            (why, false) if why.is_empty() => "not every front end can write".to_owned(),
            (why, _) => why,
        };
        self.broken("recovers", format!("{:?} after the last fault all is not well: {why}", self.scenario.heal));
        Ok(None)
    }

    /// Whether all front ends that live have finished what they were at.
    fn everybody_went_home(&self) -> bool {
        self.ledger.open().at_work.iter().all(|(name, life)| self.lives.get(name) != Some(life))
    }

    /// Every front end writes once more. Says whether all could.
    async fn last_words(&mut self, end: Instant) -> bool {
        let names = self.front_ends();
        let words: Vec<_> = names
            .iter()
            .filter_map(|name| {
                let client = self.clients.get(name)?.clone();
                let life = self.lives.get(name).copied().unwrap_or(0);
                Some(Actor {
                    name: name.clone(),
                    life,
                    client,
                    ledger: self.ledger.clone(),
                    clock: self.world.clock(),
                    rng: self.rng.fork(),
                    load: self.scenario.load.clone(),
                    forbidden: None,
                })
            })
            .collect();
        let count = words.len();
        let mut said = 0;
        let all = stream::iter(words).map(|actor| async move { actor.last_write().await.is_ok() }).buffer_unordered(AT_ONCE);
        let counting = async {
            let mut all = std::pin::pin!(all);
            while let Some(ok) = all.next().await {
                said += usize::from(ok);
            }
        };
        let in_time = timeout(end.saturating_duration_since(Instant::now()), counting).await.is_ok();
        in_time && said == count
    }

    /// Whether every replica is as far as the others, and every follower as far as they.
    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// What is missing until then.
    fn unsettled(&self) -> String {
        let replicas = self.world.names(Layer::Cabinet);
        let mut positions = BTreeMap::new();
        for name in &replicas {
            match self.world.store(name) {
                Some(store) => positions.insert(name.clone(), store.status().position.0),
                None => return format!("{name} is down"),
            };
        }
        let (first, last) = (positions.values().min().copied().unwrap_or(0), positions.values().max().copied().unwrap_or(0));
        if first != last {
            return format!("replicas are at {positions:?}");
        }
        let book = self.ledger.open();
        for ((name, life), seen) in &book.seen {
            let alive = name.split_once(' ').is_some_and(|(front_end, _)| self.lives.get(front_end) == Some(life));
            if alive && (seen.start.is_none() || seen.position < last) {
                return format!("{name} is at {}, and replicas at {last}", seen.position);
            }
        }
        String::new()
    }

    /// Compares what everybody was told with what the cabinet says.
    async fn reckon(&mut self) -> anyhow::Result<Reckoning> {
        let names = self.front_ends();
        let Some(reader) = names.first().and_then(|name| self.clients.get(name)).cloned() else { return Ok(Reckoning::default()) };
        let messages = all(&reader, "message").await?;
        let cases = all(&reader, "case").await?;
        let mut by_message_id: BTreeMap<String, u64> = BTreeMap::new();
        for message in &messages {
            if let Some(id) = message.text("message_id") {
                *by_message_id.entry(id.to_owned()).or_default() += 1;
            }
        }
        for (id, times) in by_message_id.iter().filter(|(_, times)| **times > 1) {
            self.broken("nothing-twice", format!("the mail {id} was filed {times} times"));
        }
        let reckoning = self.reckon_writes(&by_message_id).await?;
        self.reckon_replicas(&messages, &cases).await?;
        self.reckon_followers(&reader, messages.iter().chain(&cases)).await?;
        Ok(reckoning)
    }

    /// Looks for what replicas hold and should not.
    async fn reckon_replicas(&mut self, messages: &[Object], cases: &[Object]) -> anyhow::Result<()> {
        if let Some(problem) = closing::misnumbered(cases) {
            self.broken("serializable", problem);
        }
        let replicas: Vec<_> =
            self.world.deployment().layer(Layer::Cabinet).map(|node| (node.name.clone(), node.identity.clone())).collect();
        let objects: Vec<ObjectId> = messages.iter().chain(cases).map(|object| object.id).collect();
        let administrator = self.world.administrator().await?;
        for problem in closing::unequal(&administrator, &replicas, &objects).await?.into_iter().take(VIOLATIONS_MAX) {
            self.broken("equal-replicas", problem);
        }
        for problem in closing::unanswering(&administrator, &replicas).await? {
            self.broken("recovers", problem);
        }
        let followed = 2 * self.scenario.load.watchers.min(self.front_ends().len());
        if closing::subscriptions(&self.world, followed).is_some() {
            // Readers that died in silence are given up when their connections are.
            sleep(FORGOTTEN_AFTER).await;
        }
        if let Some(problem) = closing::subscriptions(&self.world, followed) {
            self.broken("bounded", problem);
        }
        Ok(())
    }

    async fn reckon_writes(&mut self, by_message_id: &BTreeMap<String, u64>) -> anyhow::Result<Reckoning> {
        let mut reckoning = Reckoning::default();
        let writes = self.ledger.open().writes.clone();
        let ask = |(commit, by): (CommitId, String)| {
            let client = self.clients.get(&by).cloned();
            async move {
                let Some(client) = client else { return (commit, None) };
                (commit, client.outcome(commit, true).await.ok())
            }
        };
        let asked: Vec<(CommitId, String)> = writes.iter().map(|(commit, write)| (*commit, write.by.clone())).collect();
        let outcomes: BTreeMap<CommitId, Option<CommitOutcome>> = stream::iter(asked).map(ask).buffered(AT_ONCE).collect().await;
        let mut positions: BTreeMap<u64, CommitId> = BTreeMap::new();
        for (commit, write) in &writes {
            let filed = write.message_id.as_ref().map(|id| by_message_id.get(id).copied().unwrap_or(0));
            let outcome = outcomes.get(commit).cloned().flatten();
            match (&write.state, outcome) {
                (WriteState::Acknowledged(position), Some(CommitOutcome::Accepted { position: at, .. })) => {
                    if at != *position {
                        self.broken("nothing-lost", format!("{commit} was acknowledged at {position} and is at {at}"));
                    }
                    if filed == Some(0) {
                        self.broken("nothing-lost", format!("{commit} of {} was acknowledged, and its mail is not there", write.by));
                    }
                    if let Some(other) = positions.insert(at.0, *commit) {
                        self.broken("nothing-twice", format!("{commit} and {other} are both at {at}"));
                    }
                }
                (WriteState::Acknowledged(position), outcome) => {
                    self.broken("nothing-lost", format!("{commit} was acknowledged at {position}, and its outcome is {outcome:?}"));
                }
                (WriteState::Open, _) if self.lives.get(&write.by) != Some(&write.life) => reckoning.orphaned += 1,
                (WriteState::Open, Some(CommitOutcome::Accepted { .. })) => {
                    reckoning.open_happened += 1;
                    if filed == Some(0) {
                        self.broken("outcome", format!("{commit} is said to have happened, and its mail is not there"));
                    }
                }
                (WriteState::Open, Some(CommitOutcome::Sealed)) => {
                    reckoning.open_not_happened += 1;
                    if filed.is_some_and(|times| times > 0) {
                        self.broken("outcome", format!("{commit} is said never to happen, and its mail is there"));
                    }
                }
                (WriteState::Open, outcome) => {
                    self.broken(
                        "outcome",
                        format!("nobody can tell whether {commit} of {} at {:?} happened: {outcome:?}", write.by, write.at),
                    );
                }
                (WriteState::Refused, Some(CommitOutcome::Accepted { position, .. })) => {
                    self.broken("outcome", format!("{commit} of {} was refused, and happened at {position}", write.by));
                }
                (WriteState::Refused, _) => {}
            }
        }
        Ok(reckoning)
    }

    async fn reckon_followers<'a>(&mut self, reader: &Client, objects: impl Iterator<Item = &'a Object>) -> anyhow::Result<()> {
        let seen = self.ledger.open().seen.clone();
        if seen.is_empty() {
            return Ok(());
        }
        let ask = |(entity, id): (String, ObjectId)| {
            let reader = reader.clone();
            async move {
                let timeline = reader.history(History { object: id, before: None, limit: 1_000 }).await?;
                anyhow::Ok(timeline.events.into_iter().map(|event| (entity.clone(), id, event.object.version.0)).collect::<Vec<_>>())
            }
        };
        let asked: Vec<(String, ObjectId)> = objects.map(|object| (object.entity.to_string(), object.id)).collect();
        let mut truth: BTreeMap<String, BTreeSet<(ObjectId, u64)>> = BTreeMap::new();
        let mut answers = stream::iter(asked).map(ask).buffered(AT_ONCE);
        while let Some(versions) = answers.next().await {
            for (entity, id, version) in versions? {
                truth.entry(entity).or_default().insert((id, version));
            }
        }
        for ((name, life), seen) in seen {
            let Some((_, entity)) = name.split_once(' ') else { continue };
            let Some(start) = seen.start else { continue };
            let none = BTreeSet::new();
            let truth = truth.get(entity).unwrap_or(&none);
            let expected = truth.iter().filter(|(_, version)| (start + 1..=seen.position).contains(version));
            let gaps: Vec<u64> = expected.filter(|version| !seen.versions.contains_key(version)).map(|(_, version)| *version).collect();
            if !gaps.is_empty() {
                let which = &gaps[..gaps.len().min(5)];
                self.broken("gapless", format!("{name} (process {life}) was not told of {} changes, at {which:?}", gaps.len()));
            }
            let twice: u64 = seen.versions.values().map(|times| times - 1).sum();
            if twice + seen.disordered > 0 {
                self.broken("gapless", format!("{name} (process {life}) was told {twice} changes twice, {} out of order", seen.disordered));
            }
        }
        Ok(())
    }

    fn kill(&mut self, node: &str, power: bool) -> anyhow::Result<()> {
        if power {
            self.world.power_cut(node)?
        } else {
            self.world.crash(node)?
        };
        self.clients.remove(node);
        self.paused.remove(node);
        Ok(())
    }

    fn isolate(&self, node: &str, apart: bool) -> anyhow::Result<()> {
        let me = self.world.machine_id(node)?;
        for other in self.world.deployment().nodes.iter().filter(|other| other.name != node) {
            let other = self.world.machine_id(&other.name)?;
            self.world.network().set_apart(me, other, apart);
            self.world.network().set_apart(other, me, apart);
        }
        Ok(())
    }

    fn separate(&self, sites: &[String], apart: bool) -> anyhow::Result<()> {
        for inside in sites {
            for outside in self.world.deployment().sites.iter().filter(|site| !sites.contains(site)) {
                self.cut(inside, outside, apart)?;
                self.cut(outside, inside, apart)?;
            }
        }
        Ok(())
    }

    fn cut(&self, from: &str, to: &str, apart: bool) -> anyhow::Result<()> {
        for a in self.nodes_at(from) {
            for b in self.nodes_at(to) {
                self.world.network().set_apart(self.world.machine_id(&a)?, self.world.machine_id(&b)?, apart);
            }
        }
        Ok(())
    }

    fn degrade(&self, from: &str, to: &str, loss: f64, delay_ms: i64) {
        for id in [backbone(from, to), backbone(to, from)] {
            self.world.network().change_link(&id, |figures| {
                figures.loss = (figures.loss + loss).clamp(0.0, 1.0);
                let delay = i64::try_from(figures.delay.as_micros()).unwrap_or(i64::MAX).saturating_add(delay_ms * 1_000);
                figures.delay = Duration::from_micros(u64::try_from(delay).unwrap_or(0));
            });
        }
    }

    /// Clogs every server, one by one, until all are free at about the end, in another order.
    fn swizzle(&self, nodes: &[String], lasts: Duration) -> anyhow::Result<()> {
        for node in nodes {
            let within = lasts.mul_f64(self.rng.below(1_000) as f64 / 1_000.0);
            self.world.network().clog(self.world.machine_id(node)?, within);
        }
        Ok(())
    }

    /// Lines that flap are down every other second.
    fn flap(&self, endings: &[Ending], since: Duration) {
        for ending in endings {
            if let Fault::Flap { from, to } = &ending.fault {
                let down = since.as_secs().is_multiple_of(2);
                // Both sites were checked when the scenario was read.
                self.cut(from, to, down).and_then(|()| self.cut(to, from, down)).ok();
            }
        }
    }

    fn node_of(&self, target: &Target) -> Option<String> {
        match target {
            Target::Node(name) => Some(name.clone()),
            Target::Leader => self.world.leader(),
            Target::Follower => {
                let leader = self.world.leader();
                self.world.deployment().cabinet.voters.iter().find(|voter| Some(*voter) != leader.as_ref()).cloned()
            }
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

fn backbone(from: &str, to: &str) -> HopId {
    HopId::Backbone { from: from.to_owned(), to: to.to_owned() }
}

/// What the reckoning found about writes of which nothing was heard.
#[derive(Debug, Default)]
struct Reckoning {
    open_happened: u64,
    open_not_happened: u64,
    orphaned: u64,
}

/// Every object of an entity.
async fn all(client: &Client, entity: &'static str) -> anyhow::Result<Vec<Object>> {
    let mut subscription = client.subscribe(Query::all(Name::fixed(entity)), From::Present);
    let mut all = Vec::new();
    loop {
        if let Update::Present { objects, complete, .. } = subscription.next().await? {
            all.extend(objects);
            if complete {
                return Ok(all);
            }
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

/// Between two attempts of a server that cannot start.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// However long a connection to somebody who is gone is kept.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(90);

/// Questions asked at the same time.
const AT_ONCE: usize = 16;

/// After so many a run has told enough.
const VIOLATIONS_MAX: usize = 20;

const STORY_LINES_MAX: usize = 100_000;
