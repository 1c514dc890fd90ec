//! The bytes of names, addresses and members, as datagrams and directories carry them.
//!
//! Names travel without their trust domain: every member is of the reader's own, because nobody
//! else gets through the handshake. So a name of a foreign domain cannot even be spelled here, and a
//! name takes 130 bytes at most instead of 400. Integers are big-endian. Every field has a bound, and
//! a reader that does not find what it expects returns an error, whatever the bytes.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut};
use caps_certs_gen::{Identity, Layer};
use thiserror::Error;

/// Why bytes from a peer mean nothing. The peer is at fault; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    /// The bytes end before the value does.
    #[error("the bytes end before the value does")]
    Truncated,
    /// Bytes follow after the last value.
    #[error("bytes follow after the last value")]
    Trailing,
    /// A kind, state, layer or version has a number that nobody gave out.
    #[error("a number stands for nothing known")]
    Unknown,
    /// A name is not made of labels.
    #[error("a name is malformed")]
    Name,
    /// More values than the bound allows.
    #[error("more values than allowed")]
    TooMany,
    /// The value does not fit the room that is left (encoding only).
    #[error("the value does not fit the room that is left")]
    NoRoom,
}

impl From<bytes::TryGetError> for WireError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Truncated
    }
}

impl From<Infallible> for WireError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Appends the name of a node: layer, site, name; the domain is the reader's.
///
/// # Panics
/// If the identity is an administrator's: they are never members.
pub(crate) fn put_name(buf: &mut impl BufMut, identity: &Identity) -> Result<(), WireError> {
    let layer = identity.layer().expect("only nodes are members, and nodes have a layer");
    let site = identity.site().expect("only nodes are members, and nodes have a site");
    if buf.remaining_mut() < 1 + 1 + site.len() + 1 + identity.name().len() {
        return Err(WireError::NoRoom);
    }
    buf.put_u8(layer.number());
    put_label(buf, site);
    put_label(buf, identity.name());
    Ok(())
}

/// Reads the name of a node of `domain`.
pub(crate) fn take_name(buf: &mut impl Buf, domain: &str) -> Result<Identity, WireError> {
    let layer = Layer::from_number(buf.try_get_u8()?).ok_or(WireError::Unknown)?;
    let mut site = [0; LABEL_BYTES_MAX];
    let mut name = [0; LABEL_BYTES_MAX];
    let site = take_label(buf, &mut site)?;
    let name = take_label(buf, &mut name)?;
    Identity::node(domain, site, layer, name).map_err(|_| WireError::Name)
}

/// Appends a label of at most 63 bytes, as the identity guarantees.
pub(crate) fn put_label(buf: &mut impl BufMut, label: &str) {
    buf.put_u8(u8::try_from(label.len()).expect("labels have at most 63 bytes"));
    buf.put_slice(label.as_bytes());
}

/// Reads a label into `room`; only its length and encoding are checked.
pub(crate) fn take_label<'a>(buf: &mut impl Buf, room: &'a mut [u8; LABEL_BYTES_MAX]) -> Result<&'a str, WireError> {
    let length = usize::from(buf.try_get_u8()?);
    let room = room.get_mut(..length).ok_or(WireError::Name)?;
    buf.try_copy_to_slice(room)?;
    std::str::from_utf8(room).map_err(|_| WireError::Name)
}

/// Appends an address: 4 or 6, the octets, the port.
pub(crate) fn put_address(buf: &mut impl BufMut, address: SocketAddr) -> Result<(), WireError> {
    if buf.remaining_mut() < ADDRESS_BYTES_MAX {
        return Err(WireError::NoRoom);
    }
    match address.ip() {
        IpAddr::V4(ip) => {
            buf.put_u8(4);
            buf.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            buf.put_u8(6);
            buf.put_slice(&ip.octets());
        }
    }
    buf.put_u16(address.port());
    Ok(())
}

/// Reads an address. Scope and flow label do not travel: they mean nothing on another machine.
pub(crate) fn take_address(buf: &mut impl Buf) -> Result<SocketAddr, WireError> {
    let ip = match buf.try_get_u8()? {
        4 => {
            let mut octets = [0; 4];
            buf.try_copy_to_slice(&mut octets)?;
            IpAddr::from(octets)
        }
        6 => {
            let mut octets = [0; 16];
            buf.try_copy_to_slice(&mut octets)?;
            IpAddr::from(octets)
        }
        _ => return Err(WireError::Unknown),
    };
    Ok(SocketAddr::new(ip, buf.try_get_u16()?))
}

/// The longest site or name.
pub(crate) const LABEL_BYTES_MAX: usize = 63;
/// The longest name of a node: layer, two labels and their lengths.
pub(crate) const NAME_BYTES_MAX: usize = 1 + 2 * (1 + LABEL_BYTES_MAX);
/// An IPv6 address.
pub(crate) const ADDRESS_BYTES_MAX: usize = 1 + 16 + 2;
