//! The keys of a state in an ordered map of bytes.

use caps_model::{CommitId, Name, ObjectId, Position};

use super::index::{Index, Place};

/// The key of the mark and the counts.
pub(super) const MARK: &[u8] = b"m";

/// The key of one version of an object.
pub(super) fn version(id: ObjectId, position: Position) -> Vec<u8> {
    [b"o".as_slice(), &id.0.to_be_bytes(), &position.0.to_be_bytes()].concat()
}

/// The key that lists an object under an entity.
pub(super) fn member(entity: &Name, id: ObjectId) -> Vec<u8> {
    [b"e".as_slice(), entity.as_str().as_bytes(), &[0], &id.0.to_be_bytes()].concat()
}

/// The key of a commit.
pub(super) fn commit(position: Position) -> Vec<u8> {
    [b"c".as_slice(), &position.0.to_be_bytes()].concat()
}

/// The key of what became of a commit.
pub(super) fn fate(id: CommitId) -> Vec<u8> {
    [b"i".as_slice(), &id.0.to_be_bytes()].concat()
}

/// The key of a place in an index of an entity.
pub(super) fn place(entity: &Name, index: &Index, place: &Place) -> Vec<u8> {
    [index_prefix(entity, index).as_slice(), place.as_bytes()].concat()
}

/// What all keys of an index of an entity begin with, and nothing else does.
pub(super) fn index_prefix(entity: &Name, index: &Index) -> Vec<u8> {
    let entity = entity.as_str().as_bytes();
    match index {
        Index::Attribute(attribute) => [b"v".as_slice(), entity, &[0], attribute.as_str().as_bytes(), &[0]].concat(),
        Index::Words => [b"w".as_slice(), entity, &[0]].concat(),
    }
}

/// The object that a key of an entity ends with.
pub(super) fn object_of(key: &[u8]) -> Option<ObjectId> {
    key.last_chunk().map(|bytes| ObjectId(u128::from_be_bytes(*bytes)))
}
