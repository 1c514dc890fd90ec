//! An assessment made up to be told: five regions, nine front ends, seven operations.

use crate::assess::findings::{Advice, Assessment, Chatty, CommitCost, Felt, LinkUse, Parts, RoundTrips, Row, SiteLoss, Verdict};

/// A company where all is well but for one desk on a satellite line.
pub(crate) fn company() -> Assessment {
    Assessment {
        file: "simulations/deployments/five-regions.toml".to_owned(),
        domain: "pumps.example".to_owned(),
        seed: 7,
        leader: "store-frankfurt".to_owned(),
        rows: rows(),
        links: links(),
        commits: commits(),
        losses: losses(),
        chatty: vec![Chatty {
            operation: "case read".to_owned(),
            front_end: "desk-outback".to_owned(),
            round_trips: 3.0,
            why: "its three queries wait for each other; ask for messages and history at once".to_owned(),
        }],
        advice: advice(),
        length_seconds: 1_800.0,
        rehearsed_seconds: 1_800.0,
        tried: 23,
    }
}

/// Nothing at all.
pub(crate) fn empty() -> Assessment {
    Assessment {
        file: "empty.toml".to_owned(),
        domain: "nobody.example".to_owned(),
        seed: 7,
        leader: "store".to_owned(),
        rows: Vec::new(),
        links: Vec::new(),
        commits: Vec::new(),
        losses: Vec::new(),
        chatty: Vec::new(),
        advice: Vec::new(),
        length_seconds: 60.0,
        rehearsed_seconds: 0.0,
        tried: 0,
    }
}

/// The company with limits that everybody keeps.
pub(crate) fn all_pass() -> Assessment {
    let mut company = company();
    for row in &mut company.rows {
        row.felt.failed = 0;
        row.limit_ms = Some(10_000.0);
        row.verdict = Verdict::Pass;
    }
    company.advice.clear();
    company.chatty.clear();
    company
}

/// The company with limits that nobody keeps.
pub(crate) fn all_fail() -> Assessment {
    let mut company = company();
    for row in &mut company.rows {
        row.limit_ms = Some(1.0);
        row.verdict = Verdict::Fail;
    }
    company
}

/// The company as it looks when nothing worked and nothing could be measured.
pub(crate) fn barren() -> Assessment {
    let mut company = all_fail();
    for row in &mut company.rows {
        row.felt = Felt { failed: 3, ..Felt::default() };
        (row.quiet_ms, row.parts, row.round_trips, row.bytes, row.every_ms) = (None, None, None, None, None);
    }
    company.rows[0].limit_ms = None;
    company.rows[0].verdict = Verdict::Open;
    company.rows[1].parts = Some(Parts::default());
    company.rows[1].limit_ms = Some(0.0);
    for link in &mut company.links {
        (link.used, link.lost) = (Some(f64::NAN), f64::NAN);
    }
    company.advice[0].waiting_seconds_an_hour = (0.0, 0.0);
    company.commits.clear();
    company
}

/// The company with names that want to be markup.
pub(crate) fn hostile() -> Assessment {
    let mut company = company();
    let evil = |name: &mut String| *name = format!("<b>{name} & \"co\" 'x'</b>\u{1b}[31m");
    evil(&mut company.file);
    evil(&mut company.domain);
    evil(&mut company.leader);
    for row in &mut company.rows {
        evil(&mut row.operation);
        evil(&mut row.site);
        evil(&mut row.front_end);
        row.line.iter_mut().for_each(evil);
    }
    for link in &mut company.links {
        evil(&mut link.name);
        evil(&mut link.figures);
    }
    company.commits.iter_mut().for_each(|commit| evil(&mut commit.site));
    for loss in &mut company.losses {
        evil(&mut loss.site);
        loss.broken.iter_mut().for_each(|(operation, front_end, why)| [operation, front_end, why].into_iter().for_each(evil));
    }
    for chatty in &mut company.chatty {
        [&mut chatty.operation, &mut chatty.front_end, &mut chatty.why].into_iter().for_each(evil);
    }
    for advice in &mut company.advice {
        evil(&mut advice.change);
        advice.drawbacks.iter_mut().for_each(evil);
        advice.most_concerned.iter_mut().for_each(|(operation, front_end, _, _)| [operation, front_end].into_iter().for_each(evil));
    }
    company
}

/// A front end: name, site, line, users, ms to its host and back, of the host to the cabinet, and of a commit.
type Desk = (&'static str, &'static str, Option<&'static str>, u32, f64, f64, f64);

const DESKS: [Desk; 7] = [
    ("desk-frankfurt", "frankfurt", None, 20, 1.2, 0.6, 91.0),
    ("desk-train", "frankfurt", Some("lte"), 1, 52.0, 0.6, 91.0),
    ("desk-virginia", "virginia", None, 15, 1.2, 0.6, 90.0),
    ("desk-singapore", "singapore", None, 12, 1.2, 0.6, 220.0),
    ("desk-saopaulo", "saopaulo", None, 8, 121.0, 0.6, 90.0),
    ("desk-sydney", "sydney", None, 6, 176.0, 0.6, 220.0),
    ("desk-outback", "sydney", Some("geo"), 1, 782.0, 0.6, 220.0),
];

const GATEWAYS: [Desk; 2] =
    [("gateway-frankfurt", "frankfurt", None, 1, 1.2, 0.6, 91.0), ("gateway-virginia", "virginia", None, 1, 1.2, 0.6, 90.0)];

/// An operation: name, limit, seconds between two, bytes, trips to the host, whether it shakes hands, whether it commits.
type Work = (&'static str, f64, Option<f64>, f64, f64, bool, bool);

const WORK: [Work; 6] = [
    ("list opened", 500.0, Some(120.0), 9_800.0, 1.0, false, false),
    ("case read", 1_000.0, Some(300.0), 31_000.0, 3.0, false, false),
    ("case replied", 1_500.0, Some(600.0), 14_000.0, 2.0, false, true),
    ("case closed", 1_500.0, Some(600.0), 12_000.0, 2.0, false, true),
    ("console left open", 1_000.0, None, 0.0, 0.5, false, true),
    ("cold start", 2_000.0, Some(14_400.0), 16_000.0, 1.0, true, false),
];

fn rows() -> Vec<Row> {
    let mail: Work = ("mail filed", 2_000.0, Some(15.0), 6_100.0, 1.0, false, true);
    let mut rows: Vec<Row> = GATEWAYS.iter().map(|desk| row(desk, &mail)).collect();
    rows.extend(DESKS.iter().flat_map(|desk| WORK.iter().filter(|work| !is_quiet(desk, work)).map(|work| row(desk, work))));
    rows
}

/// Three rows fewer: 41 is the number in the tests.
fn is_quiet(desk: &Desk, work: &Work) -> bool {
    (desk.0 == "desk-train" || desk.0 == "desk-outback" || desk.0 == "desk-saopaulo") && work.0 == "console left open"
}

fn row(desk: &Desk, work: &Work) -> Row {
    let &(front_end, site, line, users, to_host, to_cabinet, commit) = desk;
    let &(operation, limit, every, bytes, trips, shakes, commits) = work;
    let parts = Parts {
        handshake_ms: if shakes { to_host * 1.1 } else { 0.0 },
        front_end_to_host_ms: to_host * trips,
        host_to_cabinet_ms: to_cabinet * trips,
        consensus_ms: if commits { commit } else { 0.0 },
        disk_ms: if commits { 4.0 } else { 0.0 },
        logic_ms: 0.8 + 0.4 * trips,
        queueing_ms: to_host * 0.03,
    };
    let middle = parts.sum();
    let felt = felt(middle, if line.is_some() { 0.22 } else { 0.05 });
    let limit = if front_end == "desk-outback" && operation == "list opened" { 1_500.0 } else { limit };
    let verdict = if felt.p95_ms.is_some_and(|p95| p95 > limit) { Verdict::Fail } else { Verdict::Pass };
    let trips_to_host = if to_host > 100.0 { trips } else { 0.0 };
    Row {
        operation: operation.to_owned(),
        site: site.to_owned(),
        front_end: front_end.to_owned(),
        line: line.map(str::to_owned),
        users,
        every_ms: every.map(|seconds| seconds * 1e3),
        limit_ms: Some(limit),
        quiet_ms: Some(middle - parts.queueing_ms),
        parts: every.map(|_| parts),
        round_trips: every.map(|_| RoundTrips {
            front_end_to_host: trips_to_host,
            host_to_cabinet: 0.0,
            replicas: f64::from(u8::from(commits)),
        }),
        bytes: every.map(|_| bytes),
        felt,
        verdict,
    }
}

/// 200 times around a middle, the slow ones far away, as networks do it.
fn felt(middle: f64, spread: f64) -> Felt {
    let at = |share: f64| middle * (1.0 - spread * 0.4 + spread * (1.0 / (1.02 - share)).ln() * 0.7);
    let all_ms: Vec<f64> = (0..200).map(|n| at(f64::from(n) / 200.0)).collect();
    Felt { samples: 200, failed: 0, p50_ms: Some(all_ms[100]), p95_ms: Some(all_ms[190]), p99_ms: Some(all_ms[198]), all_ms }
}

fn links() -> Vec<LinkUse> {
    let link = |name: &str, figures: &str, used, carried_bps, queueing_mean_ms, queueing_max_ms, lost| LinkUse {
        name: name.to_owned(),
        figures: figures.to_owned(),
        used,
        carried_bps,
        queueing_mean_ms,
        queueing_max_ms,
        lost,
    };
    vec![
        link("desk-outback up", "geo: 300 ms, 5 Mbit/s, loss 0.5 %", Some(0.004), 21e3, 1.3, 41.0, 0.0052),
        link("desk-outback down", "geo: 300 ms, 25 Mbit/s, loss 0.5 %", Some(0.006), 160e3, 0.4, 22.0, 0.0049),
        link("desk-train up", "lte: 25 ms, jitter 12 ms, 12 Mbit/s, loss 0.2 %", Some(0.002), 24e3, 0.2, 6.0, 0.002),
        link("desk-train down", "lte: 25 ms, jitter 12 ms, 40 Mbit/s, loss 0.2 %", Some(0.004), 170e3, 0.1, 4.0, 0.0018),
        link("saopaulo up", "dsl: 10 ms, 2 Mbit/s", Some(0.46), 0.92e6, 4.8, 61.0, 0.0),
        link("saopaulo down", "dsl: 10 ms, 16 Mbit/s", Some(0.11), 1.8e6, 0.3, 9.0, 0.0),
        link("frankfurt -> virginia", "44.5 ms", None, 2.4e6, 0.0, 0.0, 0.0),
        link("virginia -> frankfurt", "44.5 ms", None, 1.9e6, 0.0, 0.0, 0.0),
        link("frankfurt up", "fibre: 0.5 ms, 1 Gbit/s", Some(0.004), 4.1e6, 0.01, 0.4, 0.0),
        link("virginia up", "fibre: 0.5 ms, 1 Gbit/s", Some(0.003), 3.3e6, 0.01, 0.4, 0.0),
    ]
}

fn commits() -> Vec<CommitCost> {
    let cost = |site: &str, p50_ms, p95_ms| CommitCost { site: site.to_owned(), p50_ms, p95_ms };
    vec![cost("frankfurt", 95.0, 103.0), cost("virginia", 94.0, 99.0), cost("singapore", 224.0, 241.0)]
}

fn losses() -> Vec<SiteLoss> {
    let broken = |operation: &str, front_end: &str, why: &str| (operation.to_owned(), front_end.to_owned(), why.to_owned());
    let loss = |site: &str, pause, broken| SiteLoss { site: site.to_owned(), commits_go_on: true, longest_pause_ms: pause, broken };
    vec![
        loss("frankfurt", Some(2_100.0), vec![broken("list opened", "desk-saopaulo", "p95 541 ms")]),
        loss("virginia", Some(2_600.0), vec![broken("case read", "desk-saopaulo", "p95 1.21 s")]),
        loss(
            "singapore",
            Some(310.0),
            vec![
                broken("case replied", "desk-sydney", "p95 above its limit: the next host is in virginia"),
                broken("case closed", "desk-sydney", "p95 above its limit: the next host is in virginia"),
                broken("case read", "desk-outback", "p95 3.61 s"),
            ],
        ),
        loss("saopaulo", None, Vec::new()),
        loss("sydney", None, Vec::new()),
    ]
}

fn advice() -> Vec<Advice> {
    let concerned = |operation: &str, front_end: &str, now, then| (operation.to_owned(), front_end.to_owned(), now, then);
    vec![
        Advice {
            change: "give desk-outback a line of profile \"leo\" instead of \"geo\"".to_owned(),
            fails: (4, 0),
            waiting_seconds_an_hour: (412.0, 361.0),
            most_concerned: vec![
                concerned("case read", "desk-outback", 2_380.0, 702.0),
                concerned("cold start", "desk-outback", 1_690.0, 480.0),
                concerned("list opened", "desk-outback", 811.0, 231.0),
            ],
            drawbacks: Vec::new(),
        },
        Advice {
            change: "a layer-2 host and a learner at sydney".to_owned(),
            fails: (4, 3),
            waiting_seconds_an_hour: (412.0, 338.0),
            most_concerned: vec![concerned("list opened", "desk-sydney", 184.0, 3.1), concerned("case read", "desk-sydney", 540.0, 6.4)],
            drawbacks: vec!["one more machine and one more copy of everything at sydney".to_owned()],
        },
        Advice {
            change: "put the third voter at saopaulo instead of singapore".to_owned(),
            fails: (4, 4),
            waiting_seconds_an_hour: (412.0, 405.0),
            most_concerned: vec![concerned("case closed", "desk-saopaulo", 331.0, 322.0)],
            drawbacks: vec![
                "commits at singapore take 301 ms instead of 224 ms".to_owned(),
                "losing virginia now stops desk-saopaulo".to_owned(),
            ],
        },
    ]
}
