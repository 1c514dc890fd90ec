//! What a member says of itself: how busy it is, what it offers and how far that has come, whether it is about to stop.

use std::collections::BTreeMap;
use std::sync::mpsc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use caps_certs_gen::Identity;
use foca::{BroadcastHandler, Invalidates};

use super::announced::Announced;
use super::wire::{self, WireError};
use crate::directory::MEMBERS_MAX;
use crate::offers::{OFFERS_BYTES_MAX, Offers};

/// A report of a member about itself. Spread with the gossip; a later one replaces it on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) identity: Identity,
    /// Later reports of one identity have a higher version: generation first, then their number within that life.
    pub(super) version: ReportVersion,
    pub(super) load: u8,
    pub(super) leaving: bool,
    pub(super) offers: Offers,
}

/// Which of two reports of one member is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReportVersion {
    pub(super) generation: u64,
    pub(super) number: u64,
}

impl Report {
    pub(super) fn encode(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(wire::NAME_BYTES_MAX + 18 + OFFERS_BYTES_MAX);
        wire::put_name(&mut buf, &self.identity).expect("the buffer grows");
        buf.put_u64(self.version.generation);
        buf.put_u64(self.version.number);
        buf.put_u8(self.load);
        buf.put_u8(u8::from(self.leaving));
        self.offers.encode(&mut buf);
        buf.freeze()
    }

    pub(super) fn decode(mut bytes: &[u8], domain: &str) -> Result<Self, WireError> {
        let report = Self {
            identity: wire::take_name(&mut bytes, domain)?,
            version: ReportVersion { generation: bytes.try_get_u64()?, number: bytes.try_get_u64()? },
            load: bytes.try_get_u8()?,
            leaving: match bytes.try_get_u8()? {
                0 => false,
                1 => true,
                _ => return Err(WireError::Unknown),
            },
            offers: Offers::decode(&mut bytes)?,
        };
        if bytes.is_empty() { Ok(report) } else { Err(WireError::Trailing) }
    }
}

/// foca's view of the reports: it tells which are news, and hands those out.
#[derive(Debug)]
pub(super) struct Reports {
    domain: String,
    latest: BTreeMap<Identity, ReportVersion>,
    /// foca keeps its handler to itself, so news leave by a channel, which the owner empties after every step.
    news: mpsc::Sender<Report>,
}

impl Reports {
    pub(super) fn new(domain: &str) -> (Self, mpsc::Receiver<Report>) {
        let (news, receiver) = mpsc::channel();
        (Self { domain: domain.to_owned(), latest: BTreeMap::new(), news }, receiver)
    }
}

impl BroadcastHandler<Announced> for Reports {
    type Key = ReportKey;
    type Error = WireError;

    fn receive_item(&mut self, data: &[u8], _sender: Option<&Announced>) -> Result<Option<ReportKey>, WireError> {
        let report = Report::decode(data, &self.domain)?;
        let known = self.latest.get(&report.identity);
        if known.is_some_and(|known| *known >= report.version) || (known.is_none() && self.latest.len() >= MEMBERS_MAX) {
            return Ok(None);
        }
        self.latest.insert(report.identity.clone(), report.version);
        let key = ReportKey(report.identity.clone());
        // The receiver lives as long as this handler: both are fields of one membership.
        self.news.send(report).ok();
        Ok(Some(key))
    }
}

/// Whose report an item is. Only news become items, so a later item always replaces an earlier one.
#[derive(Debug)]
pub(super) struct ReportKey(Identity);

impl Invalidates for ReportKey {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
