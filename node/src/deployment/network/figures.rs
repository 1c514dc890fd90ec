//! What a link does to datagrams, in one direction.

use std::fmt;
use std::time::Duration;

/// What a link does to datagrams that pass it, in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkFigures {
    /// How long a datagram is under way, one way, when nothing is in front of it.
    pub delay: Duration,
    /// The most that is added to the delay, drawn anew for each datagram; never reorders by itself.
    pub jitter: Duration,
    /// Bits a second at the bottleneck; `None`: more than anybody sends.
    pub rate_bps: Option<u64>,
    /// Bytes that wait in front of the bottleneck before more are dropped. Meaningless without a rate.
    pub queue_bytes: u64,
    /// The share of datagrams that vanish, 0 to 1, in the long run.
    pub loss: f64,
    /// How many datagrams in a row a loss takes on average: 1 means that each is lost or not by itself.
    pub burst: f64,
    /// The share of datagrams that are held back by a half delay more, so that later ones overtake them.
    pub reorder: f64,
    /// The share of datagrams that arrive twice.
    pub duplicate: f64,
    /// The largest IP packet that passes, headers included; larger ones vanish.
    pub mtu_bytes: u16,
    /// Datagrams that find more bytes than this in the queue are marked (RFC 3168) where their sender allows it; `None`: never.
    pub mark_above_bytes: Option<u64>,
}

impl LinkFigures {
    /// A wire that does nothing but take this long.
    pub const fn ideal(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            rate_bps: None,
            queue_bytes: 0,
            loss: 0.0,
            burst: 1.0,
            reorder: 0.0,
            duplicate: 0.0,
            mtu_bytes: 1500,
            mark_above_bytes: None,
        }
    }
}

/// In one line, as a table shows it; what does nothing is left out.
impl fmt::Display for LinkFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.delay)?;
        if !self.jitter.is_zero() {
            write!(f, " +{:?}", self.jitter)?;
        }
        if let Some(rate_bps) = self.rate_bps {
            write!(f, ", {} Mbit/s, queue {} KiB", rounded(rate_bps as f64 / 1e6), self.queue_bytes.div_ceil(1024))?;
        }
        if self.loss > 0.0 {
            write!(f, ", loss {} %", rounded(self.loss * 100.0))?;
        }
        if self.loss > 0.0 && self.burst > 1.0 {
            write!(f, " in bursts of {}", rounded(self.burst))?;
        }
        if self.reorder > 0.0 {
            write!(f, ", reorders {} %", rounded(self.reorder * 100.0))?;
        }
        if self.duplicate > 0.0 {
            write!(f, ", duplicates {} %", rounded(self.duplicate * 100.0))?;
        }
        if let Some(bytes) = self.mark_above_bytes {
            write!(f, ", marks above {} KiB", bytes.div_ceil(1024))?;
        }
        match self.mtu_bytes {
            1500 => Ok(()),
            bytes => write!(f, ", mtu {bytes}"),
        }
    }
}

/// To three decimals, and no more of them than needed.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_show_what_they_do_and_nothing_else() {
        let ideal = LinkFigures::ideal(Duration::from_millis(5));
        assert_eq!(ideal.to_string(), "5ms");
        let figures = LinkFigures {
            jitter: Duration::from_micros(500),
            rate_bps: Some(13_600_000),
            queue_bytes: 65_536,
            loss: 0.001,
            burst: 3.0,
            mtu_bytes: 1492,
            ..ideal
        };
        assert_eq!(figures.to_string(), "5ms +500µs, 13.6 Mbit/s, queue 64 KiB, loss 0.1 % in bursts of 3, mtu 1492");
    }
}
