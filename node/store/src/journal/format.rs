//! The bytes of a journal, as JOURNAL.md describes them. Nothing here does I/O.

use bytes::Bytes;
use caps_model::Name;
use caps_overlay::bugs::{self, Bug};
use sha2::{Digest, Sha256};

use super::envelope::{self, Envelope};
use super::{Entry, EntryKind, Founder, HardState, Record, Seat};

/// A link of the hash chain.
pub(super) type Hash = [u8; 32];

/// What stands at the beginning of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) segment: u32,
    /// The index after the last entry before this segment.
    pub(super) next_index: u64,
    pub(super) cabinet: Name,
    /// The chain at the end of the segment before this one.
    pub(super) chain: Hash,
}

/// Why bytes are not a segment header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Malformed,
    OtherVersion(u16),
}

/// What stands at one place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole record that continues the chain.
    Record(RawRecord<'a>),
    /// Nothing was ever written here.
    End,
    /// Neither.
    Bad(&'static str),
}

/// A record that continues the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawRecord<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
    /// What of it enters the chain as a proposal, if it is one.
    pub(super) proposal: Option<Linked<'a>>,
    /// The chain after it.
    pub(super) chain: Hash,
    /// Bytes it occupies.
    pub(super) size_bytes: usize,
    /// Whether everything before it was durable when it was written.
    pub(super) all_before_synced: bool,
}

/// The data of a normal entry that is not empty, as it enters the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Linked<'a> {
    /// The data taken apart, unless it is something else.
    pub(super) envelope: Option<Envelope<'a>>,
    pub(super) digest: Hash,
}

/// An entry as it stands in its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEntry<'a> {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) kind: EntryKind,
    pub(super) data: &'a [u8],
}

/// What a whole record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Record(Record),
    /// Everything before it was durable when it was written; it says nothing else.
    Mark,
    /// A later version knows this kind.
    UnknownKind(u8),
    Malformed,
}

/// The file that holds a segment.
pub(super) fn file_name(segment: u32) -> String {
    format!("{FILE_PREFIX}{segment:010}")
}

/// The segment that a file holds, if it holds one.
pub(super) fn segment_of(file_name: &str) -> Option<u32> {
    let digits = file_name.strip_prefix(FILE_PREFIX)?;
    let all_digits = digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

impl RawEntry<'_> {
    pub(super) fn to_entry(self) -> Entry {
        let Self { index, term, kind, data } = self;
        Entry { index, term, kind, payload: Bytes::copy_from_slice(data) }
    }
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&u64::from(self.segment).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.next_index.to_le_bytes());
        let name = self.cabinet.as_str().as_bytes();
        bytes[32] = u8::try_from(name.len()).expect("a name has at most 63 characters");
        bytes[33..33 + name.len()].copy_from_slice(name);
        bytes[104..].copy_from_slice(&self.chain);
        let check = header_check(&bytes);
        bytes[96..104].copy_from_slice(&check);
        bytes
    }

    /// The header at the beginning of a segment's bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(BadHeader::Malformed)?;
        if &bytes[..8] != MAGIC || bytes[96..104] != header_check(bytes) {
            return Err(BadHeader::Malformed);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(BadHeader::OtherVersion(version));
        }
        let segment = u32::try_from(number(&bytes[16..24])).map_err(|_| BadHeader::Malformed)?;
        let name = bytes.get(33..33 + usize::from(bytes[32])).and_then(|name| std::str::from_utf8(name).ok());
        let cabinet = name.and_then(|name| Name::new(name).ok()).ok_or(BadHeader::Malformed)?;
        let header = Self { segment, next_index: number(&bytes[24..32]), cabinet, chain: hash(&bytes[104..]) };
        // Reserved bytes are zero in this version.
        if header.encode() == *bytes { Ok(header) } else { Err(BadHeader::Malformed) }
    }
}

/// Where a record is to be written, and whether everything before it is durable already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) all_before_synced: bool,
}

/// Appends the bytes of a record that goes to `spot` after `chain`, and answers the chain after it.
pub(super) fn encode_record(spot: Spot, chain: &Hash, kind: u8, payload: &[u8], out: &mut Vec<u8>) -> Hash {
    let mut header = [0; RECORD_HEADER_BYTES];
    let length = u32::try_from(payload.len()).expect("payloads are a few MiB at most");
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4] = kind;
    header[5] = if spot.all_before_synced { ALL_BEFORE_SYNCED } else { 0 };
    let check = record_check(spot.segment, spot.offset, &header);
    header[8..].copy_from_slice(&check);
    let next = link(chain, &header, payload, linked(kind, payload).as_ref());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    out.resize(out.len() + padding(payload.len()), 0);
    out.extend_from_slice(&next);
    next
}

/// What stands at `offset` of a segment after `chain`, given the bytes from there on.
pub(super) fn verify_record<'a>(segment: u32, offset: u64, rest: &'a [u8], chain: &Hash) -> Found<'a> {
    let Some(header) = rest.first_chunk::<RECORD_HEADER_BYTES>() else {
        return if rest.iter().all(|b| *b == 0) { Found::End } else { Found::Bad("a record header is cut off") };
    };
    if header == &[0; RECORD_HEADER_BYTES] {
        return Found::End;
    }
    if !header_is_sound(segment, offset, header) {
        return Found::Bad("a record header does not match its check");
    }
    let length = payload_length(header);
    let size_bytes = record_bytes(length);
    let Some(record) = rest.get(..size_bytes) else { return Found::Bad("a record is cut off") };
    let (payload, end) = record[RECORD_HEADER_BYTES..].split_at(length);
    let (padding, stored) = end.split_at(padding(length));
    let proposal = linked(header[4], payload);
    let next = link(chain, header, payload, proposal.as_ref());
    if (stored != next || padding.iter().any(|b| *b != 0)) && !bugs::has(Bug::CheckIgnored) {
        return Found::Bad("a record does not continue the hash chain");
    }
    let all_before_synced = header[5] & ALL_BEFORE_SYNCED != 0;
    Found::Record(RawRecord { kind: header[4], payload, proposal, chain: next, size_bytes, all_before_synced })
}

/// Whether a record after `offset` proves that everything before it, the place at `offset` included, was durable once.
pub(super) fn later_proof_of_sync(segment: u32, bytes: &[u8], offset: usize) -> bool {
    let starts = (offset / ALIGNMENT + 1) * ALIGNMENT..bytes.len();
    starts.step_by(ALIGNMENT).any(|start| {
        bytes[start..]
            .first_chunk::<RECORD_HEADER_BYTES>()
            .is_some_and(|header| header[5] & ALL_BEFORE_SYNCED != 0 && header_is_sound(segment, start as u64, header))
    })
}

/// Whether what stands at `offset` of a segment ends beyond the end of the file, given the bytes from there on. A crash does not leave that: a segment
/// has its length, durably, before a record is written into it.
pub(super) fn ends_beyond(segment: u32, offset: u64, rest: &[u8]) -> bool {
    match rest.first_chunk::<RECORD_HEADER_BYTES>() {
        None => rest.iter().any(|byte| *byte != 0),
        Some(header) => header_is_sound(segment, offset, header) && record_bytes(payload_length(header)) > rest.len(),
    }
}

/// The payload length that a sound record header states.
pub(super) fn payload_length(header: &[u8; RECORD_HEADER_BYTES]) -> usize {
    u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize
}

/// The index, term and data of the entry in a whole record, if that can hold a proposal.
pub(super) fn proposal_within(record: &mut [u8]) -> Option<(u64, u64, &mut [u8])> {
    let (header, rest) = record.split_first_chunk_mut::<RECORD_HEADER_BYTES>()?;
    let (fixed, data) = rest.get_mut(..payload_length(header))?.split_at_mut_checked(ENTRY_FIXED_BYTES)?;
    let is_proposal = header[4] == KIND_ENTRY && fixed[16] == EntryKind::Normal as u8 && Envelope::parse(data).is_some();
    is_proposal.then(|| (number(&fixed[..8]), number(&fixed[8..16]), data))
}

/// The index of the entry in a record, if it is one.
pub(super) fn index_of(record: &RawRecord<'_>) -> Option<u64> {
    let is_entry = record.kind == KIND_ENTRY && record.payload.len() >= ENTRY_FIXED_BYTES;
    is_entry.then(|| number(&record.payload[..8]))
}

/// The index that the bytes of a record claim, which may be a bad one.
pub(super) fn index_at(record: &[u8]) -> Option<u64> {
    let is_entry = record.get(4) == Some(&KIND_ENTRY);
    record.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + 8).filter(|_| is_entry).map(number)
}

/// The bytes that a record with this payload occupies.
pub(super) fn record_bytes(payload: usize) -> usize {
    RECORD_HEADER_BYTES + payload + padding(payload) + HASH_BYTES
}

/// The kind and payload of a record.
pub(super) fn encode_payload(record: &Record) -> (u8, Vec<u8>) {
    match record {
        Record::Entry(entry) => {
            let mut payload = Vec::with_capacity(ENTRY_FIXED_BYTES + entry.payload.len());
            payload.extend_from_slice(&entry.index.to_le_bytes());
            payload.extend_from_slice(&entry.term.to_le_bytes());
            payload.push(entry.kind as u8);
            payload.extend_from_slice(&entry.payload);
            (KIND_ENTRY, payload)
        }
        Record::HardState(state) => {
            let payload = [state.term, state.vote, state.commit].map(u64::to_le_bytes).concat();
            (KIND_HARD_STATE, payload)
        }
        Record::Seat(seat) => (KIND_SEAT, encode_seat(seat)),
    }
}

/// What a record says.
pub(super) fn decode_payload(record: &RawRecord<'_>) -> Parsed {
    let payload = record.payload;
    match record.kind {
        KIND_ENTRY => entry_in(record).map_or(Parsed::Malformed, |entry| Parsed::Record(Record::Entry(entry.to_entry()))),
        KIND_HARD_STATE if payload.len() == 24 => {
            let [term, vote, commit] = [0, 8, 16].map(|at| number(&payload[at..at + 8]));
            Parsed::Record(Record::HardState(HardState { term, vote, commit }))
        }
        KIND_MARK if payload.is_empty() => Parsed::Mark,
        KIND_SEAT => decode_seat(payload).map_or(Parsed::Malformed, |seat| Parsed::Record(Record::Seat(seat))),
        KIND_HARD_STATE | KIND_MARK => Parsed::Malformed,
        kind => Parsed::UnknownKind(kind),
    }
}

/// The entry that a record holds; `None`: it holds something else, or what makes no sense.
pub(super) fn entry_in<'a>(record: &RawRecord<'a>) -> Option<RawEntry<'a>> {
    let (fixed, data) = record.payload.split_at_checked(ENTRY_FIXED_BYTES).filter(|_| record.kind == KIND_ENTRY)?;
    let kind = EntryKind::from_number(fixed[16])?;
    let (index, term) = (number(&fixed[..8]), number(&fixed[8..16]));
    // The chain covers everything but this.
    if let Some(envelope) = record.proposal.and_then(|proposal| proposal.envelope) {
        envelope.decision(index, term).ok()?;
    }
    Some(RawEntry { index, term, kind, data })
}

fn encode_seat(seat: &Seat) -> Vec<u8> {
    let mut payload = [seat.incarnation, seat.number].map(u64::to_le_bytes).concat();
    let count = u16::try_from(seat.founders.len()).expect("a group begins with a few");
    payload.extend_from_slice(&count.to_le_bytes());
    for founder in &seat.founders {
        let length = u16::try_from(founder.identity.len()).expect("an identity is shorter than a certificate");
        payload.extend_from_slice(&founder.number.to_le_bytes());
        payload.push(u8::from(founder.votes));
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(founder.identity.as_bytes());
    }
    payload
}

fn decode_seat(payload: &[u8]) -> Option<Seat> {
    let (fixed, mut rest) = payload.split_at_checked(18)?;
    let count = u16::from_le_bytes([fixed[16], fixed[17]]);
    let mut founders = Vec::new();
    for _ in 0..count {
        let (head, tail) = rest.split_at_checked(11)?;
        let votes = [false, true].get(usize::from(head[8])).copied()?;
        let (identity, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes([head[9], head[10]])))?;
        founders.push(Founder { number: number(&head[..8]), votes, identity: std::str::from_utf8(identity).ok()?.to_owned() });
        rest = tail;
    }
    rest.is_empty().then(|| Seat { incarnation: number(&fixed[..8]), number: number(&fixed[8..16]), founders })
}

/// The data in the payload of a record of this kind, if it is that of a proposal.
fn linked(kind: u8, payload: &[u8]) -> Option<Linked<'_>> {
    let (fixed, data) = payload.split_at_checked(ENTRY_FIXED_BYTES)?;
    let is_proposal = kind == KIND_ENTRY && fixed[16] == EntryKind::Normal as u8 && !data.is_empty();
    is_proposal.then(|| {
        let envelope = Envelope::parse(data);
        let digest = envelope.map_or_else(|| envelope::opaque_digest(data), |envelope| envelope.digest());
        Linked { envelope, digest }
    })
}

/// The payload enters by its digest; that of a proposal stays when values are taken out of it.
fn link(chain: &Hash, header: &[u8; RECORD_HEADER_BYTES], payload: &[u8], proposal: Option<&Linked<'_>>) -> Hash {
    let link = Sha256::new().chain_update(chain).chain_update(&header[..8]);
    let link = match proposal {
        Some(Linked { digest, .. }) => link.chain_update(&payload[..ENTRY_FIXED_BYTES]).chain_update(digest),
        None => link.chain_update(Sha256::digest(payload)),
    };
    link.finalize().into()
}

/// Whether a record header stands where it was written, unchanged.
pub(super) fn header_is_sound(segment: u32, offset: u64, header: &[u8; RECORD_HEADER_BYTES]) -> bool {
    // No record has kind 0: the cheap test spares most hashes when a whole segment is searched.
    header[4] != 0 && header[6..8] == [0, 0] && header[8..] == record_check(segment, offset, header)
}

/// Binds a record to its place, so that bytes inside a payload are not taken for a record.
fn record_check(segment: u32, offset: u64, header: &[u8; RECORD_HEADER_BYTES]) -> [u8; 8] {
    let digest = Sha256::new().chain_update(u64::from(segment).to_le_bytes()).chain_update(offset.to_le_bytes()).chain_update(&header[..8]);
    first_eight(digest.finalize().into())
}

/// The check over bytes that stand for themselves.
pub(super) fn check(bytes: &[u8]) -> [u8; 8] {
    first_eight(Sha256::digest(bytes).into())
}

fn header_check(bytes: &[u8; HEADER_BYTES]) -> [u8; 8] {
    first_eight(Sha256::new().chain_update(&bytes[..96]).chain_update(&bytes[104..]).finalize().into())
}

pub(super) fn first_eight(hash: Hash) -> [u8; 8] {
    *hash.first_chunk().expect("a hash has 32 bytes")
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("callers pass eight bytes"))
}

pub(super) fn hash(bytes: &[u8]) -> Hash {
    *bytes.first_chunk().expect("callers pass 32 bytes")
}

fn padding(payload: usize) -> usize {
    payload.next_multiple_of(ALIGNMENT) - payload
}

const FILE_PREFIX: &str = "journal-";
const MAGIC: &[u8; 8] = b"CAPSJRNL";
/// The version of the format.
pub(super) const VERSION: u16 = 2;

/// Bytes of a segment header.
pub(super) const HEADER_BYTES: usize = 136;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 16;
/// Bytes of a link of the chain: the last of every record, and of every segment header.
pub(super) const HASH_BYTES: usize = 32;
/// Records start at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
const ENTRY_FIXED_BYTES: usize = 17;

const KIND_ENTRY: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
/// The kind of [`Parsed::Mark`].
pub(super) const KIND_MARK: u8 = 3;
const KIND_SEAT: u8 = 4;

/// Flag: everything before this record was durable when it was written.
const ALL_BEFORE_SYNCED: u8 = 1;
