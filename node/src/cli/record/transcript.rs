//! What commands write while they are recorded: a JSON object a line, the messages inside in hexadecimal.

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::output::from_hex;

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// When it was asked: microseconds since 1970.
    pub(super) started_us: i64,
    /// When it was answered; for a console, when it was closed.
    pub(super) ended_us: i64,
    /// The method's number.
    pub(super) method: u16,
    /// The request, without session and password.
    pub(super) asked: String,
    /// The answer; empty where it is secret or has no end.
    pub(super) answer: String,
}

/// A message out of a line.
pub(super) fn bytes(written: &str) -> anyhow::Result<Vec<u8>> {
    from_hex(written).context("the recording holds something else than hexadecimal digits")
}

/// The lines, in the order in which they were asked.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<Line>> {
    let mut lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Line>, _>>().context("the recording is damaged")?;
    lines.sort_by_key(|line| line.started_us);
    Ok(lines)
}
