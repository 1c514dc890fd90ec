//! Advice, found by trying: other places for voters and hosts, other lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use caps_certs_gen::{Identity, Layer};
use caps_node::deployment::profile::Profile;
use caps_node::deployment::{Deployment, FrontEnd, Node};

use super::cast::{Cast, PROBE};
use super::findings::{Advice, Row, Verdict};
use super::parts::quiet_ms;
use super::rehearsal::Rehearsed;

/// A change that is tried.
pub(super) struct Change {
    pub(super) words: String,
    pub(super) deployment: Deployment,
    drawbacks: Vec<String>,
}

/// Everything that is worth a try.
pub(super) fn changes(deployment: &Deployment) -> Vec<Change> {
    let mut changes = voters(deployment);
    changes.extend(hosts(deployment));
    changes.extend(lines(deployment));
    changes
}

/// The changes that help, the best first.
pub(super) fn advice(cast: &Cast, rows: &[Row], now: &Rehearsed, changes: &[Change], changed: &[Option<Rehearsed>]) -> Vec<Advice> {
    let today = Outlook::of(cast, rows, now, now);
    let mut advice = Vec::new();
    for (change, then) in changes.iter().zip(changed) {
        let Some(then) = then else { continue };
        let outlook = Outlook::of(cast, rows, now, then);
        // Fewer failures that everybody else pays for are no help.
        let fewer_fail = outlook.fails < today.fails && outlook.waiting < today.waiting * BEARABLE;
        let helps = fewer_fail || (outlook.fails == today.fails && outlook.waiting < today.waiting * WORTH_WHILE);
        if !helps {
            continue;
        }
        let mut concerned: Vec<(String, String, f64, f64)> = Vec::new();
        for part in &cast.parts {
            if let (Some(before), Some(after)) = (quiet_ms(now, &part.key), quiet_ms(then, &part.key)) {
                concerned.push((part.key.operation.clone(), part.key.front_end.clone(), before, after));
            }
        }
        let slower = concerned.iter().filter(|(_, _, before, after)| *after > before * 1.1 + 5.0).count();
        concerned.sort_by(|a, b| (b.2 - b.3).abs().total_cmp(&(a.2 - a.3).abs()));
        concerned.truncate(CONCERNED);
        let mut drawbacks = change.drawbacks.clone();
        if slower > 0 {
            drawbacks.push(format!("{slower} of {} get slower", cast.parts.len()));
        }
        advice.push(Advice {
            change: change.words.clone(),
            fails: (today.fails, outlook.fails),
            waiting_seconds_an_hour: (today.waiting, outlook.waiting),
            most_concerned: concerned,
            drawbacks,
        });
    }
    advice.sort_by(|a, b| {
        (a.fails.1, a.waiting_seconds_an_hour.1).partial_cmp(&(b.fails.1, b.waiting_seconds_an_hour.1)).unwrap_or(std::cmp::Ordering::Equal)
    });
    advice
}

/// What a world would be like to work in.
struct Outlook {
    /// Entries that would miss their limit.
    fails: usize,
    /// Seconds that all users together would wait in an hour.
    waiting: f64,
}

impl Outlook {
    /// What is felt under load is taken to grow or shrink as what is felt when nothing else happens.
    fn of(cast: &Cast, rows: &[Row], now: &Rehearsed, then: &Rehearsed) -> Self {
        let mut outlook = Self { fails: 0, waiting: 0.0 };
        for (part, row) in cast.parts.iter().zip(rows) {
            let (Some(before), Some(after)) = (quiet_ms(now, &part.key), quiet_ms(then, &part.key)) else {
                outlook.fails += usize::from(row.verdict == Verdict::Fail);
                continue;
            };
            let more = after - before;
            let p95 = row.felt.p95_ms.map(|p95| p95 + more);
            outlook.fails += usize::from(row.limit_ms.is_some_and(|limit| p95.is_none_or(|p95| p95 > limit)));
            let times = part.every.map_or(0.0, |every| f64::from(part.users) * 3_600.0 / every.as_secs_f64());
            outlook.waiting += times * (row.felt.p50_ms.unwrap_or(before) + more).max(0.0) / 1_000.0;
        }
        outlook
    }
}

/// The same number of voters of the first cabinet at other sites, each combination once.
fn voters(deployment: &Deployment) -> Vec<Change> {
    let of = |name: &String| deployment.nodes.iter().find(|node| node.name == *name);
    let now: Vec<&str> = deployment.cabinet().voters.iter().filter_map(of).map(|node| node.site.as_str()).collect();
    // Sites with several voters survive other things than this tries.
    let distinct: std::collections::BTreeSet<&str> = now.iter().copied().collect();
    if distinct.len() != now.len() {
        return Vec::new();
    }
    let sites: Vec<&str> = deployment.sites.iter().map(String::as_str).collect();
    let others = combinations(&sites, now.len()).into_iter().filter(|sites| sites.iter().any(|site| !now.contains(site)));
    let mut changes: Vec<Change> = others
        .take(VOTERS_MAX)
        .map(|sites| {
            let mut changed = deployment.clone();
            changed.nodes.retain(|node| {
                let keeps_others = node.cabinets.iter().any(|cabinet| *cabinet != deployment.cabinet().name);
                node.layer != Layer::Cabinet
                    || keeps_others
                    || (sites.contains(&node.site.as_str()) && deployment.cabinet().voters.contains(&node.name))
            });
            changed.cabinet_mut().voters.clear();
            for site in &sites {
                let kept =
                    changed.nodes.iter().find(|node| node.layer == Layer::Cabinet && node.site == *site).map(|node| node.name.clone());
                let name = kept.unwrap_or_else(|| add(&mut changed, Layer::Cabinet, "store", site));
                changed.cabinet_mut().voters.push(name);
            }
            // The one that leads is where the old leader was, if there still is one.
            let leader = changed.cabinet().voters.iter().position(|name| *name == deployment.cabinet().voters[0]).unwrap_or(0);
            changed.cabinet_mut().voters.swap(0, leader);
            Change { words: format!("voters at {}", sites.join(", ")), deployment: changed, drawbacks: Vec::new() }
        })
        .collect();
    // The same voters, another leader.
    for leader in deployment.cabinet().voters.iter().skip(1) {
        let mut changed = deployment.clone();
        changed.cabinet_mut().voters.retain(|name| name != leader);
        changed.cabinet_mut().voters.insert(0, leader.clone());
        let drawbacks = vec!["after an election another may lead: `caps cabinet transfer` hands the leadership back".to_owned()];
        changes.push(Change { words: format!("{leader} leads"), deployment: changed, drawbacks });
    }
    changes
}

/// A host where front ends have none at their site.
fn hosts(deployment: &Deployment) -> Vec<Change> {
    let has =
        |site: &str, layer| deployment.nodes.iter().any(|node| node.site == site && node.layer == layer && !node.name.starts_with(PROBE));
    let lacking = deployment.sites.iter().filter(|site| has(site, Layer::FrontEnd) && !has(site, Layer::Host));
    lacking
        .map(|site| {
            let mut changed = deployment.clone();
            add(&mut changed, Layer::Host, "host", site);
            Change { words: format!("a host at {site}"), deployment: changed, drawbacks: vec!["one machine more to run".to_owned()] }
        })
        .collect()
}

/// A better line where there is one of its kind.
fn lines(deployment: &Deployment) -> Vec<Change> {
    let mut changes = Vec::new();
    for (node, line) in &deployment.network.nodes {
        if let Some(better) = better(line.name).and_then(Profile::named) {
            let mut changed = deployment.clone();
            changed.network.nodes.insert(node.clone(), better);
            changes.push(Change {
                words: format!("{} instead of {} for {node}", better.name, line.name),
                deployment: changed,
                drawbacks: Vec::new(),
            });
        }
    }
    for (site, access) in &deployment.network.sites {
        if let Some(better) = better(access.line.name).and_then(Profile::named) {
            let mut changed = deployment.clone();
            let name = access.line.name;
            if let Some(access) = changed.network.sites.get_mut(site) {
                access.line = better;
            }
            changes.push(Change {
                words: format!("{} instead of {name} for {site}", better.name),
                deployment: changed,
                drawbacks: Vec::new(),
            });
        }
    }
    changes
}

/// What one would buy instead of a line.
fn better(line: &str) -> Option<&'static str> {
    let ladder = BTreeMap::from([
        ("geo", "leo"),
        ("leo", "5g"),
        ("lte", "5g"),
        ("dsl", "fibre"),
        ("cable", "fibre"),
        ("wifi-bad", "wifi-good"),
        ("congested-office", "fibre"),
    ]);
    ladder.get(line).copied()
}

fn add(deployment: &mut Deployment, layer: Layer, kind: &str, site: &str) -> String {
    let taken = |name: &str| deployment.nodes.iter().any(|node| node.name == name);
    let name = (1..).map(|n| if n == 1 { format!("{kind}-{site}") } else { format!("{kind}-{site}-{n}") }).find(|name| !taken(name));
    let name = name.expect("numbers do not end");
    let identity = Identity::node(&deployment.domain, site, layer, &name).expect("a site's name makes a node's name");
    let listen = Some(SocketAddr::from(([10, 255, 255, 255], 4433)));
    let cabinets = vec![deployment.cabinet().name.clone()];
    deployment.nodes.push(Node {
        name: name.clone(),
        identity,
        site: site.to_owned(),
        layer,
        listen,
        announce: None,
        cabinets,
        front_end: FrontEnd::default(),
    });
    name
}

fn combinations<'a>(of: &[&'a str], size: usize) -> Vec<Vec<&'a str>> {
    match (of, size) {
        (_, 0) => vec![Vec::new()],
        ([], _) => Vec::new(),
        ([first, rest @ ..], size) => {
            let with = combinations(rest, size - 1).into_iter().map(|mut rest| {
                rest.insert(0, first);
                rest
            });
            with.chain(combinations(rest, size)).collect()
        }
    }
}

/// Less than this share of today's waiting is worth a word.
const WORTH_WHILE: f64 = 0.97;

/// How much more all users together may wait for it that fewer operations miss their limits.
const BEARABLE: f64 = 1.05;

/// Combinations of sites that are tried.
const VOTERS_MAX: usize = 20;

/// Those named with a change.
const CONCERNED: usize = 5;
