//! `caps workload`.

mod crew;

use std::fs::File;
use std::io::{IsTerminal, LineWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use caps_certs_gen::Layer;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Global;
use super::connect::{actor, interrupted};
use crate::deployment::Deployment;
use crate::deployment::workload::{Operation, Users};
use crate::output;
use crate::output::{Compact, say};
use crate::workload::{Measured, MeasuredStep, Outcome, Tally, Verdict};
use crew::{Crew, Job};

/// Do what the deployment file's users do, and measure it.
#[derive(Debug, Args)]
pub(super) struct Workload {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List operations and users.
    List(List),
    /// Do what the users of a front end do, and hold it against their limits.
    Run(Run),
}

/// List operations and users.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps workload list\n  caps workload list --json")]
struct List {}

/// Do what the users of a front end do, and hold it against their limits.
///
/// Without --operation everybody whom [[users]] puts at the front end works at the pace that it says. With --operation one user does that
/// operation again and again, without a pause. An operation passes when 95 of 100 runs are done within its limit; the command fails if one
/// does not. What is filed, replied and closed is filed, replied and closed for real.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caps workload run --as desk-malmo\n  caps workload run --as desk-malmo --for 10m --samples samples.jsonl\n  \
    caps workload run --operation 'case read' --times 100 --json"
)]
struct Run {
    /// Only this operation.
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Each user does it this many times.
    #[arg(long, conflicts_with = "length", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    times: Option<u64>,
    /// Go on this long; consoles are closed then. One minute if neither is given, with --operation once.
    #[arg(long = "for", value_parser = humantime::parse_duration, value_name = "DURATION")]
    length: Option<Duration>,
    /// Write each run with its steps into this file, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
}

impl Workload {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        match &self.command {
            Command::List(_) => {
                list(global, &deployment);
                Ok(())
            }
            Command::Run(run) => run.run(global, deployment).await,
        }
    }
}

fn list(global: &Global, deployment: &Deployment) {
    let workload = &deployment.workload;
    if global.json {
        say!(
            "{}",
            json!({"operations": workload.operations.iter().map(|operation| described(operation)).collect::<Json>(),
            "users": workload.users.iter().map(who).collect::<Json>()})
        );
        return;
    }
    let mut table = output::table(&["OPERATION", "LIMIT", "STEPS", "USERS", "ABOUT"]);
    for operation in &workload.operations {
        let steps: Vec<String> = operation.steps.iter().map(|step| step.kind().to_string()).collect();
        let users = workload.users.iter().filter(|users| Arc::ptr_eq(&users.operation, operation));
        let users: Vec<&Users> = users.collect();
        let count: u32 = users.iter().map(|users| users.count).sum();
        let users = match users.as_slice() {
            [] => "nobody".to_owned(),
            [one] => format!("{count} at {}", place(one)),
            many => format!("{count} at {} places", many.len()),
        };
        let limit = operation.limit.map_or(String::new(), |limit| Compact(limit).to_string());
        let about = operation.about.clone().unwrap_or_default();
        table.add_row([operation.name.clone(), limit, steps.join(" "), users, about]);
    }
    say!("{table}");
}

impl Run {
    async fn run(&self, global: &Global, deployment: Deployment) -> anyhow::Result<()> {
        let front_end = actor(global, &deployment)?;
        let jobs = self.jobs(&deployment, &front_end)?;
        let mut samples = self.samples.as_ref().map(create).transpose()?;
        let mut tallies: Vec<Tally> = jobs.iter().map(|job| Tally::new(job.operation.clone(), job.limit)).collect();
        let length = match (self.length, self.times) {
            (None, None) if self.operation.is_none() => Some(LENGTH),
            (length, _) => length,
        };
        let times = self.times.or_else(|| length.is_none().then_some(1));

        let users: u64 = jobs.iter().map(|job| u64::from(job.count)).sum();
        let (report, mut reports) = mpsc::unbounded_channel();
        let interrupted = interrupted();
        let crew = Crew::start(deployment, &front_end, global.timeout, jobs, times, report).await?;
        let started = Instant::now();
        let progress = Progress::new(global, length, users * times.unwrap_or_default());
        let mut interrupted = std::pin::pin!(interrupted);
        let ends = started + length.unwrap_or(FOR_EVER);
        loop {
            tokio::select! {
                // An interruption first, then the end: reports may come without a pause.
                biased;
                () = &mut interrupted, if !crew.run().has_ended() => crew.run().end(),
                () = sleep_until(ends), if !crew.run().has_ended() => crew.run().end(),
                report = reports.recv() => {
                    let Some((job, measured)) = report else { break };
                    let tally: &mut Tally = &mut tallies[job];
                    tally.add(&measured);
                    progress.one_more(started);
                    if let Some(samples) = &mut samples {
                        writeln!(samples, "{}", sample(tally, &front_end, started, &measured)).context("cannot write samples")?;
                    }
                }
            }
        }
        crew.leave().await;
        progress.clear();
        if let Some(samples) = &mut samples {
            samples.flush().context("cannot write samples")?;
        }
        print(global, &front_end, started.elapsed(), &tallies);
        let failed = tallies.iter().filter(|tally| tally.verdict() == Verdict::Fail).count();
        anyhow::ensure!(failed == 0, "{failed} of {} operations are not as they should be", tallies.len());
        Ok(())
    }

    /// What is to be done at this front end.
    fn jobs(&self, deployment: &Deployment, front_end: &str) -> anyhow::Result<Vec<Job>> {
        let workload = &deployment.workload;
        if let Some(name) = &self.operation {
            let known = || workload.operations.iter().map(|operation| operation.name.as_str()).collect::<Vec<_>>().join(", ");
            let operation = workload.operation(name);
            let operation =
                operation.with_context(|| format!("there is no operation {name:?}; {} has: {}", deployment.path.display(), known()))?;
            // Users of this front end may accept another limit than the operation says.
            let users = workload.at(front_end).map(|(users, _)| users).find(|users| Arc::ptr_eq(&users.operation, operation));
            let limit = users.map_or(operation.limit, Users::limit);
            return Ok(vec![Job { operation: operation.clone(), limit, count: 1, every: None }]);
        }
        let job =
            |(users, count): (&Users, u32)| Job { operation: users.operation.clone(), limit: users.limit(), count, every: users.every };
        let jobs: Vec<Job> = workload.at(front_end).map(job).collect();
        if jobs.is_empty() {
            let elsewhere = deployment.layer(Layer::FrontEnd).filter(|node| workload.at(&node.name).next().is_some());
            let elsewhere: Vec<&str> = elsewhere.map(|node| node.name.as_str()).collect();
            match elsewhere.is_empty() {
                true => bail!("{} has no [[users]]: say what to do with --operation NAME", deployment.path.display()),
                false => {
                    bail!("nobody works at {front_end}; there are users at {}: choose with --as, or --operation NAME", elsewhere.join(", "))
                }
            }
        }
        Ok(jobs)
    }
}

fn create(path: &PathBuf) -> anyhow::Result<LineWriter<File>> {
    File::create(path).map(LineWriter::new).with_context(|| format!("cannot write {}", path.display()))
}

/// A bar for people; nothing for programs.
struct Progress {
    bar: ProgressBar,
    /// Whether it counts seconds; runs otherwise.
    of_time: bool,
}

impl Progress {
    fn new(global: &Global, length: Option<Duration>, runs: u64) -> Self {
        if global.json || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), of_time: false };
        }
        let (total, unit) = match length {
            Some(length) => (length.as_secs(), "s"),
            None => (runs, " runs"),
        };
        let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}}{unit} {{msg}}"));
        let bar = ProgressBar::new(total).with_style(style.expect("the template is fixed but for the unit, which has no braces"));
        Self { bar, of_time: length.is_some() }
    }

    fn one_more(&self, started: Instant) {
        match self.of_time {
            true => self.bar.set_position(started.elapsed().as_secs()),
            false => self.bar.inc(1),
        }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn print(global: &Global, front_end: &str, took: Duration, tallies: &[Tally]) {
    if global.json {
        let operations = tallies.iter().map(summary).collect::<Json>();
        say!("{}", json!({"front_end": front_end, "took_us": micros(took), "operations": operations}));
        return;
    }
    let mut table = output::table(&["OPERATION", "DONE", "FAILED", "IDLE", "P50", "P95", "P99", "MAX", "LIMIT", "VERDICT"]);
    for tally in tallies {
        let felt = |percent| tally.felt(percent).map_or(String::new(), |felt| Compact(felt).to_string());
        let limit = tally.limit().map_or(String::new(), |limit| Compact(limit).to_string());
        let counts = [tally.done().to_string(), tally.failed().to_string(), tally.idle().to_string()];
        let cells = [tally.operation().name.clone()].into_iter().chain(counts);
        table.add_row(cells.chain([felt(50), felt(95), felt(99), felt(100), limit, verdict(tally).to_owned()]));
    }
    say!("{table}");
    for tally in tallies {
        let name = &tally.operation().name;
        if let (Some(p50), Some(p95)) = (tally.shown_after(50), tally.shown_after(95)) {
            say!("{name}: {} changes shown; p50 {}, p95 {} after their commits", tally.updates(), Compact(p50), Compact(p95));
        }
        for (reason, count) in tally.failures() {
            say!("{name}: {count} failed: {reason}");
        }
    }
}

fn verdict(tally: &Tally) -> &'static str {
    match tally.verdict() {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Open => "",
    }
}

fn summary(tally: &Tally) -> Json {
    let felt = |percent| tally.felt(percent).map(micros);
    json!({
        "operation": tally.operation().name, "done": tally.done(), "failed": tally.failed(), "idle": tally.idle(),
        "p50_us": felt(50), "p95_us": felt(95), "p99_us": felt(99), "max_us": felt(100), "limit_us": tally.limit().map(micros),
        "verdict": verdict(tally).to_lowercase(), "updates": tally.updates(), "shown_after_p50_us": tally.shown_after(50).map(micros),
        "shown_after_p95_us": tally.shown_after(95).map(micros), "failures": tally.failures(),
    })
}

fn sample(tally: &Tally, front_end: &str, began: Instant, measured: &Measured) -> Json {
    let (outcome, reason) = match &measured.outcome {
        Outcome::Done => ("done", None),
        Outcome::Idle(source) => ("idle", Some(format!("{source} stands for nothing"))),
        Outcome::Cut => ("cut", None),
        Outcome::Failed(error) => ("failed", Some(error.to_string())),
    };
    let since = |at: Instant| micros(at.saturating_duration_since(began));
    let step = |step: &MeasuredStep| {
        let watched = step.watched.as_ref();
        json!({
            "step": step.step, "kind": step.kind.to_string(), "started_us": since(step.started), "felt_us": micros(step.felt), "ok": step.ok,
            "position": step.position.map(|position| position.0), "updates": watched.map(|watched| watched.updates),
            "shown_after_us": watched.map(|watched| watched.delays.iter().copied().map(micros).collect::<Vec<_>>()),
        })
    };
    json!({
        "operation": tally.operation().name, "front_end": front_end, "started_us": since(measured.started), "felt_us": micros(measured.felt),
        "outcome": outcome, "reason": reason, "steps": measured.steps.iter().map(step).collect::<Json>(),
    })
}

fn described(operation: &Operation) -> Json {
    json!({
        "name": operation.name, "about": operation.about, "limit_us": operation.limit.map(micros),
        "steps": operation.steps.iter().map(|step| step.kind().to_string()).collect::<Vec<_>>(),
    })
}

fn who(users: &Users) -> Json {
    json!({
        "operation": users.operation.name, "site": users.site, "front_ends": users.front_ends, "count": users.count,
        "every_us": users.every.map(micros), "limit_us": users.limit().map(micros),
    })
}

/// Where they are, in a word.
fn place(users: &Users) -> &str {
    match users.front_ends.as_slice() {
        [one] => one,
        _ => &users.site,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How long everybody works when nobody says.
const LENGTH: Duration = Duration::from_secs(60);

/// Longer than anybody waits, and short enough for every clock.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);
