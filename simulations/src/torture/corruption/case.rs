//! One case after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use caps_model::messages::cabinet::ReplicaStatus;
use caps_model::{Name, ObjectId, Record, Value};
use caps_overlay::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::blobs::KnownBlob;
use super::{Corruption, Damage, Ended};
use crate::torture::client::{CabinetClient, Fate, create};
use crate::torture::company::{self, Company, REPLICAS};

/// A company whose replicas are damaged.
#[derive(Debug)]
pub(super) struct Ward {
    company: Company,
    client: CabinetClient,
    rng: Rng,
    /// Every small object that is known, with its position and its value.
    objects: Vec<(ObjectId, u64, i64)>,
    /// The large ones.
    large: Vec<(ObjectId, u64, i64)>,
    /// The blobs.
    blobs: Vec<KnownBlob>,
    /// Cases so far.
    cases: u64,
}

impl Ward {
    /// Founds the company and fills it, until every journal has old segments.
    pub(super) async fn open(wanted: &Corruption) -> anyhow::Result<Self> {
        let company = Company::found(&wanted.directory, wanted.programs.clone())?;
        let identity = company::client(&company.deployment().domain, 0)?;
        let client = CabinetClient::join(company.deployment(), &identity, company.lives()).await?;
        let mut ward =
            Self { company, client, rng: Rng::seeded(wanted.seed), objects: Vec::new(), large: Vec::new(), blobs: Vec::new(), cases: 0 };
        ward.fill().await?;
        Ok(ward)
    }

    /// Ends everybody.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        self.company.stop().await?;
        self.client.leave().await;
        Ok(())
    }

    /// One case; `None`: there was nothing of the kind to be damaged.
    pub(super) async fn case(&mut self, damage: Damage, under_load: bool) -> anyhow::Result<Option<Ended>> {
        self.cases += 1;
        let victim = usize::try_from(self.rng.below(REPLICAS.len() as u64)).unwrap_or(0);
        let name = REPLICAS[victim];
        let directory = self.company.data_of(name);
        let copy = self.company.directory().join("undamaged");
        let said_before = self.said(name).len();
        let mut load = JoinSet::new();
        if under_load {
            let client = self.client.clone();
            load.spawn(async move { work(client).await });
            sleep(WORK_BEFORE).await;
        } else {
            self.company.end(&REPLICAS).await?;
            copy_all(&directory, &copy)?;
        }
        let Some(place) = damage.apply(&directory, &self.rng)? else {
            self.company.start_all()?;
            self.settled().await?;
            return Ok(None);
        };
        if under_load {
            sleep(WORK_AFTER).await;
            if self.company.runs(name) {
                self.company.kill(&[name.to_owned()]).await?;
            }
        }
        self.company.start_all()?;
        let mut ended = self.watch(victim).await?;
        load.abort_all();
        while load.join_next().await.is_some() {}
        let said = self.said(name);
        let said = said.get(said_before..).unwrap_or_default();
        ended.detected |= DETECTED.iter().any(|word| said.contains(word));
        ended.torn_tail = said.contains(TORN);
        ended.said = format!("{place}: {}", told(said));
        if !ended.repaired {
            self.restore(name, &directory, (!under_load).then_some(copy.as_path())).await?;
        }
        Ok(Some(ended))
    }

    /// Asks every replica for everything that is known, until the damaged one has ended or is as far as the others.
    async fn watch(&mut self, victim: usize) -> anyhow::Result<Ended> {
        let mut ended = Ended::default();
        let until = Instant::now() + WATCH_PATIENCE;
        loop {
            let gone = self.company.ended()?.iter().any(|(name, _)| name == REPLICAS[victim]);
            for replica in 0..REPLICAS.len() {
                ended.wrong.extend(self.wrong_at(replica).await);
                for blob in &self.blobs {
                    ended.wrong.extend(blob.wrong_at(&self.client, replica).await);
                }
            }
            ended.detected |= gone;
            let equal = !gone && self.company.runs(REPLICAS[victim]) && self.equal().await && self.has_blobs(victim).await;
            if equal {
                ended.wrong.extend(self.wrong_in_depth(victim).await);
            }
            ended.repaired = equal && ended.wrong.is_empty();
            if gone || equal || Instant::now() > until {
                return Ok(ended);
            }
            sleep(POLL).await;
        }
    }

    /// Whether a replica gives every blob.
    async fn has_blobs(&self, replica: usize) -> bool {
        for blob in &self.blobs {
            if !blob.is_whole_at(&self.client, replica).await {
                return false;
            }
        }
        true
    }

    /// What a replica answers wrongly. One that does not answer says nothing wrong.
    async fn wrong_at(&self, replica: usize) -> Vec<String> {
        self.wrong_among(replica, &self.objects, OBJECTS_AT_ONCE, SMALL_BYTES).await
    }

    /// What a replica that is as far as the others answers wrongly about everything: every byte, and what ever happened to each object.
    async fn wrong_in_depth(&self, replica: usize) -> Vec<String> {
        let mut wrong = self.wrong_among(replica, &self.large, 1, LARGE_BYTES).await;
        for (id, position, _) in &self.objects {
            let timeline = match timeout(ANSWER_PATIENCE, self.client.history(replica, *id)).await {
                Ok(Ok(timeline)) => timeline,
                failed => {
                    wrong.push(format!("{} does not tell what happened to {id}: {failed:?}", REPLICAS[replica]));
                    return wrong;
                }
            };
            let versions: Vec<u64> = timeline.events.iter().map(|event| event.object.version.0).collect();
            if versions != [*position] {
                wrong.push(format!("{} says that {id} changed at {versions:?}, and it was made at {position}", REPLICAS[replica]));
            }
        }
        wrong
    }

    async fn wrong_among(&self, replica: usize, known: &[(ObjectId, u64, i64)], at_once: usize, size_bytes: usize) -> Vec<String> {
        let newest = self.objects.iter().map(|(_, position, _)| *position).max().unwrap_or(0);
        let mut wrong = Vec::new();
        for some in known.chunks(at_once) {
            let ids: Vec<ObjectId> = some.iter().map(|(id, ..)| *id).collect();
            let Ok(Ok(got)) = timeout(ANSWER_PATIENCE, self.client.get(replica, &ids, newest)).await else { return wrong };
            for ((id, position, value), object) in some.iter().zip(&got.objects) {
                let held = object.as_ref().map(|object| (object.version.0, object.int("value").unwrap_or_default()));
                let whole = object.as_ref().and_then(|object| object.text("text")).is_some_and(|text| *text == "x".repeat(size_bytes));
                if held != Some((*position, *value)) || !whole {
                    wrong.push(format!("{} has {id} as {held:?}, and it is ({position}, {value})", REPLICAS[replica]));
                }
            }
        }
        wrong
    }

    /// Whether all replicas answer and are at the same position in the same way. Under load it is enough that they are near.
    async fn equal(&self) -> bool {
        let mut statuses: Vec<ReplicaStatus> = Vec::new();
        for replica in 0..REPLICAS.len() {
            match timeout(ANSWER_PATIENCE, self.client.status(replica)).await {
                Ok(Ok(status)) => statuses.push(status),
                _ => return false,
            }
        }
        let positions = || statuses.iter().map(|status| status.position.0);
        let apart = positions().max().unwrap_or(0) - positions().min().unwrap_or(0);
        let heads_agree = statuses.windows(2).all(|two| two[0].position != two[1].position || two[0].chain_head == two[1].chain_head);
        apart <= APART_MAX && heads_agree && statuses.iter().all(|status| status.leader.is_some())
    }

    async fn settled(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + SETTLE_PATIENCE;
        while !self.equal().await {
            anyhow::ensure!(Instant::now() < until, "the replicas did not agree within {SETTLE_PATIENCE:?}");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Makes everybody well again: from the copy, if nothing was promised since it was made; else everything begins anew, because a voter that
    /// forgets what it promised must not vote.
    async fn restore(&mut self, name: &str, directory: &Path, copy: Option<&Path>) -> anyhow::Result<()> {
        if self.company.runs(name) {
            self.company.kill(&[name.to_owned()]).await?;
        }
        match copy {
            Some(copy) => {
                copy_all(copy, directory)?;
                self.company.start_all()?;
                self.settled().await
            }
            None => {
                self.company.stop().await?;
                self.company.wipe()?;
                self.fill().await
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.objects.clear();
        self.blobs.clear();
        for name in REPLICAS {
            if !self.company.runs(name) {
                self.company.start(name)?;
            }
        }
        self.settled().await?;
        for number in 0..BLOBS {
            self.blobs.push(KnownBlob::make(&self.client, number, REPLICAS.len()).await?);
        }
        for value in 0..LARGE_OBJECTS {
            self.make(value, LARGE_BYTES).await?;
        }
        let mut making = JoinSet::new();
        for value in LARGE_OBJECTS..LARGE_OBJECTS + SMALL_OBJECTS {
            let client = self.client.clone();
            making.spawn(async move { (value, make(&client, value, SMALL_BYTES).await) });
            if making.len() >= MAKING_AT_ONCE {
                self.made(making.join_next().await)?;
            }
        }
        while !making.is_empty() {
            self.made(making.join_next().await)?;
        }
        // Large ones do not fit an answer together.
        (self.large, self.objects) = self.objects.drain(..).partition(|(.., value)| *value < LARGE_OBJECTS);
        Ok(())
    }

    fn made(&mut self, made: Option<Result<Made, tokio::task::JoinError>>) -> anyhow::Result<()> {
        let Some((value, made)) = made.transpose()? else { return Ok(()) };
        let (id, position) = made.context("the cabinet could not be filled")?;
        self.objects.push((id, position, value));
        Ok(())
    }

    async fn make(&mut self, value: i64, size_bytes: usize) -> anyhow::Result<()> {
        let (id, position) = make(&self.client, value, size_bytes).await.context("the cabinet could not be filled")?;
        self.objects.push((id, position, value));
        Ok(())
    }

    /// Everything that a replica has said so far.
    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.company.directory().join("logs").join(format!("{name}.log"))).unwrap_or_default()
    }
}

/// A value, and the object that holds it with its position, if it could be made.
type Made = (i64, Option<(ObjectId, u64)>);

async fn make(client: &CabinetClient, value: i64, size_bytes: usize) -> Option<(ObjectId, u64)> {
    let object = client.new_object();
    let text = vec![Value::text("x".repeat(size_bytes))];
    let attributes = Record::from([(Name::fixed("value"), vec![Value::Int(value)]), (Name::fixed("text"), text)]);
    for _ in 0..ATTEMPTS_MAX {
        let commit = client.commit_of(Vec::new(), vec![create(object, "entry", attributes.clone())]);
        match client.settle(&commit, MAKE_PATIENCE).await {
            Fate::Accepted(position) => return Some((object, position)),
            // Whoever asked for the outcome had it sealed: it happens under another id.
            Fate::Never => {}
            Fate::Conflict | Fate::Unknown => return None,
        }
    }
    None
}

/// Works until it is told to stop.
async fn work(client: CabinetClient) {
    loop {
        make(&client, 0, SMALL_BYTES).await;
    }
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The lines that matter.
fn told(said: &str) -> String {
    let matters = |line: &&str| DETECTED.iter().chain([&TORN]).any(|word| line.contains(word));
    said.lines().rfind(matters).map_or_else(|| "nothing was said".to_owned(), |line| line.chars().take(LINE_TOLD_MAX).collect())
}

/// What a replica says that has noticed damage.
const DETECTED: [&str; 6] =
    ["is damaged", "set aside", "quarantine", "cannot be opened", "cannot be read", "commits name blobs that are not here"];

/// What it says when it takes damage for what a crash left.
const TORN: &str = "torn tail";

/// A segment has 16 MiB: two of them, and some.
const LARGE_OBJECTS: i64 = 70;
/// Of different sizes.
const BLOBS: usize = 4;
const LARGE_BYTES: usize = 512 << 10;
/// Enough for the last segment to have records that are certainly not of its last batch.
const SMALL_OBJECTS: i64 = 1_500;
const SMALL_BYTES: usize = 100;
const MAKING_AT_ONCE: usize = 32;
const ATTEMPTS_MAX: usize = 10;
const OBJECTS_AT_ONCE: usize = 500;

/// How far replicas may be apart under load and still count as equal.
const APART_MAX: u64 = 200;

const MAKE_PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
const WATCH_PATIENCE: Duration = Duration::from_secs(15);
const SETTLE_PATIENCE: Duration = Duration::from_secs(20);
const WORK_BEFORE: Duration = Duration::from_millis(100);
const WORK_AFTER: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(50);
const LINE_TOLD_MAX: usize = 200;
