//! Several cabinets in the same processes, in the simulated world.

use std::path::Path;
use std::time::Duration;

use caps_frontend::Client;
use caps_model::{Name, Query, Record, Value};
use caps_node::deployment::Deployment;
use caps_simulations::{Speed, TraceHash, World};
use tokio::time::sleep;

#[test]
fn cabinets_in_the_same_processes_keep_apart_through_power_cuts_and_do_it_again_alike() {
    let (one, again) = (play(7), play(7));
    assert_eq!(one.0, again.0, "the same seed gives the same trace");
    let named = |prefix: &str| (0..ROUNDS).map(|round| format!("{prefix}_{round}")).collect::<Vec<_>>();
    assert_eq!(one.1, [named("main"), named("personnel")]);
}

/// Adds groups to both cabinets in turn, while one machine after the other loses its power; what each cabinet has in the end.
fn play(seed: u64) -> (TraceHash, [Vec<String>; 2]) {
    let deployment = Deployment::parse(Path::new("two.toml"), DEPLOYMENT).unwrap();
    World::run(deployment, seed, Speed::default(), |mut world: World| {
        Box::pin(async move {
            world.start_servers().await?;
            let overlay = world.administrator().await?;
            let services = world.deployment().cabinets.iter().map(|cabinet| cabinet.services()).collect::<Vec<_>>();
            let clients = [0, 1].map(|cabinet| Client::new(overlay.clone(), services[cabinet], Duration::from_secs(60)));
            for round in 0..ROUNDS {
                let store = STORES[round % STORES.len()];
                if round > 0 {
                    world.power_cut(store)?;
                }
                for (client, prefix) in clients.iter().zip(["main", "personnel"]) {
                    let name = Record::from([(Name::fixed("name"), vec![Value::Text(format!("{prefix}_{round}"))])]);
                    client.call(Name::fixed("people"), Name::fixed("add_group"), name).await?;
                }
                if round > 0 {
                    world.start(store).await?;
                }
                // Two that are behind would be one too many without the next one.
                while !is_level(&world) {
                    sleep(Duration::from_millis(100)).await;
                }
            }
            let mut found = [Vec::new(), Vec::new()];
            for (client, found) in clients.iter().zip(&mut found) {
                client.catch_up().await?;
                let groups = client.query(Query::all(Name::fixed("group"))).await?.objects;
                found.extend(groups.iter().filter_map(|group| group.text("name").map(str::to_owned)));
                found.sort();
            }
            Ok((world.trace_hash(), found))
        })
    })
    .unwrap()
}

/// Whether every replica of a cabinet has what the others have.
fn is_level(world: &World) -> bool {
    let positions = |store: &str| -> Vec<u64> {
        let stores = world.server(store).map_or(&[][..], |server| server.stores());
        stores.iter().map(|store| store.status().position.0).collect()
    };
    STORES.iter().all(|store| positions(store) == positions(STORES[0]))
}

const STORES: [&str; 3] = ["store-lund", "store-kiruna", "store-oslo"];

const ROUNDS: usize = 6;

const DEPLOYMENT: &str = r#"
domain = "two.example"

[[site]]
name = "lund"
line = "lan"

[[node]]
name = "store-lund"
site = "lund"
layer = 1
listen = "127.0.0.1:4101"

[[node]]
name = "store-kiruna"
site = "lund"
layer = 1
listen = "127.0.0.1:4102"

[[node]]
name = "store-oslo"
site = "lund"
layer = 1
listen = "127.0.0.1:4103"

[[node]]
name = "host-main"
site = "lund"
layer = 2
listen = "127.0.0.1:4201"

[[node]]
name = "host-personnel"
site = "lund"
layer = 2
listen = "127.0.0.1:4202"
cabinet = "personnel"

[[cabinet]]
name = "main"
voters = ["store-lund", "store-kiruna", "store-oslo"]

[[cabinet]]
name = "personnel"
voters = ["store-lund", "store-kiruna", "store-oslo"]
modules = []
"#;
