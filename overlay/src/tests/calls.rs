use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::Layer;

use super::world::*;
use crate::*;

fn options() -> CallOptions {
    CallOptions::default()
}

#[tokio::test]
async fn call_goes_there_and_back_on_lane_and_on_stream() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let leaf = world.leaf(&[&server]).await;
    for own_stream in [false, true] {
        for method in [ECHO, LATER] {
            for to in [To::Node(server.identity()), To::Layer(Layer::Cabinet)] {
                let reply = leaf.call(to, method, Bytes::from_static(b"hello"), CallOptions { own_stream, ..options() }).await.unwrap();
                assert_eq!(reply, Reply { body: Bytes::from_static(b"hello"), from: server.identity().clone() });
            }
        }
    }
    assert_eq!(leaf.peers().len(), 1);
    assert!(leaf.peers()[0].calls_made >= 8);
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let leaf = world.leaf(&[&server]).await;
    let calls = (0..500_u32).map(|number| {
        let (leaf, server) = (leaf.clone(), server.identity().clone());
        async move {
            let body = Bytes::copy_from_slice(&number.to_be_bytes());
            let method = if number % 2 == 0 { ECHO } else { LATER };
            assert_eq!(leaf.call(To::Node(&server), method, body.clone(), options()).await.unwrap().body, body);
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(leaf.peers().len(), 1);
}

#[tokio::test]
async fn large_bodies_travel_both_ways() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let leaf = world.leaf(&[&server]).await;
    let to = To::Node(server.identity());
    let body = Bytes::from(vec![3; BODY_BYTES_MAX]);
    assert_eq!(leaf.call(to, ECHO, body.clone(), options()).await.unwrap().body, body);
    // A small request with a large answer: lane one way, stream back.
    let size = Bytes::copy_from_slice(&(BODY_BYTES_MAX as u64).to_be_bytes());
    assert_eq!(leaf.call(to, LARGE, size, options()).await.unwrap().body.len(), BODY_BYTES_MAX);
    let too_much = Bytes::copy_from_slice(&(BODY_BYTES_MAX as u64 + 1).to_be_bytes());
    assert!(matches!(leaf.call(to, LARGE, too_much, options()).await, Err(CallError::Failed(failure)) if failure.code == code::TOO_LARGE));
    let request = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
    assert!(matches!(leaf.call(to, ECHO, request, options()).await, Err(CallError::TooLarge { .. })));
}

#[tokio::test]
async fn replies_stream_in_order_and_end() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let leaf = world.leaf(&[&server]).await;
    let count = Bytes::copy_from_slice(&100_u64.to_be_bytes());
    let mut replies = leaf.stream(To::Node(server.identity()), COUNT, count.clone(), options()).await.unwrap();
    for number in 0..100_u64 {
        assert_eq!(replies.next().await.unwrap().unwrap()[..], number.to_be_bytes());
    }
    assert!(replies.next().await.is_none());
    assert!(replies.next().await.is_none());
    // One reply was asked for, and many would come.
    let wrong = leaf.call(To::Node(server.identity()), COUNT, count, options()).await;
    assert!(matches!(wrong, Err(CallError::Failed(failure)) if failure.code == code::OTHER_SHAPE));
    // A method with one reply is a stream of one.
    let mut one = leaf.stream(To::Layer(Layer::Cabinet), ECHO, Bytes::from_static(b"x"), options()).await.unwrap();
    assert_eq!(one.next().await, Some(Ok(Bytes::from_static(b"x"))));
    assert_eq!(one.next().await, None);
}

#[tokio::test]
async fn slow_reader_holds_the_writer_and_dropping_ends_it() {
    let world = World::new();
    let service = Arc::new(TestService::default());
    let server = world.server("one", vec![service.clone()]).await;
    let leaf = world.leaf(&[&server]).await;
    // 10,000 replies of 64 KiB are 625 MiB: far more than the 4 MiB window of a stream and the 8 MiB of a sender.
    let mut count = 10_000_u64.to_be_bytes().to_vec();
    count.push(1);
    let mut replies = leaf.stream(To::Node(server.identity()), COUNT, count.into(), options()).await.unwrap();
    for _ in 0..10 {
        replies.next().await.unwrap().unwrap();
    }
    // Another call on the same connection still gets through while the stream is held up.
    leaf.call(To::Node(server.identity()), ECHO, Bytes::new(), options()).await.unwrap();
    let sent = service.sent.load(Ordering::SeqCst);
    assert!(sent < 400, "{sent} replies of 64 KiB were sent to a reader that took 10");
    drop(replies);
    service.until(|service| service.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn raw_stream_carries_bytes_both_ways() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let leaf = world.leaf(&[&server]).await;
    let mut stream = leaf.raw(To::Node(server.identity()), RAW, Bytes::new(), options()).await.unwrap();
    stream.send(Bytes::from_static(b"there and back")).await.unwrap();
    stream.finish();
    let mut back = Vec::new();
    while let Some(bytes) = stream.receive(5).await.unwrap() {
        assert!(bytes.len() <= 5);
        back.extend_from_slice(&bytes);
    }
    assert_eq!(back, b"there and back");
}

#[tokio::test]
async fn dropped_call_drops_its_handler() {
    let world = World::new();
    let service = Arc::new(TestService::default());
    let server = world.server("one", vec![service.clone()]).await;
    let leaf = world.leaf(&[&server]).await;
    for own_stream in [false, true] {
        let call = tokio::spawn({
            let (leaf, server) = (leaf.clone(), server.identity().clone());
            async move { leaf.call(To::Node(&server), NEVER, Bytes::new(), CallOptions { own_stream, ..options() }).await }
        });
        service.until(|service| service.running.load(Ordering::SeqCst) == 1).await;
        call.abort();
        service.until(|service| service.running.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn deadline_ends_call_on_both_sides() {
    let world = World::new();
    let service = Arc::new(TestService::default());
    let server = world.server("one", vec![service.clone()]).await;
    let leaf = world.leaf(&[&server]).await;
    for own_stream in [false, true] {
        let short = CallOptions { deadline: Duration::from_millis(30), own_stream, ..options() };
        let late = leaf.call(To::Node(server.identity()), NEVER, Bytes::new(), short).await;
        assert_eq!(late, Err(CallError::DeadlineExceeded));
        service.until(|service| service.running.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn dispatch_checks_the_caller_again() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let leaf = world.leaf(&[&server]).await;
    let refused = leaf.call(To::Node(server.identity()), ADMINS_ONLY, Bytes::new(), options()).await.unwrap_err();
    assert!(matches!(&refused, CallError::NotAllowed { reason } if reason.contains("admins-only")), "{refused}");
    assert!(refused.certainly_not_run());
    let unknown = MethodId { service: 201, method: 1 };
    assert_eq!(leaf.call(To::Node(server.identity()), unknown, Bytes::new(), options()).await, Err(CallError::NoSuchMethod));
}

#[tokio::test]
async fn notices_are_delivered_also_before_the_connection_is_there() {
    let world = World::new();
    let service = Arc::new(TestService::default());
    let server = world.server("one", vec![service.clone()]).await;
    let leaf = world.leaf(&[&server]).await;
    for number in 0..3_u8 {
        leaf.notify(server.identity(), TELL, Bytes::copy_from_slice(&[number]), Priority::Control).unwrap();
    }
    service.until(|service| service.told.lock().unwrap().len() == 3).await;
    assert_eq!(service.told.lock().unwrap().concat(), [0, 1, 2]);
    let stranger = world.identity(Layer::Cabinet, "stranger");
    let unknown = leaf.notify(&stranger, TELL, Bytes::new(), Priority::Control);
    assert!(matches!(unknown, Err(NotifyError::Peer(CallError::Unknown { .. }))));
}

#[tokio::test]
async fn ping_tells_how_the_peer_is_reached() {
    let world = World::new();
    let server = world.server("one", Vec::new()).await;
    let leaf = world.leaf(&[&server]).await;
    let ping = leaf.ping(server.identity(), Duration::from_secs(5)).await.unwrap();
    assert_eq!((ping.remote_address, ping.path), (server.local_address(), Path::Direct));
    assert_eq!(ping.tls.version, "TLS 1.3");
    assert!(ping.certificate_expires > i64::try_from(NOW).unwrap());
}

#[tokio::test]
async fn layer_call_moves_on_from_a_dead_candidate() {
    let world = World::new();
    let server = world.server("one", vec![Arc::new(TestService::default())]).await;
    let dead = world.server("dead", Vec::new()).await;
    let timing = Timing { dial: Duration::from_millis(50), ..Timing::default() };
    let leaf = world.leaf_with(&[&dead, &server], timing).await;
    dead.environment().tasks.abort_all();
    for _ in 0..5 {
        let reply = leaf.call(To::Layer(Layer::Cabinet), ECHO, Bytes::new(), CallOptions { repeatable: true, ..options() }).await.unwrap();
        assert_eq!(reply.from, *server.identity());
    }
    assert!(matches!(leaf.call(To::Layer(Layer::FrontEnd), ECHO, Bytes::new(), options()).await, Err(CallError::Unknown { .. })));
}
