//! What a run found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::case::{Case, Workload};
use crate::load::Figures;
use crate::ratio::Ratio;
use crate::run::Settings;

/// The figures of every round.
#[derive(Debug)]
pub(crate) struct Report {
    settings: Value,
    rounds: BTreeMap<Case, Vec<Figures>>,
    failures: BTreeMap<Case, String>,
}

impl Report {
    pub(crate) fn new(settings: &Settings) -> Self {
        let settings = json!({ "seconds": settings.seconds, "rounds": settings.rounds });
        Self { settings, rounds: BTreeMap::new(), failures: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, case: Case, figures: Figures) {
        self.rounds.entry(case).or_default().push(figures);
    }

    pub(crate) fn add_failure(&mut self, case: Case, error: &anyhow::Error) {
        self.failures.insert(case, format!("{error:#}"));
    }

    pub(crate) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The report as programs want it: medians, lowest and highest of each figure, ratios, and facts about the machine.
    pub(crate) fn to_json(&self) -> Value {
        let cases: BTreeMap<String, Value> = self.rounds.iter().map(|(case, rounds)| (case.name(), figures_json(rounds))).collect();
        let failures: BTreeMap<String, &String> = self.failures.iter().map(|(case, reason)| (case.name(), reason)).collect();
        let ratios: Vec<Value> = self.ratios().iter().map(Seen::to_json).collect();
        json!({ "machine": machine(), "settings": self.settings, "cases": cases, "ratios": ratios, "failures": failures })
    }

    /// The ratios for which both sides were measured.
    fn ratios(&self) -> Vec<Seen> {
        Ratio::all().into_iter().filter_map(|ratio| self.seen(ratio)).collect()
    }

    fn seen(&self, ratio: Ratio) -> Option<Seen> {
        let rivals = ratio.rivals.iter().filter_map(|rival| Some((*rival, self.median(*rival, ratio.figure)?)));
        let (rival, best) = rivals.reduce(|one, other| if ratio.aim.is_better(other.1, one.1) { other } else { one })?;
        let value = self.median(ratio.ours, ratio.figure)? / best;
        let cpu = self.median(ratio.ours, ratio.cpu_figure)? / self.median(rival, ratio.cpu_figure)?;
        Some(Seen { ratio, value, cpu })
    }

    fn median(&self, case: Case, figure: &str) -> Option<f64> {
        Some(Spread::of(self.rounds.get(&case)?, figure)?.median)
    }

    fn table(&self, title: &str, which: impl Fn(Workload) -> bool, columns: &[(&str, &str)]) -> Option<Table> {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header([title, "by"].into_iter().chain(columns.iter().map(|(_, heading)| *heading)));
        for (case, rounds) in self.rounds.iter().filter(|(case, _)| which(case.workload)) {
            let figures =
                columns.iter().map(|(figure, _)| Spread::of(rounds, figure).map_or_else(String::new, |spread| spread.to_string()));
            table.add_row([case.workload.to_string(), case.way.to_string()].into_iter().chain(figures));
        }
        align_right(&mut table, 2);
        (table.row_count() > 0).then_some(table)
    }

    fn ratio_table(&self) -> Option<Table> {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["ratio", "seen", "aim", "", "CPU over the rival's"]);
        for Seen { ratio, value, cpu } in self.ratios() {
            let verdict = if ratio.aim.is_met_by(value) { "met" } else { "short" };
            table.add_row([ratio.name.to_owned(), format!("{value:.2}"), ratio.aim.to_string(), verdict.to_owned(), format!("{cpu:.2}")]);
        }
        (table.row_count() > 0).then_some(table)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = [
            self.table("64 B calls", |workload| matches!(workload, Workload::Calls { .. }), CALL_COLUMNS),
            self.table("new endpoint, dial, one call", |workload| workload == Workload::Cold, COLD_COLUMNS),
            self.table("one stream", |workload| workload == Workload::Bulk, BULK_COLUMNS),
            self.table("1,000 idle leaves", |workload| workload == Workload::Leaves, LEAF_COLUMNS),
            self.ratio_table(),
        ];
        for table in tables.into_iter().flatten() {
            writeln!(f, "{table}")?;
        }
        for (case, reason) in &self.failures {
            writeln!(f, "failed: {}: {reason}", case.name())?;
        }
        write!(f, "medians over the rounds (lowest to highest); CPU is that of both processes")
    }
}

/// A ratio of medians. On a busy machine the one of processor time is the steadier.
struct Seen {
    ratio: Ratio,
    value: f64,
    cpu: f64,
}

impl Seen {
    fn to_json(&self) -> Value {
        let Self { ratio, value, cpu } = self;
        json!({
            "name": ratio.name, "figure": ratio.figure, "value": value, "aim": ratio.aim.to_string(), "met": ratio.aim.is_met_by(*value),
            "cpu_value": cpu,
        })
    }
}

/// One figure over the rounds.
struct Spread {
    lowest: f64,
    median: f64,
    highest: f64,
}

impl Spread {
    fn of(rounds: &[Figures], figure: &str) -> Option<Self> {
        let mut values: Vec<f64> = rounds.iter().filter_map(|figures| figures.get(figure).copied()).collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = values[(values.len() - 1) / 2];
        Some(Self { lowest: values[0], median: f64::midpoint(lower, upper), highest: values[values.len() - 1] })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Plain(self.median))?;
        if self.lowest < self.highest {
            write!(f, " ({} to {})", Plain(self.lowest), Plain(self.highest))?;
        }
        Ok(())
    }
}

/// A number with the digits that matter.
struct Plain(f64);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            10_000.0.. => write!(f, "{:.0}k", self.0 / 1000.0),
            1000.0.. => write!(f, "{:.1}k", self.0 / 1000.0),
            100.0.. => write!(f, "{:.0}", self.0),
            10.0.. => write!(f, "{:.1}", self.0),
            _ => write!(f, "{:.2}", self.0),
        }
    }
}

fn figures_json(rounds: &[Figures]) -> Value {
    let names: Vec<&String> = rounds.first().map(|figures| figures.keys().collect()).unwrap_or_default();
    let spreads = names.into_iter().filter_map(|name| Some((name, Spread::of(rounds, name)?)));
    let figures: BTreeMap<&String, Value> = spreads
        .map(|(name, spread)| (name, json!({ "median": spread.median, "lowest": spread.lowest, "highest": spread.highest })))
        .collect();
    json!(figures)
}

fn machine() -> Value {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "cores": cores, "kernel": kernel.trim() })
}

fn align_right(table: &mut Table, from_column: usize) {
    for column in table.column_iter_mut().skip(from_column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

const CALL_COLUMNS: &[(&str, &str)] =
    &[("calls_per_s", "calls/s"), ("cpu_us_per_call", "CPU µs/call"), ("p50_us", "p50 µs"), ("p99_us", "p99 µs")];
/// No rate: how long it takes to hang up is not of interest.
const COLD_COLUMNS: &[(&str, &str)] = &[("p50_us", "p50 µs"), ("p99_us", "p99 µs"), ("cpu_us_per_call", "CPU µs, hanging up included")];
const BULK_COLUMNS: &[(&str, &str)] = &[("mib_per_s", "MiB/s"), ("cpu_ns_per_byte", "CPU ns/B")];
const LEAF_COLUMNS: &[(&str, &str)] = &[
    ("idle_server_process_mib", "idle server MiB"),
    ("one_leaf_process_mib", "one-leaf process MiB"),
    ("server_kib_per_leaf", "server KiB/leaf"),
    ("leaf_kib", "leaf KiB"),
    ("idle_cpu_percent", "idle CPU %"),
];
