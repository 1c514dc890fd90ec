//! How findings are said: the same words, units and order in every report.

#[cfg(test)]
pub(crate) mod sample;

use std::time::Duration;

use std::collections::BTreeSet;

use super::findings::{Assessment, LinkUse, Parts, Row, SiteLoss, Verdict};

impl Assessment {
    /// What was found, in one sentence.
    pub(crate) fn verdict(&self) -> String {
        let judged = self.judged();
        let failing = self.failing();
        match (judged, failing.len()) {
            (0, _) if self.rows.is_empty() => "Nothing to judge: nobody does anything in this deployment.".to_owned(),
            (0, _) => "Nothing to judge: no operation has a limit.".to_owned(),
            (1, 0) => "The one thing that people do here is fine.".to_owned(),
            (_, 0) => format!("All {judged} things that people do here are fine."),
            (1, _) => format!("The one thing that people do here is not fine{}.", whereabouts(&failing)),
            (_, fails) if fails == judged => format!("None of the {judged} things that people do here is fine."),
            (_, 1) => {
                format!(
                    "Of {judged} things that people do here, {} are fine; one is not: {} at {}.",
                    judged - 1,
                    failing[0].operation,
                    failing[0].front_end
                )
            }
            (_, fails) => {
                format!("Of {judged} things that people do here, {} are fine; {fails} are not{}.", judged - fails, whereabouts(&failing))
            }
        }
    }

    /// How many rows have a verdict.
    pub(crate) fn judged(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict != Verdict::Open).count()
    }

    /// The rows that are not as they should be, the worst first.
    pub(crate) fn failing(&self) -> Vec<&Row> {
        let mut failing: Vec<&Row> = self.rows.iter().filter(|row| row.verdict == Verdict::Fail).collect();
        failing.sort_by(|a, b| b.excess().total_cmp(&a.excess()));
        failing
    }

    /// The operations, in the file's order.
    pub(crate) fn operations(&self) -> Vec<&str> {
        distinct(self.rows.iter().map(|row| row.operation.as_str()))
    }

    /// The front ends where somebody works, in the file's order.
    pub(crate) fn front_ends(&self) -> Vec<&str> {
        distinct(self.rows.iter().map(|row| row.front_end.as_str()))
    }

    /// The command that finds the same again.
    pub(crate) fn command(&self) -> String {
        let plain = |c: char| c.is_alphanumeric() || "/._-+,:@".contains(c);
        let file = if self.file.chars().all(plain) { self.file.clone() } else { format!("'{}'", self.file.replace('\'', r"'\''")) };
        let length = humantime::format_duration(Duration::from_secs_f64(self.length_seconds));
        format!("caps-sim assess {file} --seed {} --for {}", self.seed, length.to_string().replace(' ', ""))
    }
}

impl Row {
    /// Its p95 as a share of its limit; endless if it never succeeded.
    pub(crate) fn share_of_limit(&self) -> Option<f64> {
        let limit = self.limit_ms.filter(|limit| *limit > 0.0)?;
        self.felt.p95_ms.map(|p95| p95 / limit)
    }

    /// Why it is not as it should be.
    pub(crate) fn why(&self) -> String {
        let slow = self.share_of_limit().filter(|share| *share > 1.0).map(|share| format!("p95 is {share:.1} times the limit"));
        let failed = (self.felt.failed > 0).then(|| format!("{} of {} failed", self.felt.failed, self.attempts()));
        let waits = self.queueing_share().filter(|share| *share > 0.3).map(|share| format!("{} of it waiting for others", percent(share)));
        let said: Vec<String> = [failed, slow, waits].into_iter().flatten().collect();
        if said.is_empty() { "it never came to an end".to_owned() } else { said.join(", ") }
    }

    /// Where most of its time goes: the two largest parts with their shares.
    pub(crate) fn mostly(&self) -> Vec<(Part, f64)> {
        let Some(parts) = &self.parts else { return Vec::new() };
        let mut shares = parts.shares();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares.into_iter().take(2).filter(|(_, share)| *share >= 0.05).collect()
    }

    /// How often somebody tried.
    fn attempts(&self) -> u64 {
        self.felt.samples as u64 + self.felt.failed
    }

    fn queueing_share(&self) -> Option<f64> {
        let parts = self.parts?;
        (parts.sum() > 0.0).then(|| parts.queueing_ms.max(0.0) / parts.sum())
    }

    /// How bad it is, to put the worst first.
    fn excess(&self) -> f64 {
        if self.felt.p95_ms.is_none() { f64::INFINITY } else { self.share_of_limit().unwrap_or(0.0) }
    }
}

/// Something that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// In a word or two.
    pub(crate) short: &'static str,
    /// As a legend says it.
    pub(crate) name: &'static str,
    /// The class that gives it its colour.
    pub(crate) class: &'static str,
}

/// All that takes time, in the order in which it happens.
pub(crate) const PARTS: [Part; 7] = [
    Part { short: "handshake", name: "shaking hands", class: "handshake" },
    Part { short: "to host", name: "between front end and host", class: "host" },
    Part { short: "to cabinet", name: "between host and cabinet", class: "cabinet" },
    Part { short: "replicas", name: "between the replicas", class: "consensus" },
    Part { short: "disk", name: "disks", class: "disk" },
    Part { short: "logic", name: "logic, machines", class: "logic" },
    Part { short: "queueing", name: "waiting for others", class: "queueing" },
];

impl Parts {
    /// Each part with its milliseconds, never less than none.
    pub(crate) fn named(&self) -> [(Part, f64); 7] {
        let Self { handshake_ms, front_end_to_host_ms, host_to_cabinet_ms, consensus_ms, disk_ms, logic_ms, queueing_ms } = *self;
        let times = [handshake_ms, front_end_to_host_ms, host_to_cabinet_ms, consensus_ms, disk_ms, logic_ms, queueing_ms];
        std::array::from_fn(|at| (PARTS[at], times[at].max(0.0)))
    }

    /// All of it, in milliseconds.
    pub(crate) fn sum(&self) -> f64 {
        self.named().iter().map(|(_, ms)| ms).sum()
    }

    /// Each part with its share of the whole, 0 to 1.
    fn shares(&self) -> [(Part, f64); 7] {
        let sum = self.sum();
        self.named().map(|(part, ms)| (part, if sum > 0.0 { ms / sum } else { 0.0 }))
    }
}

impl LinkUse {
    /// Whether it is worth mentioning: busy, lossy, or something waits in front of it.
    pub(crate) fn is_notable(&self) -> bool {
        self.used.is_some_and(|used| used > BUSY)
            || self.lost > 0.0
            || self.queueing_mean_ms >= WAIT_MEAN_MS
            || self.queueing_max_ms >= WAIT_MAX_MS
    }
}

/// What a site's loss does at one front end.
#[derive(Debug)]
pub(crate) struct Harm<'a> {
    pub(crate) front_end: &'a str,
    /// Each operation that is harmed, and why.
    pub(crate) operations: Vec<(&'a str, &'a str)>,
}

impl SiteLoss {
    /// What happens to commits, in a sentence without its full stop.
    pub(crate) fn commits(&self) -> String {
        match (self.commits_go_on, self.longest_pause_ms) {
            (true, Some(pause)) => format!("commits go on after {} at most", ms(pause)),
            (true, None) => "commits go on".to_owned(),
            (false, _) => "commits stop until it is back".to_owned(),
        }
    }

    /// What breaks, by front end.
    pub(crate) fn harm(&self) -> Vec<Harm<'_>> {
        let mut harm: Vec<Harm<'_>> = Vec::new();
        for (operation, front_end, why) in &self.broken {
            match harm.iter_mut().find(|harm| harm.front_end == front_end) {
                Some(harm) => harm.operations.push((operation, why)),
                None => harm.push(Harm { front_end, operations: vec![(operation, why)] }),
            }
        }
        harm
    }
}

/// Milliseconds as people read them: `4.2 ms`, `412 ms`, `1.24 s`, `12.4 s`, `3.5 min`.
pub(crate) fn ms(ms: f64) -> String {
    match ms {
        _ if !ms.is_finite() => NONE.to_owned(),
        ..9.95 => format!("{:.1} ms", ms.max(0.0)),
        ..999.5 => format!("{ms:.0} ms"),
        ..9_995.0 => format!("{:.2} s", ms / 1e3),
        ..99_950.0 => format!("{:.1} s", ms / 1e3),
        ..5_970_000.0 => format!("{:.1} min", ms / 6e4),
        _ => format!("{:.1} h", ms / 3.6e6),
    }
}

/// Milliseconds, if there are any.
pub(crate) fn ms_or_none(time: Option<f64>) -> String {
    time.map_or_else(|| NONE.to_owned(), ms)
}

/// A round stretch of time without a needless fraction: `15 s`, `2 min`, `4 h`.
pub(crate) fn about(time: f64) -> String {
    ms(time).replacen(".00 ", " ", 1).replacen(".0 ", " ", 1)
}

/// A share of 0 to 1 in per cent.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        hundredth if !hundredth.is_finite() => NONE.to_owned(),
        hundredth if hundredth <= 0.0 => "0 %".to_owned(),
        ..0.05 => "< 0.1 %".to_owned(),
        hundredth @ ..9.95 => format!("{hundredth:.1} %"),
        hundredth => format!("{hundredth:.0} %"),
    }
}

/// Bits a second.
pub(crate) fn rate(bps: f64) -> String {
    format!("{}bit/s", scaled(bps))
}

/// Bytes, in thousands.
pub(crate) fn bytes(bytes: f64) -> String {
    format!("{}B", scaled(bytes))
}

/// Names as a sentence lists them: `a, b and c`.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A phrase as the beginning of a sentence.
pub(crate) fn capital(phrase: &str) -> String {
    let mut chars = phrase.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `1 thing`, `2 things`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Where the failing rows are, as the end of a sentence.
fn whereabouts(failing: &[&Row]) -> String {
    let front_ends = distinct(failing.iter().map(|row| row.front_end.as_str()));
    let sites: BTreeSet<&str> = failing.iter().map(|row| row.site.as_str()).collect();
    let operations: BTreeSet<&str> = failing.iter().map(|row| row.operation.as_str()).collect();
    let all = if failing.len() > 1 { "all " } else { "" };
    match (front_ends.as_slice(), sites.len(), operations.len()) {
        ([one], _, _) => format!(", {all}at {one}"),
        (_, 1, _) => format!(", {all}at site {}", failing[0].site),
        (_, _, 1) => format!(", all of them “{}”", failing[0].operation),
        (few @ [_, _] | few @ [_, _, _], _, _) => format!(", all at {}", list(few)),
        (many, _, _) => format!(", at {} front ends", many.len()),
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

fn scaled(number: f64) -> String {
    match number {
        _ if !number.is_finite() => format!("{NONE} "),
        ..999.5 => format!("{:.0} ", number.max(0.0)),
        ..9_995.0 => format!("{:.1} k", number / 1e3),
        ..999_500.0 => format!("{:.0} k", number / 1e3),
        ..9_995_000.0 => format!("{:.1} M", number / 1e6),
        ..999_500_000.0 => format!("{:.0} M", number / 1e6),
        _ => format!("{:.1} G", number / 1e9),
    }
}

/// Where there is nothing to say.
pub(crate) const NONE: &str = "–";

/// A link that is used more than this is worth mentioning: bursts soon wait.
const BUSY: f64 = 0.3;
const WAIT_MEAN_MS: f64 = 1.0;
/// One datagram behind a full-sized other on 1 Mbit/s waits 12 ms: that is nothing yet.
const WAIT_MAX_MS: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_says_where_it_hurts() {
        assert_eq!(sample::company().verdict(), "Of 41 things that people do here, 37 are fine; 4 are not, all at desk-outback.");
        assert_eq!(sample::empty().verdict(), "Nothing to judge: nobody does anything in this deployment.");
        assert_eq!(sample::all_pass().verdict(), "All 41 things that people do here are fine.");
        assert_eq!(sample::all_fail().verdict(), "None of the 41 things that people do here is fine.");
    }

    #[test]
    fn failures_at_one_site_or_of_one_operation_are_told_as_such() {
        let mut company = sample::all_pass();
        let fail = |company: &mut Assessment, which: fn(&Row) -> bool| {
            company.rows.iter_mut().for_each(|row| row.verdict = if which(row) { Verdict::Fail } else { Verdict::Pass });
        };
        fail(&mut company, |row| row.site == "sydney");
        assert!(company.verdict().ends_with("are not, all at site sydney."), "{}", company.verdict());
        fail(&mut company, |row| row.operation == "cold start");
        assert!(company.verdict().ends_with("are not, all of them “cold start”."), "{}", company.verdict());
        fail(&mut company, |row| ["desk-train", "desk-outback"].contains(&row.front_end.as_str()));
        assert!(company.verdict().ends_with("are not, all at desk-outback and desk-train."), "{}", company.verdict());
        fail(&mut company, |row| row.operation == "cold start" && row.front_end == "desk-train");
        assert!(company.verdict().ends_with("one is not: cold start at desk-train."), "{}", company.verdict());
    }

    #[test]
    fn numbers_keep_three_digits_and_their_unit() {
        let times: Vec<String> = [0.0, 4.24, 9.96, 412.4, 999.6, 1_240.0, 12_400.0, 210_000.0, 7_200_000.0, f64::NAN].map(ms).into();
        assert_eq!(times, ["0.0 ms", "4.2 ms", "10 ms", "412 ms", "1.00 s", "1.24 s", "12.4 s", "3.5 min", "2.0 h", "–"]);
        assert_eq!([0.0, 0.0001, 0.012, 0.314, 1.0].map(percent), ["0 %", "< 0.1 %", "1.2 %", "31 %", "100 %"]);
        assert_eq!([12.0, 1_234.0, 56_000.0, 3.1e6, 2e9].map(rate), ["12 bit/s", "1.2 kbit/s", "56 kbit/s", "3.1 Mbit/s", "2.0 Gbit/s"]);
        assert_eq!([15_000.0, 1_000.0, 120_000.0, 14_400_000.0, 90_000.0].map(about), ["15 s", "1 s", "2 min", "4 h", "90 s"]);
        assert_eq!(bytes(4_200.0), "4.2 kB");
    }

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let mut company = sample::empty();
        "it's <mine>.toml".clone_into(&mut company.file);
        assert_eq!(company.command(), r"caps-sim assess 'it'\''s <mine>.toml' --seed 7 --for 1m");
    }

    #[test]
    fn what_breaks_is_told_front_end_by_front_end() {
        let company = sample::company();
        let singapore = company.losses.iter().find(|loss| loss.site == "singapore").unwrap();
        let harm = singapore.harm();
        assert_eq!(harm.len(), 2);
        assert_eq!(harm[0].operations.iter().map(|(operation, _)| *operation).collect::<Vec<_>>(), ["case replied", "case closed"]);
    }
}
