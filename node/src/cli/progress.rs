//! How far something long is: a bar for people, nothing for programs.

use std::io::IsTerminal;

use caps_store::Figures;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;

/// A bar that counts entries or bytes, with a rate and the time left.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(global: &Global, doing: &'static str) -> Self {
        if global.json || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} entries, {per_sec}, {eta} left");
        Self(ProgressBar::new(0).with_style(style.expect("the template is fixed")).with_message(doing))
    }

    /// A bar of so many bytes.
    pub(super) fn of_bytes(global: &Global, doing: &'static str, total: u64) -> Self {
        if global.json || total == 0 || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left");
        Self(ProgressBar::new(total).with_style(style.expect("the template is fixed")).with_message(doing))
    }

    /// A count of bytes, of which nobody knows how many there will be.
    pub(super) fn counting_bytes(global: &Global, doing: &'static str) -> Self {
        if global.json || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg} {spinner} {bytes}, {binary_bytes_per_sec}");
        Self(ProgressBar::new_spinner().with_style(style.expect("the template is fixed")).with_message(doing))
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
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
