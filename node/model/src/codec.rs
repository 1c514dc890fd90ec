//! Messages to bytes and back: the only place that touches bincode.
//!
//! A message is one byte of schema version, then bincode's standard encoding (little-endian, variable-length integers). Whoever carries it
//! (a frame of the overlay, a record of the journal) carries its length. Decoding never allocates more than [`DECODED_BYTES_MAX`] on the word
//! of a peer, and refuses trailing bytes.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

/// A type that crosses between processes or onto the disk. Never recursive, never zero-sized.
pub trait Wire: Encode + Decode<()> {
    /// The version of this type's shape. A reader refuses others.
    const SCHEMA: u8 = 1;
}

/// The message was not encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It is larger than [`DECODED_BYTES_MAX`]: send less at once.
    #[error("the message is too large to encode: {0}")]
    Unencodable(#[from] bincode::error::EncodeError),
}

/// The bytes are not the message expected. Nothing was changed; the sender is at fault, or the disk.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not even a version.
    #[error("the message is empty")]
    Empty,
    /// Another version of the message: a node of another release.
    #[error("message version {found}, expected {expected}")]
    Version {
        /// The version in the bytes.
        found: u8,
        /// The version understood here.
        expected: u8,
    },
    /// The bytes after the message.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// The bytes make no sense, or claim to be larger than the limit.
    #[error("malformed message: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
}

/// The bytes of a message.
pub fn encode<T: Wire>(message: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(T::SCHEMA);
    bincode::encode_into_std_write(message, &mut bytes, CONFIGURATION)?;
    Ok(bytes)
}

/// The message in these bytes, all of them.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (&found, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if found != T::SCHEMA {
        return Err(DecodeError::Version { found, expected: T::SCHEMA });
    }
    let (message, used) = bincode::decode_from_slice(rest, CONFIGURATION)?;
    match rest.len() - used {
        0 => Ok(message),
        left => Err(DecodeError::Trailing(left)),
    }
}

/// Appends a part of a message that is put together piece by piece: parts appended one after the other are encoded as the fields of one type.
pub fn append<T: Encode>(part: &T, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    bincode::encode_into_std_write(part, bytes, CONFIGURATION)?;
    Ok(())
}

/// Takes a part off the front of a message.
pub fn take<T: Decode<()>>(bytes: &mut &[u8]) -> Result<T, DecodeError> {
    let (part, used) = bincode::decode_from_slice(bytes, CONFIGURATION)?;
    *bytes = &bytes[used..];
    Ok(part)
}

/// Nothing may be left of a message when all its parts were taken.
pub fn finish(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(bytes.len())) }
}

/// Memory that a decoded message may claim: eight times the largest frame, because small values grow when they leave the wire.
pub const DECODED_BYTES_MAX: usize = 8 << 20;

/// Room for a usual message: it does not grow step by step.
const USUAL_BYTES: usize = 256;

const CONFIGURATION: Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> =
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();
