//! Log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging at the level of `CAPS_LOG`, or else at `default`.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_env("CAPS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process, as tests make, keeps the first.
    subscriber.with_ansi(std::io::stderr().is_terminal()).try_init().ok();
}
