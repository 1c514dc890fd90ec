//! Values as they are typed.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use super::RESERVED;
use super::token::is_of_word;
use crate::Value;

/// The value that a word without quotes stands for.
pub(super) fn word_value(word: &str) -> Result<Value, String> {
    if let Some(id) = word.strip_prefix('#') {
        return id.parse().map(Value::Reference).map_err(|e| format!("'{word}': {e}"));
    }
    if let Some(moment) = word.strip_prefix('@') {
        return moment.parse().map(Value::Timestamp).map_err(|_| format!("'{word}' is not @microseconds"));
    }
    if let Ok(blob) = word.parse() {
        return Ok(Value::Blob(Box::new(blob)));
    }
    if word == "true" || word == "false" {
        return Ok(Value::Bool(word == "true"));
    }
    if let Ok(number) = word.parse() {
        return Ok(Value::Int(number));
    }
    if let Some(moment) = moment(word) {
        return Ok(Value::Timestamp(moment));
    }
    if let Some(span) = span(word) {
        return Ok(Value::Timespan(span));
    }
    match word.parse::<f64>() {
        Ok(number) if number.is_finite() && word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Ok(Value::Float(number)),
        _ => Ok(Value::text(word)),
    }
}

/// A value as it is typed: what reads back the same, where there is a way to type it.
pub(in crate::query) fn written(value: &Value) -> String {
    let Value::Text(text) = value else { return value.to_string() };
    let keyword = RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word)) || text.starts_with("now");
    let bare = !text.is_empty() && !keyword && text.chars().all(is_of_word) && word_value(text).as_ref() == Ok(value);
    match bare {
        true => text.clone(),
        false => quoted(text),
    }
}

/// A text in quotes.
pub(in crate::query) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `2026-11-22` (midnight, UTC) or `2026-11-22T10:30:00Z`, in microseconds since 1970.
fn moment(word: &str) -> Option<i64> {
    let date = Date::parse(word, format_description!("[year]-[month]-[day]"));
    let moment = match date {
        Ok(date) => date.with_time(Time::MIDNIGHT).assume_utc(),
        Err(_) => OffsetDateTime::parse(word, &Rfc3339).ok()?,
    };
    i64::try_from(moment.unix_timestamp_nanos() / 1_000).ok()
}

/// `2d`, `1h30m`, `-500ms`, in microseconds.
fn span(word: &str) -> Option<i64> {
    let (sign, mut rest) = word.strip_prefix('-').map_or((1, word), |rest| (-1, rest));
    let mut micros: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
        micros = micros.checked_add(count.checked_mul(*unit)?)?;
        rest = &rest[letters..];
    }
    micros.checked_mul(sign)
}

/// Units of time, in microseconds.
const UNITS: [(&str, i64); 7] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000), ("w", 604_800_000_000)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlobId;

    const BLOB: &str = "blob:abababababababababababababababababababababababababababababababab:70000";

    #[test]
    fn words_become_what_they_look_like() {
        let second = 1_000_000;
        for (word, value) in [
            ("5", Value::Int(5)),
            ("-5.5", Value::Float(-5.5)),
            ("2d", Value::Timespan(2 * 86_400 * second)),
            ("1h30m", Value::Timespan(5_400 * second)),
            ("-500ms", Value::Timespan(-second / 2)),
            ("1970-01-02", Value::Timestamp(86_400 * second)),
            ("1970-01-01T01:00:00+01:00", Value::Timestamp(0)),
            ("@7", Value::Timestamp(7)),
            ("true", Value::Bool(true)),
            (BLOB, Value::Blob(Box::new(BlobId { hash: [0xab; 32], size_bytes: 70_000 }))),
            ("blob:ab:70000", Value::text("blob:ab:70000")),
            ("5x", Value::text("5x")),
            ("d", Value::text("d")),
            ("99999999999999w", Value::text("99999999999999w")),
            ("2026-13-01", Value::text("2026-13-01")),
        ] {
            assert_eq!(word_value(word), Ok(value), "{word}");
        }
    }
}
