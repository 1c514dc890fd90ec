//! A console page and JSON reads beside a bare axum handler, on one machine, in one run.
//!
//! The office is three `caps run` processes: a replica, a host, and a front end that serves browsers, with a few dozen cases. The bare server is another
//! process, on as many workers as the front end, whose handlers give back the same bytes from memory: what is left is what a server can do at all.
//! Callers keep their connections and wait for each answer. They and the servers share the machine's processors.

mod bare;
mod caller;
mod office;

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context as _;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;

pub(crate) use bare::serve;

use crate::stores::measure::{self, Figures, Load};
use caller::{Callers, Request};
use office::Office;

/// How much is measured.
#[derive(Args, Debug)]
pub(crate) struct Web {
    /// How long each measurement takes, in seconds.
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = crate::run::seconds)]
    seconds: f64,
    /// How many times each case has its turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// With these numbers of callers at once.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 8])]
    callers: Vec<usize>,
    /// The caps program; the one beside this program if not given.
    #[arg(long, value_name = "PROGRAM")]
    caps: Option<PathBuf>,
    /// Print the report as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What is asked for, of the office and of the bare server.
struct Case {
    name: &'static str,
    ours: Request,
    bare: Request,
    /// Of all rounds, ours and the bare one's.
    figures: Vec<(usize, Figures, Figures)>,
}

impl Web {
    /// Measures, and prints what was found.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.measure())
    }

    async fn measure(self) -> anyhow::Result<()> {
        let directory = tempfile::tempdir().context("there is no place for the office's files")?;
        let caps = match &self.caps {
            Some(caps) => caps.clone(),
            None => std::env::current_exe()?.with_file_name("caps"),
        };
        let office = Office::open(directory.path(), &caps).await?;
        let mut cases = Vec::new();
        for (name, request) in office.requests().await? {
            let body = request.once().await.with_context(|| format!("the office does not give its {name}"))?;
            let file = directory.path().join(format!("{}.body", cases.len()));
            std::fs::write(&file, &body)?;
            let bare = Request { address: office.bare, target: format!("/{}", cases.len()), fields: Vec::new() };
            cases.push(Case { name, ours: request, bare, figures: Vec::new() });
        }
        office.serve_bare(directory.path(), cases.len()).await?;
        for round in 1..=self.rounds {
            for case in &mut cases {
                for callers in &self.callers {
                    let load = Load { callers: *callers, seconds: self.seconds };
                    let [ours, bare] = [&case.ours, &case.bare].map(|request| Rc::new(Callers::new(request.clone(), *callers)));
                    let ours = measure::run(office.pids(), load, ours.ask()).await?;
                    let bare = measure::run(office.pids(), load, bare.ask()).await?;
                    eprintln!("round {round} of {}: {} at {callers}: {ours}; bare: {bare}", self.rounds, case.name);
                    case.figures.push((*callers, ours, bare));
                }
            }
        }
        self.report(&cases);
        Ok(())
    }

    fn report(&self, cases: &[Case]) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["what", "callers", "a second", "p50 us", "p99 us", "bare: a second", "p99 us", "of bare", "CPU us"]);
        let mut lines = Vec::new();
        for case in cases {
            for callers in &self.callers {
                let rounds: Vec<_> = case.figures.iter().filter(|(of, ..)| of == callers).collect();
                let ours = |figure: fn(&Figures) -> f64| median(rounds.iter().map(|(_, ours, _)| figure(ours)));
                let bare = |figure: fn(&Figures) -> f64| median(rounds.iter().map(|(_, _, bare)| figure(bare)));
                let ratio = median(rounds.iter().map(|(_, ours, bare)| ours.rate / bare.rate));
                let shown = [ours(|f| f.rate), ours(|f| f.p50_us), ours(|f| f.p99_us), bare(|f| f.rate), bare(|f| f.p99_us)];
                let mut row = vec![case.name.to_owned(), callers.to_string()];
                row.extend(shown.iter().map(|figure| format!("{figure:.0}")));
                row.extend([format!("{:.1} %", ratio * 100.0), format!("{:.0}", ours(|f| f.cpu_us))]);
                table.add_row(row);
                lines.push(json!({
                    "what": case.name, "callers": callers, "per_second": shown[0], "p50_us": shown[1], "p99_us": shown[2],
                    "bare_per_second": shown[3], "bare_p99_us": shown[4], "of_bare": ratio,
                }));
            }
        }
        match self.json {
            true => println!("{}", serde_json::Value::from(lines)),
            false => println!("{table}\nmedians of {} rounds", self.rounds),
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
