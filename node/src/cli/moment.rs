//! Moments in the history of a cabinet, and places in an answer, as people type them.

use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use caps_model::messages::inspect::At;
use caps_model::{Cursor, Position, Value, codec};

use crate::ambient;
use crate::output::{from_hex, hex};

/// `now`, a position, a time, or how long ago.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(pub(super) At);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self(At::Present));
        }
        match text.parse() {
            Ok(Value::Int(position)) if position >= 0 => Ok(Self(At::Position(Position(position.unsigned_abs())))),
            Ok(Value::Timestamp(micros)) => Ok(Self(At::Time(micros))),
            Ok(Value::Timespan(ago)) => Ok(Self(At::Time(now_us().saturating_sub(ago.saturating_abs())))),
            _ => Err(format!("'{text}' is no moment: give 'now', a position, a time like 2026-11-22T10:30:00Z, or how long ago, like 2d")),
        }
    }
}

fn now_us() -> i64 {
    let since = ambient::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Where a page of an answer ended, to go on from there.
#[derive(Debug, Clone)]
pub(super) struct Place(pub(super) Cursor);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cursor = from_hex(text).and_then(|bytes| codec::decode(&bytes).ok());
        cursor.map(Self).ok_or_else(|| "this is no cursor: give what the page before printed, whole".to_owned())
    }
}

impl Place {
    /// As the next command takes it.
    pub(super) fn written(&self) -> anyhow::Result<String> {
        let bytes = codec::encode(&self.0).context("this place is too large to print")?;
        Ok(hex(&bytes))
    }
}
