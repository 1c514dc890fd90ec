//! What came out of running an operation once.

use std::time::Duration;

use caps_adapters::mail::Refusal;
use caps_frontend::ClientError;
use caps_model::Position;
use tokio::time::Instant;

use super::ArrivalError;
use crate::deployment::workload::{Source, StepKind};

/// One run of an operation.
#[derive(Debug)]
pub struct Measured {
    /// When it started.
    pub started: Instant,
    /// What the user waited for, all steps together: thinking, and the time that a console stays open, do not count.
    pub felt: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The steps, up to the one that it ended with.
    pub steps: Vec<MeasuredStep>,
}

/// How a run of an operation ended.
#[derive(Debug)]
pub enum Outcome {
    /// All steps were done.
    Done,
    /// There was nothing to do: this stood for no value, as when a query finds nothing. That is nobody's fault, and no measure of anything.
    Idle(Source),
    /// The run of everybody ended first.
    Cut,
    /// The last step went wrong.
    Failed(StepError),
}

/// One step of one run.
#[derive(Debug)]
pub struct MeasuredStep {
    /// Its place in the operation, from 0.
    pub step: usize,
    /// What it asked for.
    pub kind: StepKind,
    /// When it started.
    pub started: Instant,
    /// What the user waited for.
    pub felt: Duration,
    /// Whether it was answered.
    pub ok: bool,
    /// The position of the answer; for a call, of its commit.
    pub position: Option<Position>,
    /// What a console showed.
    pub watched: Option<Watched>,
}

/// What a console showed while it was open.
#[derive(Debug, Default)]
pub struct Watched {
    /// Commits that changed something in it.
    pub updates: u64,
    /// For those commits that an actor of the same run made: how long after the commit its change was shown.
    pub delays: Vec<Duration>,
    /// How often the stream broke and another took over.
    pub resumes: u64,
}

/// Why a step went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Layer 2 did not do it, or did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No fresh front end came up.
    #[error(transparent)]
    Arrival(#[from] ArrivalError),
    /// What should be filed is no mail: the operation's text is at fault.
    #[error("this is no mail: {0}")]
    Mail(Refusal),
    /// A console showed nothing for this long.
    #[error("the console showed nothing within {0:?}")]
    NotOpened(Duration),
}
