//! Small plots of what was measured of hosts lately.

use std::time::Duration;

use maud::{Markup, html};

use super::super::super::samples::{LATELY, Samples, Stretch};

/// What was measured of one host.
#[derive(Debug)]
pub(super) struct Plots {
    host: String,
    rates: Vec<Stretch>,
    latencies: Vec<Stretch>,
    round_trips: Vec<Stretch>,
}

impl Plots {
    /// What is known of these hosts at a time.
    pub(super) fn of<'a>(samples: &Samples, hosts: impl Iterator<Item = &'a String>) -> Vec<Self> {
        let plots = |host: &String| Self {
            host: host.clone(),
            rates: samples.rates(host),
            latencies: samples.latencies(host),
            round_trips: samples.round_trips(host),
        };
        hosts.take(PLOTTED_MAX).map(plots).collect()
    }

    pub(super) fn render(all: &[Self], now: Duration) -> Markup {
        html! {
            @if !all.is_empty() {
                h2 { "Measured lately" }
                div.wide {
                    table {
                        thead { tr { th scope="col" { "Host" } th scope="col" { "Calls a second" } th scope="col" { "Calls, p99" } th scope="col" { "Round trip" } } }
                        tbody {
                            @for Self { host, rates, latencies, round_trips } in all {
                                tr {
                                    th scope="row" { (host) }
                                    td { (plot(rates, now, "")) }
                                    td { (plot(latencies, now, " ms")) }
                                    td { (plot(round_trips, now, " ms")) }
                                }
                            }
                        }
                    }
                }
                p.hint { "The last " (LATELY.as_secs() / 60) " minutes, as far as somebody looked at this page; gaps were not measured." }
            }
        }
    }
}

/// Lines from left, `LATELY` ago, to right, now; from 0 to the most that was measured.
fn plot(stretches: &[Stretch], now: Duration, unit: &str) -> Markup {
    let is_shown = |at: Duration| now.saturating_sub(at) <= LATELY;
    let values = || stretches.iter().flatten().filter(|(at, _)| is_shown(*at));
    let Some((_, latest)) = values().next_back() else { return html! { span.hint { "not yet" } } };
    let most = values().map(|(_, value)| *value).fold(0.0, f64::max);
    let x = |at: Duration| WIDTH * (1.0 - now.saturating_sub(at).as_secs_f64() / LATELY.as_secs_f64());
    let y = |value: f64| HEIGHT - 2.0 - if most > 0.0 { (HEIGHT - 4.0) * value / most } else { 0.0 };
    let points = |stretch: &Stretch| {
        let shown = stretch.iter().filter(|(at, _)| is_shown(*at));
        let points: Vec<String> = shown.map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        // One point is a line to itself: a dot.
        if let [only] = points.as_slice() { format!("{only} {only}") } else { points.join(" ") }
    };
    html! {
        svg.plot viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) aria-hidden="true" {
            line x1="0" x2=(WIDTH) y1=(HEIGHT - 1.0) y2=(HEIGHT - 1.0) {}
            @for points in stretches.iter().map(points).filter(|points| !points.is_empty()) { polyline points=(points) {} }
        }
        " " (short(*latest)) (unit) span.hint { " of " (short(most)) (unit) " at most" }
    }
}

fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 32.0;

/// Hosts that are plotted: each takes some kilobytes of a page that is sent again every few seconds.
const PLOTTED_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plot_shows_what_was_measured_and_gaps() {
        let at = Duration::from_secs;
        // Now is 400 s: 40 s is left of what is shown, 220 s in the middle of 180 units, and 0 to 4 spans 28 of 32 units.
        let stretches = [vec![(at(30), 9.0), (at(40), 0.0), (at(220), 4.0)], vec![(at(400), 2.0)]];
        let svg = plot(&stretches, at(400), " ms").into_string();
        assert!(svg.contains(r#"<polyline points="0.0,30.0 90.0,2.0">"#), "{svg}");
        assert!(svg.contains(r#"<polyline points="180.0,16.0 180.0,16.0">"#) && !svg.contains("style="), "{svg}");
        assert!(svg.contains(" 2.0 ms<") && svg.contains(" of 4.0 ms at most"), "{svg}");
        let still = plot(&[vec![(at(400), 0.0)]], at(400), "").into_string();
        assert!(still.contains(r#"points="180.0,30.0 180.0,30.0""#), "{still}");
        for none in [&[][..], &[vec![(at(1), 1.0)]]] {
            assert!(plot(none, at(400), "").into_string().contains("not yet"));
        }
    }
}
