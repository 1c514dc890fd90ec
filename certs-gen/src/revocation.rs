//! Certificates that hold no longer.

use std::fmt;
use std::str::FromStr;

use rcgen::{RevocationReason, RevokedCertParams};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::{Moment, Serial, signature};

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The certificate.
    pub serial: Serial,
    /// Since when.
    pub at: Moment,
    /// Why.
    pub reason: Reason,
}

impl Revocation {
    pub(crate) fn params(&self) -> RevokedCertParams {
        RevokedCertParams {
            serial_number: self.serial.as_bytes().to_vec().into(),
            revocation_time: self.at.to_date(),
            reason_code: Some(self.reason.code()),
            invalidity_date: None,
        }
    }
}

/// Why a certificate is revoked (RFC 5280, section 5.3.1; those that make sense here). Every reason
/// has the same effect; it is for the people who read the list later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Not said.
    #[default]
    Unspecified,
    /// Somebody else may have the private key.
    KeyCompromise,
    /// Another certificate takes its place.
    Superseded,
    /// The node is no more.
    CessationOfOperation,
    /// The node or the person may no longer do what the certificate says.
    PrivilegeWithdrawn,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Unspecified, Self::KeyCompromise, Self::Superseded, Self::CessationOfOperation, Self::PrivilegeWithdrawn];

    fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    fn code(self) -> RevocationReason {
        match self {
            Self::Unspecified => RevocationReason::Unspecified,
            Self::KeyCompromise => RevocationReason::KeyCompromise,
            Self::Superseded => RevocationReason::Superseded,
            Self::CessationOfOperation => RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|reason| reason.name() == text).ok_or(UnknownReason)
    }
}

/// The text names no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the reason is none of unspecified, key-compromise, superseded, cessation-of-operation, \
     privilege-withdrawn"
)]
pub struct UnknownReason;

/// A certificate revocation list, read but not believed: its signature counts only when a
/// [`Verifier`](crate::Verifier) checks it against the issuer it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    der: CertificateRevocationListDer<'static>,
    issuer: Vec<u8>,
    issuer_name: String,
    number: Vec<u8>,
    updated: Moment,
    serials: Vec<Serial>,
}

impl RevocationList {
    /// Reads a list.
    pub fn parse(der: CertificateRevocationListDer<'static>) -> Result<Self, RevocationListError> {
        let (rest, list) = CertificateRevocationList::from_der(&der).map_err(|_| RevocationListError)?;
        if !rest.is_empty() {
            return Err(RevocationListError);
        }
        let issuer = list.issuer().as_raw().to_vec();
        let issuer_name = list.issuer().to_string();
        let number = list.crl_number().ok_or(RevocationListError)?.to_bytes_be();
        let updated = Moment::from_timestamp(list.last_update().timestamp());
        let serials = list
            .iter_revoked_certificates()
            .map(|entry| Serial::from_bytes(entry.raw_serial()))
            .collect::<Result<_, _>>()
            .map_err(|_| RevocationListError)?;
        Ok(Self { issuer, issuer_name, number, updated, serials, der })
    }

    /// The list in DER form.
    pub fn der(&self) -> &CertificateRevocationListDer<'static> {
        &self.der
    }

    /// The distinguished name of the issuer, in DER form.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The distinguished name of the issuer, for people.
    pub fn issuer_name(&self) -> &str {
        &self.issuer_name
    }

    /// When the list was made.
    pub fn updated(&self) -> Moment {
        self.updated
    }

    /// The certificates it revokes, in the order of the list.
    pub fn serials(&self) -> &[Serial] {
        &self.serials
    }

    /// Whether the authority with this certificate signed the list. Whether that one is to be
    /// believed is another question: [`TrustAnchors::accept`](crate::TrustAnchors::accept).
    pub fn is_signed_by(&self, issuer: &CertificateDer<'_>) -> bool {
        CertificateRevocationList::from_der(&self.der).is_ok_and(|(_, list)| signature::is_list_signed_by(&list, issuer))
    }

    /// Whether this list replaces `other`: the same issuer, and a higher number.
    pub fn replaces(&self, other: &Self) -> bool {
        // Numbers are big-endian without leading zeros, so the longer one is the greater.
        let order = |list: &Self| (list.number.len(), list.number.clone());
        self.issuer == other.issuer && order(self) > order(other)
    }
}

/// The bytes are not a revocation list with a number and sound serials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the revocation list is malformed")]
pub struct RevocationListError;
