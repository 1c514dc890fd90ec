//! The codes with which connections are closed and streams are ended.

use std::fmt;

use caps_certs_gen::Identity;
use quinn::{ConnectionError, VarInt};

use crate::failure::CallError;

/// Why a connection was closed, on the wire as QUIC's application error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCode {
    /// The node ended.
    Shutdown = 0,
    /// The certificate is valid, but its holder has no business here. Nothing was read.
    Policy = 1,
    /// Another living process holds the name that this one claims. Nothing was read.
    NameTaken = 2,
    /// The node is draining and admits nobody. Nothing was read.
    Draining = 3,
    /// As many connections are open as may be. Nothing was read.
    Full = 4,
    /// The peer did not say hello, or in a version that is not spoken here. Nothing was read.
    Hello = 5,
    /// The peer broke the protocol.
    Malformed = 16,
    /// The peer opens and cancels calls faster than anybody needs to.
    Excessive = 17,
    /// Another connection to the same peer serves both sides; this one has no calls left.
    Duplicate = 18,
    /// The peer's process was replaced by a new one with the same name.
    Replaced = 19,
    /// The peer's certificate has ended or was revoked.
    Certificate = 20,
}

impl CloseCode {
    const ALL: [Self; 11] = [
        Self::Shutdown,
        Self::Policy,
        Self::NameTaken,
        Self::Draining,
        Self::Full,
        Self::Hello,
        Self::Malformed,
        Self::Excessive,
        Self::Duplicate,
        Self::Replaced,
        Self::Certificate,
    ];

    /// The code of this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u64 == number)
    }

    /// Whether this code is only used before any call is read.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Policy | Self::NameTaken | Self::Draining | Self::Full | Self::Hello)
    }

    pub(crate) fn to_varint(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shutdown => "the node ended",
            Self::Policy => "no business here",
            Self::NameTaken => "the name is taken",
            Self::Draining => "draining",
            Self::Full => "too many connections",
            Self::Hello => "no common protocol",
            Self::Malformed => "the protocol was broken",
            Self::Excessive => "too many cancelled calls",
            Self::Duplicate => "superseded by another connection",
            Self::Replaced => "replaced by a new process of the same name",
            Self::Certificate => "the certificate has ended",
        })
    }
}

/// Why a stream was ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetCode {
    /// The caller does not want the answer any more.
    Cancelled = 1,
    /// What was sent on the stream makes no sense.
    Malformed = 2,
}

impl ResetCode {
    pub(crate) fn to_varint(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// What the end of a connection means for a call that was out on it.
pub(crate) fn error_of_call(peer: &Identity, error: &ConnectionError) -> CallError {
    refusal(peer, error).unwrap_or_else(|| CallError::Lost { peer: peer.clone(), cause: words(error) })
}

/// What the failure of a dial means for whoever wanted the connection.
pub(crate) fn error_of_dial(peer: &Identity, error: &ConnectionError) -> CallError {
    refusal(peer, error).unwrap_or_else(|| CallError::Unreachable { peer: peer.clone(), cause: words(error) })
}

/// The error in words, for people.
pub(crate) fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "no answer".to_owned(),
        ConnectionError::Reset => "the peer has restarted".to_owned(),
        ConnectionError::LocallyClosed => "closed by this node".to_owned(),
        ConnectionError::ApplicationClosed(close) => match CloseCode::from_number(close.error_code.into_inner()) {
            Some(code) => in_full(code, &close.reason),
            None => format!("closed with code {}", close.error_code),
        },
        ConnectionError::TransportError(error) => error.reason.clone(),
        other => other.to_string(),
    }
}

fn refusal(peer: &Identity, error: &ConnectionError) -> Option<CallError> {
    let (code, reason) = match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = CloseCode::from_number(close.error_code.into_inner()).filter(|code| code.is_refusal())?;
            if code == CloseCode::Draining {
                return Some(CallError::Draining);
            }
            (close.error_code.into_inner(), in_full(code, &close.reason))
        }
        // The handshake failed over there: RFC 9001, section 4.8.
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            let alert = u8::try_from(code.checked_sub(CRYPTO_ERRORS)?).ok()?;
            (code, alert_words(alert, &close.reason))
        }
        _ => return None,
    };
    Some(CallError::Refused { peer: peer.clone(), code, reason })
}

fn in_full(code: CloseCode, reason: &[u8]) -> String {
    if reason.is_empty() { code.to_string() } else { format!("{code}: {}", printable(reason)) }
}

/// The alerts of RFC 8446, section 6.2, that speak of certificates.
fn alert_words(alert: u8, reason: &[u8]) -> String {
    let words = match alert {
        42 => "our certificate is malformed",
        43 => "our certificate is of a kind that is not accepted",
        44 => "our certificate is revoked",
        45 => "our certificate has expired or is not valid yet",
        46 => "our certificate is not acceptable",
        48 => "our certificate's issuer is unknown",
        49 => "our certificate does not admit us",
        51 => "our signature does not verify",
        116 => "we showed no certificate",
        120 => "no common application protocol",
        _ => return format!("the handshake failed with alert {alert}: {}", printable(reason)),
    };
    if reason.is_empty() { words.to_owned() } else { format!("{words}: {}", printable(reason)) }
}

/// A peer's words, bounded and without control characters.
fn printable(reason: &[u8]) -> String {
    String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).take(REASON_CHARACTERS_MAX).collect()
}

const CRYPTO_ERRORS: u64 = 0x100;
const REASON_CHARACTERS_MAX: usize = 300;
