//! Making a failing timetable smaller: which of its faults does it take?
//!
//! Delta debugging (Zeller and Hildebrandt, IEEE TSE 2002): leave out halves, quarters, eighths ..., as long as the same promise is broken
//! without them.

use std::path::Path;

use anyhow::Context;

use super::fault::Planned;
use super::{Scenario, Violation, run};

/// A timetable from which nothing more can be left out.
#[derive(Debug)]
pub struct Smaller {
    /// What is left.
    pub plan: Vec<Planned>,
    /// How many faults there were.
    pub of: usize,
    /// What they break.
    pub violation: Violation,
}

/// Makes the timetable of a failing seed smaller in at most `runs_max` runs. `None`: the seed does not fail.
pub fn shrink(scenario: &Scenario, seed: u64, runs_max: u32, told: impl Fn(u32, usize)) -> anyhow::Result<Option<Smaller>> {
    let mut plan = scenario.plan(seed);
    let of = plan.len();
    let fails = |plan: &[Planned]| -> anyhow::Result<Option<Violation>> {
        Ok(run(scenario, seed, Some(plan.to_vec()), |_| {})?.violations.into_iter().next())
    };
    let Some(mut violation) = fails(&plan)? else { return Ok(None) };
    let (mut runs, mut parts) = (1, 2_usize);
    while plan.len() > 1 && runs < runs_max {
        let size = plan.len().div_ceil(parts);
        let mut shorter = None;
        for start in (0..plan.len()).step_by(size) {
            let without: Vec<Planned> =
                plan.iter().enumerate().filter(|(n, _)| !(start..start + size).contains(n)).map(|(_, p)| p.clone()).collect();
            runs += 1;
            told(runs, plan.len());
            // Another promise broken would be another story.
            if let Some(found) = fails(&without)?.filter(|found| found.invariant == violation.invariant) {
                violation = found;
                shorter = Some(without);
                break;
            }
            if runs >= runs_max {
                break;
            }
        }
        match shorter {
            Some(shorter) => {
                plan = shorter;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(plan.len()),
        }
    }
    Ok(Some(Smaller { plan, of, violation }))
}

impl Smaller {
    /// The scenario file that has these faults and no others, to be kept at `to` instead of `from`.
    pub fn file(&self, from: &Path, to: Option<&Path>) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mut file: toml::Table = text.parse()?;
        file.remove("storm");
        file.insert("fault".to_owned(), toml::Value::Array(self.plan.iter().map(toml::Value::try_from).collect::<Result<_, _>>()?));
        let away = to.and_then(Path::parent) != from.parent();
        if let (true, Some(toml::Value::String(deployment))) = (away, file.get_mut("deployment")) {
            let absolute = std::fs::canonicalize(from.parent().unwrap_or(Path::new("")).join(&*deployment))?;
            *deployment = absolute.display().to_string();
        }
        Ok(toml::to_string_pretty(&file)?)
    }
}
