//! Times, rates, sizes and shares as people write them, and the bounds within which they make sense.

use std::time::Duration;

use toml::Spanned;

use super::file::Written;
use crate::deployment::check::{Complaint, complain};

/// A time such as `35ms`, up to a bound.
pub(super) fn duration(what: &str, written: &Spanned<Written>, most: Duration) -> Result<Duration, Complaint> {
    let text = written.get_ref();
    let Written::Text(time) = text else {
        return Err(complain(written, format!("{what} of {text} has no unit: write it as \"{text}ms\" or \"{text}s\"")));
    };
    let not_one = || complain(written, format!("{what} of {text} is not a duration: write it as 500us, 35ms or 2s"));
    match humantime::parse_duration(time).map_err(|_| not_one())? {
        time if time > most => Err(complain(written, format!("{what} of {text} is too long: at most {most:?}"))),
        time => Ok(time),
    }
}

/// Bits a second, such as `20Mbit/s`.
pub(super) fn rate_bps(written: &Spanned<Written>) -> Result<u64, Complaint> {
    let not_one = || complain(written, format!("{} is not a rate: write it as 512kbit/s, 20Mbit/s or 1Gbit/s", written.get_ref()));
    let bps = with_unit(written.get_ref(), &RATES).ok_or_else(not_one)?;
    within(written, bps, RATE_LEAST_BPS, RATE_MOST_BPS, "rate", "1kbit/s to 1000Gbit/s")
}

/// Bytes, such as `64KiB`, from as many as one packet takes.
pub(super) fn size_bytes(what: &str, written: &Spanned<Written>, least: u64) -> Result<u64, Complaint> {
    let not_one = || complain(written, format!("{what} of {} is not a size: write it as 1500B, 64KiB or 2MiB", written.get_ref()));
    let bytes = with_unit(written.get_ref(), &SIZES).ok_or_else(not_one)?;
    within(written, bytes, least, SIZE_MOST_BYTES, what, &format!("{least}B to 1GiB"))
}

/// A share such as `0.01` or `1%`.
pub(super) fn share(what: &str, written: &Spanned<Written>) -> Result<f64, Complaint> {
    let share = match written.get_ref() {
        Written::Number(share) => Some(*share),
        Written::Text(text) => {
            text.strip_suffix('%').and_then(|percent| percent.trim_end().parse().ok()).map(|percent: f64| percent / 100.0)
        }
    };
    match share {
        Some(share) if (0.0..=SHARE_MOST).contains(&share) => Ok(share),
        Some(_) => Err(complain(written, format!("{what} of {}: a share from 0 to 0.5 (50%) makes sense", written.get_ref()))),
        None => Err(complain(written, format!("{what} of {} is not a share: write it as 0.01 or \"1%\"", written.get_ref()))),
    }
}

/// A bare number within bounds.
pub(super) fn number(what: &str, written: &Spanned<Written>, least: f64, most: f64) -> Result<f64, Complaint> {
    match written.get_ref() {
        Written::Number(number) if (least..=most).contains(number) => Ok(*number),
        other => Err(complain(written, format!("{what} of {other}: a number from {least} to {most} makes sense"))),
    }
}

fn within(written: &Spanned<Written>, number: f64, least: u64, most: u64, what: &str, bounds: &str) -> Result<u64, Complaint> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are whole numbers that f64 and u64 both hold")]
    match number.round() {
        whole if whole >= least as f64 && whole <= most as f64 => Ok(whole as u64),
        _ => Err(complain(written, format!("{what} of {}: {bounds} makes sense", written.get_ref()))),
    }
}

fn with_unit(written: &Written, units: &[(&str, f64)]) -> Option<f64> {
    let Written::Text(text) = written else { return None };
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = number.trim_end().parse().ok()?;
    Some(number * factor)
}

const RATES: [(&str, f64); 4] = [("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];
const SIZES: [(&str, f64); 4] = [("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];

const RATE_LEAST_BPS: u64 = 1_000;
const RATE_MOST_BPS: u64 = 1_000_000_000_000;
const SIZE_MOST_BYTES: u64 = 1 << 30;

/// More than half of all datagrams lost, reordered or doubled is not a line that anybody runs a company over; a cut is a fault, not a share.
const SHARE_MOST: f64 = 0.5;
