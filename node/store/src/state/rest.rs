//! Short strings of bytes as the keys of large ordered maps.

use std::cmp::Ordering;

/// The rest of a key, mostly kept in place: following a pointer at every comparison is most of the cost of a large map. They order as bytes do.
#[derive(Debug)]
pub(super) enum Rest {
    Short {
        length: u8,
        /// Zeros stand for what it lacks.
        bytes: [u8; SHORT_BYTES_MAX],
    },
    Long(Box<[u8]>),
}

impl Rest {
    pub(super) fn new(rest: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES_MAX];
        match (bytes.get_mut(..rest.len()), u8::try_from(rest.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(rest);
                Self::Short { length, bytes }
            }
            _ => Self::Long(rest.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Ord for Rest {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Of two that differ only in the zeros at their ends, the shorter one comes first.
            (Self::Short { length: own, bytes }, Self::Short { length, bytes: others }) => {
                let ((own_head, own_end), (head, end)) = (parts(bytes), parts(others));
                number(own_head[0]).cmp(&number(head[0])).then_with(|| {
                    let ends = || own_end.cmp(end).then(own.cmp(length));
                    number(own_head[1]).cmp(&number(head[1])).then_with(ends)
                })
            }
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

impl PartialOrd for Rest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rest {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rest {}

/// Two times so many bytes as a processor compares at once, and those after them.
fn parts(bytes: &[u8; SHORT_BYTES_MAX]) -> (&[[u8; 16]], &[u8]) {
    bytes.as_chunks()
}

fn number(bytes: [u8; 16]) -> u128 {
    u128::from_be_bytes(bytes)
}

/// Ids, positions, numbers and short words are not longer, with the id that follows them.
const SHORT_BYTES_MAX: usize = 38;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cabinet::workload::seeded;

    proptest! {
        #![proptest_config(seeded(2_048))]

        /// Of few different bytes, so that beginnings are equal; some longer than is kept in place.
        #[test]
        fn they_order_as_bytes(a in prop::collection::vec(0..2_u8, 0..42), b in prop::collection::vec(0..2_u8, 0..42), at in any::<prop::sample::Index>()) {
            let (rest_a, rest_b) = (Rest::new(&a), Rest::new(&b));
            prop_assert_eq!(rest_a.cmp(&rest_b), a.cmp(&b));
            prop_assert_eq!((rest_a.as_bytes(), rest_b.as_bytes()), (a.as_slice(), b.as_slice()));
            // One is the beginning of the other, and they may differ in zeros only.
            let beginning = &a[..at.index(a.len() + 1)];
            prop_assert_eq!(Rest::new(beginning).cmp(&rest_a), beginning.cmp(&a));
            // They differ in one place.
            let mut c = a.clone();
            c.iter_mut().skip(at.index(a.len() + 1)).take(1).for_each(|byte| *byte ^= 0xff);
            prop_assert_eq!(Rest::new(&c).cmp(&rest_a), c.cmp(&a));
        }
    }
}
