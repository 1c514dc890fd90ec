//! A client that speaks with the replicas themselves, as a host does, and never rests until it knows what became of a commit.

use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::{Identity, Layer, NodeCredentials, TrustAnchors};
use caps_model::commit::{Author, Change, Read};
use caps_model::messages::blobs::{self, Answer, Question};
use caps_model::messages::cabinet::{self, Committed, ReplicaStatus};
use caps_model::messages::{AskOutcome, Get, Got, History, Outcome, Subscribe, Timeline};
use caps_model::{Commit, CommitId, Name, ObjectId, Record, Services, Wire, codec};
use caps_node::deployment::Deployment;
use caps_overlay::{CallError, CallOptions, Config, Environment, MethodId, Overlay, Priority, Replies, Rng, Seed, Timing, To};
use tokio::time::{Instant, sleep};

use super::company::Lives;

/// A client of the replicas; clones share its connections.
#[derive(Clone, Debug)]
pub struct CabinetClient {
    overlay: Overlay,
    services: Services,
    replicas: Vec<Identity>,
    lives: Lives,
    rng: Rng,
}

/// What became of a commit, in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is at this position.
    Accepted(u64),
    /// Something that it relied on had changed.
    Conflict,
    /// It did not happen and never will.
    Never,
    /// Nobody could tell in time.
    Unknown,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer is none.
    #[error("the answer is not understood: {0}")]
    Answer(#[from] caps_model::DecodeError),
    /// The replica is not the process any more that it was.
    #[error("the replica was another process in between")]
    Reborn,
}

impl CabinetClient {
    /// Joins as a client of this identity.
    pub async fn join(deployment: &Deployment, identity: &Identity, lives: Lives) -> anyhow::Result<Self> {
        let overlay = join(deployment, identity, "nodes", Layer::Cabinet).await?;
        let replicas = deployment.layer(Layer::Cabinet).map(|node| node.identity.clone()).collect();
        let rng = overlay.environment().rng.fork();
        Ok(Self { overlay, services: deployment.cabinet().services(), replicas, lives, rng })
    }

    /// The replicas, by number from 0.
    pub fn replicas(&self) -> &[Identity] {
        &self.replicas
    }

    /// A number below `bound`.
    pub fn draw(&self, bound: usize) -> usize {
        usize::try_from(self.rng.below(bound as u64)).unwrap_or(0)
    }

    /// Any replica.
    pub fn any(&self) -> usize {
        self.draw(self.replicas.len())
    }

    /// A commit with a new id.
    pub fn commit_of(&self, reads: Vec<Read>, changes: Vec<Change>) -> Commit {
        let micros = self.overlay.environment().wall_clock.now_micros();
        let id = CommitId::new(micros.max(0).unsigned_abs() / 1_000, self.rng.next_u128());
        Commit { id, author: author(self.overlay.identity()), time: micros, reads, changes, effects: Vec::new(), result: Record::new() }
    }

    /// An id for a new object.
    pub fn new_object(&self) -> ObjectId {
        let micros = self.overlay.environment().wall_clock.now_micros();
        ObjectId::new(micros.max(0).unsigned_abs() / 1_000, self.rng.next_u128())
    }

    /// Asks for a commit, and asks on until it is known what became of it or `patience` is over: again with the same id, or for its outcome.
    pub async fn settle(&self, commit: &Commit, patience: Duration) -> Fate {
        let until = Instant::now() + patience;
        let mut replica = self.any();
        let mut asked = false;
        while Instant::now() < until {
            // Whoever asks again finds out; whoever asks for the outcome and has it sealed, too.
            let fate = if asked && self.rng.below(2) == 0 {
                self.sealed_outcome(replica, commit.id).await
            } else {
                asked = true;
                self.commit(replica, commit).await
            };
            if let Ok(fate) = fate {
                return fate;
            }
            replica = (replica + 1) % self.replicas.len();
            sleep(self.rng.jitter(PAUSE)).await;
        }
        Fate::Unknown
    }

    async fn commit(&self, replica: usize, commit: &Commit) -> Result<Fate, AskError> {
        Ok(match self.ask(replica, cabinet::COMMIT, commit, 0).await? {
            Committed::Accepted { position, .. } => Fate::Accepted(position.0),
            Committed::Conflict { .. } => Fate::Conflict,
            Committed::Sealed => Fate::Never,
        })
    }

    async fn sealed_outcome(&self, replica: usize, commit: CommitId) -> Result<Fate, AskError> {
        Ok(match self.outcome(replica, commit, true).await? {
            Outcome::Accepted { position, .. } => Fate::Accepted(position.0),
            Outcome::Sealed => Fate::Never,
            Outcome::Unknown => Fate::Unknown,
        })
    }

    /// What became of a commit; everything acknowledged before is known to whoever answers.
    pub async fn outcome(&self, replica: usize, commit: CommitId, seal: bool) -> Result<Outcome, AskError> {
        self.ask(replica, cabinet::OUTCOME, &AskOutcome { commit, seal }, 0).await
    }

    /// Objects as this replica has them, at `at_least` or later.
    pub async fn get(&self, replica: usize, objects: &[ObjectId], at_least: u64) -> Result<Got, AskError> {
        self.ask(replica, cabinet::GET, &Get { objects: objects.to_vec() }, at_least).await
    }

    /// Objects as of some moment between the call and its answer: a linearizable question first, to learn that the replica has everything,
    /// and then what it has. In between it must not have become another process, which would have to be asked anew.
    pub async fn get_newest(&self, replica: usize, objects: &[ObjectId]) -> Result<Got, AskError> {
        let life = self.lives.of(self.replicas[replica].name());
        self.outcome(replica, NO_COMMIT, false).await?;
        let got = self.get(replica, objects, 0).await?;
        match self.lives.of(self.replicas[replica].name()) == life {
            true => Ok(got),
            false => Err(AskError::Reborn),
        }
    }

    /// What ever happened to an object, as this replica has it.
    pub async fn history(&self, replica: usize, object: ObjectId) -> Result<Timeline, AskError> {
        self.ask(replica, cabinet::HISTORY, &History { object, before: None, limit: 10 }, 0).await
    }

    /// What a replica answers about a blob.
    pub async fn blob(&self, replica: usize, question: &Question) -> Result<Answer, AskError> {
        let options = CallOptions { deadline: WITHIN, priority: Priority::Bulk, ..CallOptions::default() };
        let method = MethodId { service: self.services.blobs(), method: blobs::ASK };
        let reply = self.overlay.call(To::Node(&self.replicas[replica]), method, encode(question), options).await?;
        Ok(codec::decode(&reply.body)?)
    }

    /// How a replica is.
    pub async fn status(&self, replica: usize) -> Result<ReplicaStatus, AskError> {
        let body = self.call(replica, cabinet::STATUS, Bytes::new(), 0).await?;
        Ok(codec::decode(&body)?)
    }

    /// Follows a query at one replica.
    pub async fn follow(&self, replica: usize, subscribe: &Subscribe) -> Result<Replies, CallError> {
        let body = encode(subscribe);
        let options = CallOptions { deadline: WITHIN, own_stream: true, ..CallOptions::default() };
        let method = MethodId { service: self.services.cabinet(), method: cabinet::SUBSCRIBE };
        self.overlay.stream(To::Node(&self.replicas[replica]), method, body, options).await
    }

    /// Leaves.
    pub async fn leave(&self) {
        self.overlay.drain(Duration::from_millis(100)).await;
        self.overlay.environment().tasks.shutdown().await;
    }

    async fn ask<Q: Wire, A: Wire>(&self, replica: usize, method: u16, question: &Q, at_least: u64) -> Result<A, AskError> {
        let body = self.call(replica, method, encode(question), at_least).await?;
        Ok(codec::decode(&body)?)
    }

    async fn call(&self, replica: usize, method: u16, body: Bytes, at_least: u64) -> Result<Bytes, CallError> {
        let options = CallOptions { deadline: WITHIN, position: at_least, priority: Priority::Interactive, ..CallOptions::default() };
        let method = MethodId { service: self.services.cabinet(), method };
        Ok(self.overlay.call(To::Node(&self.replicas[replica]), method, body, options).await?.body)
    }
}

/// Joins the overlay as a leaf that soon notices when somebody was killed. `kind` is the directory of its papers, `layer` whom it speaks with.
pub async fn join(deployment: &Deployment, identity: &Identity, kind: &str, layer: Layer) -> anyhow::Result<Overlay> {
    let papers = deployment.certificates.join(kind).join(identity.name());
    let (credentials, anchors) = (NodeCredentials::load(papers)?, TrustAnchors::load(&deployment.certificates)?);
    let seeds = deployment.layer(layer).filter_map(|node| Some(Seed { identity: node.identity.clone(), address: node.dialled()? }));
    let config = Config { announce: None, seeds: seeds.collect(), timing: quick(), ..Config::default() };
    let environment = Environment::real(([127, 0, 0, 1], 0).into())?;
    Ok(Overlay::start(credentials, anchors, config, Vec::new(), environment).await?)
}

/// On loopback nobody is silent for half a second unless it is dead.
fn quick() -> Timing {
    Timing {
        dial: Duration::from_millis(500),
        back_off_min: Duration::from_millis(10),
        back_off_max: Duration::from_millis(100),
        keep_alive: Duration::from_millis(150),
        idle: Duration::from_millis(600),
        ..Timing::default()
    }
}

fn author(me: &Identity) -> Author {
    Author {
        user: None,
        front_end: me.to_string(),
        host: me.to_string(),
        module: Name::fixed("torture"),
        module_version: 1,
        method: Name::fixed("torture"),
        reason: None,
    }
}

/// A new object.
pub fn create(object: ObjectId, entity: &'static str, attributes: Record) -> Change {
    Change::Create { object, entity: Name::fixed(entity), ancestors: Vec::new(), attributes }
}

fn encode(message: &impl Wire) -> Bytes {
    Bytes::from(codec::encode(message).expect("what is asked here fits a message"))
}

/// Nobody has this id: asking for its outcome is a linearizable question about nothing.
const NO_COMMIT: CommitId = CommitId(0);

/// How long one replica may take before another one is asked.
const WITHIN: Duration = Duration::from_millis(1_500);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
