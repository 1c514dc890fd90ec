//! How the transport does on lines of all kinds: the measurements on which the overlay's choices for a path rest.
//!
//! Each experiment puts a few nodes at the two ends of one line ([`lab`]) and lets them call each other, with the overlay as `caps run` starts it
//! or, where the overlay has no such thing (0-RTT), with bare quinn ([`bare`]). Nothing else goes on in these worlds, and reading a datagram takes
//! no time, so that on a clean line the figures are exact.

mod bare;
mod bulk;
mod bursts;
mod first_contact;
mod lab;
mod lines;
mod sample;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

/// One thing that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The experiment that it belongs to.
    pub experiment: &'static str,
    /// What was tried in it.
    pub case: String,
    /// What was found.
    pub figures: Vec<Figure>,
    /// What the prototype in SIMULATION.md found, where it looked.
    pub expected: Option<&'static str>,
    /// Why the two differ, if they do, or what else there is to say.
    pub remark: Option<&'static str>,
}

/// A figure with its name and unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it is of.
    pub name: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// A group of measurements.
#[derive(Clone, Copy)]
pub struct Experiment {
    /// Its name, for those who want no other.
    pub name: &'static str,
    /// What is measured.
    pub about: &'static str,
    run: fn(u64) -> Vec<Row>,
}

impl Experiment {
    /// All of them.
    pub fn all() -> &'static [Self] {
        &EXPERIMENTS
    }

    /// Measures; the same for the same seed.
    pub fn run(&self, seed: u64) -> Vec<Row> {
        (self.run)(seed)
    }
}

impl Row {
    fn new(experiment: &'static str, case: impl Into<String>, figures: Vec<Figure>) -> Self {
        Self { experiment, case: case.into(), figures, expected: None, remark: None }
    }

    fn expected(self, expected: &'static str) -> Self {
        Self { expected: Some(expected), ..self }
    }

    fn remark(self, remark: &'static str) -> Self {
        Self { remark: Some(remark), ..self }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.value < 10.0 { 1 } else { 0 };
        write!(f, "{} {:.decimals$} {}", self.name, self.value, self.unit)
    }
}

impl fmt::Debug for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Experiment").field("name", &self.name).finish_non_exhaustive()
    }
}

const EXPERIMENTS: [Experiment; 9] = [
    Experiment { name: "contact", about: "first contact and what follows it, 100 ms round trip", run: first_contact::contact },
    Experiment {
        name: "initial-rtt",
        about: "a cold call at 1 % loss, by what the round trip is taken for",
        run: first_contact::initial_rtt,
    },
    Experiment { name: "burst", about: "100 calls of 1 KiB at once, 100 ms round trip, 1 % loss", run: bursts::burst },
    Experiment { name: "steady", about: "one call of 1 KiB a millisecond, 100 ms round trip, 1 % loss", run: bursts::steady },
    Experiment { name: "bulk", about: "one stream over 100 Mbit/s, 50 ms round trip", run: bulk::loss },
    Experiment { name: "queue", about: "a small call beside a bulk transfer, by the bottleneck's queue", run: bulk::queue },
    Experiment { name: "share", about: "two bulk transfers over one bottleneck", run: bulk::share },
    Experiment { name: "window", about: "100 calls of 1 KiB at once with Cubic, by what may be sent at once", run: lines::windows },
    Experiment { name: "lines", about: "cold call, burst and bulk on the lines of the profiles", run: lines::lines },
];
