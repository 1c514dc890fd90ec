//! An IPv4 packet (RFC 791), as far as the lab looks into it: whom it is for, and whether queues may mark it (RFC 3168).

use std::net::Ipv4Addr;

/// A packet with a whole header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// Takes the bytes of an IPv4 packet; `None` for everything else that a kernel may send, as IPv6's router solicitations.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let header_bytes = usize::from(first & 0xf) * 4;
        let whole = first >> 4 == 4 && header_bytes >= HEADER_BYTES_MIN && bytes.len() >= header_bytes;
        whole.then(|| Self { bytes: bytes.to_vec() })
    }

    /// The packet as it goes over a wire.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whom it is for.
    pub(super) fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[16], self.bytes[17], self.bytes[18], self.bytes[19])
    }

    /// Whether its sender allows queues to mark it instead of dropping it.
    pub(super) fn may_be_marked(&self) -> bool {
        self.bytes[TOS] & ECN_BITS != 0
    }

    /// Says in the packet that it met congestion.
    pub(super) fn mark(&mut self) {
        self.bytes[TOS] |= ECN_BITS;
        self.bytes[CHECKSUM].copy_from_slice(&[0, 0]);
        let checksum = self.header_checksum();
        self.bytes[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The complement of the one's complement sum of the header's 16-bit words (RFC 791, section 3.1).
    fn header_checksum(&self) -> u16 {
        let header_bytes = usize::from(self.bytes[0] & 0xf) * 4;
        let words = self.bytes[..header_bytes].chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
        !words.fold(0, |sum: u16, word| {
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }
}

/// Where the type of service is, whose lower two bits are for congestion notification.
const TOS: usize = 1;

const ECN_BITS: u8 = 0b11;

const CHECKSUM: std::ops::Range<usize> = 10..12;

const HEADER_BYTES_MIN: usize = 20;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet between nodes of a lab: the lower halves of their addresses.
    pub(in super::super) fn packet(to: [u8; 2], ecn: u8, size_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; size_bytes];
        bytes[0] = 0x45;
        bytes[1] = ecn;
        bytes[12..20].copy_from_slice(&[198, 18, 0, 1, 198, 18, to[0], to[1]]);
        bytes
    }

    #[test]
    fn what_is_no_whole_ipv4_packet_is_left_alone() {
        let good = packet([0, 2], 0, 28);
        assert_eq!(Packet::parse(&good).unwrap().destination(), Ipv4Addr::new(198, 18, 0, 2));
        let six = [&[0x60], &good[1..]].concat();
        let long_header = [&[0x4f], &good[1..]].concat();
        let no_header = [&[0x44], &good[1..]].concat();
        for bad in [&[][..], &good[..19], &six, &long_header, &no_header] {
            assert_eq!(Packet::parse(bad), None);
        }
    }

    #[test]
    fn a_mark_keeps_the_checksum_right() {
        // The example header of Wikipedia's article on the header checksum, whose sum is 0xb861 with ECN 00.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        let mut packet = Packet::parse(&header).unwrap();
        assert!(!packet.may_be_marked());
        packet.mark();
        assert!(packet.may_be_marked());
        // Three more in a word of the header are three fewer in the complement.
        assert_eq!(packet.as_bytes()[10..12], [0xb8, 0x5e]);
    }
}
