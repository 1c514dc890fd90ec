//! Simulated machines whose power is cut at every change of their disks: what `kill -9` cannot show, because the page cache survives it.
//!
//! The same short work is done over and over in a simulated world, with a real overlay between three real replicas on simulated disks. Each time
//! one disk stops at its n-th change (a write, a sync, a new file, ...), and at that moment the power goes, of that machine or of all three.
//! Sectors that were not synced are lost, or not, as drawn. Then everybody is started again, finishes the work, and is held against what was
//! acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use caps_model::messages::cabinet::Committed;
use caps_model::messages::{AskOutcome, Outcome};
use caps_model::{Author, Commit, CommitId, Name, ObjectId, Position, Record, Value};
use caps_node::deployment::Deployment;
use caps_node::output::table;
use caps_overlay::bugs::{self, Bug};
use caps_store::Store;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::create;
use crate::machine::Speed;
use crate::world::World;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Power {
    /// The first change at which the power is cut.
    pub from: u64,
    /// Only every so many-th change.
    pub every: u64,
    /// How many clients commit, one commit after the other each.
    pub clients: u64,
    /// The commits of each.
    pub commits: u64,
    /// Decides what the disks happened to get to.
    pub seed: u64,
    /// A mistake made on purpose: the search then ends when it is found.
    pub bug: Option<Bug>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerCuts {
    /// Changes of the three disks in a run without a cut.
    pub changes: u64,
    /// Runs in which the power was cut.
    pub runs: u64,
    /// Runs in which the disk stopped before everything had been done: the others were as if nothing had happened.
    pub hit: u64,
    /// Commits that were acknowledged, in all runs.
    pub acknowledged: u64,
    /// What was wrong, and in which run.
    pub wrong: Vec<String>,
}

/// Where the power goes.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The disk that stops, and after how many changes.
    disk: usize,
    after: u64,
    /// Whether the other machines lose their power, too.
    all: bool,
}

/// What one run came to.
#[derive(Clone, Debug, Default)]
struct Run {
    hit: bool,
    changes: [u64; 3],
    acknowledged: u64,
    wrong: Vec<String>,
}

/// What clients share with whoever starts the replicas.
#[derive(Clone, Debug, Default)]
struct Stage(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    stores: BTreeMap<usize, Store>,
    /// Acknowledged commits and their positions.
    acknowledged: BTreeMap<CommitId, u64>,
    /// Commits of which nobody could tell in time.
    open: Vec<CommitId>,
}

/// Cuts the power at every change that is wanted. `progress` is told how many runs are done, of how many.
pub fn run(wanted: &Power, mut progress: impl FnMut(u64, u64)) -> anyhow::Result<PowerCuts> {
    bugs::switch(wanted.bug);
    let found = search(wanted, &mut progress);
    bugs::switch(None);
    found
}

fn search(wanted: &Power, progress: &mut impl FnMut(u64, u64)) -> anyhow::Result<PowerCuts> {
    let quiet = one(wanted, None)?;
    let mut found = PowerCuts { changes: quiet.changes.iter().sum(), wrong: quiet.wrong, ..PowerCuts::default() };
    let every = usize::try_from(wanted.every).unwrap_or(usize::MAX);
    let cuts: Vec<Cut> = (0..3)
        .flat_map(|disk| (wanted.from..quiet.changes[disk]).step_by(every).map(move |after| (disk, after)))
        .flat_map(|(disk, after)| [false, true].map(|all| Cut { disk, after, all }))
        .collect();
    for (done, cut) in (1..).zip(&cuts) {
        let run = one(wanted, Some(*cut))?;
        found.runs += 1;
        found.hit += u64::from(run.hit);
        found.acknowledged += run.acknowledged;
        let machines = if cut.all { "all machines" } else { "that machine" };
        let named = |what: String| format!("disk {} stopped after {} changes, power of {machines} cut: {what}", cut.disk, cut.after);
        found.wrong.extend(run.wrong.into_iter().map(named));
        progress(done, cuts.len() as u64);
        if wanted.bug.is_some() && !found.wrong.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn one(wanted: &Power, cut: Option<Cut>) -> anyhow::Result<Run> {
    let wanted = wanted.clone();
    let deployment = Deployment::parse(Path::new("power.toml"), DEPLOYMENT)?;
    World::run(deployment, wanted.seed, Speed::default(), move |world| Box::pin(play(world, wanted, cut)))
}

async fn play(mut world: World, wanted: Power, cut: Option<Cut>) -> anyhow::Result<Run> {
    let (stage, mut run) = (Stage::default(), Run::default());
    if let Some(cut) = cut {
        world.disk(NAMES[cut.disk])?.halt_after(cut.after);
    }
    for replica in 0..NAMES.len() {
        start(&mut world, &stage, cut, replica, &mut run).await?;
    }
    let mut clients = JoinSet::new();
    for client in 0..wanted.clients {
        clients.spawn(stage.clone().work(client, wanted.commits));
    }
    // The disk may stop at any moment; until then, and afterwards, everybody works.
    let until = Instant::now() + WORK_PATIENCE;
    while !clients.is_empty() {
        if let Some(cut) = cut
            && !run.hit
            && world.server(NAMES[cut.disk]).is_some_and(|server| server.failed().now_or_never().is_some())
        {
            run.hit = true;
            cut_power(&mut world, &stage, cut).await?;
        }
        while clients.try_join_next().is_some() {}
        if Instant::now() > until {
            run.wrong.push(format!("{} clients did not come to an end", clients.len()));
            break;
        }
        sleep(STEP).await;
    }
    clients.shutdown().await;
    reckon(&world, &stage, &mut run).await;
    for (replica, name) in NAMES.iter().enumerate() {
        run.changes[replica] = world.disk(name)?.operations();
    }
    Ok(run)
}

/// Starts a replica; one whose disk stops while it opens is started again after its power was cut.
async fn start(world: &mut World, stage: &Stage, cut: Option<Cut>, replica: usize, run: &mut Run) -> anyhow::Result<()> {
    let name = NAMES[replica];
    if let Err(error) = world.start(name).await {
        if cut.is_none_or(|cut| cut.disk != replica) || run.hit {
            return Err(error);
        }
        run.hit = true;
        world.power_cut(name)?;
        world.start(name).await?;
    }
    stage.takes(world, replica);
    Ok(())
}

async fn cut_power(world: &mut World, stage: &Stage, cut: Cut) -> anyhow::Result<()> {
    let dark: Vec<usize> = (0..NAMES.len()).filter(|replica| cut.all || *replica == cut.disk).collect();
    for replica in &dark {
        stage.open().stores.remove(replica);
        world.power_cut(NAMES[*replica])?;
    }
    for replica in dark {
        world.start(NAMES[replica]).await?;
        stage.takes(world, replica);
    }
    Ok(())
}

/// Waits until all are equal, and asks for everything that was acknowledged.
async fn reckon(world: &World, stage: &Stage, run: &mut Run) {
    let Some(position) = settled(world).await else {
        return run.wrong.push("the replicas did not come to the same position in the same way".to_owned());
    };
    let stores: Vec<Store> = NAMES.iter().filter_map(|name| world.store(name).cloned()).collect();
    let acknowledged = stage.open().acknowledged.clone();
    let open = stage.open().open.clone();
    run.acknowledged = acknowledged.len() as u64;
    let mut happened = acknowledged.len() as u64;
    for (commit, said) in &acknowledged {
        for (store, name) in stores.iter().zip(NAMES) {
            match store.outcome(AskOutcome { commit: *commit, seal: false }, soon()).await {
                Ok(Outcome::Accepted { position, .. }) if position.0 == *said => {}
                other => run.wrong.push(format!("{commit} was acknowledged at {said}, and {name} says {other:?}")),
            }
        }
    }
    for commit in open {
        match stores[0].outcome(AskOutcome { commit, seal: true }, soon()).await {
            Ok(Outcome::Accepted { .. }) => happened += 1,
            Ok(Outcome::Sealed) => {}
            other => run.wrong.push(format!("nobody can tell about {commit}: {other:?}")),
        }
    }
    if position.0 != happened {
        run.wrong.push(format!("{happened} commits happened, and the last one is at {position}"));
    }
}

async fn settled(world: &World) -> Option<Position> {
    let until = Instant::now() + SETTLE_PATIENCE;
    loop {
        let marks: Vec<_> = NAMES.iter().filter_map(|name| Some(world.store(name)?.status())).collect();
        let first = marks.first().map(|status| (status.position, status.chain_head));
        let equal = marks.iter().all(|status| Some((status.position, status.chain_head)) == first && status.leader.is_some());
        if let (true, 3, Some((position, _))) = (equal, marks.len(), first) {
            return Some(position);
        }
        if Instant::now() > until {
            return None;
        }
        sleep(STEP).await;
    }
}

impl Stage {
    fn open(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self, world: &World, replica: usize) {
        if let Some(store) = world.store(NAMES[replica]) {
            self.open().stores.insert(replica, store.clone());
        }
    }

    /// Commits one thing after the other, each until it is known what became of it.
    async fn work(self, client: u64, commits: u64) {
        for number in 0..commits {
            let id = u128::from(client * 1_000_000 + number + 1);
            let commit = commit_of(id);
            match self.settle(&commit, usize::try_from(client + number).unwrap_or(0)).await {
                Some(position) => drop(self.open().acknowledged.insert(commit.id, position)),
                None => self.open().open.push(commit.id),
            }
        }
    }

    async fn settle(&self, commit: &Commit, first: usize) -> Option<u64> {
        let until = Instant::now() + COMMIT_PATIENCE;
        let mut replica = first % NAMES.len();
        while Instant::now() < until {
            let store = self.open().stores.get(&replica).cloned();
            if let Some(store) = store
                && let Ok(Committed::Accepted { position, .. }) = store.commit(commit.clone(), Instant::now() + ATTEMPT).await
            {
                return Some(position.0);
            }
            replica = (replica + 1) % NAMES.len();
            sleep(STEP).await;
        }
        None
    }
}

impl PowerCuts {
    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The same for people.
    pub fn told(&self) -> String {
        let mut table = table(&["QUESTION", "ANSWER"]);
        table.add_row(["changes of the three disks in a quiet run", &self.changes.to_string()]);
        table.add_row(["runs with a cut", &self.runs.to_string()]);
        table.add_row(["of them before everything was done", &self.hit.to_string()]);
        table.add_row(["commits acknowledged, in all runs", &self.acknowledged.to_string()]);
        table.add_row(["wrong", &self.wrong.len().to_string()]);
        let wrong: String = self.wrong.iter().take(WRONG_TOLD).map(|what| format!("\n{what}")).collect();
        format!("{table}{wrong}")
    }
}

fn commit_of(id: u128) -> Commit {
    let author = Author {
        user: None,
        front_end: "power".to_owned(),
        host: "power".to_owned(),
        module: Name::fixed("power"),
        module_version: 1,
        method: Name::fixed("power"),
        reason: None,
    };
    let text = Record::from([(Name::fixed("text"), vec![Value::text("x".repeat(PAYLOAD_BYTES))])]);
    let changes = vec![create(ObjectId(id), "thing", text)];
    Commit { id: CommitId(id), author, time: 0, reads: Vec::new(), changes, effects: Vec::new(), result: Record::new() }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

const NAMES: [&str; 3] = ["store-a", "store-b", "store-c"];

const DEPLOYMENT: &str = r#"
domain = "power.example"

[[site]]
name = "here"

[cabinet]
voters = ["store-a", "store-b", "store-c"]

[[node]]
name = "store-a"
site = "here"
layer = 1
listen = "127.0.0.1:4101"

[[node]]
name = "store-b"
site = "here"
layer = 1
listen = "127.0.0.1:4102"

[[node]]
name = "store-c"
site = "here"
layer = 1
listen = "127.0.0.1:4103"
"#;

/// Larger than a sector, so that a record can be torn.
const PAYLOAD_BYTES: usize = 1_500;

/// In virtual time, all of these.
const STEP: Duration = Duration::from_millis(5);
const ATTEMPT: Duration = Duration::from_secs(2);
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);
const WORK_PATIENCE: Duration = Duration::from_secs(300);

const WRONG_TOLD: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acknowledged_is_lost_wherever_the_power_is_cut() {
        let wanted = Power { from: 0, every: 5, clients: 2, commits: 3, seed: 1, bug: None };
        let found = run(&wanted, |_, _| ()).unwrap();
        assert_eq!(found.wrong, Vec::<String>::new());
        assert!(found.hit > 5 && found.acknowledged > 0, "{found:?}");
    }
}
