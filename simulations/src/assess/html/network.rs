//! What the network and the sites do: links, commits, the loss of a site, and operations that talk too much.

use super::super::findings::{Assessment, CommitCost, LinkUse, SiteLoss};
use super::super::words::{self, NONE, capital, ms, percent, rate};
use super::markup::{cell, column, escaped, row_head, section, table};
use super::plot;

/// Lines and links: those worth a look, then the others folded away.
pub(super) fn links(assessment: &Assessment) -> String {
    if assessment.links.is_empty() {
        return String::new();
    }
    let (mut notable, quiet): (Vec<&LinkUse>, Vec<&LinkUse>) = assessment.links.iter().partition(|link| link.is_notable());
    notable.sort_by(|a, b| b.used.unwrap_or(0.0).total_cmp(&a.used.unwrap_or(0.0)));
    let intro = if notable.is_empty() {
        "None is used above 30 %, loses anything, or makes anybody wait."
    } else {
        "First those that are used above 30 %, lose something, or make somebody wait. A line has two directions, and each has its own figures."
    };
    let shown = if notable.is_empty() { String::new() } else { link_table("Lines worth a look", &notable) };
    let folded = if quiet.is_empty() {
        String::new()
    } else {
        let all = link_table("Lines with nothing to report", &quiet);
        format!("<details>\n<summary>{} with nothing to report</summary>\n{all}</details>\n", words::count(quiet.len(), "direction"))
    };
    section("links", "Lines between places", intro, &(shown + &folded))
}

fn link_table(label: &str, links: &[&LinkUse]) -> String {
    let head = [
        ("Line", ""),
        ("Used", "plot"),
        ("", "number"),
        ("Carried", "number"),
        ("Mean wait", "number"),
        ("Longest wait", "number"),
        ("Lost", "number"),
    ];
    let head = head.map(|(name, class)| if name.is_empty() { "<td></td>".to_owned() } else { column(name, class) }).concat();
    let body: String = links.iter().map(|link| link_row(link)).collect();
    table("links", label, &head, &body)
}

fn link_row(link: &LinkUse) -> String {
    let used = link.used.map_or_else(|| "no bound".to_owned(), percent);
    let class = if link.used.is_some_and(|used| used > 0.7) { "worse" } else { "fill" };
    let bar = link.used.map(|share| plot::bar(class, share, 1.0, &format!("{} used", percent(share)))).unwrap_or_default();
    [
        "<tr>".to_owned(),
        row_head(&link.name, &link.figures.replace(" %", "\u{a0}%")),
        format!("<td class=\"plot\">{bar}</td>"),
        cell("number", &used),
        cell("number", &rate(link.carried_bps)),
        cell("number", &ms(link.queueing_mean_ms)),
        cell("number", &ms(link.queueing_max_ms)),
        cell("number", &percent(link.lost)),
        "</tr>\n".to_owned(),
    ]
    .concat()
}

/// What it takes, at each site, until a change is safe.
pub(super) fn commits(assessment: &Assessment) -> String {
    if assessment.commits.is_empty() {
        return String::new();
    }
    let full = assessment.commits.iter().map(|cost| cost.p95_ms).fold(0.0, f64::max);
    let head = column("Near site", "")
        + &format!("<td class=\"plot\">{}</td>", plot::scale(full))
        + &column("p50", "number")
        + &column("p95", "number");
    let body: String = assessment.commits.iter().map(|cost| commit_row(cost, full)).collect();
    let intro = format!(
        "What it takes, near a host there, until a change is on the disks of a majority of replicas: the bar is p50, the thin end p95. The leader is \
         {}; with another the figures are others.",
        assessment.leader
    );
    section("commits", "Until a change is safe", &intro, &table("commits", "Cost of a commit by site", &head, &body))
}

fn commit_row(cost: &CommitCost, full: f64) -> String {
    let title = format!("p50 {}, p95 {}", ms(cost.p50_ms), ms(cost.p95_ms));
    [
        "<tr>".to_owned(),
        row_head(&cost.site, ""),
        format!("<td class=\"plot\">{}</td>", plot::whisker(cost.p50_ms, cost.p95_ms, full, &title)),
        cell("number strong", &ms(cost.p50_ms)),
        cell("number", &ms(cost.p95_ms)),
        "</tr>\n".to_owned(),
    ]
    .concat()
}

/// What the others notice when a site is gone.
pub(super) fn losses(assessment: &Assessment) -> String {
    if assessment.losses.is_empty() {
        return String::new();
    }
    let head = column("Without site", "") + &column("Commits", "") + &column("What the others notice", "");
    let body: String = assessment.losses.iter().map(loss_row).collect();
    let intro = "Each site that has servers was taken away while people everywhere worked. What those at the lost site can no longer do is not counted.";
    section("losses", "When a site is lost", intro, &table("losses", "What the loss of each site does", &head, &body))
}

fn loss_row(loss: &SiteLoss) -> String {
    let tone = if loss.commits_go_on { "" } else { "fails" };
    format!("<tr>{}{}<td>{}</td></tr>\n", row_head(&loss.site, ""), cell(tone, &capital(&loss.commits())), noticed(loss))
}

fn noticed(loss: &SiteLoss) -> String {
    if loss.broken.is_empty() {
        return "Nothing: all that was fine stays so.".to_owned();
    }
    let told = loss.harm().into_iter().map(|harm| {
        let operations = harm.operations.iter().map(|(operation, why)| format!("{}: {}", escaped(operation), escaped(why)));
        format!(
            "<li><strong>{}</strong><ul><li>{}</li></ul></li>",
            escaped(harm.front_end),
            operations.collect::<Vec<_>>().join("</li><li>")
        )
    });
    format!("No longer fine:<ul>{}</ul>", told.collect::<String>())
}

/// Operations that cross wide-area lines too often.
pub(super) fn chatty(assessment: &Assessment) -> String {
    if assessment.chatty.is_empty() {
        return String::new();
    }
    let head = column("Operation", "") + &column("Round trips", "number") + &column("What to do about it", "");
    let body: String = assessment
        .chatty
        .iter()
        .map(|chatty| {
            let trips = if chatty.round_trips.is_finite() { format!("{:.1}", chatty.round_trips) } else { NONE.to_owned() };
            let head = row_head(&chatty.operation, &format!("worst at {}", chatty.front_end));
            format!("<tr>{head}{}{}</tr>\n", cell("number strong", &trips), cell("", &capital(&chatty.why)))
        })
        .collect();
    let intro = "Each round trip between sites costs the whole distance there and back, and no faster line makes it shorter. These wait for several, one after the other.";
    section("chatty", "Operations that talk too much", intro, &table("chatty", "Operations that talk too much", &head, &body))
}
