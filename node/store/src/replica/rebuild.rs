//! Bringing the state up to the journal when a replica opens: mostly some commits, at worst all of them.

use std::ops::ControlFlow;
use std::time::Duration;

use caps_model::Name;
use caps_overlay::bugs::{self, Bug};
use tokio::time::Instant;

use super::OpenError;
use super::shared::AnyCabinet;
use crate::cabinet::Proposed;
use crate::journal::JournalReader;
use crate::replay::{Figures, replay};

/// Applies what the journal knows to be committed and the state has not seen, and says every two seconds how far it is.
pub(super) fn bring_up(name: &Name, reader: &JournalReader, cabinet: &mut AnyCabinet, committed: u64) -> Result<(), OpenError> {
    let behind = committed.saturating_sub(cabinet.mark().index);
    if behind > 0 {
        tracing::info!(cabinet = %name, entries = behind, "replaying the journal into the state");
    }
    let began = Instant::now();
    let mut told = began;
    let mut tell = |figures: Figures| {
        let now = Instant::now();
        if now.saturating_duration_since(told) >= TELL_EVERY {
            told = now;
            let elapsed = now.saturating_duration_since(began);
            let left_s = figures.left(elapsed).map(|left| left.as_secs());
            let (done, total, a_second) = (figures.done, figures.total, figures.rate(elapsed));
            tracing::info!(cabinet = %name, done, total, a_second, left_s, "replaying the journal");
        }
    };
    let before = |_: &AnyCabinet, index: u64, _: Option<&Proposed>| match bugs::has(Bug::EntrySkippedAtReplay) {
        true if index == committed => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    replay(reader, cabinet, committed, before, &mut tell)?;
    if bugs::has(Bug::EntrySkippedAtReplay) && cabinet.mark().index < committed {
        cabinet.skip(committed);
    }
    let took = began.elapsed();
    if took >= TELL_EVERY {
        tracing::info!(cabinet = %name, entries = behind, took_s = took.as_secs(), "the state is up to the journal");
    }
    Ok(())
}

/// How often a long replay says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);
