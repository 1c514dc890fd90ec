//! Ten regions of the world and the round trips between them, for deployments that know where their sites are but not over what.
//!
//! The round-trip times are averages published in 2017, as SIMULATION.md cites them. They carry neither rate nor loss: those are the sites' lines'.

use std::time::Duration;

/// One of ten regions of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// Northern Virginia.
    NorthVirginia,
    /// Northern California.
    NorthCalifornia,
    /// Oregon.
    Oregon,
    /// Ireland.
    Ireland,
    /// Frankfurt.
    Frankfurt,
    /// Tokyo.
    Tokyo,
    /// Seoul.
    Seoul,
    /// Singapore.
    Singapore,
    /// Sydney.
    Sydney,
    /// São Paulo.
    SaoPaulo,
}

impl Region {
    /// All of them, in the table's order.
    pub const ALL: [Self; 10] = [
        Self::NorthVirginia,
        Self::NorthCalifornia,
        Self::Oregon,
        Self::Ireland,
        Self::Frankfurt,
        Self::Tokyo,
        Self::Seoul,
        Self::Singapore,
        Self::Sydney,
        Self::SaoPaulo,
    ];

    /// The name that `caps.toml` uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::NorthVirginia => "N. Virginia",
            Self::NorthCalifornia => "N. California",
            Self::Oregon => "Oregon",
            Self::Ireland => "Ireland",
            Self::Frankfurt => "Frankfurt",
            Self::Tokyo => "Tokyo",
            Self::Seoul => "Seoul",
            Self::Singapore => "Singapore",
            Self::Sydney => "Sydney",
            Self::SaoPaulo => "São Paulo",
        }
    }

    /// The region of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|region| region.name() == name)
    }

    /// Their names, for those who ask for one that is not there.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The round trip between two regions. Inside one it is 1 ms: an assumption, two data centres of one urban area.
    pub fn round_trip(self, other: Self) -> Duration {
        let (low, high) = (self.min(other) as usize, self.max(other) as usize);
        Duration::from_millis(if low == high { INSIDE_MS } else { ROUND_TRIPS_MS[low][high - low - 1] })
    }
}

const INSIDE_MS: u64 = 1;

/// Row: the region that comes first; columns: those after it.
const ROUND_TRIPS_MS: [&[u64]; 9] = [
    &[73, 87, 81, 89, 145, 178, 217, 230, 120],
    &[19, 153, 167, 103, 132, 174, 158, 193],
    &[137, 160, 89, 118, 161, 162, 183],
    &[20, 212, 242, 239, 310, 191],
    &[237, 266, 326, 324, 195],
    &[31, 74, 104, 257],
    &[72, 134, 286],
    &[175, 328],
    &[323],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_those_of_the_table_in_both_directions() {
        let table = [
            (Region::NorthVirginia, Region::NorthCalifornia, 73),
            (Region::NorthVirginia, Region::SaoPaulo, 120),
            (Region::Ireland, Region::Frankfurt, 20),
            (Region::Frankfurt, Region::Sydney, 324),
            (Region::Sydney, Region::SaoPaulo, 323),
            (Region::Tokyo, Region::Tokyo, 1),
        ];
        for (one, other, expected) in table {
            assert_eq!(one.round_trip(other), Duration::from_millis(expected));
            assert_eq!(other.round_trip(one), Duration::from_millis(expected));
        }
    }

    #[test]
    fn table_is_whole() {
        for (row, columns) in ROUND_TRIPS_MS.iter().enumerate() {
            assert_eq!(columns.len(), 9 - row);
        }
        for region in Region::ALL {
            assert_eq!(Region::named(region.name()), Some(region));
        }
    }
}
