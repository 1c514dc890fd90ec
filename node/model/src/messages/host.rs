//! What layer 2 answers: the service `host`, called by front ends and administrators.
//!
//! Every message but `login` carries a [`Session`]; without one a front end acts as its own node.
//!
//! | method | takes | answers |
//! |---|---|---|
//! | `login` | [`Login`] | [`LoggedIn`] |
//! | `logout` | [`As`]`<Logout>` | [`LoggedOut`] |
//! | `call` | [`Call`] | [`Called`] |
//! | `query` | [`As`]`<Query>` | [`Objects`](super::Objects) |
//! | `get` | [`As`]`<Get>` | [`Got`](super::Got) |
//! | `history` | [`As`]`<History>` | [`Timeline`](super::Timeline) |
//! | `latest` | nothing | [`Latest`](super::Latest) |
//! | `inspect` | [`As`]`<Inspect>` | [`Inspected`](super::inspect::Inspected) |
//! | `outcome` | [`As`]`<AskOutcome>` | [`Outcome`](super::Outcome) |
//! | `subscribe` | [`As`]`<Subscribe>` | a stream of [`Update`](super::Update) |
//! | `upload` | [`As`]`<Upload>` | [`Uploaded`](super::blobs::Uploaded) |
//! | `download` | [`As`]`<Download>` | a stream of [`Part`](super::blobs::Part) |
//! | `schemas` | nothing | [`Schemas`] |
//! | `status` | nothing | [`HostStatus`] |

pub mod codes;

use std::fmt;

use bincode::{Decode, Encode};

use super::cabinet::ReplicaStatus;
use super::inspect::Inspect;
use super::latencies::Latencies;
use super::{AskOutcome, Get, History, Subscribe};
use crate::{CommitId, Name, ObjectId, Position, Query, Record, Schema, Wire};

/// The secret that stands for an authenticated user, for as long as the session lasts. Printed nowhere.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Session(pub [u8; 32]);

/// Asks for a session.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Login {
    /// The user's login name.
    pub user: String,
    /// The password. Printed nowhere.
    pub password: String,
    /// The commit that makes the session: asking again with the same id makes no second one.
    pub commit: CommitId,
}

/// Asks for the session that it comes with to be over, wherever it is known.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Logout {
    /// The commit that ends it.
    pub commit: CommitId,
}

/// The session is over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LoggedOut {
    /// Since this commit at the latest.
    pub position: Position,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LoggedIn {
    /// The secret.
    pub session: Session,
    /// The user.
    pub user: ObjectId,
    /// When it ends: microseconds since 1970.
    pub expires: i64,
    /// Reads at least here know the session.
    pub position: Position,
}

/// A message on behalf of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct As<T> {
    /// The user's session; none: the front end's own node.
    pub session: Option<Session>,
    /// The message.
    pub message: T,
}

/// Asks a module to do something.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Call {
    /// On whose behalf.
    pub session: Option<Session>,
    /// The commit that this becomes. Asking again with the same id after any failure never does it twice.
    pub commit: CommitId,
    /// Whether this id may have been asked for before.
    pub again: bool,
    /// The module.
    pub module: Name,
    /// The method.
    pub method: Name,
    /// Its arguments.
    pub arguments: Record,
    /// Why, for whoever reads the history; at most [`REASON_BYTES_MAX`](crate::commit::REASON_BYTES_MAX).
    pub reason: Option<String>,
    /// What has to be so for it to happen; at most [`EXPECTED_MAX`].
    pub expected: Vec<Expected>,
}

/// That an object is there, for whoever calls to see, and nobody has changed it since it was looked at. It holds where the commit stands, not just
/// before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Expected {
    /// The object.
    pub object: ObjectId,
    /// It is of one of these versions, at most [`EXPECTED_MAX`]; of any, if there are none here.
    pub versions: Vec<Position>,
}

/// What a method answered. It is durable.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Called {
    /// Where the commit is; for a method that changed nothing, how far the host had read.
    pub position: Position,
    /// The answer.
    pub result: Record,
    /// Whether it had happened before this call.
    pub repeated: bool,
}

/// Everything that modules declare.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Schemas {
    /// One schema for each module.
    pub schemas: Vec<Schema>,
}

/// How a host is, and what it knows of the replicas.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HostStatus {
    /// The host's node.
    pub node: String,
    /// Every replica it knows of, by identity; the error of those that it could not ask.
    pub replicas: Vec<(String, Result<ReplicaStatus, String>)>,
    /// Calls of modules answered since it started.
    pub calls: u64,
    /// Re-runs after conflicts since it started.
    pub conflicts: u64,
    /// Live subscriptions.
    pub subscriptions: u32,
    /// How long the calls took that it answered since it started, from their arrival to the answer.
    pub latencies: Latencies,
    /// The nodes that it is connected to; at most [`PEERS_MAX`].
    pub peers: Vec<Peer>,
}

/// A node that a host is connected to: replicas, front ends and other hosts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Peer {
    /// Who it is.
    pub identity: String,
    /// The smoothed round-trip time, in microseconds.
    pub rtt_us: u64,
    /// Packets lost lately, of a million. Measured while calls are made.
    pub loss_ppm: u32,
    /// When the certificate that it proved itself with ends: microseconds since 1970.
    pub certificate_expires: i64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("commit", &self.commit).finish_non_exhaustive()
    }
}

impl Wire for Login {}
impl Wire for LoggedIn {}
impl Wire for As<Query> {}
impl Wire for As<Get> {}
impl Wire for As<History> {}
impl Wire for As<Inspect> {}
impl Wire for As<AskOutcome> {}
/// As [`Subscribe`] by itself.
impl Wire for As<Subscribe> {
    const SCHEMA: u8 = Subscribe::SCHEMA;
}
impl Wire for As<Logout> {}
impl Wire for LoggedOut {}
/// The second one knows what is expected.
impl Wire for Call {
    const SCHEMA: u8 = 2;
}
impl Wire for Called {}
impl Wire for Schemas {}
/// The second one knows latencies and peers.
impl Wire for HostStatus {
    const SCHEMA: u8 = 2;
}

/// Objects that one call expects something of, and versions that are expected of one.
pub const EXPECTED_MAX: usize = 32;

/// Peers that a host tells of.
pub const PEERS_MAX: usize = 512;

/// The number of `login`.
pub const LOGIN: u16 = 1;
/// The number of `call`.
pub const CALL: u16 = 2;
/// The number of `query`.
pub const QUERY: u16 = 3;
/// The number of `get`.
pub const GET: u16 = 4;
/// The number of `history`.
pub const HISTORY: u16 = 5;
/// The number of `outcome`.
pub const OUTCOME: u16 = 6;
/// The number of `subscribe`.
pub const SUBSCRIBE: u16 = 7;
/// The number of `schemas`.
pub const SCHEMAS: u16 = 8;
/// The number of `status`.
pub const STATUS: u16 = 9;
/// The number of `inspect`.
pub const INSPECT: u16 = 10;
/// The number of `latest`.
pub const LATEST: u16 = 11;
/// The number of `logout`.
pub const LOGOUT: u16 = 12;
/// The number of `upload`.
pub const UPLOAD: u16 = 50;
/// The number of `download`.
pub const DOWNLOAD: u16 = 51;
