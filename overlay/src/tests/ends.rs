use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::Layer;

use super::world::*;
use crate::*;

fn announcing(seeds: Vec<Seed>) -> Config {
    Config { announce: Some(any_port()), seeds, ..Config::default() }
}

#[tokio::test]
async fn second_process_of_a_name_is_refused_while_the_first_answers() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let name = world.identity(Layer::Host, "host");
    let first = world.start(&name, announcing(vec![seed(&server)]), Vec::new(), any_port()).await;
    first.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap();
    let second = world.start(&name, announcing(vec![seed(&server)]), Vec::new(), any_port()).await;
    let error = second.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap_err();
    let CallError::Refused { code, reason, .. } = &error else { panic!("{error}") };
    assert_eq!(CloseCode::from_number(*code), Some(CloseCode::NameTaken));
    assert!(reason.contains("already here"), "{reason}");
    first.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap();
}

#[tokio::test]
async fn restarted_process_replaces_its_former_self() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let name = world.identity(Layer::Host, "host");
    let first = world.start(&name, announcing(vec![seed(&server)]), Vec::new(), any_port()).await;
    first.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap();
    let address = first.local_address();
    // As by kill -9: no farewell, and the socket is gone.
    first.environment().tasks.shutdown().await;
    drop(first);
    let second = world.start(&name, announcing(vec![seed(&server)]), Vec::new(), address).await;
    second.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap();
    assert_eq!(server.refusals(), 0);
}

#[tokio::test]
async fn leaves_of_one_identity_live_side_by_side() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let (one, two) = (world.leaf(&[&server]).await, world.leaf(&[&server]).await);
    for leaf in [&one, &two, &one] {
        leaf.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap();
    }
    assert_eq!(server.peers().len(), 2);
}

#[tokio::test]
async fn drain_fails_no_call() {
    let world = World::new();
    let service = Arc::new(TestService::default());
    let server = world.server("one", vec![service.clone()]).await;
    let leaf = world.leaf(&[&server]).await;
    let call = |own_stream| {
        let (leaf, server) = (leaf.clone(), server.identity().clone());
        tokio::spawn(async move {
            leaf.call(To::Node(&server), GATED, Bytes::from_static(b"done"), CallOptions { own_stream, ..CallOptions::default() }).await
        })
    };
    let calls = [call(false), call(true)];
    let endless = Bytes::copy_from_slice(&0_u64.to_be_bytes());
    let mut replies = leaf.stream(To::Node(server.identity()), COUNT, endless, CallOptions::default()).await.unwrap();
    service.until(|service| service.running.load(Ordering::SeqCst) == 3).await;
    let drain = tokio::spawn({
        let server = server.clone();
        async move { server.drain(Duration::from_secs(20)).await }
    });
    // Streams are told to go elsewhere, and new calls are not begun here.
    assert_eq!(replies.next().await, Some(Err(CallError::Draining)));
    let late = leaf.call(To::Node(server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap_err();
    assert!(late.certainly_not_run(), "{late}");
    // What was accepted is finished.
    service.gate.notify_waiters();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().body, Bytes::from_static(b"done"));
    }
    drain.await.unwrap();
    server.closed().await;
}

#[tokio::test]
async fn idle_leaf_drains_at_once() {
    let world = World::new();
    let server = world.server("one", Vec::new()).await;
    let leaf = world.leaf(&[&server]).await;
    leaf.ping(server.identity(), Duration::from_secs(5)).await.unwrap();
    leaf.drain(Duration::from_secs(20)).await;
    leaf.closed().await;
}

#[tokio::test]
async fn dials_from_both_sides_end_in_one_connection() {
    let world = World::new();
    // Sockets first, so that each knows the other's address.
    let names = [world.identity(Layer::Cabinet, "a"), world.identity(Layer::Cabinet, "b")];
    let environments = [environment(any_port()), environment(any_port())];
    let address = |index: usize| environments[index].socket.local_addr().unwrap();
    let mut nodes = Vec::new();
    for (index, environment) in environments.iter().enumerate() {
        let other = Seed { identity: names[1 - index].clone(), address: address(1 - index) };
        let config = Config { announce: Some(address(index)), seeds: vec![other], ..Config::default() };
        let services: Vec<Arc<dyn Service>> = vec![Arc::new(TestService::default())];
        let start = Overlay::start(world.credentials(&names[index]), world.anchors(), config, services, environment.clone());
        nodes.push(start.await.unwrap());
    }
    let (a, b) = (nodes[0].clone(), nodes[1].clone());
    let call = |from: Overlay, to: Overlay| async move {
        from.call(To::Node(to.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap();
    };
    tokio::join!(call(a.clone(), b.clone()), call(b.clone(), a.clone()));
    // Which one stays is decided by the names: `a` dialled it.
    loop {
        let (of_a, of_b) = (a.peers(), b.peers());
        if let ([at_a], [at_b]) = (&of_a[..], &of_b[..]) {
            assert!(at_a.dialled && !at_b.dialled);
            break;
        }
        tokio::join!(call(a.clone(), b.clone()), call(b.clone(), a.clone()));
    }
}

#[tokio::test]
async fn lost_connection_says_that_the_call_may_have_run() {
    let world = World::new();
    let service = Arc::new(TestService::default());
    let server = world.server("one", vec![service.clone()]).await;
    let timing = Timing { idle: Duration::from_millis(200), keep_alive: Duration::from_millis(50), ..Timing::default() };
    let leaf = world.leaf_with(&[&server], timing).await;
    let call = tokio::spawn({
        let (leaf, server) = (leaf.clone(), server.identity().clone());
        async move { leaf.call(To::Node(&server), NEVER, Bytes::new(), CallOptions::default()).await }
    });
    service.until(|service| service.running.load(Ordering::SeqCst) == 1).await;
    server.environment().tasks.abort_all();
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }) && !error.certainly_not_run(), "{error}");
}
