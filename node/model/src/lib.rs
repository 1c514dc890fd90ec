//! The object model of a cabinet and the messages that cross between layers.
//!
//! What it does: names the things that layers 1, 2 and 4 talk about (values, objects, queries, commits, schemas), decides whether an object
//! matches a query ([`query::Filter::matches`], the one evaluator for every state and every cache), and turns messages into bytes and back
//! ([`codec`], the only place that touches bincode).
//!
//! What it never does: I/O, clocks, randomness, locks. It does not know how a message travels or where an object is kept.
//!
//! Start reading at [`value`], then [`object`], [`query`], [`commit`], and last [`messages`].

pub mod blob;
pub mod codec;
pub mod commit;
pub mod id;
pub mod messages;
pub mod name;
pub mod object;
pub mod query;
pub mod schema;
pub mod services;
pub mod value;

pub use codec::{DecodeError, EncodeError, Wire};
pub use commit::{Author, Change, Commit, Effect, Read};
pub use id::{CommitId, ObjectId, ParseIdError, Position};
pub use name::{Name, NameError};
pub use object::Object;
pub use query::{Condition, Cursor, Filter, Order, Query, Test};
pub use schema::Schema;
pub use services::Services;
pub use value::{BlobId, Choice, Decimal, Entry, Record, Value, ValueKind};
