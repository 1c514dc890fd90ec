//! Tests of whole processes: what a person types, and what then happens.

mod arrows;
mod bad_input;
mod demo;
mod durability;
mod fixture;
