//! Consensus messages as bytes: hand-written, bounded, independent of protobuf.
//!
//! ```text
//! version u8 = 1 · cabinet: length u8, name · kind u8 · from to term log_term index commit commit_term: varints
//! reject u8 · reject_hint varint · context: length varint, bytes · entries: count varint, each kind u8, term index: varints, payload: length varint, bytes
//! ```
//! Varints are LEB128, shortest form not required, at most ten bytes. Nothing may follow the last entry. Snapshots have no message: a replica
//! that is behind reads entries from the journal of the leader.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use caps_model::Name;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::membership::Change;

/// Why bytes are not a consensus message for this cabinet. The message is dropped and counted; the sender is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A node of another release.
    #[error("message version {0}, expected {VERSION}")]
    Version(u8),
    /// Another cabinet's replica: two configurations disagree.
    #[error("the message belongs to another cabinet")]
    Cabinet,
    /// A kind that never crosses the wire.
    #[error("message kind {0} does not cross the wire")]
    Kind(u8),
    /// An entry of a kind that this release does not replicate.
    #[error("entry kind {0} is not replicated")]
    EntryKind(u8),
    /// The bytes end early, claim more than they hold, or go on.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
}

/// The bytes of `message` for the replicas of `cabinet`; `None` for a kind that never crosses the wire.
pub(crate) fn encode(cabinet: &Name, message: &Message) -> Option<Bytes> {
    let kind = kind_to_wire(message.get_msg_type())?;
    let payload: usize = message.entries.iter().map(|entry| entry.data.len() + ENTRY_OVERHEAD_BYTES).sum();
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + message.context.len() + payload);
    bytes.put_u8(VERSION);
    let name = cabinet.as_str().as_bytes();
    bytes.put_u8(u8::try_from(name.len()).expect("a name has at most 63 characters"));
    bytes.put_slice(name);
    bytes.put_u8(kind);
    for number in [message.from, message.to, message.term, message.log_term, message.index, message.commit, message.commit_term] {
        put_varint(&mut bytes, number);
    }
    bytes.put_u8(u8::from(message.reject));
    put_varint(&mut bytes, message.reject_hint);
    put_bytes(&mut bytes, &message.context);
    put_varint(&mut bytes, message.entries.len() as u64);
    for entry in message.entries.iter() {
        bytes.put_u8(entry_kind_to_wire(entry.get_entry_type()));
        put_varint(&mut bytes, entry.term);
        put_varint(&mut bytes, entry.index);
        put_bytes(&mut bytes, &entry.data);
    }
    Some(bytes.freeze())
}

/// The message in `bytes`, whose payloads share their memory.
pub(crate) fn decode(cabinet: &Name, bytes: Bytes) -> Result<Message, WireError> {
    let mut input = bytes;
    let version = take_u8(&mut input)?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let name_bytes = usize::from(take_u8(&mut input)?);
    if take(&mut input, name_bytes)? != cabinet.as_str().as_bytes() {
        return Err(WireError::Cabinet);
    }
    let kind = take_u8(&mut input)?;
    let mut message = Message::default();
    message.set_msg_type(kind_from_wire(kind).ok_or(WireError::Kind(kind))?);
    message.from = take_varint(&mut input)?;
    message.to = take_varint(&mut input)?;
    message.term = take_varint(&mut input)?;
    message.log_term = take_varint(&mut input)?;
    message.index = take_varint(&mut input)?;
    message.commit = take_varint(&mut input)?;
    message.commit_term = take_varint(&mut input)?;
    message.reject = match take_u8(&mut input)? {
        0 => false,
        1 => true,
        _ => return Err(WireError::Malformed("a truth is 0 or 1")),
    };
    message.reject_hint = take_varint(&mut input)?;
    message.context = take_bytes(&mut input)?;
    message.set_entries(take_entries(&mut input)?.into());
    if input.has_remaining() {
        return Err(WireError::Malformed("bytes after the end"));
    }
    Ok(message)
}

/// Cuts an append that has grown beyond `bytes_max` of payload into several that say the same, each of at least one entry.
///
/// The consensus library bounds what it reads from the log for one message, but not what it batches onto a message that is waiting.
pub(crate) fn split(mut message: Message, bytes_max: usize) -> Vec<Message> {
    let total: usize = message.entries.iter().map(|entry| entry.data.len()).sum();
    if total <= bytes_max || message.entries.len() < 2 {
        return vec![message];
    }
    let mut parts = Vec::new();
    let mut part = message.clone();
    part.clear_entries();
    let mut size = 0;
    for entry in message.take_entries() {
        if !part.entries.is_empty() && size + entry.data.len() > bytes_max {
            let mut following = part.clone();
            following.clear_entries();
            if let Some(last) = part.entries.last() {
                following.index = last.index;
                following.log_term = last.term;
            }
            parts.push(std::mem::replace(&mut part, following));
            size = 0;
        }
        size += entry.data.len();
        part.mut_entries().push(entry);
    }
    parts.push(part);
    parts
}

fn take_entries(input: &mut Bytes) -> Result<Vec<Entry>, WireError> {
    let count = take_varint(input)?;
    if count > (input.remaining() / ENTRY_BYTES_MIN) as u64 {
        return Err(WireError::Malformed("more entries than bytes"));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let kind = take_u8(input)?;
        let mut entry = Entry::default();
        entry.set_entry_type(entry_kind_from_wire(kind).ok_or(WireError::EntryKind(kind))?);
        entry.term = take_varint(input)?;
        entry.index = take_varint(input)?;
        entry.data = take_bytes(input)?;
        if entry.get_entry_type() == EntryType::EntryConfChangeV2 && Change::decode(&entry.data).is_err() {
            return Err(WireError::Malformed("a change of membership that makes no sense"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn put_varint(bytes: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        bytes.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.put_u8((number & 0x7f) as u8);
}

fn put_bytes(bytes: &mut BytesMut, content: &[u8]) {
    put_varint(bytes, content.len() as u64);
    bytes.put_slice(content);
}

fn take_u8(input: &mut Bytes) -> Result<u8, WireError> {
    if !input.has_remaining() {
        return Err(WireError::Malformed("the bytes end early"));
    }
    Ok(input.get_u8())
}

fn take_varint(input: &mut Bytes) -> Result<u64, WireError> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(input)?;
        if shift == 63 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(WireError::Malformed("a number has more than 64 bits"))
}

fn take(input: &mut Bytes, length: usize) -> Result<Bytes, WireError> {
    if input.remaining() < length {
        return Err(WireError::Malformed("the bytes end early"));
    }
    Ok(input.split_to(length))
}

fn take_bytes(input: &mut Bytes) -> Result<Bytes, WireError> {
    let length = usize::try_from(take_varint(input)?).map_err(|_| WireError::Malformed("a length beyond this machine"))?;
    take(input, length)
}

/// The kinds that cross the wire. The others are a node's own (ticks, reports), proposals (forwarded as calls, so that the caller gets an
/// answer), and snapshots (not used).
const KINDS: &[(u8, MessageType)] = &[
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgHeartbeat),
    (4, MessageType::MsgHeartbeatResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgRequestVote),
    (8, MessageType::MsgRequestVoteResponse),
    (9, MessageType::MsgTimeoutNow),
    (10, MessageType::MsgReadIndex),
    (11, MessageType::MsgReadIndexResp),
];

fn kind_to_wire(kind: MessageType) -> Option<u8> {
    KINDS.iter().find(|(_, of)| *of == kind).map(|(number, _)| *number)
}

fn kind_from_wire(number: u8) -> Option<MessageType> {
    KINDS.iter().find(|(of, _)| *of == number).map(|(_, kind)| *kind)
}

fn entry_kind_to_wire(kind: EntryType) -> u8 {
    match kind {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    }
}

/// Changes of membership are written in their second form only, so that another one is refused at the door.
fn entry_kind_from_wire(number: u8) -> Option<EntryType> {
    match number {
        0 => Some(EntryType::EntryNormal),
        2 => Some(EntryType::EntryConfChangeV2),
        _ => None,
    }
}

const VERSION: u8 = 1;

/// Room for everything before the context, at its longest.
const HEADER_BYTES: usize = 3 + 63 + 10 * 10;

/// Room for one entry's kind, term, index and length, at their longest.
const ENTRY_OVERHEAD_BYTES: usize = 1 + 3 * 10;

/// The shortest entry: kind, and one byte each for term, index and length.
const ENTRY_BYTES_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::membership::Step;
    use proptest::prelude::*;

    fn cabinet() -> Name {
        Name::fixed("main")
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let entry = (any::<u64>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(term, index, data)| Entry {
            term,
            index,
            data: data.into(),
            ..Entry::default()
        });
        let numbers = proptest::array::uniform8(any::<u64>());
        let entries = proptest::collection::vec(entry, 0..5);
        (0..KINDS.len(), numbers, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40), entries).prop_map(
            |(kind, numbers, reject, context, entries)| {
                let mut message = Message::default();
                message.set_msg_type(KINDS[kind].1);
                [
                    message.from,
                    message.to,
                    message.term,
                    message.log_term,
                    message.index,
                    message.commit,
                    message.commit_term,
                    message.reject_hint,
                ] = numbers;
                message.reject = reject;
                message.context = context.into();
                message.set_entries(entries.into());
                message
            },
        )
    }

    proptest! {
        #[test]
        fn messages_read_back(message in any_message()) {
            let bytes = encode(&cabinet(), &message).unwrap();
            prop_assert_eq!(decode(&cabinet(), bytes), Ok(message));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&cabinet(), bytes.into()));
        }

        #[test]
        fn a_damaged_message_never_panics(message in any_message(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = encode(&cabinet(), &message).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            drop(decode(&cabinet(), bytes.into()));
        }

        #[test]
        fn every_truncation_is_refused(message in any_message(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&cabinet(), &message).unwrap();
            let cut = bytes.slice(..at.index(bytes.len()));
            prop_assert!(decode(&cabinet(), cut).is_err());
        }
    }

    #[test]
    fn the_bytes_of_an_append_stay_as_they_are() {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.from, message.to, message.term, message.log_term, message.index, message.commit) = (1, 2, 300, 4, 5, 6);
        let mut entry = Entry::default();
        (entry.term, entry.index) = (300, 6);
        entry.data = Bytes::from_static(b"hi");
        message.set_entries(vec![entry].into());
        let expected = b"\x01\x04main\x01\x01\x02\xac\x02\x04\x05\x06\x00\x00\x00\x00\x01\x00\xac\x02\x06\x02hi";
        assert_eq!(encode(&cabinet(), &message).unwrap(), Bytes::from_static(expected));
    }

    #[test]
    fn another_cabinets_message_is_refused() {
        let bytes = encode(&Name::fixed("other"), &heartbeat()).unwrap();
        assert_eq!(decode(&cabinet(), bytes), Err(WireError::Cabinet));
    }

    #[test]
    fn snapshots_and_own_messages_do_not_cross() {
        for kind in [MessageType::MsgSnapshot, MessageType::MsgHup, MessageType::MsgPropose, MessageType::MsgTransferLeader] {
            let mut message = Message::default();
            message.set_msg_type(kind);
            assert_eq!(encode(&cabinet(), &message), None);
        }
    }

    #[test]
    fn changes_of_membership_cross_if_they_make_sense() {
        let crosses = |kind, data| {
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgAppend);
            let mut entry = Entry { data, ..Entry::default() };
            entry.set_entry_type(kind);
            message.set_entries(vec![entry].into());
            decode(&cabinet(), encode(&cabinet(), &message).unwrap()).map(|decoded| assert_eq!(decoded, message))
        };
        let change = Change::one(Step::Promote { number: 4 }).encode();
        assert_eq!(crosses(EntryType::EntryConfChangeV2, change.clone()), Ok(()));
        assert_eq!(crosses(EntryType::EntryConfChange, change), Err(WireError::EntryKind(1)));
        let nonsense = crosses(EntryType::EntryConfChangeV2, Bytes::from_static(b"nonsense"));
        assert!(matches!(nonsense, Err(WireError::Malformed(_))), "{nonsense:?}");
    }

    #[test]
    fn a_long_append_is_cut_into_appends_that_follow_each_other() {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.index, message.log_term, message.commit) = (10, 2, 9);
        let entries: Vec<Entry> = (11..16)
            .map(|index| {
                let mut entry = Entry::default();
                (entry.index, entry.term) = (index, 3);
                entry.data = Bytes::from(vec![0; 40]);
                entry
            })
            .collect();
        message.set_entries(entries.into());
        let parts = split(message, 100);
        // Two entries of 40 bytes fit into 100, three do not: 2 + 2 + 1.
        let shape: Vec<(u64, u64, Vec<u64>)> =
            parts.iter().map(|m| (m.index, m.log_term, m.entries.iter().map(|e| e.index).collect())).collect();
        assert_eq!(shape, [(10, 2, vec![11, 12]), (12, 3, vec![13, 14]), (14, 3, vec![15])]);
        assert!(parts.iter().all(|m| m.commit == 9));
    }

    fn heartbeat() -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgHeartbeat);
        message
    }
}
