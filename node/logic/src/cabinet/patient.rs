//! A cabinet that is asked again while there is time.

use std::sync::Arc;
use std::time::Duration;

use caps_model::messages::blobs::{Answer, Question};
use caps_model::messages::cabinet::{Committed, ReplicaStatus};
use caps_model::messages::host::Peer;
use caps_model::messages::inspect::{Inspect, Inspected};
use caps_model::messages::{AskOutcome, Get, Got, History, Latest, Objects, Outcome, Subscribe, Timeline};
use caps_model::{Commit, Query};
use caps_overlay::Rng;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Ask, CabinetError, CabinetPort, Updates};

/// Layer 1, asked again after growing pauses until the deadline when no replica answers: while the replicas choose a new leader, calls wait
/// instead of failing. Everything asked of layer 1 may be asked again.
#[derive(Debug)]
pub(crate) struct PatientCabinet {
    cabinet: Arc<dyn CabinetPort>,
    rng: Rng,
}

impl PatientCabinet {
    pub(crate) fn new(cabinet: Arc<dyn CabinetPort>, rng: Rng) -> Self {
        Self { cabinet, rng }
    }

    async fn until_answered<'a, T>(
        &'a self,
        ask: Ask,
        send: impl Fn() -> BoxFuture<'a, Result<T, CabinetError>>,
    ) -> Result<T, CabinetError> {
        let mut pause = PAUSE_MIN;
        let mut failed = None;
        for _ in 0..ATTEMPTS_MAX {
            match send().await {
                Err(problem @ CabinetError::Unanswered(_)) => failed = Some(problem),
                // Once a commit may have happened, a later "nobody there" does not unmake that.
                Err(problem @ CabinetError::Unavailable(_)) => failed = failed.or(Some(problem)),
                other => return other,
            }
            let until = Instant::now() + self.rng.jitter(pause);
            if until >= ask.deadline {
                break;
            }
            tokio::time::sleep_until(until).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(failed.expect("at least one attempt was made, and it failed"))
    }
}

impl CabinetPort for PatientCabinet {
    fn query(&self, query: Query, ask: Ask) -> BoxFuture<'_, Result<Objects, CabinetError>> {
        async move { self.until_answered(ask, || self.cabinet.query(query.clone(), ask)).await }.boxed()
    }

    fn get(&self, get: Get, ask: Ask) -> BoxFuture<'_, Result<Got, CabinetError>> {
        async move { self.until_answered(ask, || self.cabinet.get(get.clone(), ask)).await }.boxed()
    }

    fn history(&self, history: History, ask: Ask) -> BoxFuture<'_, Result<Timeline, CabinetError>> {
        async move { self.until_answered(ask, || self.cabinet.history(history.clone(), ask)).await }.boxed()
    }

    fn inspect(&self, question: Inspect, ask: Ask) -> BoxFuture<'_, Result<Inspected, CabinetError>> {
        async move { self.until_answered(ask, || self.cabinet.inspect(question.clone(), ask)).await }.boxed()
    }

    fn latest(&self, ask: Ask) -> BoxFuture<'_, Result<Latest, CabinetError>> {
        async move { self.until_answered(ask, || self.cabinet.latest(ask)).await }.boxed()
    }

    fn commit(&self, commit: Commit, ask: Ask) -> BoxFuture<'_, Result<Committed, CabinetError>> {
        async move { self.until_answered(ask, || self.cabinet.commit(commit.clone(), ask)).await }.boxed()
    }

    fn outcome(&self, question: AskOutcome, ask: Ask) -> BoxFuture<'_, Result<Outcome, CabinetError>> {
        async move { self.until_answered(ask, || self.cabinet.outcome(question.clone(), ask)).await }.boxed()
    }

    fn blob(&self, question: Question, at: Option<String>, ask: Ask) -> BoxFuture<'_, Result<(Answer, String), CabinetError>> {
        match at {
            // Another attempt belongs to the same replica, or to none: whoever uploads begins again elsewhere.
            Some(_) => self.cabinet.blob(question, at, ask),
            None => async move { self.until_answered(ask, || self.cabinet.blob(question.clone(), None, ask)).await }.boxed(),
        }
    }

    fn subscribe(&self, subscribe: Subscribe, ask: Ask) -> BoxFuture<'_, Result<Box<dyn Updates>, CabinetError>> {
        // Whoever subscribes resumes by its own rules, a failed start included.
        self.cabinet.subscribe(subscribe, ask)
    }

    fn replicas(&self, ask: Ask) -> BoxFuture<'_, Vec<(String, Result<ReplicaStatus, String>)>> {
        self.cabinet.replicas(ask)
    }

    fn peers(&self) -> Vec<Peer> {
        self.cabinet.peers()
    }
}

/// Pauses between attempts, doubled each time. The first is below a round trip within a site, the largest well below the time that people
/// notice.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Attempts in all, whatever the deadline: about a minute's worth.
const ATTEMPTS_MAX: u32 = 300;
