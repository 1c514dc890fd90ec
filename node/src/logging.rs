//! Log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging at the level of `CAPS_LOG`, `warn` if not set: commands print answers, `caps run` raises it to `info`.
pub fn start() {
    let running_a_node = std::env::args().nth(1).is_some_and(|command| command == "run");
    let default = if running_a_node { "info" } else { "error" };
    let filter = EnvFilter::try_from_env("CAPS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process, as tests make, keeps the first.
    subscriber.with_ansi(std::io::stderr().is_terminal()).try_init().ok();
}
