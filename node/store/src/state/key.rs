//! The keys of a state in an ordered map of bytes.
//!
//! A key is a *space* and the rest. All keys of a space follow each other, no space is the beginning of another, and whatever is read at once
//! lies in one.

use caps_model::{CommitId, Name, ObjectId, Position};

use super::index::Index;

/// A key, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    bytes: Vec<u8>,
    space_bytes: usize,
}

impl Key {
    fn new(space: &[&[u8]], rest: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(space.iter().map(|part| part.len()).sum::<usize>() + rest.len());
        space.iter().for_each(|part| bytes.extend_from_slice(part));
        let space_bytes = bytes.len();
        bytes.extend_from_slice(rest);
        Self { bytes, space_bytes }
    }

    /// All of it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it shares with the others of its space.
    pub(super) fn space(&self) -> &[u8] {
        &self.bytes[..self.space_bytes]
    }

    /// What tells it from them.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.space_bytes..]
    }
}

/// The key of one version of an object.
pub(super) fn version(id: ObjectId, position: Position) -> Key {
    let mut rest = [0; ID_BYTES + POSITION_BYTES];
    rest[..ID_BYTES].copy_from_slice(&id.0.to_be_bytes());
    rest[ID_BYTES..].copy_from_slice(&position.0.to_be_bytes());
    Key::new(&[b"o"], &rest)
}

/// The key that lists an object under an entity.
pub(super) fn member(entity: &Name, id: ObjectId) -> Key {
    Key::new(&[b"e", entity.as_str().as_bytes(), &[0]], &id.0.to_be_bytes())
}

/// The key of a commit.
pub(super) fn commit(position: Position) -> Key {
    Key::new(&[b"c"], &position.0.to_be_bytes())
}

/// The key of what became of a commit.
pub(super) fn fate(id: CommitId) -> Key {
    Key::new(&[b"i"], &id.0.to_be_bytes())
}

/// The commit of which a key is the fate's.
pub(super) fn fate_in(key: &[u8]) -> Option<CommitId> {
    let id = key.strip_prefix(b"i")?;
    id.try_into().ok().map(|id| CommitId(u128::from_be_bytes(id)))
}

/// The key of a place, by its bytes, in an index of an entity.
pub(super) fn place(entity: &Name, index: &Index, place: &[u8]) -> Key {
    within(entity, index, place)
}

/// The beginning of an index of an entity: a space of its own.
pub(super) fn index(entity: &Name, index: &Index) -> Key {
    within(entity, index, &[])
}

/// What a key holds, in words.
pub(super) fn kind(key: &[u8]) -> &'static str {
    match key.first() {
        Some(b'o') => "versions of objects",
        Some(b'e') => "objects of entities",
        Some(b'v') => "values of objects",
        Some(b'w') => "words of objects",
        Some(b'c') => "commits",
        Some(b'i') => "names of commits",
        _ => "something else",
    }
}

fn within(entity: &Name, index: &Index, rest: &[u8]) -> Key {
    let entity = entity.as_str().as_bytes();
    match index {
        Index::Attribute(attribute) => Key::new(&[b"v", entity, &[0], attribute.as_str().as_bytes(), &[0]], rest),
        Index::Words => Key::new(&[b"w", entity, &[0]], rest),
    }
}

/// What is asked for one by one, mostly of what is not there: the part of a key that a filter remembers. An object's versions share theirs.
pub(super) fn probe(key: &[u8]) -> Option<&[u8]> {
    match key.first()? {
        b'o' => key.get(..1 + ID_BYTES),
        b'i' => Some(key),
        _ => None,
    }
}

const ID_BYTES: usize = 16;
const POSITION_BYTES: usize = 8;
