use std::path::Path;
use std::time::Duration;

use super::*;
use crate::deployment::Deployment;

/// Three sites: lund and kiruna have a link, frankfurt and sydney have regions, and lund has a front end on a mobile line.
const GOOD: &str = r#"
domain = "pumps.example"

[[site]]
name = "lund"
line = "cable"

[[site]]
name = "kiruna"

[[site]]
name = "frankfurt"
region = "Frankfurt"

[[site]]
name = "sydney"
line = "dsl"
region = "Sydney"

[[node]]
name = "store-lund"
site = "lund"
layer = 1
listen = "127.0.0.1:4101"

[[node]]
name = "store-kiruna"
site = "kiruna"
layer = 1
listen = "127.0.0.1:4102"

[[node]]
name = "host-frankfurt"
site = "frankfurt"
layer = 2
listen = "127.0.0.1:4103"

[[node]]
name = "host-sydney"
site = "sydney"
layer = 2
listen = "127.0.0.1:4104"

[[node]]
name = "van"
site = "lund"
layer = 4
line = "lte"

[[link]]
between = ["lund", "kiruna"]
profile = "geo"
rate = "20Mbit/s"
queue = "64KiB"
loss = "1%"
back = { rate = "2Mbit/s", loss = 0.02, burst = 4, jitter = "5ms" }

[cabinet]
voters = ["store-lund", "store-kiruna"]
"#;

fn parse(text: &str) -> Result<Deployment, String> {
    Deployment::parse(Path::new("caps.toml"), text).map_err(|error| error.to_string())
}

fn hops(deployment: &Deployment, from: &str, to: &str) -> Result<Vec<Hop>, String> {
    let node = |name| deployment.node(name).unwrap();
    deployment.network.hops(node(from), node(to)).map_err(|error| error.to_string())
}

fn names(hops: &[Hop]) -> Vec<String> {
    hops.iter().map(|hop| hop.id.to_string()).collect()
}

/// The only link of the good file, replaced.
fn with_link(lines: &str) -> String {
    let (before, rest) = GOOD.split_once("[[link]]\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    format!("{before}[[link]]\n{lines}\n\n{after}")
}

#[test]
fn way_leads_over_the_lines_of_both_ends_in_their_directions() {
    let deployment = parse(GOOD).unwrap();
    let there = hops(&deployment, "van", "store-kiruna").unwrap();
    assert_eq!(names(&there), ["van up", "lund up", "lund to kiruna", "kiruna down"]);
    let profile = |name| Profile::named(name).unwrap();
    assert_eq!([there[0].figures, there[1].figures, there[3].figures], [profile("lte").up, profile("cable").up, profile("fibre").down]);
    let back = hops(&deployment, "store-kiruna", "van").unwrap();
    assert_eq!(names(&back), ["kiruna up", "kiruna to lund", "lund down", "van down"]);
    assert_eq!([back[0].figures, back[2].figures, back[3].figures], [profile("fibre").up, profile("cable").down, profile("lte").down]);
}

#[test]
fn way_inside_a_site_does_not_use_the_sites_line() {
    let deployment = parse(GOOD).unwrap();
    assert_eq!(names(&hops(&deployment, "store-lund", "van").unwrap()), ["inside lund", "van down"]);
    assert_eq!(names(&hops(&deployment, "van", "store-lund").unwrap()), ["van up", "inside lund"]);
    assert_eq!(hops(&deployment, "van", "van"), Ok(Vec::new()));
}

#[test]
fn link_has_its_profile_then_its_figures_then_those_of_the_way_back() {
    let deployment = parse(GOOD).unwrap();
    let geo = Profile::named("geo").unwrap();
    let there = hops(&deployment, "store-lund", "store-kiruna").unwrap()[1].figures;
    assert_eq!(there, LinkFigures { rate_bps: Some(20_000_000), queue_bytes: 65_536, loss: 0.01, ..geo.up });
    let back = hops(&deployment, "store-kiruna", "store-lund").unwrap()[1].figures;
    let expected = LinkFigures {
        rate_bps: Some(2_000_000),
        queue_bytes: 65_536,
        loss: 0.02,
        burst: 4.0,
        jitter: Duration::from_millis(5),
        ..geo.down
    };
    assert_eq!(back, expected);
}

#[test]
fn regions_give_half_their_round_trip_each_way() {
    let deployment = parse(GOOD).unwrap();
    let way = hops(&deployment, "host-frankfurt", "host-sydney").unwrap();
    // The table has 324 ms.
    assert_eq!(way[1].figures, LinkFigures::ideal(Duration::from_millis(162)));
}

#[test]
fn link_wins_over_regions_and_needs_no_profile() {
    let text = with_link(
        r#"between = ["sydney", "frankfurt"]
rtt = "300ms"
rate = "8Mbit/s"
reorder = 0.001
duplicate = "0.1%"
mtu = 1400
mark_above = "32KiB"
"#,
    );
    let deployment = parse(&text).unwrap();
    let there = hops(&deployment, "host-sydney", "host-frankfurt").unwrap()[1].figures;
    let expected = LinkFigures {
        rate_bps: Some(8_000_000),
        // 8 Mbit/s for 100 ms.
        queue_bytes: 100_000,
        reorder: 0.001,
        duplicate: 0.001,
        mtu_bytes: 1400,
        mark_above_bytes: Some(32_768),
        ..LinkFigures::ideal(Duration::from_millis(150))
    };
    assert_eq!(there, expected);
    assert_eq!(hops(&deployment, "host-frankfurt", "host-sydney").unwrap()[1].figures, expected);
}

#[test]
fn sites_without_a_link_are_named_only_when_somebody_asks_for_the_way() {
    let deployment = parse(GOOD).unwrap();
    let expected = "caps.toml:12: nothing lies between lund and frankfurt: add a [[link]] with between = [\"lund\", \"frankfurt\"] and a profile or an \
                    rtt, or give both sites a region";
    assert_eq!(hops(&deployment, "store-lund", "host-frankfurt").unwrap_err(), expected);
    assert_eq!(hops(&deployment, "host-frankfurt", "store-lund").unwrap_err(), expected);
}

#[test]
fn another_line_can_be_tried() {
    let mut deployment = parse(GOOD).unwrap();
    let leo = Profile::named("leo").unwrap();
    deployment.network.sites.get_mut("lund").unwrap().line = leo;
    assert_eq!(hops(&deployment, "store-lund", "store-kiruna").unwrap()[0].figures, leo.up);
}

#[test]
fn mistakes_in_sites_and_nodes_are_named_with_their_line() {
    let table = [
        (
            "line = \"cable\"",
            "line = \"pigeon\"",
            "caps.toml:6: there is no line \"pigeon\"; there are ideal, lan, metro, fibre, wifi-good",
        ),
        ("line = \"lte\"", "line = \"6g\"", "caps.toml:48: there is no line \"6g\"; there are ideal, lan"),
        ("region = \"Sydney\"", "region = \"Kiruna\"", "caps.toml:18: there is no region \"Kiruna\"; there are N. Virginia, N. California"),
        ("region = \"Sydney\"", "regio = \"Sydney\"", "caps.toml:18: unknown field `regio`"),
    ];
    for (from, to, expected) in table {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(error.starts_with(expected), "{to}: {error}");
    }
}

#[test]
fn mistakes_in_links_are_named_with_their_line() {
    const LK: &str = "between = [\"lund\", \"kiruna\"]\n";
    // `between` is in line 51, what follows in line 52 and after.
    let table = [
        ("between = [\"lund\", \"kirna\"]\nrtt = \"9ms\"", "51: there is no site \"kirna\"; the file has frankfurt, kiruna, lund, sydney"),
        ("between = [\"lund\", \"lund\"]\nrtt = \"9ms\"", "51: a link from lund to itself: name two sites"),
        ("between = [\"lund\"]\nrtt = \"9ms\"", "51: a link is between two sites: write between = [\"ONE\", \"OTHER\"]"),
        ("between = [\"lund\", \"kiruna\"]", "51: nothing says how long this link takes: add a profile, an rtt or a delay"),
        ("between = \"lund\"\nrtt = \"9ms\"", "51: invalid type: string \"lund\", expected a sequence"),
        (
            "between = [\"lund\", \"kiruna\"]\nrtt = \"9ms\"\n[[link]]\nbetween = [\"kiruna\", \"lund\"]\nrtt = \"8ms\"",
            "54: kiruna and lund have a link already: keep one, with back = { ... } if its directions differ",
        ),
        ("LKprofile = \"gso\"", "52: there is no line \"gso\"; there are ideal"),
        ("LKrtt = 9", "52: rtt of 9 has no unit: write it as \"9ms\" or \"9s\""),
        ("LKrtt = true", "52: a number, or a figure and its unit in quotes"),
        ("LKrtt = \"-9ms\"", "52: rtt of \"-9ms\" is not a duration: write it as 500us, 35ms or 2s"),
        ("LKrtt = \"1m\"", "52: rtt of \"1m\" is too long: at most 20s"),
        ("LKdelay = \"11s\"", "52: delay of \"11s\" is too long: at most 10s"),
        ("LKrtt = \"9ms\"\ndelay = \"4ms\"", "53: rtt is the sum of both delays: give one or the other"),
        ("LKrtt = \"9ms\"\nback = { delay = \"4ms\" }", "53: rtt is the sum of both delays: give one or the other"),
        ("LKrtt = \"9ms\"\njitter = \"2s\"", "53: jitter of \"2s\" is too long: at most 1s"),
        ("LKrtt = \"9ms\"\nrate = -20", "53: -20 is not a rate: write it as 512kbit/s, 20Mbit/s or 1Gbit/s"),
        ("LKrtt = \"9ms\"\nrate = \"-20Mbit/s\"", "53: rate of \"-20Mbit/s\": 1kbit/s to 1000Gbit/s makes sense"),
        ("LKrtt = \"9ms\"\nrate = \"20MB/s\"", "53: \"20MB/s\" is not a rate: write it as 512kbit/s, 20Mbit/s or 1Gbit/s"),
        ("LKrtt = \"9ms\"\nrate = \"NaNMbit/s\"", "53: \"NaNMbit/s\" is not a rate"),
        ("LKrtt = \"9ms\"\nrate = \"2000Gbit/s\"", "53: rate of \"2000Gbit/s\": 1kbit/s to 1000Gbit/s makes sense"),
        ("LKrtt = \"9ms\"\nqueue = \"64KiB\"", "53: nothing waits in front of a link without a rate: add rate = \"20Mbit/s\""),
        ("LKrtt = \"9ms\"\nmark_above = \"64KiB\"", "53: nothing waits in front of a link without a rate"),
        ("LKprofile = \"lte\"\nqueue = \"1KiB\"", "53: queue of \"1KiB\": 1500B to 1GiB makes sense"),
        ("LKprofile = \"lte\"\nqueue = 64000", "53: queue of 64000 is not a size: write it as 1500B, 64KiB or 2MiB"),
        ("LKprofile = \"lte\"\nmark_above = \"4MiB\"", "53: mark_above of \"4MiB\" is never reached: the queue holds 524288 bytes"),
        ("LKrtt = \"9ms\"\nloss = -0.1", "53: loss of -0.1: a share from 0 to 0.5 (50%) makes sense"),
        ("LKrtt = \"9ms\"\nloss = 1", "53: loss of 1: a share from 0 to 0.5 (50%) makes sense"),
        ("LKrtt = \"9ms\"\nloss = nan", "53: loss of NaN: a share from 0 to 0.5 (50%) makes sense"),
        ("LKrtt = \"9ms\"\nloss = \"1\"", "53: loss of \"1\" is not a share: write it as 0.01 or \"1%\""),
        ("LKrtt = \"9ms\"\nloss = \"60 %\"", "53: loss of \"60 %\": a share from 0 to 0.5 (50%) makes sense"),
        ("LKrtt = \"9ms\"\nburst = 4", "53: burst says how many datagrams in a row are lost, but none is: add loss = \"1%\""),
        ("LKrtt = \"9ms\"\nloss = 0.1\nburst = 0.5", "54: burst of 0.5: a number from 1 to 1000 makes sense"),
        ("LKprofile = \"ideal\"\nreorder = \"1%\"", "53: reorder holds datagrams back by half a delay more, but there is no delay"),
        ("LKrtt = \"9ms\"\nduplicate = 2", "53: duplicate of 2: a share from 0 to 0.5 (50%) makes sense"),
        ("LKrtt = \"9ms\"\nmtu = 576", "53: mtu of 576: a number from 1248 to 9216 makes sense"),
        ("LKrtt = \"9ms\"\nmtu = \"big\"", "53: mtu of \"big\": a number from 1248 to 9216 makes sense"),
        ("LKrtt = \"9ms\"\nback = { loss = 3 }", "53: loss of 3: a share from 0 to 0.5 (50%) makes sense"),
        ("LKrtt = \"9ms\"\nback = { rtt = \"4ms\" }", "53: unknown field `rtt`"),
        ("LKrtt = \"9ms\"\nlatency = \"4ms\"", "53: unknown field `latency`"),
        ("rtt = \"9ms\"", "50: missing field `between`"),
    ];
    for (lines, expected) in table {
        let error = parse(&with_link(&lines.replacen("LK", LK, 1))).unwrap_err();
        assert!(error.starts_with(&format!("caps.toml:{expected}")), "{lines}: {error}");
    }
}
