//! Layer 1 as the host sees it.

mod over_overlay;
mod patient;

use std::fmt;

use caps_model::messages::blobs::{Answer, Question};
use caps_model::messages::cabinet::{Committed, ReplicaStatus};
use caps_model::messages::host::Peer;
use caps_model::messages::inspect::{Inspect, Inspected};
use caps_model::messages::{AskOutcome, Get, Got, History, Latest, Objects, Outcome, Subscribe, Timeline, Update};
use caps_model::{Commit, Position, Query};
use caps_overlay::Priority;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::time::Instant;

pub use self::over_overlay::OverlayCabinet;
pub(crate) use self::patient::PatientCabinet;
use crate::transaction::{Fetched, Wishes};

/// The seam between the host and layer 1: the overlay in production, a cabinet in memory in tests.
///
/// Every call may be sent again by whoever implements this: reads change nothing, and a commit carries its id.
pub trait CabinetPort: Send + Sync + 'static {
    /// The objects that match.
    fn query(&self, query: Query, ask: Ask) -> BoxFuture<'_, Result<Objects, CabinetError>>;
    /// The objects with these ids.
    fn get(&self, get: Get, ask: Ask) -> BoxFuture<'_, Result<Got, CabinetError>>;
    /// What happened to an object.
    fn history(&self, history: History, ask: Ask) -> BoxFuture<'_, Result<Timeline, CabinetError>>;
    /// The answer to a question that looks further than at the present.
    fn inspect(&self, question: Inspect, ask: Ask) -> BoxFuture<'_, Result<Inspected, CabinetError>>;
    /// How far everything is that was acknowledged before this was asked.
    fn latest(&self, ask: Ask) -> BoxFuture<'_, Result<Latest, CabinetError>>;
    /// Makes a change durable, or says what stood in its way.
    fn commit(&self, commit: Commit, ask: Ask) -> BoxFuture<'_, Result<Committed, CabinetError>>;
    /// What became of a commit.
    fn outcome(&self, question: AskOutcome, ask: Ask) -> BoxFuture<'_, Result<Outcome, CabinetError>>;
    /// Asks a replica about a blob: this one, by its identity, or any. Who answered comes along.
    fn blob(&self, question: Question, at: Option<String>, ask: Ask) -> BoxFuture<'_, Result<(Answer, String), CabinetError>>;
    /// Starts to tell what changes.
    fn subscribe(&self, subscribe: Subscribe, ask: Ask) -> BoxFuture<'_, Result<Box<dyn Updates>, CabinetError>>;
    /// Asks every replica that is known how it is.
    fn replicas(&self, ask: Ask) -> BoxFuture<'_, Vec<(String, Result<ReplicaStatus, String>)>>;
    /// The nodes that this one is connected to, at most [`PEERS_MAX`](caps_model::messages::host::PEERS_MAX).
    fn peers(&self) -> Vec<Peer>;
}

/// A running subscription. Dropping it ends it.
pub trait Updates: Send {
    /// The next update; `None` when layer 1 ended the stream in good order.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Update, CabinetError>>>;
}

/// How layer 1 is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The answer reflects every commit up to this one.
    pub at_least: Position,
    /// When the asker stops waiting.
    pub deadline: Instant,
    /// How urgent it is.
    pub priority: Priority,
}

/// Why layer 1 did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CabinetError {
    /// No replica did it, and none will: nothing happened.
    #[error("the cabinet cannot be reached: {0}")]
    Unavailable(String),
    /// It was sent and no answer came: a commit may have happened.
    #[error("the cabinet did not answer: {0}")]
    Unanswered(String),
    /// A replica says no: the request breaks a rule of layer 1.
    #[error("the cabinet refuses: {0}")]
    Refused(String),
    /// A replica does not do what is asked of a blob; nothing happened.
    #[error("{1}")]
    Blob(BlobRefusal, String),
    /// The answer makes no sense.
    #[error("the cabinet answered nonsense: {0}")]
    Malformed(String),
}

/// What stands against a step of an upload, or a commit that names a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobRefusal {
    /// It breaks a rule.
    Refused,
    /// The upload is not known where it was continued: it has to be begun again.
    NotBegun,
    /// There is no room.
    NoRoom,
    /// No majority has the blob that a commit names.
    Unsecured,
}

impl Ask {
    /// The same, but reflecting `position` too.
    #[must_use]
    pub fn seeing(self, position: Position) -> Self {
        Self { at_least: self.at_least.max(position), ..self }
    }
}

/// Fetches everything that is wished for, at once. Here a cache of the host would have its place.
pub(crate) async fn fetch(cabinet: &dyn CabinetPort, wishes: Wishes, ask: Ask) -> Result<Fetched, CabinetError> {
    let ids: Vec<_> = wishes.objects.into_iter().collect();
    let gets = try_join_all(ids.chunks(caps_model::messages::GET_MAX).map(|objects| async move {
        let got = cabinet.get(Get { objects: objects.to_vec() }, ask).await?;
        if got.objects.len() != objects.len() {
            return Err(CabinetError::Malformed(format!("{} objects for {} ids", got.objects.len(), objects.len())));
        }
        Ok(objects.iter().copied().zip(got.objects).map(|(id, object)| (id, object, got.position)).collect::<Vec<_>>())
    }));
    let queries = try_join_all(wishes.queries.into_iter().map(|query| async move {
        let objects = cabinet.query(query.clone(), ask).await?;
        Ok((query, objects))
    }));
    let (objects, answers) = futures_util::future::try_join(gets, queries).await?;
    Ok(Fetched { objects: objects.concat(), answers })
}

impl fmt::Debug for dyn CabinetPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CabinetPort")
    }
}

impl fmt::Debug for dyn Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Updates")
    }
}
