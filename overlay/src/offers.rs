//! What a member offers: its services, and how far each of them is.

use std::sync::Arc;

use bytes::{Buf, BufMut};

use crate::membership::wire::WireError;

/// The services that a member offers, in the order of their numbers, each with the position that it has; at most 32.
///
/// A member that has not said yet what it offers offers nothing that is known: whoever looks for a service may ask it all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers(Arc<[(u16, u64)]>);

impl Offers {
    /// These services, at no position yet. The overlay's own, number 0, is on every node and needs no offer.
    pub(crate) fn of(services: impl IntoIterator<Item = u16>) -> Self {
        let mut services: Vec<(u16, u64)> = services.into_iter().filter(|service| *service != 0).map(|service| (service, 0)).collect();
        services.sort_unstable();
        services.truncate(OFFERS_MAX);
        Self(services.into())
    }

    /// The same services, with a position for each that is named; what is not offered is left out.
    pub(crate) fn at(&self, positions: &[(u16, u64)]) -> Self {
        let said = |service| positions.iter().find(|(named, _)| *named == service).map(|(_, position)| *position);
        Self(self.0.iter().map(|(service, position)| (*service, said(*service).unwrap_or(*position))).collect())
    }

    /// The services and positions, in the order of the services.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().copied()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this service may be asked for there: it is offered, or nobody knows what is.
    pub fn may_have(&self, service: u16) -> bool {
        service == 0 || self.is_empty() || self.0.binary_search_by_key(&service, |(offered, _)| *offered).is_ok()
    }

    /// The last position that the member said this service has, 0 if it has said nothing.
    pub fn position(&self, service: u16) -> u64 {
        self.0.binary_search_by_key(&service, |(offered, _)| *offered).map_or(0, |found| self.0[found].1)
    }

    /// Later of two for each service that both have, when it is not known which was said later.
    pub(crate) fn or_later(&self, other: &Self) -> Self {
        Self(self.0.iter().map(|(service, position)| (*service, (*position).max(other.position(*service)))).collect())
    }

    /// How many, then number and position of each: at most [`OFFERS_BYTES_MAX`].
    pub(crate) fn encode(&self, buf: &mut impl BufMut) {
        buf.put_u8(u8::try_from(self.0.len()).expect("there are at most OFFERS_MAX"));
        for (service, position) in self.iter() {
            buf.put_u16(service);
            buf.put_u64(position);
        }
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, WireError> {
        let count = usize::from(bytes.try_get_u8()?);
        if count > OFFERS_MAX {
            return Err(WireError::TooMany);
        }
        let mut offers: Vec<(u16, u64)> = Vec::with_capacity(count);
        for _ in 0..count {
            let offer = (bytes.try_get_u16()?, bytes.try_get_u64()?);
            if offers.last().is_some_and(|(before, _)| *before >= offer.0) {
                return Err(WireError::Unknown);
            }
            offers.push(offer);
        }
        Ok(Self(offers.into()))
    }
}

/// The most services that a node offers: ten cabinets, with three services each. More would not fit a datagram beside a long name.
pub(crate) const OFFERS_MAX: usize = 32;

/// What the most of them take.
pub(crate) const OFFERS_BYTES_MAX: usize = 1 + OFFERS_MAX * 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_found_and_nothing_else() {
        let offers = Offers::of([40, 0, 8]).at(&[(8, 5), (9, 6)]);
        assert_eq!(offers.iter().collect::<Vec<_>>(), [(8, 5), (40, 0)]);
        assert_eq!([0, 8, 9, 40].map(|service| offers.may_have(service)), [true, true, false, true]);
        assert_eq!([8, 9, 40].map(|service| offers.position(service)), [5, 0, 0]);
        assert_eq!(offers.or_later(&offers.at(&[(8, 3), (40, 7)])).iter().collect::<Vec<_>>(), [(8, 5), (40, 7)]);
        assert!(Offers::default().may_have(9), "nothing is known of it");
    }

    #[test]
    fn only_offers_in_order_are_read() {
        let mut bytes = Vec::new();
        let offers = Offers::of(1..=40).at(&[(3, u64::MAX)]);
        offers.encode(&mut bytes);
        assert_eq!(bytes.len(), OFFERS_BYTES_MAX);
        assert_eq!(Offers::decode(&mut &bytes[..]), Ok(offers));
        assert_eq!(Offers::decode(&mut &bytes[..9]), Err(WireError::Truncated));
        bytes[2] = 9;
        assert_eq!(Offers::decode(&mut &bytes[..]), Err(WireError::Unknown), "9 comes after 2");
        bytes[0] = 33;
        assert_eq!(Offers::decode(&mut &bytes[..]), Err(WireError::TooMany));
    }
}
