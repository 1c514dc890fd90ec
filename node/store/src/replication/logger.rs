//! The consensus library's log lines as `tracing` events.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record};

/// A logger for the consensus library: information and worse goes to `tracing`, one level lower, because it is a library's; the rest is dropped.
pub(crate) fn bridge() -> Logger {
    Logger::root(Bridge, slog::o!())
}

struct Bridge;

impl Drain for Bridge {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical => tracing::error!(target: "caps_store::raft", "{}", record.msg()),
            Level::Error => tracing::warn!(target: "caps_store::raft", "{}", record.msg()),
            Level::Warning => tracing::info!(target: "caps_store::raft", "{}", record.msg()),
            Level::Info => tracing::debug!(target: "caps_store::raft", "{}", record.msg()),
            Level::Debug | Level::Trace => {}
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(Level::Info)
    }
}
