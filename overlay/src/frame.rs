//! How calls look on a stream: one frame after the other.
//!
//! A frame is its length, a kind, and the kind's fields; the body is whatever is left. Numbers are QUIC's
//! variable-length integers (RFC 9000, section 16), big-endian. Nothing here knows about sockets or tasks.
//!
//! ```text
//! frame    = length kind fields [body]          length counts everything after itself
//! request  = 1 id header body                   id: the place of the answer; 0 on a stream of its own
//! notice   = 2 header body                      no answer
//! reply    = 3 id body
//! failed   = 4 id code retry [after_ms] message
//! cancel   = 5 id                               answered by `failed`, like every request that was not
//! accepted = 6                                  an answer of many replies, or a raw stream, follows
//! item     = 7 body
//! end      = 8
//! header   = service method flags deadline_ms position call_id [trace_id parent]
//! flags    = priority (bits 0 and 1), trace present (bit 2)
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::time::Duration;
use thiserror::Error;

use crate::failure::{Failure, Retry};
use crate::header::{MethodId, Priority, Trace};
use crate::limits::{BODY_BYTES_MAX, FAILURE_MESSAGE_BYTES_MAX};

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Request { id: u32, header: Header, body: Bytes },
    Notice { header: Header, body: Bytes },
    Reply { id: u32, body: Bytes },
    Failed { id: u32, failure: Failure },
    Cancel { id: u32 },
    Accepted,
    Item { body: Bytes },
    End,
}

/// What every call carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) method: MethodId,
    pub(crate) deadline_ms: u32,
    pub(crate) priority: Priority,
    pub(crate) position: u64,
    pub(crate) call_id: u64,
    pub(crate) trace: Trace,
}

impl Header {
    /// How long the caller still waits.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.into())
    }
}

/// Why the bytes are no frame. The peer is at fault; the stream makes no sense from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error("a frame of {size_bytes} bytes is larger than any may be")]
    TooLarge { size_bytes: u64 },
    #[error("a frame ends before its fields do")]
    Truncated,
    #[error("a frame holds a number that stands for nothing")]
    Unknown,
}

impl Frame {
    /// Reads what follows the length.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields(&bytes);
        let kind = fields.byte()?;
        let start = match kind {
            REQUEST => {
                let (id, header) = (fields.id()?, fields.header()?);
                bytes.advance(bytes.len() - fields.0.len());
                return Ok(Self::Request { id, header, body: bytes });
            }
            NOTICE => {
                let header = fields.header()?;
                bytes.advance(bytes.len() - fields.0.len());
                return Ok(Self::Notice { header, body: bytes });
            }
            REPLY => {
                let id = fields.id()?;
                bytes.advance(bytes.len() - fields.0.len());
                return Ok(Self::Reply { id, body: bytes });
            }
            FAILED => return fields.failed(),
            CANCEL => Self::Cancel { id: fields.id()? },
            ACCEPTED => Self::Accepted,
            ITEM => {
                bytes.advance(1);
                return Ok(Self::Item { body: bytes });
            }
            END => Self::End,
            _ => return Err(FrameError::Unknown),
        };
        if fields.0.is_empty() { Ok(start) } else { Err(FrameError::Unknown) }
    }

    /// Writes the frame, its length first.
    #[cfg(test)]
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Request { id, header, body } => put_request(out, *id, header, body),
            Self::Notice { header, body } => put_notice(out, header, body),
            Self::Reply { id, body } => put_reply(out, *id, body),
            Self::Failed { id, failure } => put_failed(out, *id, failure),
            Self::Cancel { id } => put_cancel(out, *id),
            Self::Accepted => put_accepted(out),
            Self::Item { body } => {
                out.put_slice(&item_head(body.len()));
                out.put_slice(body);
            }
            Self::End => put_end(out),
        }
    }
}

/// Writes a request.
pub(crate) fn put_request(out: &mut BytesMut, id: u32, header: &Header, body: &[u8]) {
    let mut head = Head::new(REQUEST);
    head.varint(id.into());
    head.header(header);
    head.write(out, body);
}

/// The beginning of a request on a stream of its own; the body of `body_bytes` follows.
pub(crate) fn request_head(header: &Header, body_bytes: usize) -> Bytes {
    let mut head = Head::new(REQUEST);
    head.varint(0);
    head.header(header);
    head.before(body_bytes)
}

/// Writes a one-way message.
pub(crate) fn put_notice(out: &mut BytesMut, header: &Header, body: &[u8]) {
    let mut head = Head::new(NOTICE);
    head.header(header);
    head.write(out, body);
}

/// Writes a reply.
pub(crate) fn put_reply(out: &mut BytesMut, id: u32, body: &[u8]) {
    let mut head = Head::new(REPLY);
    head.varint(id.into());
    head.write(out, body);
}

/// The beginning of a reply on a stream of its own.
pub(crate) fn reply_head(body_bytes: usize) -> Bytes {
    let mut head = Head::new(REPLY);
    head.varint(0);
    head.before(body_bytes)
}

/// Writes a failure; a message that is too long is cut.
pub(crate) fn put_failed(out: &mut BytesMut, id: u32, failure: &Failure) {
    let mut head = Head::new(FAILED);
    head.varint(id.into());
    head.varint(failure.code.into());
    match failure.retry {
        Retry::No => head.byte(0),
        Retry::Elsewhere => head.byte(1),
        Retry::After(after) => {
            head.byte(2);
            head.varint(u64::try_from(after.as_millis()).unwrap_or(VARINT_MAX).min(VARINT_MAX));
        }
    }
    let longest = failure.message.len().min(FAILURE_MESSAGE_BYTES_MAX);
    let end = (0..=longest).rev().find(|end| failure.message.is_char_boundary(*end)).unwrap_or(0);
    head.write(out, &failure.message.as_bytes()[..end]);
}

/// Writes a cancellation.
pub(crate) fn put_cancel(out: &mut BytesMut, id: u32) {
    let mut head = Head::new(CANCEL);
    head.varint(id.into());
    head.write(out, &[]);
}

/// Writes that an answer of many replies, or a raw stream, follows.
pub(crate) fn put_accepted(out: &mut BytesMut) {
    Head::new(ACCEPTED).write(out, &[]);
}

/// The beginning of one reply of many.
pub(crate) fn item_head(body_bytes: usize) -> Bytes {
    Head::new(ITEM).before(body_bytes)
}

/// Writes that no more replies follow.
pub(crate) fn put_end(out: &mut BytesMut) {
    Head::new(END).write(out, &[]);
}

/// Puts frames together from the chunks in which a stream delivers them.
///
/// A frame that lies within one chunk shares its memory; only one that crosses chunks is copied. What is held is the
/// last chunk and at most one incomplete frame, which takes memory as it arrives, not as it claims.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    chunk: Bytes,
    incomplete: BytesMut,
}

impl FrameReader {
    /// Takes the next chunk. The frames of the one before must have been taken out.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.incomplete.extend_from_slice(&std::mem::replace(&mut self.chunk, chunk));
        }
    }

    /// The next complete frame, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.incomplete.is_empty() {
            let Some(size) = frame_size(&self.chunk)? else {
                self.set_aside();
                return Ok(None);
            };
            if size.total() <= self.chunk.len() {
                let mut frame = self.chunk.split_to(size.total());
                frame.advance(size.prefix);
                return Frame::decode(frame).map(Some);
            }
            self.set_aside();
            return Ok(None);
        }
        self.complete_frame()
    }

    /// What has been received and belongs to no frame, for a stream that becomes raw.
    pub(crate) fn into_rest(self) -> Bytes {
        if self.incomplete.is_empty() {
            return self.chunk;
        }
        let mut rest = self.incomplete;
        rest.extend_from_slice(&self.chunk);
        rest.freeze()
    }

    fn set_aside(&mut self) {
        self.incomplete.extend_from_slice(&std::mem::take(&mut self.chunk));
    }

    fn complete_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let size = loop {
            if let Some(size) = frame_size(&self.incomplete)? {
                break size;
            }
            if !self.take_from_chunk(self.incomplete.len() + 1) {
                return Ok(None);
            }
        };
        if !self.take_from_chunk(size.total()) {
            return Ok(None);
        }
        let mut frame = self.incomplete.split_to(size.total()).freeze();
        frame.advance(size.prefix);
        Frame::decode(frame).map(Some)
    }

    /// Moves bytes until the incomplete frame has `wanted` of them; says whether there were enough.
    fn take_from_chunk(&mut self, wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.incomplete.len());
        let taken = self.chunk.split_to(missing.min(self.chunk.len()));
        self.incomplete.extend_from_slice(&taken);
        taken.len() == missing
    }
}

/// Writes a variable-length integer; `value` must be at most 2^62 - 1.
pub(crate) fn put_varint(out: &mut impl BufMut, value: u64) {
    match value {
        0..=0x3f => out.put_u8(value.to_le_bytes()[0]),
        0x40..=0x3fff => out.put_u16(0x4000 | u16::try_from(value).expect("14 bits")),
        0x4000..=0x3fff_ffff => out.put_u32(0x8000_0000 | u32::try_from(value).expect("30 bits")),
        _ => {
            assert!(value <= VARINT_MAX, "a variable-length integer has at most 62 bits");
            out.put_u64(0xc000_0000_0000_0000 | value);
        }
    }
}

/// Reads a variable-length integer from the front of `bytes`; `None` if it is not all there.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let size = 1_usize << (first >> 6);
    let (number, rest) = bytes.split_at_checked(size)?;
    let value = number[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    *bytes = rest;
    Some(value)
}

/// How long a frame is: its length field, and what that says.
struct FrameSize {
    prefix: usize,
    rest: usize,
}

impl FrameSize {
    fn total(&self) -> usize {
        self.prefix + self.rest
    }
}

/// Reads a frame's length, if it is all there, and refuses one that no frame has before anything is reserved for it.
fn frame_size(bytes: &[u8]) -> Result<Option<FrameSize>, FrameError> {
    let mut rest = bytes;
    let Some(claimed) = take_varint(&mut rest) else { return Ok(None) };
    match usize::try_from(claimed) {
        Ok(0) => Err(FrameError::Truncated),
        Ok(size) if size <= FRAME_BYTES_MAX => Ok(Some(FrameSize { prefix: bytes.len() - rest.len(), rest: size })),
        _ => Err(FrameError::TooLarge { size_bytes: claimed }),
    }
}

/// A frame's fields, to be read from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> Result<u8, FrameError> {
        let (first, rest) = self.0.split_first().ok_or(FrameError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, FrameError> {
        take_varint(&mut self.0).ok_or(FrameError::Truncated)
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Result<T, FrameError> {
        self.varint()?.try_into().map_err(|_| FrameError::Unknown)
    }

    fn id(&mut self) -> Result<u32, FrameError> {
        self.number()
    }

    fn header(&mut self) -> Result<Header, FrameError> {
        let method = MethodId { service: self.number()?, method: self.number()? };
        let flags = self.byte()?;
        if flags & !(PRIORITY_BITS | TRACED) != 0 {
            return Err(FrameError::Unknown);
        }
        let priority = Priority::from_wire(flags & PRIORITY_BITS).ok_or(FrameError::Unknown)?;
        let (deadline_ms, position, call_id) = (self.number()?, self.varint()?, self.varint()?);
        let trace = if flags & TRACED == 0 { Trace::default() } else { self.trace()? };
        Ok(Header { method, deadline_ms, priority, position, call_id, trace })
    }

    fn trace(&mut self) -> Result<Trace, FrameError> {
        Ok(Trace {
            id: self.0.try_get_u128().map_err(|_| FrameError::Truncated)?,
            parent: self.0.try_get_u64().map_err(|_| FrameError::Truncated)?,
        })
    }

    fn failed(&mut self) -> Result<Frame, FrameError> {
        let (id, code) = (self.id()?, self.number()?);
        let retry = match self.byte()? {
            0 => Retry::No,
            1 => Retry::Elsewhere,
            2 => Retry::After(Duration::from_millis(self.varint()?)),
            _ => return Err(FrameError::Unknown),
        };
        if self.0.len() > FAILURE_MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLarge { size_bytes: self.0.len() as u64 });
        }
        let message = String::from_utf8_lossy(self.0).into_owned();
        Ok(Frame::Failed { id, failure: Failure { code, message, retry } })
    }
}

/// The fields of a frame while they are put together, on the stack.
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    fn new(kind: u8) -> Self {
        let mut head = Self { bytes: [0; HEAD_BYTES_MAX], len: 0 };
        head.byte(kind);
        head
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn varint(&mut self, value: u64) {
        self.with(|mut room| {
            let before = room.len();
            put_varint(&mut room, value);
            before - room.len()
        });
    }

    fn header(&mut self, header: &Header) {
        self.varint(header.method.service.into());
        self.varint(header.method.method.into());
        let traced = if header.trace.is_none() { 0 } else { TRACED };
        self.byte(header.priority.to_wire() | traced);
        self.varint(header.deadline_ms.into());
        self.varint(header.position.min(VARINT_MAX));
        self.varint(header.call_id.min(VARINT_MAX));
        if traced != 0 {
            self.with(|mut room| {
                room.put_u128(header.trace.id);
                room.put_u64(header.trace.parent);
                24
            });
        }
    }

    fn with(&mut self, put: impl FnOnce(&mut [u8]) -> usize) {
        self.len += put(&mut self.bytes[self.len..]);
    }

    fn write(&self, out: &mut BytesMut, body: &[u8]) {
        put_varint(out, (self.len + body.len()) as u64);
        out.put_slice(&self.bytes[..self.len]);
        out.put_slice(body);
    }

    fn before(&self, body_bytes: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(self.len + 8);
        put_varint(&mut out, (self.len + body_bytes) as u64);
        out.put_slice(&self.bytes[..self.len]);
        out.freeze()
    }
}

const REQUEST: u8 = 1;
const NOTICE: u8 = 2;
const REPLY: u8 = 3;
const FAILED: u8 = 4;
const CANCEL: u8 = 5;
const ACCEPTED: u8 = 6;
const ITEM: u8 = 7;
const END: u8 = 8;

const PRIORITY_BITS: u8 = 0b011;
const TRACED: u8 = 0b100;

/// RFC 9000, section 16.
const VARINT_MAX: u64 = (1 << 62) - 1;
/// The largest kind with its fields: a traced request. 1 + 8 + (4 + 4 + 1 + 8 + 8 + 8) + 24 = 66, rounded up.
const HEAD_BYTES_MAX: usize = 72;
/// The largest frame, its length field not counted.
pub(crate) const FRAME_BYTES_MAX: usize = BODY_BYTES_MAX + HEAD_BYTES_MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn header() -> impl Strategy<Value = Header> {
        let trace = prop_oneof![Just(Trace::default()), (1_u128.., any::<u64>()).prop_map(|(id, parent)| Trace { id, parent })];
        (any::<u16>(), any::<u16>(), any::<u32>(), 0..3_u8, 0..=VARINT_MAX, 0..=VARINT_MAX, trace).prop_map(
            |(service, method, deadline_ms, priority, position, call_id, trace)| Header {
                method: MethodId { service, method },
                deadline_ms,
                priority: Priority::from_wire(priority).unwrap(),
                position,
                call_id,
                trace,
            },
        )
    }

    fn body() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let retry =
            prop_oneof![Just(Retry::No), Just(Retry::Elsewhere), (0..1_u64 << 40).prop_map(|ms| Retry::After(Duration::from_millis(ms)))];
        prop_oneof![
            (any::<u32>(), header(), body()).prop_map(|(id, header, body)| Frame::Request { id, header, body }),
            (header(), body()).prop_map(|(header, body)| Frame::Notice { header, body }),
            (any::<u32>(), body()).prop_map(|(id, body)| Frame::Reply { id, body }),
            (any::<u32>(), any::<u16>(), ".{0,40}", retry)
                .prop_map(|(id, code, message, retry)| Frame::Failed { id, failure: Failure { code, message, retry } }),
            any::<u32>().prop_map(|id| Frame::Cancel { id }),
            Just(Frame::Accepted),
            body().prop_map(|body| Frame::Item { body }),
            Just(Frame::End),
        ]
    }

    fn read_all(chunks: impl IntoIterator<Item = Bytes>) -> Result<Vec<Frame>, FrameError> {
        let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
        for chunk in chunks {
            reader.push(chunk);
            while let Some(frame) = reader.next()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn frames_survive_any_cut(frames in proptest::collection::vec(frame(), 0..12), cut in 1..200_usize) {
            let mut out = BytesMut::new();
            frames.iter().for_each(|frame| frame.encode(&mut out));
            let chunks = out.chunks(cut).map(Bytes::copy_from_slice).collect::<Vec<_>>();
            prop_assert_eq!(read_all(chunks), Ok(frames));
        }

        #[test]
        fn garbage_never_panics_nor_grows(garbage in proptest::collection::vec(any::<u8>(), 0..600), cut in 1..100_usize) {
            let mut reader = FrameReader::default();
            'garbage: for chunk in garbage.chunks(cut) {
                reader.push(Bytes::copy_from_slice(chunk));
                loop {
                    match reader.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'garbage,
                    }
                }
            }
            prop_assert!(reader.incomplete.capacity() <= 4096);
        }

        #[test]
        fn varints_survive(value in 0..=VARINT_MAX) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut bytes = &out[..];
            prop_assert_eq!(take_varint(&mut bytes), Some(value));
            prop_assert!(bytes.is_empty());
        }
    }

    #[test]
    fn largest_head_fits() {
        let header = Header {
            method: MethodId { service: u16::MAX, method: u16::MAX },
            deadline_ms: u32::MAX,
            priority: Priority::Bulk,
            position: u64::MAX,
            call_id: u64::MAX,
            trace: Trace { id: u128::MAX, parent: u64::MAX },
        };
        let mut out = BytesMut::new();
        put_request(&mut out, u32::MAX, &header, &[0; BODY_BYTES_MAX]);
        assert!(read_all([out.freeze()]).is_ok());
    }

    #[test]
    fn oversized_frame_is_refused_by_its_length_alone() {
        let mut out = BytesMut::new();
        put_varint(&mut out, FRAME_BYTES_MAX as u64 + 1);
        assert!(matches!(read_all([out.freeze()]), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn empty_and_unknown_frames_are_refused() {
        assert_eq!(read_all([Bytes::from_static(&[0])]), Err(FrameError::Truncated));
        assert_eq!(read_all([Bytes::from_static(&[1, 99])]), Err(FrameError::Unknown));
    }
}
