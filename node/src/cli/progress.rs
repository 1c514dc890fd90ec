//! How far something long is: a bar for people, nothing for programs.

use std::io::IsTerminal;

use caps_store::Figures;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;

/// A bar that counts entries, with a rate and the time left.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(global: &Global, doing: &'static str) -> Self {
        if global.json || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} entries, {per_sec}, {eta} left");
        Self(ProgressBar::new(0).with_style(style.expect("the template is fixed")).with_message(doing))
    }

    pub(super) fn tell(&self, figures: Figures) {
        self.0.set_length(figures.total);
        self.0.set_position(figures.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
