//! The ratios that the project aims at.

use std::fmt;

use crate::case::{Case, Way, Workload};

/// One figure of the overlay over the same figure of a rival.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) figure: &'static str,
    /// What says how much processor time the same work took.
    pub(crate) cpu_figure: &'static str,
    pub(crate) ours: Case,
    /// The best of these is what counts.
    pub(crate) rivals: Vec<Case>,
    pub(crate) aim: Aim,
}

impl Ratio {
    /// Every ratio that has an aim, most wanted first.
    pub(crate) fn all() -> Vec<Self> {
        let calls = |callers, way| Case { workload: Workload::Calls { callers }, way };
        let bulk = |way| Case { workload: Workload::Bulk, way };
        vec![
            Self {
                name: "calls at 256: overlay over framed quinn",
                figure: "calls_per_s",
                cpu_figure: "cpu_us_per_call",
                ours: calls(256, Way::OverlayLane),
                rivals: vec![calls(256, Way::QuinnFramed)],
                aim: Aim::AtLeast(0.6),
            },
            Self {
                name: "calls at 256: overlay over tonic's better",
                figure: "calls_per_s",
                cpu_figure: "cpu_us_per_call",
                ours: calls(256, Way::OverlayLane),
                rivals: vec![calls(256, Way::Tonic), calls(256, Way::TonicTwoWorkers)],
                aim: Aim::AtLeast(8.0),
            },
            Self {
                name: "median at 1: overlay over quinn",
                figure: "p50_us",
                cpu_figure: "cpu_us_per_call",
                ours: calls(1, Way::OverlayLane),
                rivals: vec![calls(1, Way::QuinnStream)],
                aim: Aim::AtMost(1.3),
            },
            Self {
                name: "bulk: overlay over quinn at the same MTU",
                figure: "mib_per_s",
                cpu_figure: "cpu_ns_per_byte",
                ours: bulk(Way::OverlayStream),
                rivals: vec![bulk(Way::QuinnStream)],
                aim: Aim::AtLeast(0.9),
            },
        ]
    }
}

/// Where a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    /// Whether a figure is better than another one, for whoever has it.
    pub(crate) fn is_better(self, figure: f64, other: f64) -> bool {
        match self {
            Self::AtLeast(_) => figure > other,
            Self::AtMost(_) => figure < other,
        }
    }

    pub(crate) fn is_met_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(aim) => ratio >= aim,
            Self::AtMost(aim) => ratio <= aim,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(aim) => write!(f, "at least {aim}"),
            Self::AtMost(aim) => write!(f, "at most {aim}"),
        }
    }
}
