//! One rehearsal: a deployment in a world of its own, its people at work, and what they felt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_frontend::{Client, ClientError};
use caps_node::deployment::network::{HopId, LinkFigures};
use caps_node::deployment::workload::{Operation, Step, StepKind};
use caps_node::deployment::{Deployment, Node};
use caps_node::people;
use caps_node::workload::{Actor, ArrivalError, Arrivals, Measured, MeasuredStep, Outcome, Run, StepError, work};
use caps_overlay::{Overlay, Rng};
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep};

use super::cast::{Cast, Key};
use crate::link::LinkStats;
use crate::machine::Speed;
use crate::world::{Bend, Door, World};

/// What is different from the deployment as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bent {
    /// Nothing.
    Straight,
    /// Lines lose nothing and take always the same time; so it is in all that follow.
    Calm,
    /// Nothing lies between the sites of these two layers.
    Instant(Side),
    /// So much more lies between them, there and back together.
    Longer(Side, Duration),
    /// Disks take no time.
    NoDisk,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    FrontEndToHost,
    HostToCabinet,
    Replicas,
}

/// What is done.
#[derive(Clone, Debug)]
pub(super) enum Programme {
    /// One thing after the other at each front end, so many times.
    Quiet { times: u32 },
    /// Everybody at their pace, and somebody at each place who does each thing a number of times.
    Busy { length: Duration, samples: u32 },
    /// Everything every other second, and in the middle of it a site is lost.
    Loss { site: String },
    /// Each thing again and again, by a front end that starts anew for each, with nobody else at work.
    Alone { front_end: String, times: u32 },
}

/// What was felt.
#[derive(Debug, Default)]
pub(super) struct Rehearsed {
    pub(super) samples: BTreeMap<Key, Samples>,
    pub(super) links: BTreeMap<HopId, (LinkFigures, LinkStats)>,
    pub(super) lasted: Duration,
    /// When commits were acknowledged.
    pub(super) commits: Vec<Instant>,
    /// When the site was lost.
    pub(super) lost_at: Option<Instant>,
}

/// What one thing felt like at one front end.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    pub(super) felt: Vec<(Instant, Duration)>,
    pub(super) failed: Vec<(Instant, String)>,
    /// How late consoles showed what had been committed.
    pub(super) shown_after: Vec<Duration>,
    pub(super) bytes: Vec<u64>,
}

type Board = Arc<Mutex<Rehearsed>>;

/// Rehearses a deployment.
pub(super) fn rehearse(deployment: &Deployment, seed: u64, speed: Speed, bent: Bent, programme: Programme) -> anyhow::Result<Rehearsed> {
    let speed = Speed { sync: if bent == Bent::NoDisk { Duration::ZERO } else { speed.sync }, ..speed };
    World::run_bent(deployment.clone(), seed, speed, bend(bent), move |world| async move {
        Box::pin(Rehearsal::begin(world).await?.go(programme)).await
    })
}

struct Rehearsal {
    world: World,
    rng: Rng,
    run: Run,
    cast: Cast,
    board: Board,
    /// Where the front ends of each name come from, and the one that its users share.
    stage: BTreeMap<String, (Door, Overlay)>,
}

impl Rehearsal {
    /// Starts everybody, and gives the cabinet something to show.
    async fn begin(mut world: World) -> anyhow::Result<Self> {
        world.start_servers().await?;
        let leader = world.deployment().cabinet().voters[0].clone();
        enthrone(&mut world, &leader).await?;
        let administrator = world.administrator().await?;
        let deployment = world.deployment().clone();
        people::settle(&administrator, &deployment, PATIENCE, |_| "desk").await?;
        let cast = Cast::of(&deployment);
        let mut stage = BTreeMap::new();
        for name in deployment.layer(Layer::FrontEnd).filter(|node| !node.identity.is_admin()).map(|node| node.name.clone()) {
            let door = world.door(&name)?;
            let overlay = door.open().await?;
            stage.insert(name, (door, overlay));
        }
        let rng = world.fork_rng();
        let rehearsal = Self { world, rng, run: Run::new(1), cast, board: Board::default(), stage };
        rehearsal.stock().await?;
        Ok(rehearsal)
    }

    /// Has everything that changes the cabinet done a number of times, in the file's order.
    async fn stock(&self) -> anyhow::Result<()> {
        let Some(name) = self.cast.stocker(self.world.deployment()) else { return Ok(()) };
        let changes =
            |operation: &&Arc<Operation>| operation.steps.iter().any(|step| matches!(step, Step::FileMail { .. } | Step::Call { .. }));
        let operations = self.world.deployment().workload.operations.clone();
        for operation in operations.iter().filter(changes) {
            let files = operation.steps.iter().any(|step| matches!(step, Step::FileMail { .. }));
            let mut actor = self.actor(&name, hurried(operation))?;
            for _ in 0..if files { STOCK } else { STOCK / 3 } {
                let measured = actor.run().await;
                if let (true, Outcome::Failed(error)) = (files, &measured.outcome) {
                    anyhow::bail!("the operation {:?} fails at {name} when nothing else happens: {error}", operation.name);
                }
            }
        }
        Ok(())
    }

    async fn go(mut self, programme: Programme) -> anyhow::Result<Rehearsed> {
        let begin = Instant::now();
        match programme {
            Programme::Quiet { times } => self.quiet(times).await?,
            Programme::Busy { length, samples } => self.busy(length, samples).await?,
            Programme::Loss { site } => self.loss(&site).await?,
            Programme::Alone { front_end, times } => self.alone(&front_end, times).await?,
        }
        let mut board = std::mem::take(&mut *lock(&self.board));
        board.links = self.world.network().links();
        board.lasted = begin.elapsed();
        Ok(board)
    }

    /// Front ends read side by side, and write one after the other: nobody waits for anybody.
    async fn quiet(&mut self, times: u32) -> anyhow::Result<()> {
        let quick: Vec<(Key, Arc<Operation>)> = self.cast.measured().collect();
        let (writing, reading): (Vec<_>, Vec<_>) = quick.into_iter().partition(|(_, operation)| writes(operation));
        let this = &*self;
        let front_ends = this.stage.keys().map(|name| {
            let mine: Vec<_> = reading.iter().filter(|(key, _)| key.front_end == *name).collect();
            async move {
                for (key, operation) in mine {
                    this.repeat(key, operation, times).await?;
                }
                anyhow::Ok(())
            }
        });
        for done in join_all(front_ends).await {
            done?;
        }
        for (key, operation) in &writing {
            self.repeat(key, operation, times).await?;
        }
        Ok(())
    }

    async fn repeat(&self, key: &Key, operation: &Arc<Operation>, times: u32) -> anyhow::Result<()> {
        let mut actor = self.actor(&key.front_end, operation.clone())?;
        let machine = self.world.machine_id(&key.front_end)?;
        // The first ones warm what is warm all day: connections, and what their congestion controllers know.
        for time in 0..times + WARMING {
            let before = self.world.network().carried_bytes(machine);
            let measured = actor.run().await;
            let bytes = self.world.network().carried_bytes(machine) - before;
            if time >= WARMING {
                note(&self.board, key, &measured, Some(bytes));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn busy(&mut self, length: Duration, samples: u32) -> anyhow::Result<()> {
        let mut crew = Vec::new();
        for part in &self.cast.parts {
            for _ in 0..part.users {
                let actor = self.actor(&part.key.front_end, part.operation.clone())?;
                crew.push(self.employ(part.key.clone(), actor, part.every));
            }
        }
        for (key, operation) in self.cast.measured() {
            let actor = self.actor(&key.front_end, operation)?;
            crew.push(self.employ(key, actor, Some(length / samples)));
        }
        sleep(length).await;
        self.run.end();
        // Those who are at something finish it; who hangs is not waited for.
        tokio::time::timeout(PATIENCE * 2, join_all(crew)).await.ok();
        Ok(())
    }

    async fn loss(&mut self, site: &str) -> anyhow::Result<()> {
        let mut crew = Vec::new();
        let elsewhere: Vec<(Key, Arc<Operation>)> = self.cast.measured().filter(|(key, _)| self.site_of(key) != site).collect();
        for (key, operation) in elsewhere {
            let actor = self.actor(&key.front_end, operation)?;
            crew.push(self.employ(key, actor, Some(LOSS_EVERY)));
        }
        sleep(LOSS_BEFORE).await;
        let lost: Vec<String> = self
            .world
            .deployment()
            .nodes
            .iter()
            .filter(|node| node.site == site && !node.identity.is_admin())
            .map(|node| node.name.clone())
            .collect();
        for name in lost {
            self.world.power_cut(&name)?;
        }
        lock(&self.board).lost_at = Some(Instant::now());
        sleep(LOSS_AFTER).await;
        self.run.end();
        tokio::time::timeout(PATIENCE * 2, join_all(crew)).await.ok();
        Ok(())
    }

    async fn alone(&mut self, front_end: &str, times: u32) -> anyhow::Result<()> {
        for operation in self.world.deployment().workload.operations.clone() {
            let key = Key { operation: operation.name.clone(), front_end: front_end.to_owned() };
            let overlay = self.world.front_end(front_end).await?;
            let door = self.world.door(front_end)?;
            let client = Client::new(overlay.clone(), door.services(), PATIENCE);
            let arrivals = Arriving { door, own: None };
            let mut actor = Actor::new(client, operation, Box::new(arrivals), self.run.clone(), self.rng.fork());
            for _ in 0..times {
                let measured = actor.run().await;
                note(&self.board, &key, &measured, None);
            }
            overlay.drain(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    fn site_of(&self, key: &Key) -> String {
        self.world.deployment().node(&key.front_end).map(|node| node.site.clone()).unwrap_or_default()
    }

    /// Somebody at a front end. Whoever connects anew has a process of their own.
    fn actor(&self, front_end: &str, operation: Arc<Operation>) -> anyhow::Result<Actor> {
        let (door, overlay) = self.stage.get(front_end).ok_or_else(|| anyhow::anyhow!("{front_end} is no front end of this deployment"))?;
        let client = Client::new(overlay.clone(), door.services(), PATIENCE);
        let arrivals = Arriving { door: door.clone(), own: None };
        Ok(Actor::new(client, operation, Box::new(arrivals), self.run.clone(), self.rng.fork()))
    }

    fn employ(&self, key: Key, actor: Actor, every: Option<Duration>) -> tokio::task::JoinHandle<()> {
        let board = self.board.clone();
        tokio::spawn(Box::pin(work(actor, every, None, move |measured| note(&board, &key, &measured, None))))
    }
}

/// Makes one replica the leader: whoever leads instead is restarted until it is this one's turn. Which one leads is chance in production; a
/// rehearsal compares deployments, not chance.
async fn enthrone(world: &mut World, wanted: &str) -> anyhow::Result<()> {
    for _ in 0..ELECTIONS_MAX {
        let leader = loop {
            match world.leader() {
                Some(leader) => break leader,
                None => sleep(PAUSE).await,
            }
        };
        if leader == wanted {
            return Ok(());
        }
        world.crash(&leader)?;
        while world.leader().is_none() {
            sleep(PAUSE).await;
        }
        world.start(&leader).await?;
        sleep(PAUSE * 10).await;
    }
    anyhow::bail!("{wanted} did not become leader in {ELECTIONS_MAX} elections")
}

/// Fresh front ends on the same machine. Those who leave take their leave by themselves.
#[derive(Debug)]
struct Arriving {
    door: Door,
    own: Option<Overlay>,
}

impl Arrivals for Arriving {
    fn arrive(&mut self, _: Client) -> BoxFuture<'_, Result<Client, ArrivalError>> {
        Box::pin(async move {
            if let Some(left) = self.own.take() {
                tokio::spawn(async move {
                    left.drain(Duration::from_secs(1)).await;
                    left.environment().tasks.shutdown().await;
                });
            }
            let overlay = self.door.open().await.map_err(|error| ArrivalError(format!("{error:#}")))?;
            self.own = Some(overlay.clone());
            Ok(Client::new(overlay, self.door.services(), PATIENCE))
        })
    }
}

fn note(board: &Board, key: &Key, measured: &Measured, bytes: Option<u64>) {
    let mut board = lock(board);
    let now = Instant::now();
    let committed = |step: &MeasuredStep| step.ok && matches!(step.kind, StepKind::Call | StepKind::FileMail);
    if measured.steps.iter().any(committed) {
        board.commits.push(now);
    }
    let samples = board.samples.entry(key.clone()).or_default();
    match &measured.outcome {
        Outcome::Done => {
            samples.felt.push((measured.started, measured.felt));
            samples.bytes.extend(bytes);
        }
        // Somebody else was faster, says the logic: an answer, and no fault of the deployment's.
        Outcome::Failed(StepError::Client(ClientError::Refused(_))) => {}
        Outcome::Failed(error) => samples.failed.push((measured.started, error.to_string())),
        Outcome::Idle(_) | Outcome::Cut => {}
    }
    for watched in measured.steps.iter().filter_map(|step| step.watched.as_ref()) {
        samples.shown_after.extend(&watched.delays);
    }
}

fn lock(board: &Board) -> std::sync::MutexGuard<'_, Rehearsed> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The operation without the thinking: nobody waits for that.
pub(super) fn hurried(operation: &Operation) -> Arc<Operation> {
    let steps = operation.steps.iter().filter(|step| !matches!(step, Step::Think(_))).cloned().collect();
    Arc::new(Operation { steps, ..operation.clone() })
}

fn writes(operation: &Operation) -> bool {
    operation.steps.iter().any(|step| matches!(step, Step::FileMail { .. } | Step::Call { .. } | Step::Login { .. }))
}

fn bend(bent: Bent) -> Bend {
    Box::new(move |from, to, hops| match bent {
        Bent::Straight => hops,
        Bent::Calm | Bent::NoDisk => calm(hops),
        Bent::Instant(side) if Side::of(from, to) == Some(side) => Vec::new(),
        // A line of its own is a way to go, too, however near its other end is.
        Bent::Longer(side, by) if Side::of(from, to) == Some(side) && hops.iter().any(|(id, _)| !matches!(id, HopId::Lan(_))) => {
            // A wire of its own for each pair: nothing else changes.
            let wire = HopId::NodeUp(format!("{} to {}", from.name, to.name));
            calm(hops).into_iter().chain([(wire, LinkFigures { mtu_bytes: u16::MAX, ..LinkFigures::ideal(by / 2) })]).collect()
        }
        Bent::Instant(_) | Bent::Longer(..) => calm(hops),
    })
}

/// Lines that only do what they always do, so that one run differs from another by what was changed and not by luck.
fn calm(hops: Vec<(HopId, LinkFigures)>) -> Vec<(HopId, LinkFigures)> {
    let steady = |figures| LinkFigures { jitter: Duration::ZERO, loss: 0.0, burst: 1.0, reorder: 0.0, duplicate: 0.0, ..figures };
    hops.into_iter().map(|(id, figures)| (id, steady(figures))).collect()
}

impl Side {
    fn of(from: &Node, to: &Node) -> Option<Self> {
        let layers = [from.layer, to.layer];
        match layers {
            [Layer::FrontEnd, Layer::Host] | [Layer::Host, Layer::FrontEnd] => Some(Self::FrontEndToHost),
            [Layer::Host, Layer::Cabinet] | [Layer::Cabinet, Layer::Host] => Some(Self::HostToCabinet),
            [Layer::Cabinet, Layer::Cabinet] => Some(Self::Replicas),
            _ => None,
        }
    }
}

/// What a front end waits for at most, as the command line does.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two things that are to have nothing to do with each other.
const PAUSE: Duration = Duration::from_millis(100);

const ELECTIONS_MAX: u32 = 50;

/// Runs that do not count.
const WARMING: u32 = 3;

/// Mails that are there when people come to work.
const STOCK: usize = 90;

const LOSS_EVERY: Duration = Duration::from_secs(2);
const LOSS_BEFORE: Duration = Duration::from_secs(10);
pub(super) const LOSS_AFTER: Duration = Duration::from_secs(45);
