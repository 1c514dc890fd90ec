//! What lies between sites: as lines between points, as far as there is room, and as a table.

use std::f64::consts::TAU;

use maud::{Markup, html};

use super::{LOSS_SAID, milliseconds, percent};
use crate::Paths;
use crate::paths::Path;

/// Draws and lists the paths.
pub(super) fn render(paths: &Paths) -> Markup {
    let sites: Vec<&str> = paths.sites().into_iter().collect();
    html! {
        @if !sites.is_empty() {
            h2 { "Paths" }
            div.paths {
                @if (2..=DRAWN_MAX).contains(&sites.len()) { (drawn(paths, &sites)) }
                div.wide {
                    table {
                        thead { tr { th scope="col" { "Between" } th scope="col" { "Round trip" } th scope="col" { "Loss" } } }
                        tbody {
                            @for ((one, other), path) in paths.iter().take(LISTED_MAX) {
                                tr {
                                    th scope="row" { @if one == other { "within " (one) } @else { (one) " and " (other) } }
                                    td { (milliseconds(path.round_trip)) }
                                    td { @if is_lossy(path) { strong.late { (percent(path.loss)) } } @else { (percent(path.loss)) } }
                                }
                            }
                        }
                    }
                }
            }
            p.hint { "As the hosts measure them: the median of their round trips, and the worst loss of the last packets." }
        }
    }
}

/// The table says the same in words.
fn drawn(paths: &Paths, sites: &[&str]) -> Markup {
    let place = |site: &str| {
        let number = sites.iter().position(|known| *known == site).unwrap_or_default();
        // The first one at the top left, then clockwise.
        let angle = TAU * (number as f64 / sites.len() as f64) - TAU * 3.0 / 8.0;
        (WIDTH / 2.0 + (WIDTH / 2.0 - 90.0) * angle.cos(), HEIGHT / 2.0 + (HEIGHT / 2.0 - 36.0) * angle.sin())
    };
    let between = || paths.iter().filter(|((one, other), _)| one != other);
    html! {
        svg.network viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) aria-hidden="true" {
            @for ((one, other), path) in between() {
                @let ((x1, y1), (x2, y2)) = (place(one), place(other));
                line.lossy[is_lossy(path)] x1=(tenth(x1)) y1=(tenth(y1)) x2=(tenth(x2)) y2=(tenth(y2)) {}
            }
            @for ((one, other), path) in between() {
                @let ((x1, y1), (x2, y2)) = (place(one), place(other));
                // Not in the middle, where lines cross.
                text.late[is_lossy(path)] x=(tenth(x1 + (x2 - x1) * 0.38)) y=(tenth(y1 + (y2 - y1) * 0.38 + 4.0)) {
                    (milliseconds(path.round_trip)) @if is_lossy(path) { " · " (percent(path.loss)) }
                }
            }
            @for site in sites {
                @let (x, y) = place(site);
                circle.dot cx=(tenth(x)) cy=(tenth(y)) r="6" {}
                text.place x=(tenth(x)) y=(tenth(if y < HEIGHT / 2.0 { y - 12.0 } else { y + 22.0 })) { (site) }
            }
        }
    }
}

fn is_lossy(path: &Path) -> bool {
    path.loss >= LOSS_SAID
}

fn tenth(length: f64) -> String {
    format!("{length:.1}")
}

/// Sites between which lines are drawn: with more of them nobody sees which is which.
const DRAWN_MAX: usize = 8;

/// Paths of the table.
const LISTED_MAX: usize = 200;

/// Of the drawing.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;

#[cfg(test)]
mod tests {
    use caps_model::messages::host::{HostStatus, Peer};
    use caps_model::messages::latencies::Latencies;
    use caps_overlay::{Identity, Layer};

    use super::*;

    /// One host at the first site, with a peer at each: 20 ms and no loss to the second one, twice that and 1 % to the next.
    fn paths(sites: &[&str]) -> Paths {
        let identity = |layer, site: &str| Identity::node("a.example", site, layer, "node").unwrap();
        let peer = |(number, site): (usize, &&str)| Peer {
            identity: identity(Layer::Cabinet, site).to_string(),
            rtt_us: 20_000 * number as u64,
            loss_ppm: if number > 1 { 10_000 } else { 0 },
            certificate_expires: 0,
        };
        let peers = sites.iter().enumerate().map(peer).collect();
        let host = identity(Layer::Host, sites[0]);
        let latencies = Latencies::default();
        let status =
            HostStatus { node: host.to_string(), replicas: Vec::new(), calls: 0, conflicts: 0, subscriptions: 0, latencies, peers };
        Paths::of([(&host, &status)].into_iter())
    }

    #[test]
    fn paths_are_drawn_between_sites_and_listed() {
        let page = render(&paths(&["a", "b", "c"])).into_string();
        assert_eq!((page.matches("<line").count(), page.matches("<circle").count(), page.matches("<tr>").count()), (2, 3, 4), "{page}");
        assert!(
            page.contains("within a") && page.contains("a and c") && page.contains("40 ms · 1.0 %") && !page.contains("style="),
            "{page}"
        );
        assert_eq!(page.matches("lossy").count(), 1);
        // One site has no lines, and many have too many.
        let many: Vec<String> = (0..9).map(|number| format!("site-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for sites in [&many[..1], &many[..]] {
            let page = render(&paths(sites)).into_string();
            assert!(page.contains("within") && !page.contains("<svg"), "{page}");
        }
        assert_eq!(render(&Paths::default()).into_string(), "");
    }
}
