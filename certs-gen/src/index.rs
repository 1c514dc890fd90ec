//! What an authority has issued.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Identity, Layer, Moment, Reason, Revocation, Serial, Validity};

/// Every certificate of a trust domain, in the order of their issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    version: u32,
    domain: String,
    revocation_lists: u64,
    certificates: Vec<Record>,
}

impl Index {
    /// The index of a new trust domain.
    pub(crate) fn new(domain: &str) -> Self {
        Self { version: VERSION, domain: domain.to_owned(), revocation_lists: 0, certificates: Vec::new() }
    }

    /// Whether this program understands the index, which a newer one may have written.
    pub(crate) fn is_understood(&self) -> bool {
        self.version == VERSION
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Every certificate, in the order of their issue.
    pub fn records(&self) -> &[Record] {
        &self.certificates
    }

    /// The newest certificate of each subject, in the order of the subjects.
    pub fn newest(&self) -> Vec<&Record> {
        let mut newest: Vec<&Record> = Vec::new();
        for record in &self.certificates {
            match newest.iter_mut().find(|known| known.subject == record.subject) {
                Some(known) => *known = record,
                None => newest.push(record),
            }
        }
        newest.sort_by(|a, b| a.subject.cmp(&b.subject));
        newest
    }

    /// The newest certificate of the node or administrator of this name.
    pub fn newest_of(&self, name: &str) -> Option<&Record> {
        let mut newest_first = self.certificates.iter().rev();
        newest_first.find(|record| record.leaf_name() == Some(name))
    }

    pub(crate) fn add(&mut self, record: Record) {
        self.certificates.push(record);
    }

    /// The number for the next revocation list.
    pub(crate) fn next_list_number(&mut self) -> u64 {
        self.revocation_lists += 1;
        self.revocation_lists
    }

    /// The certificates that are still worth revoking and that `which` means: one serial, or
    /// everything under one name.
    pub(crate) fn meant_by(&self, which: &str, now: SystemTime) -> Vec<Serial> {
        let serial = which.parse::<Serial>().ok();
        let is_meant = |record: &&Record| {
            serial.as_ref() == Some(&record.serial) || (record.leaf_name() == Some(which) && !record.validity.has_ended(now))
        };
        let meant = self.certificates.iter().filter(is_meant);
        meant.map(|record| record.serial.clone()).collect()
    }

    /// Marks a certificate as revoked; the first time stays.
    pub(crate) fn revoke(&mut self, serial: &Serial, at: Moment, reason: Reason) {
        let of_serial = |record: &&mut Record| record.serial == *serial;
        if let Some(record) = self.certificates.iter_mut().find(of_serial) {
            record.revoked.get_or_insert(Revoked { at, reason });
        }
    }

    /// What the list of `issuer` says: everything that would still hold if it were not revoked.
    pub(crate) fn revocations(&self, issuer: &Subject, now: SystemTime) -> Vec<Revocation> {
        let of_issuer = self.certificates.iter().filter(|record| record.subject.issuer() == *issuer && !record.validity.has_ended(now));
        of_issuer.filter_map(Record::revocation).collect()
    }
}

/// One certificate in the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub serial: Serial,
    /// Whom it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// When it holds.
    #[serde(flatten)]
    pub validity: Validity,
    /// DNS names, beside the identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// IP addresses, beside the identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<IpAddr>,
    /// Since when and why it holds no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

impl Record {
    /// Whether it holds at `now`.
    pub fn state(&self, now: SystemTime) -> State {
        if self.revoked.is_some() {
            State::Revoked
        } else if self.validity.has_ended(now) {
            State::Expired
        } else {
            State::Valid
        }
    }

    /// The name of the node or administrator.
    pub fn leaf_name(&self) -> Option<&str> {
        self.subject.identity().map(Identity::name)
    }

    fn revocation(&self) -> Option<Revocation> {
        let revoked = self.revoked.as_ref()?;
        Some(Revocation { serial: self.serial.clone(), at: revoked.at, reason: revoked.reason })
    }
}

/// Since when and why a certificate holds no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Since when.
    pub at: Moment,
    /// Why.
    pub reason: Reason,
}

/// Whom a certificate is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Subject {
    /// The root.
    Root,
    /// The authority of a site.
    Site {
        /// The site.
        site: String,
    },
    /// A node or an administrator.
    Leaf {
        /// Who it is.
        identity: Identity,
    },
}

impl Subject {
    /// Who signs certificates about this subject.
    pub(crate) fn issuer(&self) -> Self {
        match self {
            Self::Leaf { identity } => match identity.site() {
                Some(site) => Self::Site { site: site.to_owned() },
                None => Self::Root,
            },
            Self::Root | Self::Site { .. } => Self::Root,
        }
    }

    /// The last part of what it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Root => "root",
            Self::Site { site } => site,
            Self::Leaf { identity } => identity.name(),
        }
    }

    /// The site, unless it is for the whole domain.
    pub fn site(&self) -> Option<&str> {
        match self {
            Self::Root => None,
            Self::Site { site } => Some(site),
            Self::Leaf { identity } => identity.site(),
        }
    }

    /// The layer of a node.
    pub fn layer(&self) -> Option<Layer> {
        self.identity().and_then(Identity::layer)
    }

    /// The identity of a node or an administrator; authorities have none.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Leaf { identity } => Some(identity),
            Self::Root | Self::Site { .. } => None,
        }
    }
}

/// Whether a certificate holds, as far as the index knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It holds.
    Valid,
    /// It has ended.
    Expired,
    /// It was revoked.
    Revoked,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        })
    }
}

const VERSION: u32 = 1;
