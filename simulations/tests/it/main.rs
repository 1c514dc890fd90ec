//! Tests of the simulation as a whole: its library of scenarios, its determinism, its program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod cabinets;
mod determinism;
mod library;
mod shrinking;
mod sources;
