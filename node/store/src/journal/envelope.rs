//! The data of a normal entry: what stays for ever, and slots for what may be obliterated one day. JOURNAL.md describes the bytes.
//!
//! A slot enters the hash chain by the digest of what is in it, salted, so that its content can be taken away and the chain stays as it was.
//! The journal does not know what slots hold; the [`cabinet`](crate::cabinet) does. Whoever replays a log that lacks values can no longer
//! decide about every proposal anew, so there is a place for the decision, too.

use caps_overlay::Rng;
use sha2::{Digest, Sha256};

use super::format::{Hash, first_eight, hash};

/// An envelope, taken apart. Its structure has been checked, its chain has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What it asks for.
    pub class: Class,
    /// What stays.
    pub fixed: &'a [u8],
    data: &'a [u8],
}

/// What an envelope asks for, as far as the journal has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anything that takes nothing away.
    Ordinary = 1,
    /// That slots of earlier entries be emptied.
    Obliteration = 2,
}

/// What had been decided about a proposal before values that the decision needs were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was accepted.
    Accepted = 1,
    /// It was refused, or repeated one that had been decided before.
    Refused = 2,
}

/// A slot, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// What is in it; `None`: that was obliterated.
    pub value: Option<&'a [u8]>,
    /// Where the slot starts in the data.
    offset: usize,
    length: usize,
    body: &'a [u8],
}

/// The slots of an envelope, in order.
#[derive(Clone, Debug)]
pub struct Slots<'a> {
    data: &'a [u8],
    offset: usize,
    left: u16,
}

/// An envelope in the making.
#[derive(Debug)]
pub struct Builder<'a> {
    class: Class,
    fixed: Vec<u8>,
    slots: Vec<u8>,
    count: usize,
    rng: &'a Rng,
}

/// More slots, or larger ones, than an envelope has room for: split what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry holds at most {SLOTS_MAX} values of at most {VALUE_BYTES_MAX} bytes")]
pub struct TooLarge;

/// What stands in the place of a decision is none, or belongs to another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a decision does not match its check")]
pub struct BadDecision;

impl<'a> Envelope<'a> {
    /// The envelope in the data of an entry; `None`: it is something else.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = data.first_chunk()?;
        let class = [Class::Ordinary, Class::Obliteration].into_iter().find(|class| *class as u8 == header[8])?;
        let fixed_bytes = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
        let fixed = data[HEADER_BYTES..].get(..fixed_bytes)?;
        let mut slots = Self { class, fixed, data }.slots();
        for slot in slots.by_ref() {
            slot.is_sound().then_some(())?;
        }
        (header[9] == 0 && slots.left == 0 && slots.offset == data.len()).then_some(Self { class, fixed, data })
    }

    /// What had been decided about it, if that was written down.
    ///
    /// `index` and `term` are those of its entry: a decision cannot be moved to another one.
    pub fn decision(&self, index: u64, term: u64) -> Result<Option<Decision>, BadDecision> {
        let stored = &self.data[..DECISION_BYTES];
        if stored == [0; DECISION_BYTES] {
            return Ok(None);
        }
        let is_it = |decision: &Decision| stored == decision_bytes(*decision, index, term);
        [Decision::Accepted, Decision::Refused].into_iter().find(is_it).map(Some).ok_or(BadDecision)
    }

    /// Its slots, in order.
    pub fn slots(&self) -> Slots<'a> {
        let left = u16::from_le_bytes([self.data[10], self.data[11]]);
        Slots { data: self.data, offset: HEADER_BYTES + self.fixed.len(), left }
    }

    /// What of it enters the chain: all but the decision, and of slots their digests.
    pub fn digest(&self) -> Hash {
        let mut digest = Sha256::new_with_prefix([ENVELOPE_PREFIX]);
        digest.update(&self.data[DECISION_BYTES..HEADER_BYTES + self.fixed.len()]);
        for slot in self.slots() {
            digest.update(&self.data[slot.offset + 1..slot.offset + SLOT_HEADER_BYTES]);
            digest.update(slot.digest());
        }
        digest.finalize().into()
    }
}

/// What of an entry's data enters the chain.
pub fn digest(data: &[u8]) -> Hash {
    Envelope::parse(data).map_or_else(|| opaque_digest(data), |envelope| envelope.digest())
}

/// The digest of data that is no envelope.
pub(super) fn opaque_digest(data: &[u8]) -> Hash {
    Sha256::new_with_prefix([OPAQUE_PREFIX]).chain_update(data).finalize().into()
}

/// The chain over proposals: SHA-256(previous head ‖ index of the entry, little-endian ‖ what of its data enters the chain).
///
/// It covers what was refused as well. So nobody has to know how proposals are decided about, or which they were, to compute it: a copy of a
/// journal suffices.
pub fn link(chain: &Hash, index: u64, digest: &Hash) -> Hash {
    Sha256::new_with_prefix(chain).chain_update(index.to_le_bytes()).chain_update(digest).finalize().into()
}

/// Writes a decision into the data of the entry with this index and term. The digest stays.
///
/// # Panics
/// When the data is not an envelope.
pub fn decide(data: &mut [u8], decision: Decision, index: u64, term: u64) {
    assert!(Envelope::parse(data).is_some(), "only proposals are decided about");
    data[..DECISION_BYTES].copy_from_slice(&decision_bytes(decision, index, term));
}

/// Takes the decision out of the data of an entry: it is to be another entry, about which nothing was decided yet.
///
/// # Panics
/// When the data is not an envelope.
pub fn undecide(data: &mut [u8]) {
    data[..DECISION_BYTES].fill(0);
}

/// Takes away what is in some slots, given by their numbers from 0. The digest stays, and so does the size.
///
/// # Panics
/// When the data is not an envelope.
pub fn obliterate(data: &mut [u8], mut is_to_go: impl FnMut(usize) -> bool) {
    let envelope = Envelope::parse(data).expect("only proposals have slots");
    let slots = envelope.slots().enumerate().filter(|(number, slot)| slot.value.is_some() && is_to_go(*number));
    let emptied: Vec<(usize, usize, Hash)> = slots.map(|(_, slot)| (slot.offset, slot.body.len(), slot.digest())).collect();
    for (offset, body_bytes, digest) in emptied {
        data[offset] = OBLITERATED;
        let body = &mut data[offset + SLOT_HEADER_BYTES..][..body_bytes];
        body.fill(0);
        body[..DIGEST_BYTES].copy_from_slice(&digest);
    }
}

impl Slot<'_> {
    /// The digest of what is, or was, in it.
    fn digest(&self) -> Hash {
        match self.value {
            Some(_) => Sha256::digest(&self.body[..SALT_BYTES + self.length]).into(),
            None => hash(self.body),
        }
    }

    /// Whether unused bytes are zero.
    fn is_sound(&self) -> bool {
        let used = if self.value.is_some() { SALT_BYTES + self.length } else { DIGEST_BYTES };
        self.body[used..].iter().all(|byte| *byte == 0)
    }
}

impl<'a> Iterator for Slots<'a> {
    type Item = Slot<'a>;

    fn next(&mut self) -> Option<Slot<'a>> {
        if self.left == 0 {
            return None;
        }
        let (header, rest) = self.data.get(self.offset..)?.split_first_chunk::<SLOT_HEADER_BYTES>()?;
        let length = u32::from_le_bytes([header[1], header[2], header[3], 0]) as usize;
        let body = rest.get(..body_bytes(length))?;
        let value = match header[0] {
            WHOLE => Some(&body[SALT_BYTES..SALT_BYTES + length]),
            OBLITERATED => None,
            _ => return None,
        };
        let slot = Slot { value, offset: self.offset, length, body };
        self.left -= 1;
        self.offset += SLOT_HEADER_BYTES + body.len();
        Some(slot)
    }
}

impl<'a> Builder<'a> {
    /// An empty envelope. Salts are drawn from `rng`: whoever could guess one could try out what an obliterated slot held.
    pub fn new(class: Class, rng: &'a Rng) -> Self {
        Self { class, fixed: Vec::with_capacity(FIXED_BYTES_USUAL), slots: Vec::new(), count: 0, rng }
    }

    /// What stays, to be appended to.
    pub fn fixed(&mut self) -> &mut Vec<u8> {
        &mut self.fixed
    }

    /// Adds a slot; `write` appends what is in it.
    pub fn slot<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.slots.len();
        self.slots.extend_from_slice(&[0; SLOT_HEADER_BYTES + SALT_BYTES]);
        self.rng.fill(&mut self.slots[start + SLOT_HEADER_BYTES..]);
        let value = self.slots.len();
        write(&mut self.slots)?;
        let length = self.slots.len() - value;
        // One that does not fit is noticed at the end.
        self.slots[start + 1..start + SLOT_HEADER_BYTES].copy_from_slice(&length.to_le_bytes()[..3]);
        self.slots.resize(start + SLOT_HEADER_BYTES + body_bytes(length), 0);
        self.count += if length > VALUE_BYTES_MAX { SLOTS_MAX + 1 } else { 1 };
        Ok(())
    }

    /// The data of an entry.
    pub fn finish(self) -> Result<Vec<u8>, TooLarge> {
        let count = u16::try_from(self.count).map_err(|_| TooLarge)?;
        let fixed_bytes = u32::try_from(self.fixed.len()).map_err(|_| TooLarge)?;
        let mut data = Vec::with_capacity(HEADER_BYTES + self.fixed.len() + self.slots.len());
        data.extend_from_slice(&[0; DECISION_BYTES]);
        data.extend_from_slice(&[self.class as u8, 0]);
        data.extend_from_slice(&count.to_le_bytes());
        data.extend_from_slice(&fixed_bytes.to_le_bytes());
        data.extend_from_slice(&self.fixed);
        data.extend_from_slice(&self.slots);
        Ok(data)
    }
}

fn decision_bytes(decision: Decision, index: u64, term: u64) -> [u8; DECISION_BYTES] {
    let digest = Sha256::new_with_prefix([DECISION_PREFIX, decision as u8]);
    first_eight(digest.chain_update(index.to_le_bytes()).chain_update(term.to_le_bytes()).finalize().into())
}

/// A digest must fit where salt and value were.
fn body_bytes(value_bytes: usize) -> usize {
    (SALT_BYTES + value_bytes).max(DIGEST_BYTES)
}

/// Slots of one envelope.
pub const SLOTS_MAX: usize = u16::MAX as usize;
/// Bytes of what is in one slot.
pub const VALUE_BYTES_MAX: usize = (1 << 24) - 1;

/// Where the fixed part starts.
pub(super) const HEADER_BYTES: usize = 16;
const DECISION_BYTES: usize = 8;
const SLOT_HEADER_BYTES: usize = 4;
const SALT_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;
const FIXED_BYTES_USUAL: usize = 256;

const WHOLE: u8 = 0;
const OBLITERATED: u8 = 1;

/// What each kind of digest begins with, so that none can be taken for another.
const OPAQUE_PREFIX: u8 = 0;
const ENVELOPE_PREFIX: u8 = 1;
const DECISION_PREFIX: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cabinet::workload::seeded;
    use caps_overlay::Rng;
    use proptest::prelude::*;

    fn built(fixed: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
        let rng = Rng::seeded(1);
        let mut builder = Builder::new(Class::Ordinary, &rng);
        builder.fixed().extend_from_slice(fixed);
        for value in values {
            let write = |bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(value);
                Ok::<_, TooLarge>(())
            };
            builder.slot(write).unwrap();
        }
        builder.finish().unwrap()
    }

    fn content() -> impl Strategy<Value = (Vec<u8>, Vec<Vec<u8>>)> {
        let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
        (bytes(40), prop::collection::vec(bytes(60), 0..5))
    }

    proptest! {
        #![proptest_config(seeded(256))]

        #[test]
        fn what_was_put_in_is_there((fixed, values) in content()) {
            let data = built(&fixed, &values);
            let envelope = Envelope::parse(&data).unwrap();
            prop_assert_eq!(envelope.fixed, &fixed);
            prop_assert_eq!(envelope.slots().map(|slot| slot.value.unwrap().to_vec()).collect::<Vec<_>>(), values);
            prop_assert_eq!(envelope.decision(1, 1), Ok(None));
        }

        #[test]
        fn obliterating_and_deciding_keep_size_and_digest((fixed, values) in content(), go in any::<u8>()) {
            let data = built(&fixed, &values);
            let mut emptied = data.clone();
            obliterate(&mut emptied, |number| go & (1 << number) != 0);
            decide(&mut emptied, Decision::Refused, 7, 3);
            prop_assert_eq!((emptied.len(), digest(&emptied)), (data.len(), digest(&data)));
            let envelope = Envelope::parse(&emptied).unwrap();
            let left: Vec<bool> = envelope.slots().map(|slot| slot.value.is_some()).collect();
            let kept: Vec<bool> = (0..values.len()).map(|number| go & (1 << number) == 0).collect();
            prop_assert_eq!(left, kept);
            prop_assert_eq!(envelope.decision(7, 3), Ok(Some(Decision::Refused)));
            prop_assert_eq!((envelope.decision(8, 3), envelope.decision(7, 2)), (Err(BadDecision), Err(BadDecision)));
        }

        /// Of a whole envelope and of one with nothing left in it.
        #[test]
        fn a_flipped_bit_changes_the_digest_or_the_decision((fixed, values) in content(), emptied: bool, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut data = built(&fixed, &values);
            if emptied {
                obliterate(&mut data, |_| true);
                decide(&mut data, Decision::Accepted, 1, 1);
            }
            let mut flipped = data.clone();
            flipped[at.index(data.len())] ^= 1 << bit;
            let decision = |data: &[u8]| Envelope::parse(data).map(|envelope| envelope.decision(1, 1));
            let noticed = decision(&flipped).is_none_or(|decision| decision.is_err()) || digest(&flipped) != digest(&data);
            prop_assert!(noticed);
        }

        #[test]
        fn any_bytes_are_an_envelope_or_not(data in prop::collection::vec(any::<u8>(), 0..80), fixed_bytes in 0..40_u8, slots in 0..3_u8) {
            let mut data = data;
            for (at, byte) in [(8, 1), (9, 0), (10, slots), (11, 0), (12, fixed_bytes), (13, 0), (14, 0), (15, 0)] {
                if let Some(place) = data.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(envelope) = Envelope::parse(&data) {
                prop_assert_eq!(envelope.slots().count(), usize::from(slots));
            }
            digest(&data);
        }
    }

    #[test]
    fn equal_values_have_different_digests() {
        let data = built(b"", &[b"same".to_vec(), b"same".to_vec()]);
        let digests: Vec<Hash> = Envelope::parse(&data).unwrap().slots().map(|slot| slot.digest()).collect();
        assert_ne!(digests[0], digests[1]);
    }
}
