//! Tests of whole processes: what a person types, and what then happens.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod arrows;
mod bad_input;
mod blob_care;
mod blobs;
mod cabinets;
mod care;
mod demo;
mod durability;
mod fixture;
mod mail;
mod members;
mod office;
mod reads;
mod sql;
mod web;
mod workload;
