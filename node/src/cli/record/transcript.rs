//! What commands write while they are recorded: a JSON object a line, the messages inside in hexadecimal.

use anyhow::Context;
use serde::{Deserialize, Serialize};

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

/// Bytes as text.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text as bytes.
pub(super) fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).context("no hexadecimal digit");
    hex.as_bytes().chunks(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(*pair.get(1).context("half a byte")?)?)).collect()
}

/// The lines, in the order in which they were asked.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<Line>> {
    let mut lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Line>, _>>().context("the recording is damaged")?;
    lines.sort_by_key(|line| line.started_us);
    Ok(lines)
}
