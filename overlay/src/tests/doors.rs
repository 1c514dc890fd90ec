use std::sync::Arc;
use std::time::Duration;

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

async fn refused(request: impl FnOnce(&World) -> LeafRequest) -> String {
    let world = World::new();
    let server = world.server("one", Vec::new()).await;
    let (chain, key) = world.issue(&request(&world));
    let reason = turned_away(&world, &server, chain, &key).await;
    assert_eq!(server.refusals(), 1);
    reason
}

#[tokio::test]
async fn expired_certificate_is_refused() {
    let old = Validity::between(now() - Duration::from_secs(7200), now() - Duration::from_secs(3600));
    let reason = refused(|world| request(&world.identity(Layer::Host, "late")).validity(old)).await;
    assert!(reason.contains("expired"), "{reason}");
}

#[tokio::test]
async fn certificate_of_tomorrow_is_refused() {
    let soon = Validity::starting(now() + Duration::from_secs(86_400), Duration::from_secs(3600));
    let reason = refused(|world| request(&world.identity(Layer::Host, "early")).validity(soon)).await;
    assert!(reason.contains("not valid yet"), "{reason}");
}

#[tokio::test]
async fn two_uris_are_refused() {
    let reason = refused(|world| {
        let (one, two) = (world.identity(Layer::Host, "one"), world.identity(Layer::Cabinet, "two"));
        request(&one).uris([one.uri(), two.uri()])
    })
    .await;
    assert!(reason.contains("more than one URI"), "{reason}");
}

#[tokio::test]
async fn signing_certificate_is_refused_as_leaf() {
    let reason = refused(|world| request(&world.identity(Layer::Host, "signer")).is_ca(true)).await;
    assert!(reason.contains("authority"), "{reason}");
}

#[tokio::test]
async fn identity_of_another_site_is_refused() {
    let reason = refused(|_| request(&Identity::node("test.example", "kiruna", Layer::Host, "far").unwrap())).await;
    assert!(reason.contains("vouches only for"), "{reason}");
}

#[tokio::test]
async fn identity_of_another_domain_is_refused() {
    let reason = refused(|_| request(&Identity::node("other.example", "lund", Layer::Host, "alien").unwrap())).await;
    assert!(reason.contains("not of the trust domain"), "{reason}");
}

#[tokio::test]
async fn unknown_authority_is_refused() {
    let (world, other) = (World::new(), World::of("test.example", 100));
    let server = world.server("one", Vec::new()).await;
    let (chain, key) = other.issue(&request(&world.identity(Layer::Host, "stranger")));
    let reason = turned_away(&world, &server, chain, &key).await;
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
