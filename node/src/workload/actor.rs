//! One user at a front end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use caps_adapters::mail::Limits;
use caps_frontend::{Client, gateway};
use caps_model::messages::{From, History, Update};
use caps_model::{Name, Object, Position, Query};
use caps_overlay::Rng;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::mail::synthetic;
use super::measured::{Measured, MeasuredStep, Outcome, StepError, Watched};
use super::memory::{Fill, Memory, Nothing};
use super::run::Run;
use crate::deployment::workload::{Operation, Pick, Step, Template};

/// Where fresh front ends come from.
pub trait Arrivals: fmt::Debug + Send {
    /// A client over an overlay that has no connections yet, in place of `left`. Nobody waits for `left` to leave.
    fn arrive(&mut self, left: Client) -> BoxFuture<'_, Result<Client, ArrivalError>>;
}

/// No fresh front end came up.
#[derive(Debug, thiserror::Error)]
#[error("no fresh front end: {0}")]
pub struct ArrivalError(pub String);

/// One user, who does one operation.
#[derive(Debug)]
pub struct Actor {
    client: Client,
    operation: Arc<Operation>,
    arrivals: Box<dyn Arrivals>,
    run: Run,
    rng: Rng,
    memory: Memory,
}

/// What a step brought, besides its time.
#[derive(Default)]
struct Brought {
    position: Option<Position>,
    watched: Option<Watched>,
    /// What was felt, where that is not the whole time.
    felt: Option<Duration>,
}

/// Why a step was not done.
enum Halt {
    Nothing(Nothing),
    Cut,
    Error(StepError),
}

impl Actor {
    /// A user who does `operation` with `client`, as part of `run`.
    pub fn new(client: Client, operation: Arc<Operation>, arrivals: Box<dyn Arrivals>, run: Run, rng: Rng) -> Self {
        Self { client, operation, arrivals, run, rng, memory: Memory::default() }
    }

    /// The client that it acts with at present.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Does the operation once. What it remembers of the last time is forgotten first; connections and sessions stay.
    pub async fn run(&mut self) -> Measured {
        self.memory = Memory::default();
        let operation = self.operation.clone();
        let mut measured = Measured { started: Instant::now(), felt: Duration::ZERO, outcome: Outcome::Done, steps: Vec::new() };
        for (place, step) in operation.steps.iter().enumerate() {
            if place > 0 && self.run.has_ended() {
                measured.outcome = Outcome::Cut;
                break;
            }
            let started = Instant::now();
            let result = self.step(step).await;
            let (ok, brought) = match result {
                Ok(brought) => (true, brought),
                Err(halt) => {
                    measured.outcome = halt.into();
                    (false, Brought::default())
                }
            };
            let felt = brought.felt.unwrap_or_else(|| started.elapsed());
            measured.felt += felt;
            let Brought { position, watched, .. } = brought;
            measured.steps.push(MeasuredStep { step: place, kind: step.kind(), started, felt, ok, position, watched });
            if !ok {
                break;
            }
        }
        measured
    }

    pub(super) fn of_run(&self) -> &Run {
        &self.run
    }

    pub(super) fn rng(&self) -> &Rng {
        &self.rng
    }

    async fn step(&mut self, step: &Step) -> Result<Brought, Halt> {
        match step {
            Step::Connect => {
                self.client = self.arrivals.arrive(self.client.clone()).await?;
                Ok(Brought::default())
            }
            Step::Login { user, password } => {
                let answer = self.client.login(user, &password.0).await?;
                Ok(Brought::at(answer.position))
            }
            Step::Query { query, pick } => self.query(query, *pick).await,
            Step::Get { objects, at_most } => self.get(objects, *at_most).await,
            Step::History { object, limit } => self.history(object, *limit).await,
            Step::Call { module, method, arguments } => {
                let arguments = self.fill().record(arguments)?;
                self.call(module.clone(), method.clone(), arguments).await
            }
            Step::FileMail { text, size_bytes } => self.file_mail(text, *size_bytes).await,
            Step::Watch { query, length } => self.watch(query, *length).await,
            Step::Think(length) => self.think(*length).await,
        }
    }

    async fn query(&mut self, query: &Query, pick: Pick) -> Result<Brought, Halt> {
        let query = self.fill().query(query)?;
        let mut answer = self.client.query(query).await?;
        if pick == Pick::Any {
            let place = self.rng.below(answer.objects.len() as u64);
            answer.objects.rotate_left(usize::try_from(place).expect("less than a length"));
        }
        self.memory.found = answer.objects;
        Ok(Brought::at(answer.position))
    }

    async fn get(&mut self, objects: &[Template], at_most: usize) -> Result<Brought, Halt> {
        let mut objects = self.fill().objects(objects)?;
        objects.truncate(at_most);
        let answer = self.client.get(objects).await?;
        self.memory.found = answer.objects.into_iter().flatten().collect::<Vec<Object>>();
        Ok(Brought::at(answer.position))
    }

    async fn history(&mut self, object: &Template, limit: u32) -> Result<Brought, Halt> {
        // All that were found stand behind "found"; whoever reads a history reads one.
        let Some(object) = self.fill().objects(std::slice::from_ref(object))?.first().copied() else { return Ok(Brought::default()) };
        let answer = self.client.history(History { object, before: None, limit }).await?;
        Ok(Brought::at(answer.position))
    }

    async fn call(&mut self, module: Name, method: Name, arguments: caps_model::Record) -> Result<Brought, Halt> {
        let called = self.client.call(module, method, arguments).await?;
        self.run.committed(called.position, Instant::now());
        self.memory.result = called.result;
        Ok(Brought::at(called.position))
    }

    async fn file_mail(&mut self, text: &Template, size_bytes: usize) -> Result<Brought, Halt> {
        let fill = self.fill();
        let raw = synthetic(&fill.text(text)?, size_bytes, fill.now_micros, &self.rng);
        let arguments = gateway::file_mail_arguments(&raw, &Limits::default()).map_err(StepError::Mail)?;
        self.call(Name::fixed("casedesk"), Name::fixed("file_mail"), arguments).await
    }

    async fn watch(&mut self, query: &Query, length: Duration) -> Result<Brought, Halt> {
        let query = self.fill().query(query)?;
        let mut subscription = self.client.subscribe(query, From::Present);
        let started = Instant::now();
        let opens_until = started + OPENING_MAX;
        let (mut opened, mut arrivals, mut updates) = (None, Vec::new(), 0);
        loop {
            let until = if opened.is_some() { started + length } else { opens_until };
            let update = tokio::select! {
                // The end first, so that a busy console does not outlive it; then the length, for the same reason.
                biased;
                () = self.run.ended() => break,
                () = sleep_until(until) => break,
                update = subscription.next() => update.map_err(StepError::from)?,
            };
            match update {
                Update::Present { complete: true, .. } => opened = opened.or_else(|| Some(started.elapsed())),
                Update::Changes { position, .. } => {
                    updates += 1;
                    if arrivals.len() < ARRIVALS_MAX {
                        arrivals.push((position, Instant::now()));
                    }
                }
                Update::Present { .. } | Update::Progress { .. } => {}
            }
        }
        match opened {
            Some(felt) => {
                let watched = Watched { updates, delays: self.run.delays(&arrivals), resumes: subscription.resumes() };
                Ok(Brought { position: Some(self.client.position()), watched: Some(watched), felt: Some(felt) })
            }
            None if self.run.has_ended() => Err(Halt::Cut),
            None => Err(StepError::NotOpened(OPENING_MAX).into()),
        }
    }

    async fn think(&mut self, length: Duration) -> Result<Brought, Halt> {
        tokio::select! {
            // The end first: nobody goes on thinking.
            biased;
            () = self.run.ended() => Err(Halt::Cut),
            () = tokio::time::sleep(length) => Ok(Brought { felt: Some(Duration::ZERO), ..Brought::default() }),
        }
    }

    fn fill(&self) -> Fill<'_> {
        let now_micros = self.client.overlay().environment().wall_clock.now_micros();
        Fill { memory: &self.memory, run: &self.run, now_micros }
    }
}

impl Brought {
    fn at(position: Position) -> Self {
        Self { position: Some(position), ..Self::default() }
    }
}

impl std::convert::From<Nothing> for Halt {
    fn from(nothing: Nothing) -> Self {
        Self::Nothing(nothing)
    }
}

impl<E: Into<StepError>> std::convert::From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl std::convert::From<Halt> for Outcome {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Nothing(Nothing(source)) => Self::Idle(source),
            Halt::Cut => Self::Cut,
            Halt::Error(error) => Self::Failed(error),
        }
    }
}

/// A console that shows nothing for this long has failed: nobody waits longer.
const OPENING_MAX: Duration = Duration::from_secs(60);

/// Arrivals that are held against their commits at the end; those after them are only counted.
const ARRIVALS_MAX: usize = 1 << 17;
