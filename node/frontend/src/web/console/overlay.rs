//! How the overlay is, as seen from this front end: sites, nodes, leader, positions, round trips, certificates about to end.
//!
//! `map` draws the sites, `paths` what lies between them, `plot` shows what was measured lately. Nothing is shown that was not measured.

mod map;
mod paths;
mod plot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use caps_adapters::web::axum::extract::State;
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_model::messages::cabinet::ReplicaRole;
use caps_model::messages::host::{HostStatus, Peer};
use caps_overlay::{Identity, Layer, MemberState};
use futures_util::future::join_all;
use maud::{Markup, html};

use self::map::map;
use self::plot::Plots;
use super::super::moment::readable;
use super::super::samples::Measured;
use super::super::shown::{bytes, chip};
use super::super::site::Site;
use super::page::{Failed, Page};
use super::request::Asked;
use crate::{Client, ClientError, Paths};

/// How everybody is.
#[derive(Debug)]
pub(super) struct Picture {
    rows: BTreeMap<String, Vec<Row>>,
    paths: Paths,
    plots: Vec<Plots>,
    /// When it was taken, by the site's uptime.
    taken: Duration,
    cabinet: String,
}

#[derive(Debug)]
struct Row {
    name: String,
    layer: &'static str,
    state: String,
    /// The position, of a replica that says it.
    position: Option<u64>,
    says: Vec<(&'static str, String)>,
    round_trip: Option<Duration>,
    loss: Option<f64>,
    expires: Option<i64>,
}

impl Picture {
    /// Asks everybody at once, and keeps what was measured. Who does not answer is part of the picture; without any host there is none.
    pub(super) async fn take(site: &Site) -> Result<Self, ClientError> {
        let client = &site.client;
        let first = client.status().await?;
        let directory = client.overlay().directory();
        let hosts: Vec<(Identity, MemberState)> =
            directory.of_layer(Layer::Host).map(|member| (member.identity.clone(), member.state)).take(NODES_MAX).collect();
        let asked = join_all(hosts.iter().map(|(identity, state)| host(client, identity, *state))).await;
        let answered = || hosts.iter().zip(&asked).filter_map(|((identity, _), (_, status))| Some((identity, status.as_ref()?)));
        let peers: BTreeMap<&str, &Peer> =
            answered().flat_map(|(_, status)| &status.peers).map(|peer| (peer.identity.as_str(), peer)).collect();
        let mut picture =
            Self { rows: BTreeMap::new(), paths: Paths::of(answered()), plots: Vec::new(), taken: Duration::ZERO, cabinet: String::new() };
        for (identity, answer) in first.replicas.iter().take(NODES_MAX) {
            let (site, name) = place(identity);
            let row = match answer {
                Ok(replica) => {
                    picture.cabinet.clone_from(&replica.cabinet);
                    Row {
                        state: role(replica.role).to_owned(),
                        position: Some(replica.position.0),
                        says: vec![
                            ("objects", replica.objects.to_string()),
                            ("journal", bytes(replica.journal_bytes)),
                            ("subscriptions", replica.subscriptions.to_string()),
                        ],
                        ..Row::new(name, "cabinet")
                    }
                }
                Err(error) => Row { state: "down".to_owned(), says: vec![("", error.clone())], ..Row::new(name, "cabinet") },
            };
            let expires = peers.get(identity.as_str()).map(|peer| peer.certificate_expires);
            picture.rows.entry(site).or_default().push(Row { expires, ..row });
        }
        let front_ends = peers.values().filter_map(|peer| {
            let identity = Identity::parse(&peer.identity).ok().filter(|identity| identity.layer() == Some(Layer::FrontEnd))?;
            let row = Row::new(identity.name().to_owned(), "front end");
            let row = Row { state: "up".to_owned(), expires: Some(peer.certificate_expires), ..row };
            Some((identity.site().unwrap_or_default().to_owned(), row))
        });
        let front_ends: Vec<_> = front_ends.take(NODES_MAX).collect();
        let mut measured = BTreeMap::new();
        for ((identity, _), (row, status)) in hosts.iter().zip(asked) {
            let (site, name) = place(identity.uri());
            if let (Some(status), Some(round_trip)) = (status, row.round_trip) {
                measured.insert(name, Measured { latencies: status.latencies, round_trip });
            }
            picture.rows.entry(site).or_default().push(row);
        }
        for (site, row) in front_ends {
            picture.rows.entry(site).or_default().push(row);
        }
        picture.taken = site.uptime();
        let names: BTreeSet<String> = hosts.iter().map(|(identity, _)| identity.name().to_owned()).collect();
        let mut samples = site.samples();
        samples.take(picture.taken, measured);
        picture.plots = Plots::of(&samples, names.iter());
        Ok(picture)
    }

    /// The part of the page that changes.
    pub(super) fn render(&self, now: i64) -> Markup {
        let nodes: Vec<&Row> = self.rows.values().flatten().collect();
        let down = nodes.iter().filter(|row| row.state == "down").count();
        let expiring = nodes.iter().filter(|row| row.is_expiring(now)).count();
        html! {
            div #overview {
                p.summary {
                    (counted(self.rows.len(), "site")) " · " (counted(nodes.len(), "node"))
                    @if down > 0 { " · " strong.late { (down) " down" } } @else { " · all up" }
                    @if expiring > 0 { " · " strong.late { (counted(expiring, "certificate")) " within 30 days of the end" } }
                    @if !self.cabinet.is_empty() { " · cabinet " bdi { (self.cabinet) } }
                }
                (map(&self.rows, now))
                (paths::render(&self.paths))
                (Plots::render(&self.plots, self.taken))
                h2 { "Nodes" }
                div.sites {
                    @for (site, rows) in &self.rows {
                        section.site aria-label={ "Site " (site) } {
                            h2 { (site) }
                            @for row in rows { (row.render(now)) }
                        }
                    }
                }
            }
        }
    }
}

impl Row {
    fn new(name: String, layer: &'static str) -> Self {
        Self { name, layer, state: String::new(), position: None, says: Vec::new(), round_trip: None, loss: None, expires: None }
    }

    fn is_expiring(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires.saturating_sub(now) < EXPIRES_SOON)
    }

    fn render(&self, now: i64) -> Markup {
        html! {
            div.node {
                p { strong { (self.name) } " " span.hint { (self.layer) } span.grow {} (chip(&self.state)) }
                dl {
                    @if let Some(rtt) = self.round_trip { div { dt { "RTT" } dd { (milliseconds(rtt)) } } }
                    @if let Some(loss) = self.loss.filter(|loss| *loss >= LOSS_SAID) { div { dt { "loss" } dd { (percent(loss)) } } }
                    @if let Some(position) = self.position { div { dt { "position" } dd { (position) } } }
                    @for (what, says) in &self.says { div { dt { (what) } dd dir="auto" { (says) } } }
                    @if let Some(expires) = self.expires {
                        div { dt { "certificate" } dd {
                            @let until = &readable(expires)[..10];
                            @if self.is_expiring(now) { strong.late { "until " (until) } } @else { "until " (until) }
                        } }
                    }
                }
            }
        }
    }
}

pub(super) async fn page(State(site): State<Arc<Site>>, asked: Asked) -> Result<Response, Failed> {
    let (catalogue, profile) = (site.catalogue().await?, asked.visitor.profile().await?);
    let picture = Picture::take(&site).await?;
    let body = html! { h1 { "Overlay" } (picture.render(site.now_micros())) };
    let page = Page::new(&site, "Overlay").of(&asked.visitor, &profile, &catalogue, "overlay").live("/live/overlay?".to_owned());
    Ok(page.with(body).into_response())
}

async fn host(client: &Client, identity: &Identity, state: MemberState) -> (Row, Option<HostStatus>) {
    let row = Row::new(identity.name().to_owned(), "host");
    if state == MemberState::Down {
        return (Row { state: "down".to_owned(), ..row }, None);
    }
    let overlay = client.overlay();
    let Ok(pong) = overlay.ping(identity, PING).await else { return (Row { state: "down".to_owned(), ..row }, None) };
    let loss = overlay.peers().into_iter().find(|peer| peer.identity == *identity).map(|peer| peer.loss);
    let expires = Some(pong.certificate_expires.saturating_mul(1_000_000));
    let row = Row { round_trip: Some(pong.rtt), loss, expires, ..row };
    match client.status_of(identity).await {
        Ok(status) => {
            let took = |percent| status.latencies.percentile(percent).map(|took| format!("p{percent} {}", milliseconds(took)));
            let took: Vec<String> = [50, 99].into_iter().filter_map(took).collect();
            let mut says = vec![("calls", status.calls.to_string()), ("subscriptions", status.subscriptions.to_string())];
            says.extend((!took.is_empty()).then(|| ("took", took.join(", "))));
            (Row { state: "up".to_owned(), says, ..row }, Some(status))
        }
        Err(error) => (Row { state: "up".to_owned(), says: vec![("", error.to_string())], ..row }, None),
    }
}

/// Site and name in an identity.
fn place(identity: &str) -> (String, String) {
    match Identity::parse(identity) {
        Ok(identity) => (identity.site().unwrap_or_default().to_owned(), identity.name().to_owned()),
        Err(_) => (String::new(), identity.to_owned()),
    }
}

fn role(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Leader => "leader",
        ReplicaRole::Follower => "follower",
        ReplicaRole::Candidate => "candidate",
        ReplicaRole::Learner => "learner",
        ReplicaRole::Outside => "outside",
    }
}

fn milliseconds(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 10_000 { format!("{:.1} ms", time.as_secs_f64() * 1e3) } else { format!("{} ms", micros / 1_000) }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Less than this is nothing, in a share of packets.
const LOSS_SAID: f64 = 0.0005;

/// One node that does not answer must not hold the picture up.
const PING: Duration = Duration::from_secs(1);

/// Certificates that end within 30 days are said.
const EXPIRES_SOON: i64 = 30 * 86_400 * 1_000_000;

/// Nodes of a picture.
const NODES_MAX: usize = 200;
