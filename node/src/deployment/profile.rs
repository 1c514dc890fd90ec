//! Link profiles: what common lines do, in figures, and where each figure is from.
//!
//! A profile stands for an ordinary line of its kind, not for the best or the worst. Published latencies are round trips to a server near by; half
//! of them is the delay of each direction here, jitter included. What nobody publishes (queues, jitter, bursts) is marked as assumed.

use std::time::Duration;

use super::network::LinkFigures;

/// A kind of line that a site, a node or a link can have by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The name that `caps.toml` uses.
    pub name: &'static str,
    /// What it stands for.
    pub about: &'static str,
    /// Where its figures are from.
    pub source: &'static str,
    /// From the one whose line it is to the rest of the world; of a link between two sites, from the first that is named to the second.
    pub up: LinkFigures,
    /// The other direction.
    pub down: LinkFigures,
}

impl Profile {
    /// All of them, from the nearest to the farthest.
    pub fn all() -> &'static [Self] {
        &PROFILES
    }

    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// Their names, for those who ask for one that is not there.
    pub fn names() -> String {
        PROFILES.map(|profile| profile.name).join(", ")
    }

    /// The line of a site that says nothing about it: ideal as far as an office goes, so that the links between the sites decide.
    pub fn of_sites() -> &'static Self {
        &FIBRE
    }

    /// What joins the nodes of one site.
    pub fn inside_sites() -> &'static Self {
        &LAN
    }
}

const PROFILES: [Profile; 13] = [IDEAL, LAN, METRO, FIBRE, WIFI_GOOD, WIFI_BAD, CABLE, DSL, CONGESTED_OFFICE, FIVE_G, LTE, LEO, GEO];

const IDEAL: Profile = symmetric(
    "ideal",
    "takes no time and loses nothing",
    "a definition, to see what the software costs by itself",
    LinkFigures::ideal(Duration::ZERO),
);

const LAN: Profile = symmetric(
    "lan",
    "a switched network in one building, 1 Gbit/s",
    "rate: IEEE 802.3ab; delay, jitter and queue assumed",
    LinkFigures { jitter: us(20), rate_bps: Some(GBIT), queue_bytes: 512 * KIB, ..LinkFigures::ideal(us(50)) },
);

const METRO: Profile = symmetric(
    "metro",
    "leased fibre between buildings of one urban area, 100 km",
    "delay: ITU-T G.114 Annex A, 5 us a km of fibre; rate: IEEE 802.3ae; jitter and queue assumed",
    LinkFigures { jitter: us(50), rate_bps: Some(10 * GBIT), queue_bytes: 4 * MIB, ..LinkFigures::ideal(us(500)) },
);

const FIBRE: Profile = symmetric(
    "fibre",
    "an office's own fibre, 1 Gbit/s both ways: a site's line when the file names none",
    "a round trip of 1 ms to the operator's nearest exchange, jitter and queue assumed; the rate is that of 1000BASE-BX, IEEE 802.3ah",
    LinkFigures { jitter: us(100), rate_bps: Some(GBIT), queue_bytes: MIB, ..LinkFigures::ideal(us(500)) },
);

const WIFI_GOOD: Profile = symmetric(
    "wifi-good",
    "Wi-Fi near a quiet access point",
    "all assumed: half of an IEEE 802.11ac link of 433 Mbit/s gets through, retries on the radio show as jitter",
    LinkFigures {
        jitter: ms(3),
        rate_bps: Some(200 * MBIT),
        queue_bytes: 256 * KIB,
        loss: 0.0005,
        burst: 2.0,
        ..LinkFigures::ideal(ms(1))
    },
);

const WIFI_BAD: Profile = symmetric(
    "wifi-bad",
    "Wi-Fi far from an access point that many share",
    "delay and jitter between the figures of Pei et al., \"WiFi can be the weakest link of round trip network latency in the wild\" (half of the round \
     trips over 20 ms, a tenth over 100 ms); rate, queue, loss and bursts assumed",
    LinkFigures { jitter: ms(40), rate_bps: Some(8 * MBIT), queue_bytes: 256 * KIB, loss: 0.02, burst: 4.0, ..LinkFigures::ideal(ms(3)) },
);

const CABLE: Profile = Profile {
    name: "cable",
    about: "television cable (DOCSIS 3): fast down, slow up, a deep queue in the modem",
    source: "a round trip of about 26 ms: FCC, Measuring Broadband America, 2012 and 2013; the modem's queue of 250 ms: Flickinger et al. (Comcast), \
             \"Improving Latency with Active Queue Management During COVID-19\", 2021; rates of a common contract, jitter and loss assumed",
    // 20 Mbit/s for 250 ms are 625,000 bytes.
    up: LinkFigures {
        jitter: ms(6),
        rate_bps: Some(20 * MBIT),
        queue_bytes: 625_000,
        loss: 0.0005,
        burst: 2.0,
        ..LinkFigures::ideal(ms(10))
    },
    down: LinkFigures {
        jitter: ms(4),
        rate_bps: Some(200 * MBIT),
        queue_bytes: 2 * MIB,
        loss: 0.0005,
        burst: 2.0,
        ..LinkFigures::ideal(ms(10))
    },
};

const DSL: Profile = Profile {
    name: "dsl",
    about: "a telephone line (VDSL2), 50 down and 10 Mbit/s up",
    source: "a round trip of about 44 ms: FCC, Measuring Broadband America, 2012 and 2013; MTU: RFC 2516 (PPPoE); rates of a common contract, queue, \
             jitter and loss assumed",
    up: LinkFigures {
        jitter: ms(2),
        rate_bps: Some(10 * MBIT),
        queue_bytes: 256 * KIB,
        loss: 0.001,
        burst: 3.0,
        mtu_bytes: 1492,
        ..LinkFigures::ideal(ms(21))
    },
    down: LinkFigures {
        jitter: ms(2),
        rate_bps: Some(50 * MBIT),
        queue_bytes: MIB,
        loss: 0.001,
        burst: 3.0,
        mtu_bytes: 1492,
        ..LinkFigures::ideal(ms(21))
    },
};

const CONGESTED_OFFICE: Profile = Profile {
    name: "congested-office",
    about: "what is left of an office's line at the busiest hour: little room, deep queues, losses",
    source: "all assumed; a loss of 1 % opens the worst class of peak-hour loss in FCC, Measuring Broadband America, Ninth Report, chart 8",
    up: LinkFigures {
        jitter: ms(30),
        rate_bps: Some(2 * MBIT),
        queue_bytes: 256 * KIB,
        loss: 0.01,
        burst: 3.0,
        ..LinkFigures::ideal(ms(15))
    },
    down: LinkFigures { jitter: ms(30), rate_bps: Some(10 * MBIT), queue_bytes: MIB, loss: 0.01, burst: 3.0, ..LinkFigures::ideal(ms(15)) },
};

const FIVE_G: Profile = Profile {
    name: "5g",
    about: "a 5G mobile network as it is on average, not as its standard promises",
    source: "rates: Ookla, world medians of 5G in the third quarter of 2021 (166 down, 21 Mbit/s up); a round trip of 32 ms: Ookla, medians of the \
             operators in the United States in the first quarter of 2021; jitter, queue and loss assumed",
    up: LinkFigures {
        jitter: ms(8),
        rate_bps: Some(21 * MBIT),
        queue_bytes: 512 * KIB,
        loss: 0.0005,
        burst: 3.0,
        ..LinkFigures::ideal(ms(12))
    },
    down: LinkFigures {
        jitter: ms(8),
        rate_bps: Some(166 * MBIT),
        queue_bytes: 2 * MIB,
        loss: 0.0005,
        burst: 3.0,
        ..LinkFigures::ideal(ms(12))
    },
};

const LTE: Profile = Profile {
    name: "lte",
    about: "a 4G mobile network in a town, measured on telephones",
    source: "rates and a round trip of 53 ms: Ofcom, Measuring mobile broadband performance in the UK, second wave, end of 2014 (14.7 down, 13.6 \
             Mbit/s up); jitter, queue and loss assumed",
    up: LinkFigures {
        jitter: ms(15),
        rate_bps: Some(13_600_000),
        queue_bytes: 512 * KIB,
        loss: 0.001,
        burst: 3.0,
        ..LinkFigures::ideal(ms(19))
    },
    down: LinkFigures {
        jitter: ms(15),
        rate_bps: Some(14_700_000),
        queue_bytes: MIB,
        loss: 0.001,
        burst: 3.0,
        ..LinkFigures::ideal(ms(19))
    },
};

const LEO: Profile = Profile {
    name: "leo",
    about: "a satellite in low orbit (Starlink)",
    source: "rates and a round trip of 45 ms: Ookla, medians in the United States in the first quarter of 2025 (104.7 down, 14.8 Mbit/s up); jitter, \
             queue, loss and bursts assumed",
    up: LinkFigures {
        jitter: ms(10),
        rate_bps: Some(14_800_000),
        queue_bytes: 256 * KIB,
        loss: 0.004,
        burst: 6.0,
        ..LinkFigures::ideal(ms(17))
    },
    down: LinkFigures {
        jitter: ms(10),
        rate_bps: Some(104_700_000),
        queue_bytes: MIB,
        loss: 0.004,
        burst: 6.0,
        ..LinkFigures::ideal(ms(17))
    },
};

const GEO: Profile = Profile {
    name: "geo",
    about: "a geostationary satellite, 36,000 km away",
    source: "a round trip of 684 ms: Ookla, medians of HughesNet and Viasat in the United States in the first quarter of 2025, of which ITU-T G.114 \
             Annex A gives 260 ms each way to the distance; down: Ookla, the same two in the third quarter of 2021 (19 Mbit/s); up, jitter, queue \
             and loss assumed",
    up: LinkFigures {
        jitter: ms(40),
        rate_bps: Some(3 * MBIT),
        queue_bytes: 512 * KIB,
        loss: 0.002,
        burst: 3.0,
        ..LinkFigures::ideal(ms(322))
    },
    down: LinkFigures {
        jitter: ms(40),
        rate_bps: Some(19 * MBIT),
        queue_bytes: 2 * MIB,
        loss: 0.002,
        burst: 3.0,
        ..LinkFigures::ideal(ms(322))
    },
};

const fn symmetric(name: &'static str, about: &'static str, source: &'static str, figures: LinkFigures) -> Profile {
    Profile { name, about, source, up: figures, down: figures }
}

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const MBIT: u64 = 1_000_000;
const GBIT: u64 = 1000 * MBIT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_and_says_where_it_is_from() {
        for profile in Profile::all() {
            assert_eq!(Profile::named(profile.name), Some(profile));
            assert!(!profile.about.is_empty() && !profile.source.is_empty(), "{}", profile.name);
        }
        assert_eq!(Profile::named("carrier pigeon"), None);
        assert!(Profile::names().starts_with("ideal, lan, metro, fibre, "));
    }

    #[test]
    fn round_trips_are_the_published_ones() {
        // Both delays and, as jitter is even, half of both jitters; in milliseconds.
        let published = [("cable", 26.0), ("dsl", 44.0), ("5g", 32.0), ("lte", 53.0), ("leo", 45.0), ("geo", 684.0)];
        for (name, expected) in published {
            let profile = Profile::named(name).unwrap();
            let round_trip: Duration = [profile.up, profile.down].iter().map(|figures| figures.delay + figures.jitter / 2).sum();
            let off = (round_trip.as_secs_f64() * 1e3 - expected).abs();
            assert!(off <= 1.0, "{name}: {round_trip:?} instead of {expected} ms");
        }
    }

    #[test]
    fn every_profile_passes_a_whole_datagram() {
        for figures in Profile::all().iter().flat_map(|profile| [profile.up, profile.down]) {
            assert!((1280..=1500).contains(&figures.mtu_bytes));
            assert!(figures.rate_bps.is_none_or(|_| figures.queue_bytes >= 10 * u64::from(figures.mtu_bytes)));
            assert!((0.0..0.05).contains(&figures.loss) && figures.burst >= 1.0);
        }
    }
}
