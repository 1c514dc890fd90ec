//! Filters: whether something may be in a block, without reading it.

use bincode::{Decode, Encode};

use crate::state::key;

/// A Bloom filter over the probes of a block's keys (`key::probe`): it says "no" of about 99 in 100 that are not there, and never of one that is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Filter(Vec<u8>);

/// What is looked for in filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe(u64);

impl Probe {
    /// The probe of a key, if filters know its kind.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        key::probe(key).map(|bytes| Self(hash(bytes)))
    }

    /// The bits that stand for it among so many.
    fn places(self, bits: u64) -> impl Iterator<Item = u64> {
        let step = (self.0 >> 32) | 1;
        (0..PLACES).map(move |number| self.0.wrapping_add(number.wrapping_mul(step)) % bits)
    }
}

impl Filter {
    /// The filter that knows these.
    pub(super) fn of(probes: &[Probe]) -> Self {
        let mut bytes = vec![0; (probes.len() * BITS_EACH).div_ceil(8)];
        let bits = bytes.len() as u64 * 8;
        for place in probes.iter().flat_map(|probe| probe.places(bits)) {
            if let Some(byte) = bytes.get_mut(index(place)) {
                *byte |= 1 << (place % 8);
            }
        }
        Self(bytes)
    }

    /// Whether it may be there.
    pub(super) fn may_hold(&self, probe: Probe) -> bool {
        let bits = self.0.len() as u64 * 8;
        bits > 0 && probe.places(bits).all(|place| self.0.get(index(place)).is_some_and(|byte| byte & 1 << (place % 8) != 0))
    }
}

fn index(place: u64) -> usize {
    usize::try_from(place / 8).unwrap_or(usize::MAX)
}

/// FNV-1a, and a last mixing by which every bit of the result depends on all of the key (the finalizer of MurmurHash3).
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Ten bits and six places each: 0.8 % of what is not there is looked for in vain.
const BITS_EACH: usize = 10;
const PLACES: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(number: u64) -> Probe {
        Probe::of(&[b"i".as_slice(), &u128::from(number).to_be_bytes()].concat()).unwrap()
    }

    #[test]
    fn says_no_of_nearly_all_that_is_not_there() {
        let filter = Filter::of(&(0..1_000).map(probe).collect::<Vec<_>>());
        assert!((0..1_000).all(|number| filter.may_hold(probe(number))));
        let wrong = (1_000..11_000).filter(|number| filter.may_hold(probe(*number))).count();
        assert!(wrong < 200, "{wrong} of 10,000");
    }

    #[test]
    fn filter_of_nothing_holds_nothing() {
        assert!(!Filter::of(&[]).may_hold(probe(1)));
    }
}
