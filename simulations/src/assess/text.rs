//! An assessment as an engineer reads it: one screen, what fails first.

mod grid;

use super::findings::{Advice, Assessment, LinkUse, Row, SiteLoss, Verdict};
use super::words::{about, bytes, count, list, ms, ms_or_none, percent, rate};
use grid::{Align::Left, Align::Right, Grid, wrapped};

/// The report in plain text, about a hundred columns wide.
pub(crate) fn text(assessment: &Assessment) -> String {
    let sections = [
        headline(assessment),
        failing(assessment),
        slowest(assessment, Verdict::Pass, "PASS, the slowest place of each"),
        slowest(assessment, Verdict::Open, "Not judged, the slowest place of each"),
        everywhere(assessment),
        links(assessment),
        commits(assessment),
        losses(assessment),
        chatty(assessment),
        advice(assessment),
        closing(assessment),
    ];
    let said: Vec<String> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    said.join("\n").trim_end().to_owned()
}

fn headline(assessment: &Assessment) -> String {
    let place = format!("{} ({})", assessment.file, assessment.domain);
    format!("{}{}", wrapped("", &place, WIDTH), wrapped("", &assessment.verdict(), WIDTH))
}

fn failing(assessment: &Assessment) -> String {
    let failing = assessment.failing();
    if failing.is_empty() {
        return String::new();
    }
    let shown = &failing[..failing.len().min(FAILING_SHOWN)];
    let mut section = detailed("FAIL, the worst first", shown.iter().copied());
    for row in shown.iter().filter(|row| row.felt.failed > 0 || row.felt.p95_ms.is_none()) {
        section.push_str(&wrapped("  ", &format!("{} at {}: {}", row.operation, row.front_end, row.why()), WIDTH));
    }
    section + &rest(failing.len() - shown.len())
}

/// The slowest place of every operation, among those with this verdict.
fn slowest(assessment: &Assessment, verdict: Verdict, title: &str) -> String {
    let slowest: Vec<&Row> =
        assessment.operations().into_iter().filter_map(|operation| slowest_place(assessment, operation, verdict)).collect();
    if slowest.is_empty() {
        return String::new();
    }
    let shown = &slowest[..slowest.len().min(SLOWEST_SHOWN)];
    detailed(title, shown.iter().copied()) + &rest(slowest.len() - shown.len())
}

fn slowest_place<'a>(assessment: &'a Assessment, operation: &str, verdict: Verdict) -> Option<&'a Row> {
    let rows = assessment.rows.iter().filter(|row| row.operation == operation && row.verdict == verdict);
    rows.max_by(|a, b| a.felt.p95_ms.unwrap_or(0.0).total_cmp(&b.felt.p95_ms.unwrap_or(0.0)))
}

fn detailed<'a>(title: &str, rows: impl Iterator<Item = &'a Row>) -> String {
    let columns = [
        (title, Left),
        ("at", Left),
        ("p50", Right),
        ("p95", Right),
        ("p99", Right),
        ("limit", Right),
        ("trips", Right),
        ("bytes", Right),
        ("mostly", Left),
    ];
    let mut grid = Grid::new(&columns);
    for row in rows {
        grid.line([
            format!("  {}", row.operation),
            row.front_end.clone(),
            ms_or_none(row.felt.p50_ms),
            ms_or_none(row.felt.p95_ms),
            ms_or_none(row.felt.p99_ms),
            ms_or_none(row.limit_ms),
            row.round_trips.map_or_else(String::new, |trips| format!("{:.1}", trips.sum())),
            row.bytes.map_or_else(String::new, bytes),
            mostly(row),
        ]);
    }
    grid.print()
}

fn mostly(row: &Row) -> String {
    let words: Vec<String> = row.mostly().into_iter().map(|(part, share)| format!("{} {:.0}%", part.short, share * 100.0)).collect();
    words.join(", ")
}

/// p95 of every operation at every place.
fn everywhere(assessment: &Assessment) -> String {
    let blocks: Vec<String> = assessment.operations().chunks(OPERATIONS_ABREAST).map(|operations| block(assessment, operations)).collect();
    blocks.join("\n")
}

fn block(assessment: &Assessment, operations: &[&str]) -> String {
    let columns: Vec<_> = std::iter::once(("p95 (! fails)", Left)).chain(operations.iter().map(|operation| (*operation, Right))).collect();
    let mut grid = Grid::new(&columns);
    for front_end in assessment.front_ends() {
        let cells = operations.iter().map(|operation| cell(assessment, front_end, operation));
        grid.line(std::iter::once(format!("  {}", place(assessment, front_end))).chain(cells));
    }
    grid.print()
}

fn place(assessment: &Assessment, front_end: &str) -> String {
    let line = assessment.rows.iter().find(|row| row.front_end == front_end).and_then(|row| row.line.as_deref());
    line.map_or_else(|| front_end.to_owned(), |line| format!("{front_end} ({line})"))
}

fn cell(assessment: &Assessment, front_end: &str, operation: &str) -> String {
    let rows = assessment.rows.iter().filter(|row| row.front_end == front_end && row.operation == operation);
    let said: Vec<String> =
        rows.map(|row| format!("{}{}", if row.verdict == Verdict::Fail { "! " } else { "" }, ms_or_none(row.felt.p95_ms))).collect();
    said.join(" / ")
}

fn links(assessment: &Assessment) -> String {
    let mut notable: Vec<&LinkUse> = assessment.links.iter().filter(|link| link.is_notable()).collect();
    if assessment.links.is_empty() {
        return String::new();
    }
    if notable.is_empty() {
        return "Links: none is used above 30 %, loses anything, or makes anybody wait.\n".to_owned();
    }
    notable.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    let shown = &notable[..notable.len().min(LINKS_SHOWN)];
    let columns = [
        ("Links worth a look", Left),
        ("used", Right),
        ("carried", Right),
        ("wait mean", Right),
        ("longest", Right),
        ("lost", Right),
        ("", Left),
    ];
    let mut grid = Grid::new(&columns);
    for link in shown {
        grid.line([
            format!("  {}", link.name),
            link.used.map_or_else(String::new, percent),
            rate(link.carried_bps),
            ms(link.queueing_mean_ms),
            ms(link.queueing_max_ms),
            percent(link.lost),
            link.figures.clone(),
        ]);
    }
    grid.print() + &rest(notable.len() - shown.len())
}

/// What makes a link more worth a look than another: a tenth used weighs as much as one in a hundred lost, or 10 ms of waiting.
fn weight(link: &LinkUse) -> f64 {
    link.used.unwrap_or(0.0) * 10.0 + link.lost * 100.0 + link.queueing_mean_ms / 10.0
}

fn commits(assessment: &Assessment) -> String {
    let costs: Vec<String> =
        assessment.commits.iter().map(|cost| format!("{} {} ({})", cost.site, ms(cost.p50_ms), ms(cost.p95_ms))).collect();
    let words = format!("A commit takes, at p50 (p95), while {} leads: {}", assessment.leader, costs.join(", "));
    if costs.is_empty() { String::new() } else { wrapped("", &words, WIDTH) }
}

fn losses(assessment: &Assessment) -> String {
    let harmless: Vec<&str> =
        assessment.losses.iter().filter(|loss| loss.commits_go_on && loss.broken.is_empty()).map(|loss| loss.site.as_str()).collect();
    let harmful = assessment.losses.iter().filter(|loss| !loss.commits_go_on || !loss.broken.is_empty());
    let mut lines: Vec<String> = harmful.map(loss).collect();
    if !harmless.is_empty() {
        lines.push(wrapped("  ", &format!("{}: nothing breaks elsewhere", list(&harmless)), WIDTH));
    }
    if lines.is_empty() { String::new() } else { format!("When a site is lost\n{}", lines.concat()) }
}

fn loss(loss: &SiteLoss) -> String {
    let harm = loss.harm();
    let told = harm.iter().take(HARM_SHOWN).map(|harm| {
        let operations: Vec<&str> = harm.operations.iter().map(|(operation, _)| *operation).collect();
        let why = harm.operations.first().map_or("", |(_, why)| *why);
        format!("{} at {} ({why})", operations.join(", "), harm.front_end)
    });
    let more = harm.len().saturating_sub(HARM_SHOWN);
    let more = (more > 0).then(|| format!("and at {}", count(more, "front end")));
    let told: Vec<String> = told.chain(more).collect();
    let broken = if told.is_empty() { String::new() } else { format!("; no longer fine: {}", told.join("; ")) };
    wrapped("  ", &format!("{}: {}{broken}", loss.site, loss.commits()), WIDTH)
}

fn chatty(assessment: &Assessment) -> String {
    let lines: Vec<String> = assessment
        .chatty
        .iter()
        .take(CHATTY_SHOWN)
        .map(|chatty| {
            let said = format!("{} at {}: {:.1} round trips; {}", chatty.operation, chatty.front_end, chatty.round_trips, chatty.why);
            wrapped("  ", &said, WIDTH)
        })
        .collect();
    if lines.is_empty() { String::new() } else { format!("Chatty\n{}", lines.concat()) }
}

fn advice(assessment: &Assessment) -> String {
    if assessment.advice.is_empty() {
        return match assessment.tried {
            0 => String::new(),
            tried => format!("Advice: {} tried, none helps.\n", count(tried, "change")),
        };
    }
    let title = format!("Advice, the best of {} tried, each on its own\n", count(assessment.tried, "change"));
    let shown = assessment.advice.iter().take(ADVICE_SHOWN).enumerate();
    let lines: String = shown.map(|(at, advice)| one_advice(at + 1, advice)).collect();
    title + &lines + &rest(assessment.advice.len().saturating_sub(ADVICE_SHOWN))
}

fn one_advice(rank: usize, advice: &Advice) -> String {
    let (fails, fails_then) = advice.fails;
    let (waits, waits_then) = advice.waiting_seconds_an_hour;
    let figures = format!("fails {fails} -> {fails_then}, waiting an hour {} -> {}", ms(waits * 1e3), ms(waits_then * 1e3));
    let mut lines = wrapped("  ", &format!("{rank}. {}: {figures}", advice.change), WIDTH);
    let concerned = advice.most_concerned.iter().take(CONCERNED_SHOWN);
    let concerned: Vec<String> =
        concerned.map(|(operation, front_end, now, then)| format!("{operation} at {front_end} {} -> {}", ms(*now), ms(*then))).collect();
    if !concerned.is_empty() {
        lines.push_str(&wrapped("     ", &format!("p50: {}", concerned.join("; ")), WIDTH));
    }
    if !advice.drawbacks.is_empty() {
        lines.push_str(&wrapped("     ", &format!("but: {}", advice.drawbacks.join("; ")), WIDTH));
    }
    lines
}

fn closing(assessment: &Assessment) -> String {
    let worked = about(assessment.rehearsed_seconds * 1e3);
    let words = format!("Everybody worked for {worked}, simulated with the production code. Again: {}", assessment.command());
    wrapped("", &words, WIDTH)
}

fn rest(more: usize) -> String {
    if more == 0 { String::new() } else { format!("  and {more} more: see --html or --json\n") }
}

const WIDTH: usize = 110;
const FAILING_SHOWN: usize = 14;
const SLOWEST_SHOWN: usize = 10;
const OPERATIONS_ABREAST: usize = 8;
const LINKS_SHOWN: usize = 6;
const HARM_SHOWN: usize = 3;
const CHATTY_SHOWN: usize = 5;
const ADVICE_SHOWN: usize = 5;
const CONCERNED_SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::words::sample;
    use super::*;

    #[test]
    fn a_company_fits_one_screen() {
        let text = text(&sample::company());
        assert!(text.lines().count() <= 66, "{} lines", text.lines().count());
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 130, "{widest} columns");
        assert!(!text.lines().any(|line| line.ends_with(' ')), "lines end in blanks");
    }

    #[test]
    fn what_fails_is_told_first_and_why() {
        let text = text(&sample::company());
        let fail = text.find("FAIL, the worst first").unwrap();
        assert!(fail < text.find("PASS, the slowest").unwrap());
        let worst = text[fail..].lines().nth(1).unwrap();
        assert!(worst.starts_with("  case read ") && worst.contains("desk-outback") && worst.contains("to host 9"), "{worst}");
    }

    #[test]
    fn every_part_of_the_report_has_its_line() {
        let text = text(&sample::company());
        let expected = [
            "Of 41 things that people do here, 37 are fine; 4 are not, all at desk-outback.",
            "  saopaulo up         46 %",
            "A commit takes, at p50 (p95), while store-frankfurt leads: frankfurt 95 ms (103 ms), virginia 94 ms (99 ms),",
            "  singapore: commits go on after 310 ms at most; no longer fine: case replied, case closed at desk-sydney",
            "  saopaulo and sydney: nothing breaks elsewhere",
            "  case read at desk-outback: 3.0 round trips; its three queries wait for each other;",
            "  1. give desk-outback a line of profile \"leo\" instead of \"geo\": fails 4 -> 0, waiting an hour 6.9 min -> 6.0",
            "     but: one more machine",
            "simulations/deployments/five-regions.toml --seed 7",
        ];
        let unfolded = text.replace("\n      ", " ");
        for line in expected {
            assert!(text.contains(line) || unfolded.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn nothing_passing_and_nothing_failing_are_left_out() {
        assert!(!text(&sample::all_pass()).contains("FAIL"));
        let all_fail = text(&sample::all_fail());
        assert!(!all_fail.contains("PASS"));
        assert!(all_fail.contains("  and 27 more: see --html or --json\n"));
        assert!(all_fail.lines().count() <= 70);
    }

    #[test]
    fn an_empty_assessment_is_three_lines() {
        assert_eq!(
            text(&sample::empty()),
            "empty.toml (nobody.example)\n\
             Nothing to judge: nobody does anything in this deployment.\n\
             \n\
             Everybody worked for 0 ms, simulated with the production code. Again: caps-sim assess empty.toml --seed 7\n    --for 1m"
        );
    }

    #[test]
    fn names_do_not_reach_the_terminal_as_commands() {
        assert!(!text(&sample::hostile()).contains('\u{1b}'));
    }

    #[test]
    fn failures_are_told_with_their_number() {
        let mut company = sample::company();
        let row = company.rows.iter_mut().find(|row| row.verdict == Verdict::Fail).unwrap();
        row.felt.failed = 12;
        let line = format!("  {} at desk-outback: 12 of 212 failed", row.operation);
        assert!(text(&company).contains(&line));
    }
}
