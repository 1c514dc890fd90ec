//! Fuzzing of every reader of this crate: whatever a stranger may send, coverage leads libFuzzer through it.
//!
//! `make fuzz` runs each [`Target`](targets::Target) for `FUZZ_SECONDS` and prints what was run. With `FUZZ_TARGET` in the environment this is one target, and its
//! arguments are libFuzzer's: an input that was found is played again by `FUZZ_TARGET=xml cargo run --release -- FILE`.
//!
//! Everything is reached by the public face of `caps-adapters`, as a stranger reaches it: nothing in there knows that it is fuzzed.

mod campaign;
mod engine;
mod targets;

use std::{env, process};

fn main() {
    let Ok(name) = env::var(campaign::TARGET_VARIABLE) else {
        process::exit(campaign::run());
    };
    match targets::ALL.iter().find(|target| target.name == name) {
        Some(target) => process::exit(engine::run(target.run)),
        None => {
            eprintln!("there is no target {name:?}: {}", targets::ALL.map(|target| target.name).join(" "));
            process::exit(2);
        }
    }
}
