//! The fixed story of `caps demo --once`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use caps_frontend::Client;
use caps_model::messages::{From, History, Outcome, Update};
use caps_model::{CommitId, Filter, Name, Object, ObjectId, Query};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use super::company::Company;
use super::gateway::{Filed, Gateway, Report};
use super::verdict::{Latency, Verdict, gaps_and_repeats, longest_pause, shared_positions};
use super::watcher::Watcher;
use crate::output::say;

/// Plays the story, prints the verdict, and fails if a promise was broken.
pub(super) async fn play(company: &mut Company, json: bool) -> anyhow::Result<()> {
    let story = Story::begin(company).await?;
    let verdict = story.tell(company).await?;
    say!("{}", verdict.table());
    if json {
        say!("{}", verdict.json());
    }
    match verdict.broken_promise() {
        None => Ok(()),
        Some(broken) => anyhow::bail!("{broken}"),
    }
}

struct Story {
    began: Instant,
    progress: ProgressBar,
    reader: Client,
    /// For the outcomes of what the gateways filed: nobody is told of other people's commits.
    filers: Vec<Client>,
    cases: Watcher,
    messages: Watcher,
    /// What each gateway filed, by its place in [`GATEWAYS`].
    filed: Vec<(usize, Filed)>,
    refused: usize,
    failed: usize,
}

impl Story {
    async fn begin(company: &Company) -> anyhow::Result<Self> {
        let progress = ProgressBar::new(STEPS);
        progress.set_style(ProgressStyle::with_template("{pos:>2}/{len} {wide_msg}").context("the progress line's template is fixed")?);
        progress.set_message("three sites are up; making groups and users");
        super::people::settle(company).await?;
        let mut filers = Vec::new();
        for gateway in GATEWAYS {
            filers.push(company.client(gateway, PATIENCE).await?);
        }
        Ok(Self {
            filers,
            began: Instant::now(),
            progress,
            reader: company.client(READER, PATIENCE).await?,
            cases: Watcher::start(company, CASE_WATCHER, "case").await?,
            messages: Watcher::start(company, MESSAGE_WATCHER, "message").await?,
            filed: Vec::new(),
            refused: 0,
            failed: 0,
        })
    }

    async fn tell(mut self, company: &mut Company) -> anyhow::Result<Verdict> {
        self.next("two front ends file the mail");
        self.file_everything(company).await?;
        self.next("reading what became of it");
        let mut latencies = self.read().await?;
        latencies.insert("file_mail", Latency::of(self.filed.iter().map(|(_, mail)| Duration::from_micros(mail.latency_us)).collect()));
        let mut write_gaps = self.kill_servers(company).await?;
        let host_gap = write_gaps.pop().unwrap_or_default();
        self.next("comparing the replicas");
        let replicas = company.settled().await?;
        let position = replicas.values().map(|replica| replica.position.0).max().unwrap_or(0);
        self.next("asking for the outcome of every acknowledged commit");
        let lost = self.lost().await?;
        self.next("comparing what watchers saw with what happened");
        let cases = self.all("case").await?;
        let messages = self.all("message").await?;
        let case_versions = self.versions(&cases).await?;
        let message_versions = self.versions(&messages).await?;
        let saw_cases = self.cases.stop_at(CASE_WATCHER, position).await?;
        let saw_messages = self.messages.stop_at(MESSAGE_WATCHER, position).await?;
        let of_cases = gaps_and_repeats(&saw_cases, &case_versions, position);
        let of_messages = gaps_and_repeats(&saw_messages, &message_versions, position);
        self.progress.finish_and_clear();
        for client in self.filers.iter().chain([&self.reader]) {
            client.overlay().drain(PATIENCE).await;
        }
        Ok(Verdict {
            acknowledged: self.filed.len(),
            refused: self.refused,
            lost,
            doubled: shared_positions(self.filed.iter().map(|(_, mail)| mail)) + repeated_message_ids(&messages),
            watch_gaps: of_cases.0 + of_messages.0,
            watch_repeats: of_cases.1 + of_messages.1,
            failed_calls: self.failed,
            write_gaps,
            host_gap,
            latencies,
            replicas,
            cases: cases.len(),
            messages: messages.len(),
            took: self.began.elapsed(),
        })
    }

    /// Both gateways file at once, every other mail each, so that threads cross between them.
    async fn file_everything(&mut self, company: &Company) -> anyhow::Result<()> {
        let (even, odd) = mails(company)?;
        let one = Gateway::start(company, GATEWAYS[0], &even, &[])?;
        let other = Gateway::start(company, GATEWAYS[1], &odd, &[])?;
        for (place, gateway) in [one, other].into_iter().enumerate() {
            let reports = gateway.finish().await?;
            self.refused += reports.iter().filter(|report| matches!(report, Report::Refused { .. })).count();
            self.take(place, reports);
        }
        anyhow::ensure!(self.filed.len() >= 30 && self.refused > 0, "only {} mails were filed, {} refused", self.filed.len(), self.refused);
        Ok(())
    }

    /// Reads as a front end does, one at a time, while nothing else happens.
    async fn read(&self) -> anyhow::Result<BTreeMap<&'static str, Latency>> {
        let query = || Query { filter: "status = new".parse().unwrap_or(Filter::All), ..Query::all(Name::fixed("case")) }.limit(20);
        let ids: Vec<ObjectId> = self.reader.query(query()).await?.objects.iter().map(|object| object.id).collect();
        anyhow::ensure!(!ids.is_empty(), "no case was found");
        let (mut gets, mut queries) = (Vec::new(), Vec::new());
        for round in 0..READS {
            let start = Instant::now();
            self.reader.get(vec![ids[round % ids.len()]]).await?;
            gets.push(start.elapsed());
            let start = Instant::now();
            self.reader.query(query()).await?;
            queries.push(start.elapsed());
        }
        Ok(BTreeMap::from([("get", Latency::of(gets)), ("query", Latency::of(queries))]))
    }

    /// Kills the leader five times and then a host while both gateways file without pause. Gives the write gap of each death.
    async fn kill_servers(&mut self, company: &mut Company) -> anyhow::Result<Vec<Duration>> {
        let (even, odd) = mails(company)?;
        let load = ["--repeat", "0", "--interval", "10ms", "--tag"];
        let one = Gateway::start(company, GATEWAYS[0], &even, &[&load[..], &["a"]].concat())?;
        let other = Gateway::start(company, GATEWAYS[1], &odd, &[&load[..], &["b"]].concat())?;
        let mut killed_at = Vec::new();
        flowing(&[&one, &other]).await?;
        for turn in 1..=KILLS {
            let leader = company.leader().await?;
            self.next(&format!("kill -9 of the leader, {leader}, in mid-load ({turn} of {KILLS})"));
            killed_at.push(self.now_us());
            company.kill(&leader).await?;
            flowing(&[&one, &other]).await?;
            sleep(PAUSE).await;
            company.start(&leader)?;
            self.caught_up(company).await?;
        }
        let host = "host-lund";
        self.next(&format!("kill -9 of {host}, and its restart"));
        killed_at.push(self.now_us());
        company.kill(host).await?;
        flowing(&[&one, &other]).await?;
        sleep(PAUSE).await;
        company.start(host)?;
        flowing(&[&one, &other]).await?;
        let before = self.filed.len();
        for (place, gateway) in [one, other].into_iter().enumerate() {
            let reports = gateway.stop().await?;
            self.take(place, reports);
        }
        let acknowledged: Vec<i64> = self.filed[before..].iter().map(|(_, mail)| mail.acknowledged_at_us).collect();
        Ok(pauses(&acknowledged, &killed_at))
    }

    /// Waits until every replica answers again and none is far behind, with the load still on.
    async fn caught_up(&self, company: &Company) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let replicas = company.replicas().await.unwrap_or_default();
            let positions: Vec<u64> = replicas.values().map(|replica| replica.position.0).collect();
            let (first, last) = (positions.iter().min().copied().unwrap_or(0), positions.iter().max().copied().unwrap_or(0));
            if positions.len() == company.deployment().cabinet().voters.len() && last - first <= BEHIND {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "a restarted replica did not catch up within {PATIENCE:?}: {positions:?}");
            sleep(POLL).await;
        }
    }

    /// Acknowledged commits that did not happen where it was said.
    async fn lost(&self) -> anyhow::Result<usize> {
        let check = |(place, mail): &(usize, Filed)| {
            let (commit, position, filer) = (mail.commit.clone(), mail.position, self.filers[*place].clone());
            async move {
                let outcome = filer.outcome(commit.parse::<CommitId>()?, false).await?;
                anyhow::Ok(!matches!(outcome, Outcome::Accepted { position: at, .. } if at.0 == position))
            }
        };
        let lost: Vec<bool> = stream::iter(self.filed.iter().map(check).collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
        Ok(lost.into_iter().filter(|lost| *lost).count())
    }

    /// Every object of an entity.
    async fn all(&self, entity: &'static str) -> anyhow::Result<Vec<Object>> {
        let mut subscription = self.reader.subscribe(Query::all(Name::fixed(entity)), From::Present);
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

    /// Every version that these objects ever had.
    async fn versions(&self, objects: &[Object]) -> anyhow::Result<BTreeSet<(String, u64)>> {
        let ask = |object: &Object| {
            let (id, reader) = (object.id, self.reader.clone());
            async move {
                let timeline = reader.history(History { object: id, before: None, limit: 1_000 }).await?;
                anyhow::Ok(timeline.events.iter().map(|event| (id.to_string(), event.object.version.0)).collect::<Vec<_>>())
            }
        };
        let versions: Vec<Vec<(String, u64)>> =
            stream::iter(objects.iter().map(ask).collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
        Ok(versions.into_iter().flatten().collect())
    }

    fn take(&mut self, place: usize, reports: Vec<Report>) {
        for report in reports {
            match report {
                Report::Filed(mail) => self.filed.push((place, mail)),
                Report::Refused { file, reason } => tracing::info!(file, reason, "refused"),
                Report::Failed { commit, error } => {
                    self.failed += 1;
                    tracing::error!(commit, error, "a call failed");
                }
                Report::Done {} => {}
            }
        }
    }

    fn next(&self, message: &str) {
        self.progress.inc(1);
        self.progress.set_message(message.to_owned());
    }

    fn now_us(&self) -> i64 {
        self.reader.overlay().environment().wall_clock.now_micros()
    }
}

/// The longest pause after each kill, the next kill not included.
fn pauses(acknowledged: &[i64], killed_at: &[i64]) -> Vec<Duration> {
    let next = killed_at.iter().skip(1).map(|next| Some(*next)).chain([None]);
    let within =
        |at: i64, next: Option<i64>| next.map_or(GAP_WINDOW, |next| GAP_WINDOW.min(Duration::from_micros((next - at).unsigned_abs())));
    killed_at.iter().zip(next).map(|(at, next)| longest_pause(acknowledged, *at, within(*at, next))).collect()
}

/// The mails in two halves.
fn mails(company: &Company) -> anyhow::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut files = std::fs::read_dir(company.mail())?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let halves = files.into_iter().enumerate().partition::<Vec<_>, _>(|(place, _)| place % 2 == 0);
    let paths = |half: Vec<(usize, PathBuf)>| half.into_iter().map(|(_, path)| path).collect();
    Ok((paths(halves.0), paths(halves.1)))
}

/// Waits until each gateway has had a few more mails acknowledged.
async fn flowing(gateways: &[&Gateway]) -> anyhow::Result<()> {
    let goals: Vec<usize> = gateways.iter().map(|gateway| gateway.filed() + FLOWING).collect();
    let until = Instant::now() + PATIENCE;
    while gateways.iter().zip(&goals).any(|(gateway, goal)| gateway.filed() < *goal) {
        anyhow::ensure!(Instant::now() < until, "mail did not flow again within {PATIENCE:?}");
        sleep(POLL).await;
    }
    Ok(())
}

fn repeated_message_ids(messages: &[Object]) -> usize {
    let ids: BTreeSet<&str> = messages.iter().filter_map(|message| message.text("message_id")).collect();
    messages.len() - ids.len()
}

const READER: &str = "desk-malmo";
const CASE_WATCHER: &str = "desk-malmo";
const MESSAGE_WATCHER: &str = "desk-kiruna";
const GATEWAYS: [&str; 2] = ["gateway-malmo", "gateway-lund"];

const KILLS: u64 = 5;
const STEPS: u64 = KILLS + 6;
const READS: usize = 500;

/// Mails that show that writes flow again.
const FLOWING: usize = 5;

/// Commits that a replica may be behind under load and still count as caught up.
const BEHIND: u64 = 50;

/// Questions asked at the same time: well under what a connection admits.
const AT_ONCE: usize = 16;

/// How long the company runs without the killed process.
const PAUSE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// A write gap ends within this time, or counts as this long.
const GAP_WINDOW: Duration = Duration::from_secs(10);
