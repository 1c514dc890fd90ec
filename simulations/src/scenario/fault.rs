//! What can happen to a deployment.

use std::fmt;
use std::time::Duration;

use caps_model::messages::cabinet::OrderKind;
use serde::{Deserialize, Serialize};

/// Something that happens, when, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// When it begins, from the beginning of the scenario.
    #[serde(with = "duration")]
    pub at: Duration,
    /// How long it lasts; then it is undone.
    #[serde(rename = "for", with = "duration", default)]
    pub lasts: Duration,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Fault {
    /// A process is killed, and started again at the end.
    Crash {
        /// Whose.
        node: Target,
    },
    /// A machine loses power, and with it what its disk had not got to; it comes back at the end.
    PowerCut {
        /// Whose.
        node: Target,
    },
    /// A process ends in good order, and is started again at the end.
    Restart {
        /// Whose.
        node: Target,
    },
    /// A process stands still; time goes on.
    Pause {
        /// Whose.
        node: Target,
    },
    /// What is sent to a node is held back until the end, and then arrives at once.
    Clog {
        /// Which.
        node: Target,
    },
    /// All servers are clogged, one by one, and freed in another order.
    Swizzle,
    /// Nothing gets to a node or from it.
    Isolate {
        /// Which.
        node: Target,
    },
    /// Sites cannot reach the rest, nor be reached.
    Partition {
        /// The sites on one side.
        sites: Vec<String>,
    },
    /// One site does not reach another, which still reaches it.
    OneWay {
        /// Where datagrams are lost from.
        from: String,
        /// Where to.
        to: String,
    },
    /// The lines between two sites get worse.
    Degrade {
        /// One site.
        from: String,
        /// The other.
        to: String,
        /// The share of datagrams lost.
        loss: f64,
        /// Delay that is added, one way, in milliseconds.
        delay_ms: u64,
    },
    /// Two sites lose each other every other second.
    Flap {
        /// One site.
        from: String,
        /// The other.
        to: String,
    },
    /// Every machine of a site loses power.
    SiteDown {
        /// Which.
        site: String,
    },
    /// A machine's clock is set to another time, and back at the end.
    ClockJump {
        /// Whose.
        node: Target,
        /// By how many seconds, forward or back.
        seconds: i64,
    },
    /// A machine's clock goes too fast, or too slow, until the end.
    ClockDrift {
        /// Whose.
        node: Target,
        /// Parts per million too fast.
        ppm: i64,
    },
    /// A disk takes no more, until the end.
    DiskFull {
        /// Whose.
        node: Target,
    },
    /// The next `fdatasync` fails.
    SyncFails {
        /// Whose.
        node: Target,
    },
    /// A disk flips a bit of what was written to the journal long ago; the machine loses power, and comes back at the end.
    Corrupt {
        /// Whose.
        node: Target,
    },
    /// An administrator lets a replica follow.
    AddLearner {
        /// Which.
        node: Target,
    },
    /// An administrator gives a learner a vote.
    Promote {
        /// Which.
        node: Target,
    },
    /// An administrator takes a voter its vote.
    Demote {
        /// Which.
        node: Target,
    },
    /// An administrator takes a replica out of the cabinet.
    Remove {
        /// Which.
        node: Target,
    },
    /// An administrator lets a voter lead.
    Transfer {
        /// Which.
        node: Target,
    },
    /// The NAT in front of a front end gives it another port.
    NatRebind {
        /// Which.
        node: Target,
    },
    /// A front end gets another address, as between Wi-Fi and mobile.
    AddressChange {
        /// Which.
        node: Target,
    },
}

/// A node by name, or by what it is at that moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Target {
    /// Whoever leads the cabinet.
    Leader,
    /// The first voter that does not.
    Follower,
    /// This one.
    Node(String),
}

impl Fault {
    /// Its kind, as files and tables name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::PowerCut { .. } => "power-cut",
            Self::Restart { .. } => "restart",
            Self::Pause { .. } => "pause",
            Self::Clog { .. } => "clog",
            Self::Swizzle => "swizzle",
            Self::Isolate { .. } => "isolate",
            Self::Partition { .. } => "partition",
            Self::OneWay { .. } => "one-way",
            Self::Degrade { .. } => "degrade",
            Self::Flap { .. } => "flap",
            Self::SiteDown { .. } => "site-down",
            Self::ClockJump { .. } => "clock-jump",
            Self::ClockDrift { .. } => "clock-drift",
            Self::DiskFull { .. } => "disk-full",
            Self::SyncFails { .. } => "sync-fails",
            Self::Corrupt { .. } => "corrupt",
            Self::AddLearner { .. } => "add-learner",
            Self::Promote { .. } => "promote",
            Self::Demote { .. } => "demote",
            Self::Remove { .. } => "remove",
            Self::Transfer { .. } => "transfer",
            Self::NatRebind { .. } => "nat-rebind",
            Self::AddressChange { .. } => "address-change",
        }
    }

    /// The node that it happens to, if it is one.
    pub fn node(&self) -> Option<&Target> {
        match self {
            Self::Crash { node }
            | Self::PowerCut { node }
            | Self::Restart { node }
            | Self::Pause { node }
            | Self::Clog { node }
            | Self::Isolate { node }
            | Self::ClockJump { node, .. }
            | Self::ClockDrift { node, .. }
            | Self::DiskFull { node }
            | Self::SyncFails { node }
            | Self::Corrupt { node }
            | Self::AddLearner { node }
            | Self::Promote { node }
            | Self::Demote { node }
            | Self::Remove { node }
            | Self::Transfer { node }
            | Self::NatRebind { node }
            | Self::AddressChange { node } => Some(node),
            Self::Swizzle
            | Self::Partition { .. }
            | Self::OneWay { .. }
            | Self::Degrade { .. }
            | Self::Flap { .. }
            | Self::SiteDown { .. } => None,
        }
    }

    /// What an administrator wants of the node, if it is that.
    pub(super) fn order(&self) -> Option<OrderKind> {
        Some(match self {
            Self::AddLearner { .. } => OrderKind::AddLearner,
            Self::Promote { .. } => OrderKind::Promote,
            Self::Demote { .. } => OrderKind::Demote,
            Self::Remove { .. } => OrderKind::Remove,
            Self::Transfer { .. } => OrderKind::Transfer,
            _ => return None,
        })
    }

    /// The sites that it names.
    pub fn sites(&self) -> Vec<&str> {
        match self {
            Self::Partition { sites } => sites.iter().map(String::as_str).collect(),
            Self::OneWay { from, to } | Self::Degrade { from, to, .. } | Self::Flap { from, to } => vec![from, to],
            Self::SiteDown { site } => vec![site],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition { sites } => write!(f, "partition: {} apart from the rest", sites.join(", ")),
            Self::OneWay { from, to } => write!(f, "one-way: {from} does not reach {to}"),
            Self::Degrade { from, to, loss, delay_ms } => {
                write!(f, "degrade: between {from} and {to} {:.0} % are lost and {delay_ms}ms are added", loss * 100.0)
            }
            Self::Flap { from, to } => write!(f, "flap: between {from} and {to}"),
            Self::SiteDown { site } => write!(f, "site-down: {site}"),
            Self::ClockJump { node, seconds } => write!(f, "clock-jump: {node} by {seconds}s"),
            Self::ClockDrift { node, ppm } => write!(f, "clock-drift: {node} by {ppm}ppm"),
            other => match other.node() {
                Some(node) => write!(f, "{}: {node}", other.kind()),
                None => f.write_str(other.kind()),
            },
        }
    }
}

impl From<String> for Target {
    fn from(name: String) -> Self {
        match name.as_str() {
            "leader" => Self::Leader,
            "follower" => Self::Follower,
            _ => Self::Node(name),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("leader"),
            Self::Follower => f.write_str("follower"),
            Self::Node(name) => f.write_str(name),
        }
    }
}

/// Durations as people write them.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|_| serde::de::Error::custom(format!("{text:?} is not a duration: write it as 50ms, 2s or 5m20s")))
    }
}
