//! What to change: each change a card, with what it would bring.

use super::super::findings::{Advice, Assessment};
use super::super::words::{count, ms};
use super::markup::{escaped, section};
use super::plot;

/// The changes that help, the best first.
pub(super) fn cards(assessment: &Assessment) -> String {
    if assessment.advice.is_empty() && assessment.tried == 0 {
        return String::new();
    }
    if assessment.advice.is_empty() {
        let intro = format!("{} tried, and none of them helps.", were(assessment.tried));
        return section("advice", "What to change", &intro, "");
    }
    let intro = format!(
        "{} made in the simulated world, each on its own; these help, the best first. How much each gains was found while nobody else worked; \
         the figures take it that people gain as much while everybody works.",
        were(assessment.tried)
    );
    let most =
        assessment.advice.iter().map(|advice| advice.waiting_seconds_an_hour.0.max(advice.waiting_seconds_an_hour.1)).fold(0.0, f64::max);
    let cards: String = assessment.advice.iter().enumerate().map(|(at, advice)| card(at + 1, advice, most)).collect();
    section("advice", "What to change", &intro, &format!("<ol class=\"cards\">\n{cards}</ol>\n"))
}

fn were(tried: usize) -> String {
    format!("{} {}", count(tried, "change"), if tried == 1 { "was" } else { "were" })
}

fn card(rank: usize, advice: &Advice, most_waiting: f64) -> String {
    let (fails, fails_then) = advice.fails;
    let (waits, waits_then) = advice.waiting_seconds_an_hour;
    let fails_most = fails.max(fails_then).max(1) as f64;
    let pairs = [
        pair("Not fine", &fails.to_string(), &fails_then.to_string(), (fails as f64, fails_then as f64, fails_most)),
        pair("Waiting per hour, all", &ms(waits * 1e3), &ms(waits_then * 1e3), (waits, waits_then, most_waiting)),
    ];
    format!(
        "<li class=\"card\">\n<h3><span class=\"rank\">{rank}</span>{}</h3>\n{}{}{}</li>\n",
        escaped(&advice.change),
        pairs.concat(),
        concerned(advice),
        drawbacks(advice)
    )
}

/// A figure now and with the change, as two bars on one scale.
fn pair(name: &str, now: &str, then: &str, (before, after, full): (f64, f64, f64)) -> String {
    let tone = if after <= before { "after" } else { "worse" };
    let bars = plot::bar("before", before, full, &format!("{name}, now: {now}"))
        + &plot::bar(tone, after, full, &format!("{name}, with the change: {then}"));
    format!(
        "<div class=\"pair\"><p>{}<span><s>{}</s> → <strong>{}</strong></span></p>{bars}</div>\n",
        escaped(name),
        escaped(now),
        escaped(then)
    )
}

fn concerned(advice: &Advice) -> String {
    if advice.most_concerned.is_empty() {
        return String::new();
    }
    let full = advice.most_concerned.iter().map(|(_, _, now, then)| now.max(*then)).fold(0.0, f64::max);
    let pairs: String = advice
        .most_concerned
        .iter()
        .map(|(operation, front_end, now, then)| pair(&format!("{operation} at {front_end}"), &ms(*now), &ms(*then), (*now, *then, full)))
        .collect();
    format!("<h4>Half of the runs take at most, while nobody else works</h4>\n{pairs}")
}

fn drawbacks(advice: &Advice) -> String {
    if advice.drawbacks.is_empty() {
        return "<p class=\"drawbacks none\">No drawback was found.</p>\n".to_owned();
    }
    let drawbacks: String = advice.drawbacks.iter().map(|drawback| format!("<li>{}</li>", escaped(drawback))).collect();
    format!("<h4>But</h4>\n<ul class=\"drawbacks\">{drawbacks}</ul>\n")
}
