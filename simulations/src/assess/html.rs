//! An assessment as a manager reads it: one page that needs nothing else, on a screen, in the dark, or on paper.
//!
//! The page says first what was found, then what to change, then the evidence: how it feels at every place ([`feel`]), what the network and the
//! sites do ([`network`]), and how it was found out ([`background`]). There is no script; plots are inline SVG ([`plot`]).

mod advice;
mod background;
mod feel;
mod markup;
mod network;
mod plot;

use super::findings::Assessment;
use super::words::{count, ms, percent};
use markup::escaped;

/// The report as a page of HTML.
pub(crate) fn html(assessment: &Assessment) -> String {
    let body = [
        opening(assessment),
        feel::failing(assessment),
        advice::cards(assessment),
        feel::heat(assessment),
        feel::details(assessment),
        network::links(assessment),
        network::commits(assessment),
        network::losses(assessment),
        network::chatty(assessment),
        background::method(assessment),
        background::glossary(),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>How {domain} will feel</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        domain = escaped(&assessment.domain),
        body = body.concat(),
    )
}

fn opening(assessment: &Assessment) -> String {
    let tone = if assessment.failing().is_empty() { "good" } else { "bad" };
    format!(
        "<header class=\"opening\">\n<p class=\"kicker\">Deployment assessment: {domain}</p>\n<h1 class=\"{tone}\">{verdict}</h1>\n\
         <p class=\"lead\">Simulated from <code>{file}</code> before anything is built: the production programs, the lines and the people that \
         the file names. “Fine” means that 95 of 100 times it takes no longer than the limit that the file sets.</p>\n\
         <dl class=\"tiles\">\n{tiles}</dl>\n</header>\n",
        domain = escaped(&assessment.domain),
        verdict = escaped(&assessment.verdict()),
        file = escaped(&assessment.file),
        tiles = tiles(assessment).concat(),
    )
}

fn tiles(assessment: &Assessment) -> Vec<String> {
    [within_limits(assessment), commit_range(assessment), survived(assessment), busiest(assessment), best_change(assessment)]
        .into_iter()
        .flatten()
        .collect()
}

fn within_limits(assessment: &Assessment) -> Option<String> {
    let judged = assessment.judged();
    let fine = judged - assessment.failing().len();
    (judged > 0).then(|| {
        tile("Within their limits", &format!("{fine} of {judged}"), &format!("at {}", count(assessment.front_ends().len(), "front end")))
    })
}

fn commit_range(assessment: &Assessment) -> Option<String> {
    let least = assessment.commits.iter().min_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms))?;
    let most = assessment.commits.iter().max_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms))?;
    let about = if assessment.commits.len() == 1 {
        format!("at {}", most.site)
    } else {
        format!("at {}; {} at {}", most.site, ms(least.p50_ms), least.site)
    };
    Some(tile("A change is safe within", &ms(most.p50_ms), &about))
}

fn survived(assessment: &Assessment) -> Option<String> {
    let sites = assessment.losses.len();
    let survived = assessment.losses.iter().filter(|loss| loss.commits_go_on).count();
    let harmless = assessment.losses.iter().filter(|loss| loss.commits_go_on && loss.broken.is_empty()).count();
    let value =
        if survived == sites { format!("any of {}", count(sites, "site")) } else { format!("{survived} of {}", count(sites, "site")) };
    (sites > 0).then(|| tile("Work goes on without", &value, &format!("that have servers; {harmless} unnoticed elsewhere")))
}

fn busiest(assessment: &Assessment) -> Option<String> {
    let used = assessment.links.iter().filter_map(|link| link.used.map(|used| (link, used)));
    let (link, used) = used.max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(tile("Busiest line", &percent(used), &link.name))
}

fn best_change(assessment: &Assessment) -> Option<String> {
    let best = assessment.advice.first()?;
    let (now, then) = best.fails;
    let (waits, waits_then) = best.waiting_seconds_an_hour;
    let (value, about) = if now == then {
        let saved = if waits > 0.0 { 1.0 - waits_then / waits } else { 0.0 };
        (format!("{} less waiting", percent(saved)), "nothing more becomes fine by it")
    } else {
        (format!("{now} → {then} not fine"), "see what to change")
    };
    Some(tile("The best change", &value, about))
}

fn tile(name: &str, value: &str, about: &str) -> String {
    format!("<div><dt>{}</dt><dd><strong>{}</strong><span>{}</span></dd></div>\n", escaped(name), escaped(value), escaped(about))
}

const STYLE: &str = include_str!("html/style.css");

#[cfg(test)]
mod tests;
