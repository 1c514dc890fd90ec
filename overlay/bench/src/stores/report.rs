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

/// A figure of the cabinet over the same of its rivals, and where it should be beside etcd. Beside NATS nothing is aimed at.
struct Aim {
    name: &'static str,
    work: Work,
    callers: usize,
    figure: fn(&Figures) -> f64,
    /// Whether more is better.
    more: bool,
    aim: f64,
}

/// The cabinet's figure over a rival's.
struct Ratio {
    /// Of the medians.
    median: f64,
    /// Of one round, the lowest and the highest: the systems took turns, so that each round had the same weather for both.
    rounds: (f64, f64),
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
        ratios.set_header(["cabinet over", "", "seen (in one round)", "aim", ""]);
        for (aim, rival) in AIMS.iter().flat_map(|aim| [(aim, System::Etcd), (aim, System::Nats)]) {
            let Some(ratio) = self.ratio(aim, rival) else { continue };
            let (sign, met) = (if aim.more { "at least" } else { "at most" }, (ratio.median >= aim.aim) == aim.more);
            let (wanted, verdict) = match rival {
                System::Etcd => (format!("{sign} {}", aim.aim), if met { "met" } else { "short" }),
                _ => ("none".to_owned(), ""),
            };
            let seen = format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.rounds.0, ratio.rounds.1);
            ratios.add_row([rival.to_string(), aim.name.to_owned(), seen, wanted, verdict.to_owned()]);
        }
        let notes: String = self.notes.iter().map(|note| format!("\nnote: {note}")).collect();
        format!("{table}\n{ratios}\nmedians over the rounds (lowest to highest); CPU is that of the three servers and the client{notes}")
    }

    /// What an aim looks at, over the same of a rival; `None` when one of them was not measured.
    fn ratio(&self, aim: &Aim, rival: System) -> Option<Ratio> {
        let rounds = |system| {
            let case = Case { work: aim.work, callers: aim.callers, system };
            self.rounds.iter().find(|(other, _)| *other == case).map(|(_, rounds)| rounds)
        };
        let (ours, theirs) = (rounds(System::Cabinet)?, rounds(rival)?);
        let mut each: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| (aim.figure)(ours) / (aim.figure)(theirs)).collect();
        each.sort_by(f64::total_cmp);
        let median = |rounds| median(&sorted_values(rounds, aim.figure));
        Some(Ratio { median: median(ours) / median(theirs), rounds: (*each.first()?, *each.last()?) })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(system: System, rates: &[f64]) -> (Case, Vec<Figures>) {
        let figures = |rate: &f64| Figures { rate: *rate, p50_us: 1.0, p99_us: 1.0, cpu_us: 1.0 };
        (Case { work: Work::Write, callers: 256, system }, rates.iter().map(figures).collect())
    }

    #[test]
    fn a_ratio_is_that_of_the_medians_with_the_spread_of_the_rounds() {
        let mut report = Report { rounds: vec![writes(System::Cabinet, &[90.0, 100.0, 110.0])], notes: Vec::new() };
        assert!(report.ratio(&AIMS[0], System::Etcd).is_none());
        report.rounds.push(writes(System::Etcd, &[20.0, 25.0, 20.0]));
        let ratio = report.ratio(&AIMS[0], System::Etcd).unwrap();
        // 100 / 20; in the rounds 90 / 20, 100 / 25, 110 / 20.
        assert_eq!((ratio.median, ratio.rounds), (5.0, (4.0, 5.5)));
        assert!(report.told().contains("5.00 (4.00 to 5.50)") && report.told().contains("met"));
    }
}
