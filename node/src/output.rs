//! What commands print: tables for people, JSON for programs.

mod duration;
mod hex;
mod json;
mod moment;

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};

pub use duration::Compact;
pub(crate) use duration::micros;
pub(crate) use hex::{from_hex, hex};
pub(crate) use json::{event, object, record, update};
pub(crate) use moment::{exact_moment, moment};

/// Prints a line of the answer. When whoever reads it has gone (`caps query ... | head`), the command has nothing left to do and ends quietly.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))
    };
}
pub use crate::say;

/// What [`say`] does.
pub fn line(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    if let Err(error) = written {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("caps: cannot print: {error}");
        }
        std::process::exit(if error.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { 1 });
    }
}

/// A table with these columns, fitted to the terminal.
pub fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(columns.iter().copied());
    table
}

/// The values of an attribute on one line, cut to what a person reads at a glance.
pub(crate) fn values(values: &[caps_model::Value]) -> String {
    let shown: Vec<String> = values.iter().map(one_line).collect();
    shown.join(", ")
}

fn one_line(value: &caps_model::Value) -> String {
    let text = match value {
        caps_model::Value::Timestamp(micros) => moment(*micros),
        other => other.to_string(),
    };
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARACTERS_SHOWN).collect();
    if text.chars().count() > CHARACTERS_SHOWN {
        line.push('…');
    }
    line
}

const CHARACTERS_SHOWN: usize = 60;
