//! The users of one front end, at work in this process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use caps_frontend::Client;
use caps_overlay::{Overlay, Rng};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::cli::connect::{LEAVE, join};
use crate::deployment::Deployment;
use crate::deployment::workload::Operation;
use crate::workload::{Actor, ArrivalError, Arrivals, Measured, Run, work};

/// Some users who do the same.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) operation: Arc<Operation>,
    pub(super) limit: Option<Duration>,
    pub(super) count: u32,
    pub(super) every: Option<Duration>,
}

/// Users at work. They share the front end's connections, as in one program, until one of them connects anew.
#[derive(Debug)]
pub(super) struct Crew {
    run: Run,
    users: JoinSet<()>,
    shared: Overlay,
    own: Vec<OwnOverlay>,
}

/// The overlay of a user who has connected anew.
type OwnOverlay = Arc<Mutex<Option<Overlay>>>;

/// A process's way to a fresh front end: another socket, other connections.
#[derive(Debug)]
struct FreshFrontEnds {
    deployment: Arc<Deployment>,
    name: String,
    timeout: Duration,
    own: OwnOverlay,
}

impl Crew {
    /// Joins the overlay and starts everybody. Each run is reported with the place of its job; `report` is closed when all are done.
    pub(super) async fn start(
        deployment: Deployment,
        front_end: &str,
        timeout: Duration,
        jobs: Vec<Job>,
        times: Option<u64>,
        report: UnboundedSender<(usize, Measured)>,
    ) -> anyhow::Result<Self> {
        let deployment = Arc::new(deployment);
        let first = join_as(&deployment, front_end, timeout).await?;
        let shared = first.overlay().clone();
        let environment = shared.environment();
        // Other runs against the same cabinet started at another microsecond.
        let run = Run::new(environment.wall_clock.now_micros().unsigned_abs());
        let rng: Rng = environment.rng.fork();
        let mut crew = Self { run, users: JoinSet::new(), shared, own: Vec::new() };
        for (place, job) in jobs.into_iter().enumerate() {
            for _ in 0..job.count {
                let own = OwnOverlay::default();
                crew.own.push(own.clone());
                let arrivals = FreshFrontEnds { deployment: deployment.clone(), name: front_end.to_owned(), timeout, own };
                let client = first.beside();
                let actor = Actor::new(client, job.operation.clone(), Box::new(arrivals), crew.run.clone(), rng.fork());
                let report = report.clone();
                // Whoever listens has gone only when everything ends.
                let tell = move |measured| drop(report.send((place, measured)));
                crew.users.spawn(work(actor, job.every, times, tell));
            }
        }
        Ok(crew)
    }

    /// The run that they are part of.
    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// Leaves the overlay once everybody has come to an end.
    pub(super) async fn leave(mut self) {
        while self.users.join_next().await.is_some() {}
        let own = self.own.iter().filter_map(|own| own.lock().expect("no holder of this lock panics").take());
        let all: Vec<Overlay> = own.chain([self.shared]).collect();
        join_all(all.iter().map(|overlay| overlay.drain(LEAVE))).await;
    }
}

/// Joins as this front end, to work with its cabinet.
async fn join_as(deployment: &Deployment, front_end: &str, timeout: Duration) -> anyhow::Result<Client> {
    let cabinet = deployment.cabinet_of(deployment.node(front_end)?);
    join(deployment, cabinet, front_end, timeout).await
}

impl Arrivals for FreshFrontEnds {
    fn arrive(&mut self, _left: Client) -> BoxFuture<'_, Result<Client, ArrivalError>> {
        async move {
            // The shared one stays: others use it. One's own is left, which nobody waits for.
            let left = self.own.lock().expect("no holder of this lock panics").take();
            if let Some(left) = left {
                tokio::spawn(async move { left.drain(LEAVE).await });
            }
            let client = join_as(&self.deployment, &self.name, self.timeout).await.map_err(|error| ArrivalError(format!("{error:#}")))?;
            *self.own.lock().expect("no holder of this lock panics") = Some(client.overlay().clone());
            Ok(client)
        }
        .boxed()
    }
}
