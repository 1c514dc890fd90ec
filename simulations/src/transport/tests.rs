//! What the overlay does on paths that change.

use std::time::Duration;

use caps_node::deployment::network::{HopId, LinkFigures};
use caps_overlay::{Controller, Overlay, Travel};
use futures_util::future::join_all;

use super::bulk;
use super::lab::{Lab, Wire, call};

const MS: Duration = Duration::from_millis(1);

/// Makes a call of 1 KiB every two milliseconds for so many seconds, and says how many were answered and how many of them late.
async fn work(node: &Overlay, server: &Overlay, seconds: u64) -> (usize, usize) {
    let calls = (0..seconds * 500).map(|number| async move {
        tokio::time::sleep(2 * MS * u32::try_from(number).unwrap()).await;
        call(node, server, 1 << 10).await.ok()
    });
    let answered: Vec<Duration> = join_all(calls).await.into_iter().flatten().collect();
    (answered.len(), answered.iter().filter(|took| **took > Duration::from_secs(1)).count())
}

fn set_loss(lab: &Lab, loss: f64) {
    for (from, to) in [("near", "far"), ("far", "near")] {
        let id = HopId::Backbone { from: from.to_owned(), to: to.to_owned() };
        lab.network.change_link(&id, |figures| *figures = LinkFigures { loss, ..*figures });
    }
}

#[test]
fn calls_keep_flowing_when_a_path_turns_lossy_and_they_travel_on_streams_until_it_is_clean_again() {
    Lab::run(3, Wire::even(10 * MS), |lab| async move {
        let how = bulk::how(None);
        let (server, _) = lab.server(0, &how).await;
        let node = lab.front_end(0, &server, &how).await;
        let travel = || node.peers()[0].travel;
        assert_eq!((work(&node, &server, 2).await, travel()), ((1000, 0), Travel::Lane));
        set_loss(&lab, 0.03);
        assert_eq!((work(&node, &server, 5).await, travel()), ((2500, 0), Travel::Stream));
        // With a memory of 2,000 packets, 3 % are forgotten down to 0.1 % after some 7,000.
        set_loss(&lab, 0.0);
        assert_eq!((work(&node, &server, 20).await, travel()), ((10_000, 0), Travel::Lane));
    });
}

/// At 1 % loss by chance Cubic keeps about 3 of 100 Mbit/s (1.1 x MTU / (RTT x sqrt(loss)) x 8), and on a clean path the choice is as good as Cubic.
#[test]
fn the_choice_gives_up_cubic_where_packets_get_lost_by_chance_and_only_there() {
    let rate = |controller, loss| {
        let figure = bulk::transfer(1, bulk::bottleneck(0.25).losing(loss), bulk::how(controller), Duration::from_secs(10));
        figure.value
    };
    assert!(rate(None, 0.01) > 80.0);
    assert!(rate(Some(Controller::Cubic), 0.01) < 5.0);
    assert_eq!(rate(None, 0.0), rate(Some(Controller::Cubic), 0.0));
}

/// 500 calls a second over a round trip of 600 ms are 300 at once, more than a peer permits streams; the others take the lane and wait for nobody.
#[test]
fn calls_do_not_wait_for_streams() {
    Lab::run(1, Wire::even(600 * MS), |lab| async move {
        let how = bulk::how(None);
        let (server, _) = lab.server(0, &how).await;
        let node = lab.front_end(0, &server, &how).await;
        // The window has to grow first.
        assert_eq!(work(&node, &server, 5).await.0, 2500);
        assert_eq!(work(&node, &server, 5).await, (2500, 0));
    });
}
