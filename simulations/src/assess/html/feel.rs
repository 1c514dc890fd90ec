//! How it feels: what fails, everything at a glance, and operation by operation.

use super::super::findings::{Assessment, Row, Verdict};
use super::super::words::{self, NONE, PARTS, ms_or_none, percent};
use super::markup::{cell, column, escaped, row_head, section, table};
use super::plot;

/// What is not fine, the worst first, and why.
pub(super) fn failing(assessment: &Assessment) -> String {
    let failing = assessment.failing();
    if failing.is_empty() {
        return String::new();
    }
    let shown = failing.iter().take(FAILING_SHOWN);
    let rows: String = shown.map(|row| failing_row(row)).collect();
    let more = failing.len().saturating_sub(FAILING_SHOWN);
    let more = if more > 0 { format!("<p class=\"intro\">And {more} more: the tables below name them all.</p>\n") } else { String::new() };
    let head = [
        ("What", ""),
        ("Users", "number"),
        ("Takes up to", "number"),
        ("Limit", "number"),
        ("Over it", "number"),
        ("Where the time goes", ""),
        ("Round trips", "number"),
    ];
    let head: String = head.map(|(name, class)| column(name, class)).concat();
    let intro = "The worst first. “Takes up to” is what 95 of 100 stay within (p95) while everybody works.";
    section("fails", "What is not fine", intro, &(table("failing", "What is not fine", &head, &rows) + &more))
}

fn failing_row(row: &Row) -> String {
    let times = row.share_of_limit().map_or_else(|| NONE.to_owned(), |share| format!("{share:.1} ×"));
    [
        "<tr>".to_owned(),
        row_head(&row.operation, &place(row)),
        cell("number", &row.users.to_string()),
        cell("number strong", &ms_or_none(row.felt.p95_ms)),
        cell("number", &ms_or_none(row.limit_ms)),
        cell("number", &times),
        format!("<td class=\"plot\">{}<small>{}</small></td>", bar(row, own_scale(row)), escaped(&reason(row))),
        cell("number", &trips(row)),
        "</tr>\n".to_owned(),
    ]
    .concat()
}

fn reason(row: &Row) -> String {
    let mostly: Vec<String> = row.mostly().into_iter().map(|(part, share)| format!("{} {}", percent(share), part.name)).collect();
    let failed = (row.felt.failed > 0 || row.felt.p95_ms.is_none()).then(|| row.why());
    failed.into_iter().chain(mostly).collect::<Vec<_>>().join(", ")
}

/// All operations at all places: a colour and p95.
pub(super) fn heat(assessment: &Assessment) -> String {
    if assessment.rows.is_empty() {
        return String::new();
    }
    let operations = assessment.operations();
    let head: String =
        std::iter::once(column("Place", "")).chain(operations.iter().map(|operation| column(operation, "heat-head"))).collect();
    let body: String = assessment.front_ends().into_iter().map(|front_end| heat_row(assessment, front_end, &operations)).collect();
    let intro = "Each cell says within what time 95 of 100 are done (p95) while everybody works, and the limit. The stronger the colour, the nearer to the limit; \
                 those beyond it are marked with a cross.";
    section("heat", "Everything at a glance", intro, &(table("heat", "p95 of every operation at every place", &head, &body) + HEAT_LEGEND))
}

fn heat_row(assessment: &Assessment, front_end: &str, operations: &[&str]) -> String {
    let rows: Vec<&Row> = assessment.rows.iter().filter(|row| row.front_end == front_end).collect();
    let remark = rows.first().map(|row| site_and_line(row)).unwrap_or_default();
    let cells: String =
        operations.iter().map(|operation| heat_cell(rows.iter().copied().filter(|row| row.operation == *operation))).collect();
    format!("<tr>{}{cells}</tr>\n", row_head(front_end, &remark))
}

/// Mostly one row; several if groups of users do the same at one front end. The worst gives the colour.
fn heat_cell<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let rows: Vec<&Row> = rows.collect();
    let Some(class) = rows.iter().map(|row| heat_class(row)).max_by_key(|class| HEAT.iter().position(|known| known == class)) else {
        return "<td class=\"heat-none\"><span class=\"unseen\">nobody</span></td>".to_owned();
    };
    let told: String = rows.iter().map(|row| heat_told(row)).collect();
    format!("<td class=\"{class}\">{told}</td>")
}

fn heat_told(row: &Row) -> String {
    let mark = match row.verdict {
        Verdict::Fail => "<b aria-label=\"fails\">✗</b> ",
        Verdict::Pass | Verdict::Open => "",
    };
    let limit = row.limit_ms.map_or_else(|| "no limit".to_owned(), |limit| format!("of {}", words::ms(limit)));
    let title = format!("p50 {}, p95 {}, p99 {}", ms_or_none(row.felt.p50_ms), ms_or_none(row.felt.p95_ms), ms_or_none(row.felt.p99_ms));
    format!("<span title=\"{}\">{mark}{}</span><small>{}</small>", escaped(&title), escaped(&ms_or_none(row.felt.p95_ms)), escaped(&limit))
}

fn heat_class(row: &Row) -> &'static str {
    match (row.verdict, row.share_of_limit()) {
        (Verdict::Open, _) => HEAT[0],
        (Verdict::Pass, Some(..0.25)) => HEAT[1],
        (Verdict::Pass, Some(..0.5)) => HEAT[2],
        (Verdict::Pass, Some(..0.75)) => HEAT[3],
        (Verdict::Pass, _) => HEAT[4],
        (Verdict::Fail, Some(..1.5)) => HEAT[5],
        (Verdict::Fail, _) => HEAT[6],
    }
}

/// Every operation with its places: how often it takes how long, and where the time goes.
pub(super) fn details(assessment: &Assessment) -> String {
    if assessment.rows.is_empty() {
        return String::new();
    }
    let cards: String = assessment.operations().into_iter().map(|operation| operation_card(assessment, operation)).collect();
    let intro = "The hill shows how often it takes how long; the dashed line is the limit, the short mark p95. The bar beside it shows what half of \
                 the runs spend their time on (p50), found by taking one thing after the other out of the simulated world.";
    section("operations", "Operation by operation", intro, &(parts_legend() + &cards))
}

fn operation_card(assessment: &Assessment, operation: &str) -> String {
    let rows: Vec<&Row> = assessment.rows.iter().filter(|row| row.operation == operation).collect();
    let full = rows.iter().map(|row| felt_extent(row)).fold(1.0, f64::max);
    let parts_full = rows.iter().map(|row| own_scale(row)).fold(0.0, f64::max);
    let plotted = |name: &str, full: f64| {
        let scale = if full > 0.0 { plot::scale(full) } else { String::new() };
        format!("<th scope=\"col\" class=\"plot\">{}{scale}</th>", escaped(name))
    };
    let numbers = |names: &[&str]| names.iter().map(|name| column(name, "number")).collect::<String>();
    let head = [
        column("Place", ""),
        plotted("How long it takes", full),
        numbers(&["p50", "p95", "p99", "Limit"]),
        "<th scope=\"col\" class=\"verdict\"><span class=\"unseen\">Verdict</span></th>".to_owned(),
        plotted("Where the time goes", parts_full),
        numbers(&["Round trips", "Bytes"]),
    ];
    let body: String = rows.iter().map(|row| operation_row(row, full, parts_full)).collect();
    format!(
        "<article class=\"operation\">\n<h3>{}</h3>\n{}</article>\n",
        escaped(operation),
        table("operation", operation, &head.concat(), &body)
    )
}

fn operation_row(row: &Row, full: f64, parts_full: f64) -> String {
    let fails = row.verdict == Verdict::Fail;
    let hill = plot::hill(&row.felt.all_ms, row.limit_ms, row.felt.p95_ms, full, fails);
    let p95 = if fails { "number strong fails" } else { "number strong" };
    [
        "<tr>".to_owned(),
        row_head(&row.front_end, &who(row)),
        format!("<td class=\"plot\">{hill}</td>"),
        cell("number", &ms_or_none(row.felt.p50_ms)),
        cell(p95, &ms_or_none(row.felt.p95_ms)),
        cell("number", &ms_or_none(row.felt.p99_ms)),
        cell("number", &ms_or_none(row.limit_ms)),
        verdict(row),
        format!("<td class=\"plot\">{}</td>", bar(row, parts_full)),
        cell("number", &trips(row)),
        cell("number", &row.bytes.map_or_else(|| NONE.to_owned(), words::bytes)),
        "</tr>\n".to_owned(),
    ]
    .concat()
}

fn verdict(row: &Row) -> String {
    match row.verdict {
        Verdict::Pass => "<td class=\"verdict\"><span class=\"badge fine\">PASS</span></td>".to_owned(),
        Verdict::Fail => format!("<td class=\"verdict\"><span class=\"badge fails\" title=\"{}\">FAIL</span></td>", escaped(&row.why())),
        Verdict::Open => "<td class=\"verdict\"><span class=\"badge\">not judged</span></td>".to_owned(),
    }
}

fn bar(row: &Row, full_ms: f64) -> String {
    row.parts.as_ref().map_or_else(|| "<small>not taken apart</small>".to_owned(), |parts| plot::parts(parts, full_ms))
}

fn own_scale(row: &Row) -> f64 {
    row.parts.map_or(0.0, |parts| parts.sum())
}

/// How far a row's plot reaches: beyond its limit and its p99, but no farther than what helps to see the others.
fn felt_extent(row: &Row) -> f64 {
    let p95 = row.felt.p95_ms.unwrap_or(0.0);
    let far = row.felt.p99_ms.unwrap_or(0.0).min(p95 * 2.0).max(p95 * 1.1);
    (row.limit_ms.unwrap_or(0.0) * 1.12).max(far * 1.04)
}

fn trips(row: &Row) -> String {
    row.round_trips.map_or_else(|| NONE.to_owned(), |trips| format!("{:.1}", trips.sum()))
}

fn place(row: &Row) -> String {
    row.line.as_ref().map_or_else(|| format!("at {}", row.front_end), |line| format!("at {}, over {line}", row.front_end))
}

fn site_and_line(row: &Row) -> String {
    row.line.as_ref().map_or_else(|| row.site.clone(), |line| format!("{}, over {line}", row.site))
}

fn who(row: &Row) -> String {
    let users = words::count(usize::try_from(row.users).unwrap_or(usize::MAX), "user");
    row.every_ms.map_or_else(|| format!("{users}, all day"), |every| format!("{users}, every {}", words::about(every)))
}

fn parts_legend() -> String {
    let entries = PARTS.map(|part| format!("<li><i class=\"part-{}\"></i>{}</li>", part.class, escaped(part.name)));
    format!("<ul class=\"legend\" aria-label=\"What the time goes into\">{}</ul>\n", entries.concat())
}

/// From least to most worrying.
const HEAT: [&str; 7] = ["heat-open", "heat-1", "heat-2", "heat-3", "heat-4", "heat-over", "heat-far-over"];

const HEAT_LEGEND: &str = "<ul class=\"legend\" aria-label=\"What the colours mean\">\
    <li><i class=\"heat-1\"></i>under a quarter of the limit</li><li><i class=\"heat-2\"></i>under half</li>\
    <li><i class=\"heat-3\"></i>under three quarters</li><li><i class=\"heat-4\"></i>just within</li>\
    <li><i class=\"heat-over\"></i>✗ over the limit</li><li><i class=\"heat-far-over\"></i>✗ more than half over</li></ul>\n";

const FAILING_SHOWN: usize = 12;
