//! Plots as inline SVG. They are as wide as the place they stand in: positions are shares of the width.

use super::super::findings::Parts;
use super::super::words::{ms, percent};
use super::markup::escaped;

/// A bar of what the time goes into, on a scale that ends at `full_ms`.
pub(super) fn parts(parts: &Parts, full_ms: f64) -> String {
    let mut from = 0.0;
    let mut bars = String::new();
    let mut told = Vec::new();
    for (part, time) in parts.named().into_iter().filter(|(_, time)| *time > 0.0) {
        bars.push_str(&rect(&format!("part-{}", part.class), share(from, full_ms), share(time, full_ms), 0.0, PARTS_HEIGHT));
        if from > 0.0 && share(time, full_ms) > SLIVER {
            bars.push_str(&upright("gap", share(from, full_ms), 0.0, PARTS_HEIGHT));
        }
        told.push(format!("{}: {} ({})", part.name, ms(time), percent(time / parts.sum())));
        from += time;
    }
    figure("parts", PARTS_HEIGHT, &told.join("; "), &bars)
}

/// One bar, `part` of `whole`.
pub(super) fn bar(class: &str, part: f64, whole: f64, title: &str) -> String {
    let track = rect("track", 0.0, 1.0, 0.0, BAR_HEIGHT);
    figure("bar", BAR_HEIGHT, title, &(track + &rect(class, 0.0, share(part, whole), 0.0, BAR_HEIGHT)))
}

/// A bar up to `middle` and a thin one from there to `far`, on a scale that ends at `full`.
pub(super) fn whisker(middle: f64, far: f64, full: f64, title: &str) -> String {
    let (to, end) = (share(middle, full), share(far, full));
    let bars = rect("fill", 0.0, to, 0.0, BAR_HEIGHT) + &rect("whisker", to, (end - to).max(0.0), BAR_HEIGHT / 2.0 - 1.0, 2.0);
    figure("bar", BAR_HEIGHT, title, &(bars + &upright("whisker-end", end, 1.0, BAR_HEIGHT - 1.0)))
}

/// How often something takes how long: a hill over a scale that ends at `full_ms`, the limit as a line, p95 as a mark.
pub(super) fn hill(sorted_ms: &[f64], limit_ms: Option<f64>, p95_ms: Option<f64>, full_ms: f64, fails: bool) -> String {
    let tone = if fails { "fails" } else { "fine" };
    let mut drawn = String::new();
    if let Some(limit) = limit_ms {
        let at = share(limit, full_ms);
        drawn.push_str(&rect("beyond", at, 1.0 - at, 0.0, HILL_HEIGHT));
    }
    drawn.push_str(&slope(sorted_ms, full_ms, tone));
    if let Some(p95) = p95_ms {
        drawn.push_str(&upright(&format!("mark {tone}"), share(p95, full_ms), HILL_HEIGHT * 0.4, HILL_HEIGHT));
    }
    if let Some(limit) = limit_ms {
        drawn.push_str(&upright("limit", share(limit, full_ms), 0.0, HILL_HEIGHT));
    }
    drawn.push_str(&format!("<line class=\"ground\" x1=\"0\" x2=\"100%\" y1=\"{HILL_HEIGHT}\" y2=\"{HILL_HEIGHT}\"/>"));
    figure("hill", HILL_HEIGHT, &told(sorted_ms, limit_ms, p95_ms), &drawn)
}

/// The scale of a column of plots.
pub(super) fn scale(full_ms: f64) -> String {
    let step = step(full_ms);
    let mut drawn = String::new();
    for at in (0..=TICKS_MAX).map(|tick| f64::from(tick) * step).take_while(|at| *at <= full_ms * 0.93) {
        let x = share(at, full_ms) * 100.0;
        let anchor = if at == 0.0 { "start" } else { "middle" };
        drawn.push_str(&format!("<text x=\"{x:.2}%\" y=\"10\" text-anchor=\"{anchor}\">{}</text>", tick(at)));
    }
    format!("<svg class=\"scale\" width=\"100%\" height=\"14\" aria-hidden=\"true\" focusable=\"false\">{drawn}</svg>")
}

fn figure(class: &str, height: f64, title: &str, drawn: &str) -> String {
    let title = escaped(title);
    format!("<svg class=\"{class}\" width=\"100%\" height=\"{height}\" role=\"img\"><title>{title}</title>{drawn}</svg>")
}

fn rect(class: &str, from: f64, width: f64, top: f64, height: f64) -> String {
    let (from, width) = (from * 100.0, width * 100.0);
    format!("<rect class=\"{class}\" x=\"{from:.2}%\" y=\"{top}\" width=\"{width:.2}%\" height=\"{height}\"/>")
}

fn upright(class: &str, at: f64, top: f64, bottom: f64) -> String {
    let at = at * 100.0;
    format!("<line class=\"{class}\" x1=\"{at:.2}%\" x2=\"{at:.2}%\" y1=\"{top}\" y2=\"{bottom}\"/>")
}

/// The hill itself; its height at a place is how many took so long, compared with where most of them are.
fn slope(sorted_ms: &[f64], full_ms: f64, tone: &str) -> String {
    let heights = heights(sorted_ms, full_ms);
    let Some(highest) = heights.iter().copied().reduce(f64::max).filter(|highest| *highest > 0.0) else { return String::new() };
    let mut path = "M0 100".to_owned();
    for (bin, height) in heights.iter().enumerate() {
        let (from, to) = (bin as f64 * BIN_WIDTH, (bin + 1) as f64 * BIN_WIDTH);
        let y = 100.0 - 96.0 * height / highest;
        path.push_str(&format!("L{:.2} {y:.1}", (from + to) / 2.0));
    }
    path.push_str("L100 100Z");
    format!(
        "<svg x=\"0\" y=\"0\" width=\"100%\" height=\"{HILL_HEIGHT}\" viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\">\
         <path class=\"slope {tone}\" d=\"{path}\"/></svg>"
    )
}

/// How many fall into each bin, each bin a little smoothed by its neighbours. What is beyond the scale is in the last one.
fn heights(sorted_ms: &[f64], full_ms: f64) -> Vec<f64> {
    let mut counts = vec![0.0; BINS];
    let mut rest = sorted_ms;
    for (bin, count) in counts.iter_mut().enumerate() {
        let end = if bin + 1 == BINS { f64::INFINITY } else { full_ms * (bin + 1) as f64 / BINS as f64 };
        let inside = rest.partition_point(|time| *time < end);
        *count = inside as f64;
        rest = &rest[inside..];
    }
    let at = |bin: Option<usize>| bin.and_then(|bin| counts.get(bin)).copied().unwrap_or(0.0);
    (0..BINS).map(|bin| at(bin.checked_sub(1)) * 0.25 + counts[bin] * 0.5 + at(bin.checked_add(1)) * 0.25).collect()
}

fn told(sorted_ms: &[f64], limit_ms: Option<f64>, p95_ms: Option<f64>) -> String {
    let (Some(first), Some(last)) = (sorted_ms.first(), sorted_ms.last()) else { return "never done".to_owned() };
    let p95 = p95_ms.map(|p95| format!(", 95 of 100 within {}", ms(p95))).unwrap_or_default();
    let limit = limit_ms.map(|limit| format!(", limit {}", ms(limit))).unwrap_or_default();
    format!("between {} and {}{p95}{limit}", ms(*first), ms(*last))
}

/// A part of a whole as a share of 0 to 1, whatever the figures are.
fn share(part: f64, whole: f64) -> f64 {
    let share = part / whole;
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

/// A step of 1, 2 or 5 times a power of ten that gives two to five ticks: more do not fit side by side.
fn step(full_ms: f64) -> f64 {
    let power = 10f64.powf((full_ms.max(1e-3) / 4.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps.into_iter().find(|step| full_ms / step <= 4.0).unwrap_or(10.0 * power)
}

fn tick(at_ms: f64) -> String {
    match at_ms {
        0.0 => "0".to_owned(),
        ..1.0 => format!("{at_ms:.1} ms"),
        ..1e3 => format!("{at_ms:.0} ms"),
        _ => format!("{} s", at_ms / 1e3),
    }
}

const PARTS_HEIGHT: f64 = 14.0;
const BAR_HEIGHT: f64 = 10.0;
const HILL_HEIGHT: f64 = 30.0;
/// What is smaller has no room for a gap before it.
const SLIVER: f64 = 0.01;
const BINS: usize = 100;
const BIN_WIDTH: f64 = 100.0 / BINS as f64;
const TICKS_MAX: u32 = 8;
