//! What a step of a state comes to where things are kept as bytes: the same bytes in every such state, under keys or in tables.

use std::borrow::Cow;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use caps_model::{CommitId, Name, Object, ObjectId, Position, Wire, codec};

use super::index::{Index, differences};
use super::key::{self, Key};
use super::{Changed, Counts, Fate, Mark, StateError, Step, Transaction};

/// How far a state has come, and how much it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Header {
    pub(super) mark: Mark,
    pub(super) counts: Counts,
}

/// An object as it is kept: as it encodes itself.
struct Version<'a>(Cow<'a, Object>);

impl Header {
    /// The header after one more step.
    pub(super) fn after(self, transaction: &Transaction<'_>) -> Self {
        let counts = match transaction.step {
            Step::Commit { changes, .. } => self.counts.after(changes),
            // Nothing is born or dies by it.
            Step::Seal(_) | Step::Obliterate { .. } => self.counts,
        };
        Self { mark: transaction.mark, counts }
    }
}

/// What a state keeps something of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept<'a> {
    /// One version of an object.
    Version(ObjectId, Position),
    /// A place, by its bytes, in an index of an entity.
    Place(&'a Name, &'a Index, &'a [u8]),
    /// That an object is of an entity.
    Member(&'a Name, ObjectId),
    /// A commit.
    Commit(Position),
    /// What became of a commit.
    Fate(CommitId),
}

impl Kept<'_> {
    /// Its key, in an ordered map.
    pub(super) fn key(self) -> Key {
        match self {
            Self::Version(id, position) => key::version(id, position),
            Self::Place(entity, index, place) => key::place(entity, index, place),
            Self::Member(entity, id) => key::member(entity, id),
            Self::Commit(position) => key::commit(position),
            Self::Fate(id) => key::fate(id),
        }
    }
}

/// Gives everything that changes to `put`, with its value, or without if it is gone. What may fail does so before the first.
pub(super) fn put(transaction: &Transaction<'_>, mut put: impl FnMut(Kept<'_>, Option<&[u8]>)) -> Result<(), StateError> {
    let position = transaction.mark.position;
    match transaction.step {
        Step::Commit { record, changes } => {
            let versions = changes.iter().map(|change| encode_version(&change.after)).collect::<Result<Vec<_>, _>>()?;
            let (record_bytes, fate) = (encode(record)?, encode(&Fate::Accepted(position))?);
            for (change, version) in changes.iter().zip(versions) {
                put_change(change, &version, &mut put);
            }
            put(Kept::Commit(position), Some(&record_bytes));
            put(Kept::Fate(record.id), Some(&fate));
        }
        Step::Seal(id) => put(Kept::Fate(id), Some(&encode(&Fate::Sealed)?)),
        Step::Obliterate { record, changes, versions, commits } => {
            let changed = changes.iter().map(|change| encode_version(&change.after)).collect::<Result<Vec<_>, _>>()?;
            let replaced = versions.iter().map(encode_version).collect::<Result<Vec<_>, _>>()?;
            let records = commits.iter().map(|(_, record)| encode(record)).collect::<Result<Vec<_>, _>>()?;
            let (record_bytes, fate) = (encode(record)?, encode(&Fate::Accepted(position))?);
            for (change, version) in changes.iter().zip(&changed) {
                put_change(change, version, &mut put);
            }
            for (version, bytes) in versions.iter().zip(&replaced) {
                put(Kept::Version(version.id, version.version), Some(bytes));
            }
            for ((position, _), bytes) in commits.iter().zip(&records) {
                put(Kept::Commit(*position), Some(bytes));
            }
            put(Kept::Commit(position), Some(&record_bytes));
            put(Kept::Fate(record.id), Some(&fate));
        }
    }
    Ok(())
}

fn put_change(change: &Changed, version: &[u8], mut put: impl FnMut(Kept<'_>, Option<&[u8]>)) {
    for entity in change.after.entities() {
        differences(change.live_before(), change.live_after(), |index, place, stands| {
            put(Kept::Place(entity, index, place), stands.then_some(&[]));
        });
        if change.before.is_none() {
            put(Kept::Member(entity, change.after.id), Some(&[]));
        }
    }
    put(Kept::Version(change.after.id, change.after.version), Some(version));
}

/// The object of a version's bytes.
pub(super) fn object(bytes: &[u8]) -> Result<Object, StateError> {
    decode::<Version<'_>>(bytes, "object").map(|version| version.0.into_owned())
}

pub(super) fn encode_version(object: &Object) -> Result<Vec<u8>, StateError> {
    encode(&Version(Cow::Borrowed(object)))
}

pub(super) fn encode<T: Wire>(value: &T) -> Result<Vec<u8>, StateError> {
    codec::encode(value).map_err(|error| StateError::Engine(Box::new(error)))
}

pub(super) fn decode<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, StateError> {
    codec::decode(bytes).map_err(|source| StateError::Malformed { what, source })
}

impl Encode for Version<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<Context> Decode<Context> for Version<'_> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Object::decode(decoder).map(|object| Self(Cow::Owned(object)))
    }
}

impl Wire for Header {}
impl Wire for Version<'_> {}
impl Wire for Fate {}
