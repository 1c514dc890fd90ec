//! Assessment: how a deployment that nobody has built yet will feel.
//!
//! It rehearses the deployment with its own people: once while everybody works at their pace ([`rehearsal`]), and many times with one thing at a
//! time and one thing different. What becomes faster when nothing lies between hosts and cabinet was spent on the way there; what becomes slower
//! by two round trips when a round trip gets longer waits for two. So nothing is estimated by formula: [`parts`] and [`advice`] are found by
//! trying.
//!
//! Each site gets one more front end beside its hosts, where commits are measured ([`cast`]). The first voter of the file leads.

mod advice;
mod cast;
mod findings;
mod html;
mod parts;
mod rehearsal;
mod text;
mod words;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_node::deployment::network::{HopId, LinkFigures};
use caps_node::deployment::{Deployment, Node};

pub use findings::{Advice, Assessment, Chatty, CommitCost, Felt, LinkUse, Parts, RoundTrips, Row, SiteLoss, Verdict};

use crate::link::LinkStats;
use crate::machine::Speed;
use cast::{COMMIT, Cast, Key, Part, with_probes};
use rehearsal::{Bent, LOSS_AFTER, Programme, Rehearsed, Samples, rehearse};

/// How thoroughly to look.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The seed.
    pub seed: u64,
    /// How many worlds run at once.
    pub jobs: usize,
    /// How long everybody works, in virtual time.
    pub length: Duration,
    /// How often each thing is done by somebody who only measures, within that time.
    pub samples: u32,
    /// How often each thing is done when nothing else happens.
    pub quiet: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self { seed: 1, jobs: 2, length: Duration::from_secs(180), samples: 40, quiet: 3 }
    }
}

/// Assesses a deployment. `told` hears how many of how many rehearsals are done.
pub fn assess(deployment: &Deployment, effort: Effort, told: impl Fn(usize, usize) + Sync) -> anyhow::Result<Assessment> {
    anyhow::ensure!(
        !deployment.workload.users.is_empty(),
        "{} says nothing of what people do: add [[operation]] and [[users]], or record them with `caps record`",
        deployment.path.display()
    );
    let deployment = &with_probes(deployment);
    let mut jobs = vec![Job::new(deployment, Bent::Straight, Programme::Busy { length: effort.length, samples: effort.samples })];
    let quiet = Programme::Quiet { times: effort.quiet };
    jobs.extend(parts::BENDS.map(|bent| Job::new(deployment, bent, quiet.clone())));
    let sites: Vec<&String> = deployment.sites.iter().filter(|site| has_servers(deployment, site)).collect();
    jobs.extend(sites.iter().map(|site| Job::new(deployment, Bent::Straight, Programme::Loss { site: (**site).clone() })));
    let changes = advice::changes(deployment);
    jobs.extend(changes.iter().map(|change| Job::new(&change.deployment, Bent::Calm, quiet.clone())));

    let mut done = run(&jobs, effort, &told).into_iter();
    let busy = next(&mut done)?;
    let bent = parts::BENDS.iter().map(|_| next(&mut done)).collect::<anyhow::Result<Vec<_>>>()?;
    let losses = sites.iter().map(|_| next(&mut done)).collect::<anyhow::Result<Vec<_>>>()?;
    // A change that does not even run is no advice.
    let changed: Vec<Option<Rehearsed>> = done.map(Result::ok).collect();

    let cast = Cast::of(deployment);
    let quiet = &bent[0];
    let rows: Vec<Row> = cast.parts.iter().map(|part| row(deployment, part, &busy, &bent)).collect();
    Ok(Assessment {
        file: deployment.path.display().to_string(),
        domain: deployment.domain.clone(),
        seed: effort.seed,
        leader: deployment.cabinet().voters[0].clone(),
        links: links(&busy),
        commits: commits(deployment, quiet),
        losses: sites.iter().zip(&losses).map(|(site, loss)| site_loss(site, &cast, &rows, loss)).collect(),
        chatty: chatty(&rows),
        advice: advice::advice(&cast, &rows, quiet, &changes, &changed),
        length_seconds: effort.length.as_secs_f64(),
        rehearsed_seconds: busy.lasted.as_secs_f64(),
        tried: changes.len(),
        rows,
    })
}

/// Has one front end do each operation of a deployment so many times, with nobody else at work: name, p50 and p95 in milliseconds.
pub(crate) fn alone(
    deployment: &Deployment,
    seed: u64,
    speed: Speed,
    front_end: &str,
    times: u32,
) -> anyhow::Result<Vec<(String, f64, f64)>> {
    let programme = Programme::Alone { front_end: front_end.to_owned(), times };
    let rehearsed = rehearse(deployment, seed, speed, Bent::Straight, programme)?;
    let one = |operation: &std::sync::Arc<caps_node::deployment::workload::Operation>| {
        let key = Key { operation: operation.name.clone(), front_end: front_end.to_owned() };
        let felt = felt(rehearsed.samples.get(&key)?, false);
        Some((operation.name.clone(), felt.p50_ms?, felt.p95_ms?))
    };
    Ok(deployment.workload.operations.iter().filter_map(one).collect())
}

impl Assessment {
    /// What an engineer reads on one screen.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// A page of its own for everybody else.
    pub fn html(&self) -> String {
        html::html(self)
    }

    /// Whether everything is within its limits.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.verdict != Verdict::Fail)
    }
}

/// One rehearsal that is to be made.
struct Job<'a> {
    deployment: &'a Deployment,
    bent: Bent,
    programme: Programme,
}

impl<'a> Job<'a> {
    fn new(deployment: &'a Deployment, bent: Bent, programme: Programme) -> Self {
        Self { deployment, bent, programme }
    }
}

/// Makes the rehearsals, some at once, and gives what came of them in order.
fn run(jobs: &[Job<'_>], effort: Effort, told: &(impl Fn(usize, usize) + Sync)) -> Vec<anyhow::Result<Rehearsed>> {
    let results: Vec<Mutex<Option<anyhow::Result<Rehearsed>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let (next, done) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..effort.jobs.clamp(1, jobs.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else { return };
                    let result = rehearse(job.deployment, effort.seed, Speed::default(), job.bent, job.programme.clone());
                    *results[place].lock().expect("each is locked once, by who made it") = Some(result);
                    told(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, jobs.len());
                }
            });
        }
    });
    let missing = || anyhow::anyhow!("a rehearsal panicked");
    results.into_iter().map(|result| result.into_inner().ok().flatten().unwrap_or_else(|| Err(missing()))).collect()
}

fn next(done: &mut impl Iterator<Item = anyhow::Result<Rehearsed>>) -> anyhow::Result<Rehearsed> {
    done.next().unwrap_or_else(|| Err(anyhow::anyhow!("there are fewer results than rehearsals")))
}

fn row(deployment: &Deployment, part: &Part, busy: &Rehearsed, bent: &[Rehearsed]) -> Row {
    let none = Samples::default();
    let worked = busy.samples.get(&part.key).unwrap_or(&none);
    let stays_open = parts::stays_open(part);
    let felt = felt(worked, stays_open);
    let quiet = bent[0].samples.get(&part.key);
    let quiet_ms = quiet.and_then(|samples| median(samples.felt.iter().map(|(_, felt)| ms(*felt))));
    Row {
        operation: part.key.operation.clone(),
        site: part.site.clone(),
        front_end: part.key.front_end.clone(),
        line: deployment.network.nodes.get(&part.key.front_end).map(|line| line.name.to_owned()),
        users: part.users,
        every_ms: part.every.map(ms),
        limit_ms: part.limit.map(ms),
        quiet_ms,
        parts: parts::parts(part, &felt, bent),
        round_trips: parts::round_trips(part, bent),
        bytes: quiet.and_then(|samples| median(samples.bytes.iter().map(|bytes| *bytes as f64))),
        verdict: verdict(&felt, part.limit),
        felt,
    }
}

/// For what ends: how long it took. For consoles: how late they showed what was committed.
fn felt(samples: &Samples, stays_open: bool) -> Felt {
    let mut all: Vec<f64> = match stays_open {
        true => samples.shown_after.iter().map(|late| ms(*late)).collect(),
        false => samples.felt.iter().map(|(_, felt)| ms(*felt)).collect(),
    };
    all.sort_by(f64::total_cmp);
    // A failure is longer than any wait.
    let failed = samples.failed.len();
    let at = |percent: usize| all.get(((all.len() + failed) * percent).div_ceil(100).saturating_sub(1)).copied();
    Felt { samples: all.len(), failed: failed as u64, p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), all_ms: all.clone() }
}

fn verdict(felt: &Felt, limit: Option<Duration>) -> Verdict {
    match (limit, felt.p95_ms) {
        (Some(limit), Some(p95)) if p95 <= ms(limit) => Verdict::Pass,
        (Some(_), None) if felt.samples == 0 && felt.failed == 0 => Verdict::Open,
        (Some(_), _) => Verdict::Fail,
        (None, _) => Verdict::Open,
    }
}

fn links(busy: &Rehearsed) -> Vec<LinkUse> {
    let seconds = busy.lasted.as_secs_f64().max(f64::MIN_POSITIVE);
    let of = |(id, (figures, stats)): (&HopId, &(LinkFigures, LinkStats))| {
        let lost = stats.lost_random + stats.lost_queue_full;
        LinkUse {
            name: id.to_string(),
            figures: figures.to_string(),
            used: figures.rate_bps.map(|_| stats.busy_ns as f64 / 1e9 / seconds),
            carried_bps: stats.passed_bytes as f64 * 8.0 / seconds,
            queueing_mean_ms: ms(stats.mean_queueing()),
            queueing_max_ms: stats.queueing_max_ns as f64 / 1e6,
            lost: if stats.offered == 0 { 0.0 } else { lost as f64 / stats.offered as f64 },
        }
    };
    busy.links.iter().filter(|(_, (_, stats))| stats.offered > 0).map(of).collect()
}

fn commits(deployment: &Deployment, quiet: &Rehearsed) -> Vec<CommitCost> {
    let of = |node: &Node| {
        let samples = quiet.samples.get(&Key { operation: COMMIT.to_owned(), front_end: node.name.clone() })?;
        let felt = felt(samples, false);
        Some(CommitCost { site: node.site.clone(), p50_ms: felt.p50_ms?, p95_ms: felt.p95_ms? })
    };
    deployment.layer(Layer::FrontEnd).filter(|node| node.name.starts_with(cast::PROBE)).filter_map(of).collect()
}

fn site_loss(site: &str, cast: &Cast, rows: &[Row], loss: &Rehearsed) -> SiteLoss {
    let lost_at = loss.lost_at;
    let after: Vec<_> = loss.commits.iter().filter(|at| lost_at.is_some_and(|lost| **at > lost)).collect();
    // The last pause is the one until the end.
    let end = lost_at.map(|lost| lost + LOSS_AFTER);
    let moments: Vec<_> = lost_at.into_iter().chain(after.iter().map(|at| **at)).chain(end).collect();
    let longest = moments.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max();
    let last = after.last().map(|at| end.map_or(Duration::ZERO, |end| end.saturating_duration_since(**at)));
    let commits_go_on = last.is_some_and(|last| last < LOSS_AFTER / 3);
    let mut broken = Vec::new();
    // What was not as it should be before is not broken by the loss.
    let was_fine = |row: &Row| row.verdict != Verdict::Fail;
    for (part, _) in cast.parts.iter().zip(rows).filter(|(part, row)| part.site != site && was_fine(row)) {
        let Some(samples) = loss.samples.get(&part.key) else { continue };
        let settled = lost_at.map(|lost| lost + SETTLING);
        let late = Samples {
            felt: samples.felt.iter().filter(|(at, _)| settled.is_some_and(|settled| *at > settled)).copied().collect(),
            failed: samples.failed.iter().filter(|(at, _)| lost_at.is_some_and(|lost| *at > lost)).cloned().collect(),
            ..Samples::default()
        };
        let now = felt(&late, false);
        let why = match (late.failed.first(), now.p95_ms, part.limit) {
            (Some((_, reason)), ..) => format!("{} of {} fail: {}", late.failed.len(), late.failed.len() + late.felt.len(), brief(reason)),
            (None, Some(p95), Some(limit)) if p95 > ms(limit) => format!("p95 is {p95:.0} ms, above its limit of {:.0} ms", ms(limit)),
            _ => continue,
        };
        broken.push((part.key.operation.clone(), part.key.front_end.clone(), why));
    }
    SiteLoss { site: site.to_owned(), commits_go_on, longest_pause_ms: longest.map(ms), broken }
}

/// Operations that wait for more round trips than anybody should, each where it is worst.
fn chatty(rows: &[Row]) -> Vec<Chatty> {
    let mut worst: BTreeMap<&str, (&Row, f64)> = BTreeMap::new();
    for row in rows {
        let Some(trips) = row.round_trips.map(|trips| trips.sum()) else { continue };
        if trips >= CHATTY && worst.get(row.operation.as_str()).is_none_or(|(_, most)| trips > *most) {
            worst.insert(&row.operation, (row, trips));
        }
    }
    let of = |(operation, (row, trips)): (&str, (&Row, f64))| {
        let by = row.round_trips.unwrap_or_default();
        let why = if by.front_end_to_host >= by.host_to_cabinet + by.replicas {
            "the front end asks again and again: ask for more at once, or bring a host nearer".to_owned()
        } else if by.host_to_cabinet >= by.replicas {
            "the host asks the cabinet again and again: bring a replica to the host's site".to_owned()
        } else {
            "commits cross the world more than once: bring the voters nearer to each other".to_owned()
        };
        Chatty { operation: operation.to_owned(), front_end: row.front_end.clone(), round_trips: trips, why }
    };
    worst.into_iter().map(of).collect()
}

fn has_servers(deployment: &Deployment, site: &str) -> bool {
    deployment.nodes.iter().any(|node| node.site == site && node.layer != Layer::FrontEnd)
}

fn brief(reason: &str) -> String {
    reason.chars().take(REASON_CHARS).collect()
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Round trips one after the other from which on an operation is called chatty.
const CHATTY: f64 = 3.5;

/// How long after a loss things may be out of order without being called broken.
const SETTLING: Duration = Duration::from_secs(10);

const REASON_CHARS: usize = 120;
