//! `caps-sim transport`: how the transport does on lines of all kinds.

use caps_node::output::table;
use caps_node::say;
use clap::Args;

use crate::transport::{Experiment, Figure, Row};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Transport {
    /// Only the experiment of this name.
    #[arg(long, value_name = "NAME", value_parser = Experiment::all().iter().map(|experiment| experiment.name).collect::<Vec<_>>())]
    only: Option<String>,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Transport {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let is_wanted = |experiment: &&Experiment| self.only.as_ref().is_none_or(|only| only == experiment.name);
        for experiment in Experiment::all().iter().filter(is_wanted) {
            let rows = experiment.run(self.seed);
            if self.json {
                for row in &rows {
                    say!("{}", serde_json::to_string(row)?);
                }
            } else {
                say!("{}: {}\n{}\n", experiment.name, experiment.about, shown(&rows));
            }
        }
        Ok(())
    }
}

fn shown(rows: &[Row]) -> String {
    let mut table = table(&["CASE", "MEASURED", "EXPECTED", ""]);
    for row in rows {
        let figures = row.figures.iter().map(Figure::to_string).collect::<Vec<_>>().join(", ");
        table.add_row([&row.case, figures.trim(), row.expected.unwrap_or(""), row.remark.unwrap_or("")]);
    }
    table.to_string()
}

const EXAMPLES: &str = "\
Examples:
  caps-sim transport
  caps-sim transport --only burst --seed 7
  caps-sim transport --json > transport.jsonl";
