//! Durations as people write them: `5m20s`.

use std::fmt;
use std::time::Duration;

/// A duration shown with its two largest units (`5m20s`, `3d4h`), below ten seconds with tenths (`2.1s`), below one with three digits
/// (`1.25ms`).
#[derive(Debug, Clone, Copy)]
pub struct Compact(pub Duration);

/// A number of microseconds as a duration.
pub(crate) fn micros(micros: u64) -> Compact {
    Compact(Duration::from_micros(micros))
}

impl fmt::Display for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0.as_secs() {
            0 => below_a_second(self.0),
            1..10 if self.0.subsec_millis() >= 100 => format!("{}.{}s", self.0.as_secs(), self.0.subsec_millis() / 100),
            seconds => from_a_second(seconds),
        };
        f.pad(&text)
    }
}

fn below_a_second(duration: Duration) -> String {
    let micros = duration.as_micros();
    let (unit, whole, thousandths) = match micros {
        0 => ("us", 0, 0),
        1..1_000 => ("us", micros, 0),
        _ => ("ms", micros / 1_000, micros % 1_000),
    };
    match whole {
        _ if thousandths == 0 => format!("{whole}{unit}"),
        0..10 => format!("{whole}.{:02}{unit}", thousandths / 10),
        10..100 => format!("{whole}.{}{unit}", thousandths / 100),
        _ => format!("{whole}{unit}"),
    }
}

fn from_a_second(seconds: u64) -> String {
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_are_enough() {
        let table = [
            (0, "0us"),
            (999, "999us"),
            (1_250, "1.25ms"),
            (12_345, "12.3ms"),
            (250_999, "250ms"),
            (1_000_000, "1s"),
            (2_133_000, "2.1s"),
            (320_000_000, "5m20s"),
            (3_600_000_000, "1h"),
            (90_061_000_000, "1d1h"),
        ];
        for (count, expected) in table {
            assert_eq!(micros(count).to_string(), expected);
        }
    }
}
