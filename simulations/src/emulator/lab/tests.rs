use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use caps_node::deployment::network::{Hop, HopId, LinkFigures};

use super::*;

/// Two nodes with one link each way; `None`, and a word on why, on machines that can have no lab.
fn lab(figures: LinkFigures) -> Option<Lab> {
    let mut plan = Plan::new(["a", "b"].map(str::to_owned)).unwrap();
    plan.way("a", "b", [Hop { id: HopId::NodeUp("a".to_owned()), figures }]).unwrap();
    plan.way("b", "a", [Hop { id: HopId::NodeUp("b".to_owned()), figures }]).unwrap();
    match Lab::new(plan, 7) {
        Err(error) if error.is_of_the_machine() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        lab => Some(lab.unwrap()),
    }
}

/// A socket at each node, the first connected to the second.
fn sockets(lab: &Lab) -> (UdpSocket, UdpSocket) {
    let bind = |node| lab.at(node, || UdpSocket::bind((lab.address(node).expect("the lab has it"), 4000))).unwrap();
    let (a, b) = (bind("a"), bind("b"));
    a.connect(b.local_addr().unwrap()).unwrap();
    b.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (a, b)
}

#[expect(clippy::disallowed_methods, reason = "real datagrams take real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn an_ideal_link_takes_its_delay_and_hardly_more() {
    let delay = Duration::from_millis(10);
    let Some(lab) = lab(LinkFigures::ideal(delay)) else { return };
    let (a, b) = sockets(&lab);
    let mut added = Vec::new();
    for n in 0..300_u32 {
        let sent = now();
        a.send(&n.to_be_bytes()).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(b.recv(&mut bytes).unwrap(), 4);
        let took = sent.elapsed();
        assert_eq!(bytes[..4], n.to_be_bytes());
        assert!(took >= delay, "{took:?}");
        added.push(took - delay);
    }
    added.sort();
    let carried = lab.carried();
    // For people: how exact a lab is depends on what else the machine does, so nothing is asserted of it.
    eprintln!("added to 10 ms: median {:?}, p99 {:?}, most {:?}; {carried:?}", added[150], added[297], added[299]);
    assert_eq!(carried.delivered, 300);
}

#[test]
fn a_bottleneck_lets_bytes_through_at_its_rate_and_in_order() {
    let figures = LinkFigures { rate_bps: Some(20_000_000), queue_bytes: 1 << 20, ..LinkFigures::ideal(Duration::from_millis(5)) };
    let Some(lab) = lab(figures) else { return };
    let (a, b) = sockets(&lab);
    let sent = now();
    for n in 0..100_u8 {
        a.send(&[n; 1000]).unwrap();
    }
    for n in 0..100_u8 {
        let mut bytes = [0; 1500];
        assert_eq!(b.recv(&mut bytes).unwrap(), 1000);
        assert_eq!(bytes[0], n);
    }
    // 100 x (1000 + 28) bytes x 8 / 20 Mbit/s = 41.12 ms, and 5 ms for the last one.
    let took = sent.elapsed();
    assert!(took >= Duration::from_micros(46_120), "{took:?}");
    eprintln!("100 kB at 20 Mbit/s: {:?} more than 46.12 ms", took.saturating_sub(Duration::from_micros(46_120)));
}

#[test]
fn a_lossy_link_loses_its_share_and_everything_else_arrives() {
    let Some(lab) = lab(LinkFigures { loss: 0.02, ..LinkFigures::ideal(Duration::from_millis(1)) }) else { return };
    let (a, b) = sockets(&lab);
    let offered = || lab.links()[0].stats.offered;
    let arrived = || lab.links()[0].stats.passed;
    let mut received = 0_u64;
    for batch in 0..20 {
        for n in 0..100_u8 {
            a.send(&[n]).unwrap();
        }
        while offered() < (batch + 1) * 100 || lab.carried().delivered < arrived() {
            std::thread::yield_now();
        }
        while received < arrived() {
            assert_eq!(b.recv(&mut [0; 8]).unwrap(), 1);
            received += 1;
        }
    }
    // 2 % of 2000 are 40, with a standard deviation of 6.3: these bounds are four of them away.
    let lost = 2000 - received;
    assert!((15..=65).contains(&lost), "{lost}");
}

#[test]
fn a_command_runs_in_the_network_of_its_node() {
    let Some(lab) = lab(LinkFigures::ideal(Duration::ZERO)) else { return };
    let output = lab.command("a", "cat").unwrap().arg("/proc/net/dev").output().unwrap();
    let devices = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo", "caps0"]);
    let error = lab.command("c", "cat").unwrap_err().to_string();
    assert_eq!(error, "there is no node \"c\" in the lab; it has a, b");
}

#[test]
fn a_command_does_not_outlive_the_thread_that_started_it() {
    let Some(lab) = lab(LinkFigures::ideal(Duration::ZERO)) else { return };
    let start = || lab.command("a", "sleep").unwrap().arg("1000").spawn().unwrap();
    let mut child = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}
