//! Damage to the files of one replica of three, by one bit or by a part that is missing: is it noticed, is anything wrong ever served, and is
//! the replica repaired?
//!
//! Each case damages one place of one replica, while everybody is down or while all are at work, and starts the replica again (under load it is
//! killed for that). From then on every object that is known is asked for at every replica that answers, until the damaged one has ended by
//! itself or has come as far as the others. The table says what happened and does not judge how: a replica that refuses to open has noticed and
//! was not repaired.

mod blobs;
mod case;
mod damage;

use std::path::PathBuf;

use caps_node::output::table;
use serde::{Deserialize, Serialize};

use super::company::Programs;
use case::Ward;
pub use damage::Damage;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Corruption {
    /// The programs.
    pub programs: Programs,
    /// Where everything is kept.
    pub directory: PathBuf,
    /// Decides where it is damaged.
    pub seed: u64,
    /// How many cases of each kind.
    pub cases: u64,
    /// Only kinds whose name contains this.
    pub only: Option<String>,
}

/// What became of all cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// One kind of damage each, while down or under load.
    pub rows: Vec<Row>,
}

/// The cases of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was damaged, and how.
    pub damage: String,
    /// Whether others were at work meanwhile.
    pub under_load: bool,
    /// Cases in which something was damaged.
    pub cases: u64,
    /// Cases in which the replica said that something was damaged.
    pub detected: u64,
    /// Cases in which it took the damage to the journal for the torn tail of a crash: it cut it off, and said so. It may have been detected
    /// elsewhere all the same.
    pub torn_tail: u64,
    /// Cases in which nobody noticed anything, and nothing was wrong with what was read.
    pub unnoticed: u64,
    /// Answers that were wrong, from any replica.
    pub wrong_answers: u64,
    /// Cases in which the replica came as far as the others by itself, and everything in it was right.
    pub repaired: u64,
    /// What was seen, for the first few cases that did not end well.
    pub told: Vec<String>,
}

/// How a case ended.
#[derive(Clone, Debug, Default)]
struct Ended {
    detected: bool,
    torn_tail: bool,
    wrong: Vec<String>,
    repaired: bool,
    /// What the damaged replica said.
    said: String,
}

/// Goes through all cases. `progress` is told what is being done.
pub async fn run(wanted: &Corruption, progress: &dyn Fn(&str)) -> anyhow::Result<Table> {
    let mut ward = Ward::open(wanted).await?;
    let mut table = Table::default();
    for damage in Damage::ALL {
        if wanted.only.as_ref().is_some_and(|only| !damage.name().contains(only.as_str())) {
            continue;
        }
        for under_load in [false, true] {
            let mut row = Row { damage: damage.name().to_owned(), under_load, ..Row::default() };
            for case in 0..wanted.cases {
                let when = if under_load { "under load" } else { "while down" };
                progress(&format!("{} {when}, case {} of {}", damage.name(), case + 1, wanted.cases));
                if let Some(ended) = ward.case(damage, under_load).await? {
                    row.take(ended);
                }
            }
            table.rows.push(row);
        }
    }
    ward.close().await?;
    Ok(table)
}

impl Row {
    fn take(&mut self, ended: Ended) {
        self.cases += 1;
        self.detected += u64::from(ended.detected);
        self.torn_tail += u64::from(ended.torn_tail);
        self.unnoticed += u64::from(!ended.detected && !ended.torn_tail);
        self.repaired += u64::from(ended.repaired);
        self.wrong_answers += ended.wrong.len() as u64;
        let well = ended.detected && ended.repaired && ended.wrong.is_empty();
        if !well && self.told.len() < TOLD_MAX {
            let wrong = ended.wrong.first().map_or(String::new(), |wrong| format!("; wrong: {wrong}"));
            self.told.push(format!("{}{wrong}", ended.said));
        }
    }

    /// Whether all cases ended as they should; `lenient`: as they may, as long as nothing wrong is served.
    fn is_good(&self, lenient: bool) -> bool {
        self.wrong_answers == 0 && (lenient || self.detected + self.unnoticed_harmless() == self.cases && self.repaired == self.cases)
    }

    /// Damage to a place that nobody reads any more hurts nobody; only the state has such places.
    fn unnoticed_harmless(&self) -> u64 {
        if self.damage.starts_with("state") { self.unnoticed } else { 0 }
    }
}

impl Table {
    /// Whether all cases ended as they should.
    pub fn is_good(&self, lenient: bool) -> bool {
        self.rows.iter().all(|row| row.is_good(lenient))
    }

    /// The same for people.
    pub fn told(&self) -> String {
        let mut table = table(&["DAMAGE", "WHEN", "CASES", "DETECTED", "AS TORN TAIL", "UNNOTICED", "WRONG ANSWERS", "REPAIRED"]);
        for row in &self.rows {
            let when = if row.under_load { "under load" } else { "while down" };
            let of = |count: u64| format!("{count} of {}", row.cases);
            table.add_row([
                row.damage.clone(),
                when.to_owned(),
                row.cases.to_string(),
                of(row.detected),
                of(row.torn_tail),
                of(row.unnoticed),
                row.wrong_answers.to_string(),
                of(row.repaired),
            ]);
        }
        let told: String = self.rows.iter().flat_map(|row| row.told.iter().map(move |told| format!("\n{}: {told}", row.damage))).collect();
        format!("{table}{told}")
    }
}

const TOLD_MAX: usize = 2;
