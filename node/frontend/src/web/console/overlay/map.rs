//! The overlay as a map: a box for each site, its nodes in it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::super::moment::readable;
use super::{Row, counted, milliseconds};

/// Draws all sites. What a node says at length stands in the list below, so the map is one image to whoever cannot see it.
pub(super) fn map(sites: &BTreeMap<String, Vec<Row>>, now: i64) -> Markup {
    let columns = COLUMNS.min(sites.len()).max(1);
    let mut boxes = Vec::new();
    let (mut top, mut deepest) = (0, 0);
    for (number, (site, rows)) in sites.iter().enumerate() {
        if number > 0 && number % columns == 0 {
            top += deepest + GAP;
            deepest = 0;
        }
        let height = HEAD + ROW * rows.len() + FOOT;
        boxes.push((number % columns * (WIDTH + GAP), top, height, site, rows));
        deepest = deepest.max(height);
    }
    let (width, height) = (columns * (WIDTH + GAP) - GAP, top + deepest);
    html! {
        svg.map viewBox={ "-1 -1 " (width + 2) " " (height + 2) } width=(width + 2) height=(height + 2) role="img" aria-label=(in_words(sites)) {
            @for (x, y, height, site, rows) in boxes {
                g transform={ "translate(" (x) " " (y) ")" } {
                    rect width=(WIDTH) height=(height) rx="10" {}
                    text.place x="14" y="26" { (fit(site, 28)) title { (site) } }
                    @for (number, row) in rows.iter().enumerate() { (node(row, HEAD + ROW * number, now)) }
                }
            }
        }
    }
}

/// A node, this far down in its site's box.
fn node(row: &Row, y: usize, now: i64) -> Markup {
    let is_leader = row.state == "leader";
    let mark = match row.state.as_str() {
        "leader" => "dot leading",
        "down" => "dot down",
        _ => "dot",
    };
    html! {
        g transform={ "translate(0 " (y) ")" } {
            circle class=(mark) cx="20" cy="15" r=(if is_leader { 7 } else { 5 }) {}
            @if is_leader { circle.ring cx="20" cy="15" r="10" {} }
            text x="38" y="20" { (fit(&row.name, 26)) title { (row.name) } }
            text.facts x="38" y="36" {
                tspan class=(if row.state == "down" { "late" } else { "" }) { (row.layer) " " (row.state) }
                @if let Some(position) = row.position { " · at " (position) }
                @if let Some(rtt) = row.round_trip { " · " (milliseconds(rtt)) }
            }
            @if let Some(expires) = row.expires.filter(|_| row.is_expiring(now)) {
                text.facts.late x="38" y="50" { "certificate until " (&readable(expires)[..10]) }
            }
        }
    }
}

fn in_words(sites: &BTreeMap<String, Vec<Row>>) -> String {
    let nodes = sites.values().flatten();
    let leaders: Vec<&str> = nodes.clone().filter(|row| row.state == "leader").map(|row| row.name.as_str()).collect();
    let leading = if leaders.is_empty() { "no leader".to_owned() } else { format!("leader {}", leaders.join(", ")) };
    format!("Map of the overlay: {}, {}, {leading}", counted(sites.len(), "site"), counted(nodes.count(), "node"))
}

/// As much of a text as there is room for.
fn fit(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

/// Boxes next to one another, and their measures.
const COLUMNS: usize = 3;
const WIDTH: usize = 270;
const GAP: usize = 18;
const HEAD: usize = 40;
const ROW: usize = 56;
const FOOT: usize = 6;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn map_marks_leaders_those_down_and_certificates_that_end() {
        let row = |name: &str, state: &str| Row { state: state.to_owned(), ..Row::new(name.to_owned(), "cabinet") };
        let day = 86_400_000_000;
        let leader =
            Row { position: Some(7), round_trip: Some(Duration::from_micros(1_500)), expires: Some(29 * day), ..row("store-1", "leader") };
        let other = Row { expires: Some(31 * day), ..row(&"x".repeat(63), "follower") };
        let rows = |rows: Vec<Row>| rows;
        let mut sites = BTreeMap::from([("lund".to_owned(), rows(vec![leader, other])), ("a<b".to_owned(), vec![row("store-3", "down")])]);
        let svg = map(&sites, 0).into_string();
        assert!(svg.contains(r#"aria-label="Map of the overlay: 2 sites, 3 nodes, leader store-1""#), "{svg}");
        assert_eq!((svg.matches("dot leading").count(), svg.matches("dot down").count(), svg.matches("<rect").count()), (1, 1, 2));
        assert!(svg.contains("cabinet leader</tspan> · at 7 · 1.5 ms"), "{svg}");
        assert_eq!(svg.matches("certificate until").count(), 1);
        assert!(
            svg.contains("certificate until 1970-01-30") && svg.contains("a&lt;b") && svg.contains("xxx…") && !svg.contains("style="),
            "{svg}"
        );
        // Two boxes of 270 with 18 between them; the taller one has two nodes: 40 + 2 * 56 + 6.
        assert!(svg.contains(r#"viewBox="-1 -1 560 160""#), "{svg}");
        for number in 0..2 {
            sites.insert(format!("z{number}"), Vec::new());
        }
        // Three to a row, and an empty one, 46 high, in the second.
        assert!(map(&sites, 0).into_string().contains(r#"viewBox="-1 -1 848 224""#));
        assert!(map(&BTreeMap::new(), 0).into_string().contains("0 sites, 0 nodes, no leader"));
    }
}
