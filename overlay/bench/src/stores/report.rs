//! What was found, for people and for programs.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::measure::Figures;
use super::{Case, System, Work};

/// The figures of all rounds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    rounds: Vec<(Case, Vec<Figures>)>,
    /// What must be known beside the figures.
    notes: Vec<String>,
}

/// A figure of the cabinet over the same of a rival, and where it should be.
struct Aim {
    name: &'static str,
    work: Work,
    callers: usize,
    figure: fn(&Figures) -> f64,
    /// Whether more is better.
    more: bool,
    aim: f64,
}

impl Report {
    pub(super) fn add(&mut self, case: Case, figures: Figures) {
        match self.rounds.iter_mut().find(|(other, _)| *other == case) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.rounds.push((case, vec![figures])),
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The report for people: medians over the rounds, lowest and highest.
    pub(super) fn told(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["three processes each", "callers", "by", "per second", "p50 µs", "p99 µs", "CPU µs"]);
        let sorted: BTreeMap<Case, &Vec<Figures>> = self.rounds.iter().map(|(case, rounds)| (*case, rounds)).collect();
        for (case, rounds) in sorted {
            let spread = |figure: fn(&Figures) -> f64| {
                let values = sorted_values(rounds, figure);
                format!("{:.0} ({:.0} to {:.0})", median(&values), values[0], values[values.len() - 1])
            };
            table.add_row([
                case.work.to_string(),
                case.callers.to_string(),
                case.system.to_string(),
                spread(|f| f.rate),
                spread(|f| f.p50_us),
                spread(|f| f.p99_us),
                spread(|f| f.cpu_us),
            ]);
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut ratios = Table::new();
        ratios.load_style(presets::UTF8_BORDERS_ONLY);
        ratios.set_header(["cabinet over etcd", "seen", "aim", ""]);
        for aim in AIMS {
            let figure = |system| self.median(Case { work: aim.work, callers: aim.callers, system }, aim.figure);
            let (Some(ours), Some(theirs)) = (figure(System::Cabinet), figure(System::Etcd)) else { continue };
            let (ratio, sign) = (ours / theirs, if aim.more { "at least" } else { "at most" });
            let met = if (ratio >= aim.aim) == aim.more { "met" } else { "short" };
            ratios.add_row([aim.name.to_owned(), format!("{ratio:.2}"), format!("{sign} {}", aim.aim), met.to_owned()]);
        }
        let notes: String = self.notes.iter().map(|note| format!("\nnote: {note}")).collect();
        format!("{table}\n{ratios}\nmedians over the rounds (lowest to highest); CPU is that of the three servers and the client{notes}")
    }

    fn median(&self, case: Case, figure: fn(&Figures) -> f64) -> Option<f64> {
        let (_, rounds) = self.rounds.iter().find(|(other, _)| *other == case)?;
        Some(median(&sorted_values(rounds, figure)))
    }
}

fn sorted_values(rounds: &[Figures], figure: fn(&Figures) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = rounds.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[sorted.len() / 2], sorted[(sorted.len() - 1) / 2])
}

const AIMS: [Aim; 4] = [
    Aim { name: "commits a second at 256", work: Work::Write, callers: 256, figure: |f| f.rate, more: true, aim: 4.0 },
    Aim { name: "median of a commit at 1", work: Work::Write, callers: 1, figure: |f| f.p50_us, more: false, aim: 1.0 },
    Aim { name: "local reads a second at 256", work: Work::Read, callers: 256, figure: |f| f.rate, more: true, aim: 10.0 },
    Aim { name: "local reads a second at 16", work: Work::Read, callers: 16, figure: |f| f.rate, more: true, aim: 10.0 },
];
