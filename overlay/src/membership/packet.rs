//! The bytes of gossip packets.

use bytes::{Buf, BufMut};
use caps_certs_gen::Identity;
use foca::{Header, Incarnation, Message, State};

use super::announced::Announced;
use super::report::Report;
use super::wire::{self, WireError};

/// Writes and reads what foca exchanges: by hand, bounded, relative to one trust domain.
///
/// A packet is a header (sender, its incarnation, receiver, message), then, depending on the message, the number of member
/// updates and the updates, then reports, each behind its length. foca writes the counts and lengths, this type the rest.
#[derive(Clone, Debug)]
pub(super) struct PacketCodec {
    domain: String,
}

/// A packet that was read to its end and found well-formed, before foca sees any of it.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) header: Header<Announced>,
    pub(super) updates: Vec<foca::Member<Announced>>,
    pub(super) reports: Vec<Report>,
}

impl PacketCodec {
    pub(super) fn new(domain: &str) -> Self {
        Self { domain: domain.to_owned() }
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// Reads a whole packet. The number of updates and reports is bounded by the bytes, of which each takes 19 or more.
    pub(super) fn parse(&self, mut bytes: &[u8]) -> Result<Packet, WireError> {
        let header = self.take_header(&mut bytes)?;
        let mut updates = Vec::new();
        // What foca 2 does: every message may have updates, broadcasts have none, and a lone byte is an error.
        if !bytes.is_empty() && header.message != Message::Broadcast {
            for _ in 0..bytes.try_get_u16()? {
                updates.push(self.take_member(&mut bytes)?);
            }
        }
        let mut reports = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(bytes.try_get_u16()?);
            let report = bytes.get(..length).ok_or(WireError::Truncated)?;
            reports.push(Report::decode(report, &self.domain)?);
            bytes.advance(length);
        }
        Ok(Packet { header, updates, reports })
    }

    /// Whether a packet of ours asks its receiver something, so that silence says something about the way.
    pub(super) fn asks(&self, mut packet: &[u8]) -> bool {
        let header = self.take_header(&mut packet);
        header.is_ok_and(|header| matches!(header.message, Message::Ping(_) | Message::IndirectPing { .. }))
    }

    fn put_announced(&self, announced: &Announced, buf: &mut impl BufMut) -> Result<(), WireError> {
        wire::put_name(buf, announced.identity())?;
        wire::put_address(buf, announced.address())?;
        put_u64(buf, announced.generation())
    }

    fn take_announced(&self, buf: &mut impl Buf) -> Result<Announced, WireError> {
        let identity: Identity = wire::take_name(buf, &self.domain)?;
        let address = wire::take_address(buf)?;
        Ok(Announced::new(identity, buf.try_get_u64()?, address))
    }

    fn take_header(&self, buf: &mut impl Buf) -> Result<Header<Announced>, WireError> {
        Ok(Header {
            src: self.take_announced(buf)?,
            src_incarnation: buf.try_get_u16()?,
            dst: self.take_announced(buf)?,
            message: self.take_message(buf)?,
        })
    }

    fn put_message(&self, message: &Message<Announced>, buf: &mut impl BufMut) -> Result<(), WireError> {
        put_u8(buf, kind(message))?;
        match message {
            Message::Ping(probe) | Message::Ack(probe) => put_u8(buf, *probe),
            Message::PingReq { target: other, probe_number }
            | Message::IndirectPing { origin: other, probe_number }
            | Message::IndirectAck { target: other, probe_number }
            | Message::ForwardedAck { origin: other, probe_number } => {
                put_u8(buf, *probe_number)?;
                self.put_announced(other, buf)
            }
            Message::Announce | Message::Feed | Message::Gossip | Message::Broadcast | Message::TurnUndead => Ok(()),
        }
    }

    fn take_message(&self, buf: &mut impl Buf) -> Result<Message<Announced>, WireError> {
        let kind = buf.try_get_u8()?;
        if kind >= ANNOUNCE {
            return match kind {
                ANNOUNCE => Ok(Message::Announce),
                FEED => Ok(Message::Feed),
                GOSSIP => Ok(Message::Gossip),
                BROADCAST => Ok(Message::Broadcast),
                TURN_UNDEAD => Ok(Message::TurnUndead),
                _ => Err(WireError::Unknown),
            };
        }
        let probe_number = buf.try_get_u8()?;
        match kind {
            PING => Ok(Message::Ping(probe_number)),
            ACK => Ok(Message::Ack(probe_number)),
            PING_REQUEST => Ok(Message::PingReq { target: self.take_announced(buf)?, probe_number }),
            INDIRECT_PING => Ok(Message::IndirectPing { origin: self.take_announced(buf)?, probe_number }),
            INDIRECT_ACK => Ok(Message::IndirectAck { target: self.take_announced(buf)?, probe_number }),
            FORWARDED_ACK => Ok(Message::ForwardedAck { origin: self.take_announced(buf)?, probe_number }),
            _ => Err(WireError::Unknown),
        }
    }

    fn take_member(&self, buf: &mut impl Buf) -> Result<foca::Member<Announced>, WireError> {
        let announced = self.take_announced(buf)?;
        let incarnation: Incarnation = buf.try_get_u16()?;
        let state = match buf.try_get_u8()? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(WireError::Unknown),
        };
        Ok(foca::Member::new(announced, incarnation, state))
    }
}

impl foca::Codec<Announced> for PacketCodec {
    type Error = WireError;

    fn encode_header(&mut self, header: &Header<Announced>, mut buf: impl BufMut) -> Result<(), WireError> {
        self.put_announced(&header.src, &mut buf)?;
        put_u16(&mut buf, header.src_incarnation)?;
        self.put_announced(&header.dst, &mut buf)?;
        self.put_message(&header.message, &mut buf)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Announced>, WireError> {
        self.take_header(&mut buf)
    }

    fn encode_member(&mut self, member: &foca::Member<Announced>, mut buf: impl BufMut) -> Result<(), WireError> {
        if buf.remaining_mut() < MEMBER_BYTES_MAX {
            return Err(WireError::NoRoom);
        }
        self.put_announced(member.id(), &mut buf)?;
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<foca::Member<Announced>, WireError> {
        self.take_member(&mut buf)
    }
}

fn kind(message: &Message<Announced>) -> u8 {
    match message {
        Message::Ping(_) => PING,
        Message::Ack(_) => ACK,
        Message::PingReq { .. } => PING_REQUEST,
        Message::IndirectPing { .. } => INDIRECT_PING,
        Message::IndirectAck { .. } => INDIRECT_ACK,
        Message::ForwardedAck { .. } => FORWARDED_ACK,
        Message::Announce => ANNOUNCE,
        Message::Feed => FEED,
        Message::Gossip => GOSSIP,
        Message::Broadcast => BROADCAST,
        Message::TurnUndead => TURN_UNDEAD,
    }
}

fn put_u8(buf: &mut impl BufMut, value: u8) -> Result<(), WireError> {
    has_room(buf, 1)?;
    buf.put_u8(value);
    Ok(())
}

fn put_u16(buf: &mut impl BufMut, value: u16) -> Result<(), WireError> {
    has_room(buf, 2)?;
    buf.put_u16(value);
    Ok(())
}

fn put_u64(buf: &mut impl BufMut, value: u64) -> Result<(), WireError> {
    has_room(buf, 8)?;
    buf.put_u64(value);
    Ok(())
}

fn has_room(buf: &impl BufMut, bytes: usize) -> Result<(), WireError> {
    if buf.remaining_mut() < bytes { Err(WireError::NoRoom) } else { Ok(()) }
}

// Messages with a probe number come first, then those without.
const PING: u8 = 0;
const ACK: u8 = 1;
const PING_REQUEST: u8 = 2;
const INDIRECT_PING: u8 = 3;
const INDIRECT_ACK: u8 = 4;
const FORWARDED_ACK: u8 = 5;
const ANNOUNCE: u8 = 6;
const FEED: u8 = 7;
const GOSSIP: u8 = 8;
const BROADCAST: u8 = 9;
const TURN_UNDEAD: u8 = 10;
/// Name, address, generation, incarnation and state at their longest. Also asked for when the member is shorter: then
/// the last few bytes of a packet stay unused, and nothing is ever half written.
const MEMBER_BYTES_MAX: usize = wire::NAME_BYTES_MAX + wire::ADDRESS_BYTES_MAX + 8 + 2 + 1;
