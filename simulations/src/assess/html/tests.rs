//! The page is whole, says what it must, and lets no name become markup.

use super::super::words::sample;
use super::*;

/// Walks over all tags and panics where they do not close in order.
fn balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a page says what it is");
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("every tag has an end");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        match tag {
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "closed out of order"),
            _ if tag.ends_with('/') || VOID.contains(&name) => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

const VOID: [&str; 4] = ["meta", "br", "hr", "link"];

#[test]
fn tags_balance_whatever_was_found() {
    for assessment in [sample::company(), sample::empty(), sample::all_pass(), sample::all_fail(), sample::hostile(), sample::barren()] {
        let page = html(&assessment);
        balanced(&page);
        assert!(!page.contains("NaN") && !page.contains("inf%"), "a figure is none");
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let page = html(&sample::company());
    for outside in ["http:", "https:", "src=", "<script", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn no_name_becomes_markup() {
    let page = html(&sample::hostile());
    assert!(!page.contains("<b>") && !page.contains("\"co\"") && !page.contains('\u{1b}'));
    assert!(page.contains("&lt;b&gt;desk-outback &amp; &quot;co&quot; &#39;x&#39;&lt;/b&gt; [31m"));
}

#[test]
fn the_verdict_is_the_heading() {
    let page = html(&sample::company());
    assert!(page.contains("<h1 class=\"bad\">Of 41 things that people do here, 37 are fine; 4 are not, all at desk-outback.</h1>"));
    assert!(html(&sample::all_pass()).contains("<h1 class=\"good\">All 41 things that people do here are fine.</h1>"));
    assert!(html(&sample::empty()).contains("<h1 class=\"good\">Nothing to judge: nobody does anything in this deployment.</h1>"));
}

#[test]
fn sections_stand_only_where_there_is_something_to_say() {
    let ids = |assessment: &Assessment| -> Vec<String> {
        let page = html(assessment);
        page.split("<section id=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let all = ["fails", "advice", "heat", "operations", "links", "commits", "losses", "chatty", "method", "words"];
    assert_eq!(ids(&sample::company()), all);
    assert_eq!(ids(&sample::empty()), ["method", "words"]);
    assert_eq!(ids(&sample::all_pass()), ["advice", "heat", "operations", "links", "commits", "losses", "method", "words"]);
    assert!(html(&sample::all_pass()).contains("23 changes were tried, and none of them helps."));
}

#[test]
fn every_row_is_told_with_its_figures_and_its_verdict() {
    let page = html(&sample::company());
    assert_eq!(page.matches(">PASS</span>").count(), 37);
    assert_eq!(page.matches(">FAIL</span>").count(), 4);
    assert_eq!(page.matches("aria-label=\"fails\">✗</b>").count(), 4, "the heat table marks them by more than colour");
    assert!(page.contains("95 of 100 within 2.40 s, limit 1.50 s"));
}

#[test]
fn the_page_says_how_to_find_the_same_again() {
    let command = "caps-sim assess simulations/deployments/five-regions.toml --seed 7 --for 30m --html report.html";
    assert!(html(&sample::company()).contains(command));
}
