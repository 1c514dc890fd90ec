//! Carrying effects out: what commits asked to be done in the world.
//!
//! A [`Carrier`] knows how one kind of effect is done; [`carry`] follows those that wait, claims one after the other, has the carrier do it, and
//! tells the cabinet what came of it. Any number of front ends may carry the same kind: a claim is a commit, and only one of them gets it.
//!
//! An attempt is bounded by [`ATTEMPT_MAX`], well within the time for which a claim holds, so that nobody is still at it when somebody else begins.

mod queue;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use caps_model::messages::inspect::{Inspect, Inspected};
use caps_model::messages::{From, Subscribe};
use caps_model::{Effect, Filter, Name, ObjectId, Query, Record, Value};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{sleep, timeout};

use self::queue::Queue;
use crate::gateway::start_of;
use crate::{Client, ClientError, Subscription};

/// What does effects of one kind.
pub trait Carrier: Send + Sync + 'static {
    /// The kind: `mail`, `webhook`.
    fn kind(&self) -> &'static str;

    /// The only place that it reaches; `None`: it reaches all.
    fn towards(&self) -> Option<&str> {
        None
    }

    /// How long to wait before the second attempt; it grows from there.
    fn pause(&self) -> Duration;

    /// Does it; what the other side said. Dropped when it takes longer than [`ATTEMPT_MAX`].
    fn carry<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<String, Setback>>;
}

/// Why an attempt came to nothing, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// What the other side said, or how it was not reached: for people.
    pub outcome: String,
    /// Whether another attempt is pointless.
    pub is_final: bool,
    /// How long the other side asked to be left alone, if it did.
    pub wait: Option<Duration>,
}

/// Carries effects out until `stopping` resolves; then begins no more, and gives those under way some time to end.
pub async fn carry(client: Client, carrier: Arc<dyn Carrier>, stopping: impl Future<Output = ()>) {
    let mut stopping = pin!(stopping);
    let worker = Work { client, carrier };
    let mut queue = Queue::default();
    let mut under_way = FuturesUnordered::new();
    let mut waiting = worker.follow();
    loop {
        let now = worker.now();
        while let Some(effect) = queue.begin(now) {
            under_way.push(worker.attempt(effect));
        }
        let idle = queue.next_due(now).map_or(IDLE_MAX, |micros| Duration::from_micros(micros).min(IDLE_MAX));
        tokio::select! {
            // Stopping first, then what frees room, then what fills it.
            biased;
            () = &mut stopping => break,
            Some((effect, pause)) = under_way.next(), if !under_way.is_empty() => queue.ended(effect, pause.map(|pause| worker.now().saturating_add(pause))),
            update = waiting.next() => match update {
                Ok(update) => queue.take(&update),
                Err(error) => {
                    tracing::warn!(kind = worker.carrier.kind(), %error, "cannot follow what is to be done; trying again");
                    sleep(worker.client.overlay().environment().rng.jitter(FOLLOW_PAUSE)).await;
                    waiting = worker.follow();
                }
            },
            () = sleep(idle) => {}
        }
    }
    // What does not end in time is taken up by somebody else when its claim has run out.
    timeout(LAST_WORDS, async { while under_way.next().await.is_some() {} }).await.ok();
}

struct Work {
    client: Client,
    carrier: Arc<dyn Carrier>,
}

impl Work {
    fn now(&self) -> i64 {
        self.client.overlay().environment().wall_clock.now_micros()
    }

    /// The first of those that wait, by when they are due.
    fn follow(&self) -> Subscription {
        let of_kind = Filter::equal(Name::fixed("kind"), Value::text(self.carrier.kind()));
        let open = Filter::one_of(Name::fixed("status"), ["waiting", "claimed"].map(Value::text));
        let there = self.carrier.towards().map(|place| Filter::equal(Name::fixed("towards"), Value::text(place)));
        let filter = there.into_iter().fold(of_kind.and(open), Filter::and);
        let query = Query { filter, ..Query::all(Name::fixed("effect")) };
        let query = query.by(Name::fixed("next_at"), false).limit(queue::FOLLOWED);
        self.client.follow(Subscribe { window: true, ..Subscribe::new(query, From::Present) })
    }

    /// One attempt; for how many microseconds to leave the effect alone, if the queue does not say so itself.
    async fn attempt(&self, effect: ObjectId) -> (ObjectId, Option<i64>) {
        let reference = || vec![Value::Reference(effect)];
        if let Err(error) = self.client.call(Name::fixed("effects"), Name::fixed("claim"), record([("effect", reference())])).await {
            tracing::debug!(%effect, %error, "not claimed");
            return (effect, Some(NOT_CLAIMED_MICROS));
        }
        let outcome = self.do_it(effect).await;
        let (method, arguments): (_, Record) = match outcome {
            Ok(said) => ("done", record([("effect", reference()), ("outcome", vec![Value::text(start_of(&said, OUTCOME_BYTES_MAX))])])),
            Err(setback) => {
                tracing::info!(%effect, outcome = setback.outcome, is_final = setback.is_final, "an effect was not carried out");
                let more = [
                    ("effect", reference()),
                    ("outcome", vec![Value::text(start_of(&setback.outcome, OUTCOME_BYTES_MAX))]),
                    ("pause", vec![timespan(self.carrier.pause())]),
                    ("wait", setback.wait.map(timespan).into_iter().collect()),
                    ("final", vec![Value::Bool(setback.is_final)]),
                ];
                ("failed", record(more))
            }
        };
        self.tell(method, arguments).await;
        (effect, None)
    }

    async fn do_it(&self, id: ObjectId) -> Result<String, Setback> {
        let effect = match self.client.inspect(Inspect::Effect { object: id }).await {
            Ok(Inspected::Effect(Some(effect))) => effect,
            Ok(_) => return Err(Setback::passing("the claim was lost before it began")),
            Err(error) => return Err(Setback::passing(format!("what is to be done could not be read: {error}"))),
        };
        if effect.arguments.is_empty() {
            return Err(Setback::last("what was to be done has been obliterated"));
        }
        match timeout(ATTEMPT_MAX, self.carrier.carry(&effect)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Setback::passing(format!("no answer within {}s", ATTEMPT_MAX.as_secs()))),
        }
    }

    /// Tells what came of it, until it is known to be recorded: forgetting it would mean doing it again.
    async fn tell(&self, method: &'static str, arguments: Record) {
        let commit = self.client.new_commit();
        loop {
            let told = self.client.call_as(commit, Name::fixed("effects"), Name::fixed(method), arguments.clone()).await;
            match told {
                Ok(_) => return,
                Err(ClientError::Refused(refusal)) => {
                    tracing::warn!(method, %refusal, "what came of an effect was not taken note of");
                    return;
                }
                Err(error) => tracing::warn!(method, %error, "what came of an effect is not recorded yet"),
            }
            sleep(self.client.overlay().environment().rng.jitter(FOLLOW_PAUSE)).await;
        }
    }
}

impl Setback {
    /// It may go better next time.
    pub fn passing(outcome: impl Into<String>) -> Self {
        Self { outcome: outcome.into(), is_final: false, wait: None }
    }

    /// It never will.
    pub fn last(outcome: impl Into<String>) -> Self {
        Self { outcome: outcome.into(), is_final: true, wait: None }
    }

    /// The same, not before so long a time.
    #[must_use]
    pub fn not_within(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }
}

fn timespan(time: Duration) -> Value {
    Value::Timespan(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

fn record<const N: usize>(pairs: [(&'static str, Vec<Value>); N]) -> Record {
    pairs.into_iter().map(|(name, values)| (Name::fixed(name), values)).collect()
}

/// How long one attempt may take: a claim holds three minutes, and clocks may differ by one.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(90);

/// How long attempts under way are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// How long to wait before following, or telling, is tried again.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// How long an effect is left alone that somebody else was given, or that is not due by the host's clock.
const NOT_CLAIMED_MICROS: i64 = 1_000_000;

/// How long to wait for something to do before looking at the clock again.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Bytes of an outcome that the cabinet keeps.
const OUTCOME_BYTES_MAX: usize = 1_000;
