//! What the two sides of a connection tell each other about it, each on a control stream of its own.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// A control message: its length (u16), its kind (u8), its fields. All numbers are big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// The first message: who speaks.
    Hello(Hello),
    /// "Make no new calls on this connection." With `leaving`, the whole node is about to stop.
    Drain { leaving: bool },
    /// "I make no more calls on this connection, and all that I made are answered."
    Retired,
}

/// Who speaks, beyond what the certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Which life of the process this is.
    pub(crate) generation: Generation,
    /// Where the node wants to be dialled. Nothing for a leaf, which claims no name.
    pub(crate) announce: Option<SocketAddr>,
}

/// Which life of a process: two processes with one name differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) random: u64,
    /// Microseconds since 1970, for people; clocks may be wrong.
    pub(crate) started_micros: i64,
}

/// Why control bytes mean nothing. The peer is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ControlError {
    #[error("the control message is malformed")]
    Malformed,
    #[error("the peer speaks version {0} of the protocol, and we speak {VERSION}")]
    Version(u16),
}

impl Control {
    /// The message with its length.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(CONTROL_BYTES_MAX + LENGTH_BYTES);
        out.put_u16(0);
        match self {
            Self::Hello(hello) => {
                out.put_u8(HELLO);
                hello.put(&mut out);
            }
            Self::Drain { leaving } => {
                out.put_u8(DRAIN);
                out.put_u8(u8::from(*leaving));
            }
            Self::Retired => out.put_u8(RETIRED),
        }
        let length = u16::try_from(out.len() - LENGTH_BYTES).expect("control messages are short");
        out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        out.freeze()
    }

    /// Reads what follows the length.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, ControlError> {
        let malformed = |_| ControlError::Malformed;
        let message = match bytes.try_get_u8().map_err(malformed)? {
            HELLO => Self::Hello(Hello::take(&mut bytes)?),
            DRAIN => match bytes.try_get_u8().map_err(malformed)? {
                leaving @ 0..=1 => Self::Drain { leaving: leaving == 1 },
                _ => return Err(ControlError::Malformed),
            },
            RETIRED => Self::Retired,
            _ => return Err(ControlError::Malformed),
        };
        if bytes.is_empty() { Ok(message) } else { Err(ControlError::Malformed) }
    }

    /// The size of a message, from its length; refuses what no message has.
    pub(crate) fn size(length: [u8; LENGTH_BYTES]) -> Result<usize, ControlError> {
        match usize::from(u16::from_be_bytes(length)) {
            size @ 1..=CONTROL_BYTES_MAX => Ok(size),
            _ => Err(ControlError::Malformed),
        }
    }
}

impl Hello {
    fn put(&self, out: &mut BytesMut) {
        out.put_u16(VERSION);
        out.put_u64(self.generation.random);
        out.put_i64(self.generation.started_micros);
        match self.announce.map(|address| (address.ip(), address.port())) {
            None => out.put_u8(0),
            Some((IpAddr::V4(ip), port)) => {
                out.put_u8(4);
                out.put_slice(&ip.octets());
                out.put_u16(port);
            }
            Some((IpAddr::V6(ip), port)) => {
                out.put_u8(6);
                out.put_slice(&ip.octets());
                out.put_u16(port);
            }
        }
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, ControlError> {
        let malformed = |_| ControlError::Malformed;
        let version = bytes.try_get_u16().map_err(malformed)?;
        if version != VERSION {
            return Err(ControlError::Version(version));
        }
        let generation =
            Generation { random: bytes.try_get_u64().map_err(malformed)?, started_micros: bytes.try_get_i64().map_err(malformed)? };
        let ip: IpAddr = match bytes.try_get_u8().map_err(malformed)? {
            0 => return Ok(Self { generation, announce: None }),
            4 => bytes.try_get_u32().map_err(malformed)?.to_be_bytes().into(),
            6 => bytes.try_get_u128().map_err(malformed)?.to_be_bytes().into(),
            _ => return Err(ControlError::Malformed),
        };
        let port = bytes.try_get_u16().map_err(malformed)?;
        Ok(Self { generation, announce: Some(SocketAddr::new(ip, port)) })
    }
}

/// The version of everything that `caps/1` leaves open. Raised when messages change their meaning.
const VERSION: u16 = 1;
/// The length field.
pub(crate) const LENGTH_BYTES: usize = 2;
/// The largest message; hello with an IPv6 address takes 38.
pub(crate) const CONTROL_BYTES_MAX: usize = 64;

const HELLO: u8 = 1;
const DRAIN: u8 = 2;
const RETIRED: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn control() -> impl Strategy<Value = Control> {
        let announce = proptest::option::of((any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port)));
        let hello = (any::<u64>(), any::<i64>(), announce).prop_map(|(random, started_micros, announce)| {
            Control::Hello(Hello { generation: Generation { random, started_micros }, announce })
        });
        prop_oneof![hello, any::<bool>().prop_map(|leaving| Control::Drain { leaving }), Just(Control::Retired)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn control_messages_survive(message in control()) {
            let bytes = message.encode();
            let size = Control::size(bytes[..LENGTH_BYTES].try_into().unwrap()).unwrap();
            prop_assert_eq!(size, bytes.len() - LENGTH_BYTES);
            prop_assert_eq!(Control::decode(&bytes[LENGTH_BYTES..]), Ok(message));
        }

        #[test]
        fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..80)) {
            // Whatever comes out, it comes out in order.
            drop(Control::decode(&garbage).map(|control| control.encode()));
        }
    }

    #[test]
    fn other_version_is_named() {
        let mut bytes = BytesMut::from(&[HELLO][..]);
        bytes.put_u16(7);
        assert_eq!(Control::decode(&bytes), Err(ControlError::Version(7)));
    }
}
