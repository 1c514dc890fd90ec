use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use caps_certs_gen::{Identity, Key, Layer, LeafRequest, Validity};
use rustls::pki_types::CertificateDer;

use super::world::*;
use crate::close::error_of_call;
use crate::*;

/// Dials with this certificate and gives what the dialler's call would report.
async fn turned_away(world: &World, server: &Overlay, chain: Vec<CertificateDer<'static>>, key: &Key) -> String {
    let (_endpoint, connection) = bare_connection(world, chain, key, server).await;
    let error = error_of_call(server.identity(), &connection.closed().await);
    assert!(matches!(error, CallError::Refused { .. }) && error.certainly_not_run(), "{error}");
    error.to_string()
}

/// A certificate that its authority signed, and what its holder is told.
type Case = (&'static str, fn(&World) -> LeafRequest, &'static str);

/// Every certificate that is no good, and the reason that the holder must be given.
const CASES: [Case; 8] = [
    ("expired", |world| request(&host(world)).validity(Validity::between(hours_ago(2), hours_ago(1))), "expired"),
    ("not yet valid", |world| request(&host(world)).validity(Validity::starting(tomorrow(), HOUR)), "not valid yet"),
    ("two URI SANs", |world| request(&host(world)).uris([host(world).uri(), OTHER]), "more than one URI"),
    ("no URI SAN", |world| request(&host(world)).uris([] as [&str; 0]), "no URI"),
    ("a URI that is no identity", |world| request(&host(world)).uris(["https://test.example/"]), "identity"),
    ("a signing certificate as leaf", |world| request(&host(world)).is_ca(true), "authority"),
    ("identity of another site", |_| request(&Identity::node("test.example", "kiruna", Layer::Host, "far").unwrap()), "vouches only for"),
    ("wrong domain", |_| request(&Identity::node("other.example", "lund", Layer::Host, "alien").unwrap()), "not of the trust domain"),
];

#[tokio::test]
async fn bad_certificates_fail_the_handshake_with_the_reason() {
    let world = World::new();
    let server = world.server("one", Vec::new()).await;
    for (refused_so_far, (case, make, expected)) in (1..).zip(CASES) {
        let (chain, key) = world.issue(&make(&world));
        let seen = turned_away(&world, &server, chain, &key).await;
        println!("{case:<30} | handshake fails: {expected:<24} | {seen}");
        assert!(seen.contains(expected), "{case}: {seen}");
        assert_eq!(server.refusals(), refused_so_far, "{case}");
    }
}

fn host(world: &World) -> Identity {
    world.identity(Layer::Host, "host")
}

fn hours_ago(hours: u32) -> SystemTime {
    now() - HOUR * hours
}

fn tomorrow() -> SystemTime {
    now() + HOUR * 24
}

const HOUR: Duration = Duration::from_secs(3600);

const OTHER: &str = "spiffe://test.example/site/lund/layer/1/two";

#[tokio::test]
async fn unknown_authority_is_refused() {
    let (world, other) = (World::new(), World::of("test.example", 100));
    let server = world.server("one", Vec::new()).await;
    let (chain, key) = other.issue(&request(&world.identity(Layer::Host, "stranger")));
    let reason = turned_away(&world, &server, chain, &key).await;
    println!("{:<30} | handshake fails: {:<24} | {reason}", "unknown authority", "issuer is unknown");
    assert!(reason.contains("issuer is unknown"), "{reason}");
}

#[tokio::test]
async fn layer_four_has_no_business_at_layer_one() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let config = Config { seeds: vec![seed(&server)], ..Config::default() };
    let front_end = world.start(&world.identity(Layer::FrontEnd, "console"), config, Vec::new(), any_port()).await;
    let error = front_end.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap_err();
    let CallError::Refused { code, reason, .. } = &error else { panic!("{error}") };
    assert_eq!(CloseCode::from_number(*code), Some(CloseCode::Policy));
    println!("{:<30} | closed, nothing read: {:<19} | {error}", "layer 4 calls layer 1", "may not call");
    assert!(reason.contains("may not call"), "{reason}");
    assert!(error.certainly_not_run());
    assert!(server.refusals() >= 1);
    // Whoever is turned away rests, and is told why meanwhile.
    let again = front_end.ping(server.identity(), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(again, CallError::Refused { .. }), "{again}");
}

#[tokio::test]
async fn somebody_else_at_the_address_is_not_the_peer() {
    let world = World::new();
    let server = world.server("one", Vec::new()).await;
    let wrong = Seed { identity: world.identity(Layer::Cabinet, "two"), address: server.local_address() };
    let config = Config { seeds: vec![wrong.clone()], ..Config::default() };
    let leaf = world.start(&world.identity(Layer::Host, "host"), config, Vec::new(), any_port()).await;
    let error = leaf.call(To::Node(&wrong.identity), ECHO, Bytes::new(), CallOptions::default()).await.unwrap_err();
    assert!(matches!(&error, CallError::Unreachable { cause, .. } if cause.contains("answers where")), "{error}");
}

#[tokio::test]
async fn bad_start_says_what_is_wrong() {
    let (world, other) = (World::new(), World::of("test.example", 100));
    let host = world.identity(Layer::Host, "host");
    let start = |credentials, config, services| Overlay::start(credentials, world.anchors(), config, services, environment(any_port()));
    let untrusted = start(other.credentials(&host), Config::default(), Vec::new()).await;
    assert!(matches!(untrusted, Err(StartError::Certificate(_))), "{untrusted:?}");
    let doubled: Vec<Arc<dyn Service>> = vec![Arc::new(TestService::default()), Arc::new(TestService::default())];
    let doubled = start(world.credentials(&host), Config::default(), doubled).await;
    assert!(matches!(doubled, Err(StartError::DoubleService { id: 200, .. })), "{doubled:?}");
    let foreign = Seed { identity: Identity::node("other.example", "lund", Layer::Cabinet, "x").unwrap(), address: any_port() };
    let foreign = start(world.credentials(&host), Config { seeds: vec![foreign], ..Config::default() }, Vec::new()).await;
    assert!(matches!(foreign, Err(StartError::ForeignSeed(_))), "{foreign:?}");
}
