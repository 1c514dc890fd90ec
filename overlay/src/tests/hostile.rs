use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use caps_certs_gen::Layer;
use quinn::{Connection, ConnectionError};

use super::world::*;
use crate::connection::{CALL, CONTROL, LANE};
use crate::frame::{FRAME_BYTES_MAX, put_varint};
use crate::hello::{Control, Generation, Hello};
use crate::*;

/// A peer with a good certificate and bad manners, and the node that it visits.
struct Visit {
    server: Overlay,
    world: World,
    connection: Connection,
    _endpoint: quinn::Endpoint,
}

impl Visit {
    async fn new() -> Self {
        let visit = Self::without_greeting().await;
        let hello = Hello { generation: Generation { random: 1, started_micros: 0 }, announce: None };
        visit.say(&[&[CONTROL][..], &Control::Hello(hello).encode()].concat()).await;
        visit
    }

    async fn without_greeting() -> Self {
        let world = World::new();
        let server = world.server("one", vec![Arc::new(TestService::default())]).await;
        let (chain, key) = world.issue(&request(&world.identity(Layer::Host, "rude")));
        let (endpoint, connection) = bare_connection(&world, chain, &key, &server).await;
        Self { server, world, connection, _endpoint: endpoint }
    }

    /// Says something on a stream of its own, which stays open.
    async fn say(&self, bytes: &[u8]) {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.finish().unwrap();
    }

    async fn send(&self, bytes: &[u8]) -> quinn::RecvStream {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        recv
    }

    /// The connection was closed with this code, and the node still serves others.
    async fn ends_with(self, code: CloseCode) {
        let ConnectionError::ApplicationClosed(close) = self.connection.closed().await else { panic!("not closed by the node") };
        assert_eq!(CloseCode::from_number(close.error_code.into_inner()), Some(code));
        self.node_goes_on().await;
    }

    async fn node_goes_on(&self) {
        let leaf = self.world.leaf(&[&self.server]).await;
        leaf.call(To::Node(self.server.identity()), ECHO, Bytes::new(), CallOptions::default()).await.unwrap();
    }
}

fn oversized() -> BytesMut {
    let mut frame = BytesMut::new();
    put_varint(&mut frame, FRAME_BYTES_MAX as u64 + 1);
    frame.put_u8(1);
    frame
}

#[tokio::test]
async fn oversized_frame_on_a_lane_ends_the_connection() {
    let visit = Visit::new().await;
    visit.send(&[&[LANE, 1][..], &oversized()].concat()).await;
    visit.ends_with(CloseCode::Malformed).await;
}

#[tokio::test]
async fn garbage_on_a_lane_ends_the_connection() {
    let visit = Visit::new().await;
    visit.send(&[LANE, 1, 9, 200, 200, 200, 200, 200, 200, 200, 200, 200]).await;
    visit.ends_with(CloseCode::Malformed).await;
}

#[tokio::test]
async fn answer_from_a_caller_ends_the_connection() {
    let visit = Visit::new().await;
    // A reply (kind 3) to the call in place 0, which nobody made.
    visit.send(&[LANE, 1, 2, 3, 0]).await;
    visit.ends_with(CloseCode::Malformed).await;
}

#[tokio::test]
async fn unknown_kind_of_stream_ends_the_connection() {
    let visit = Visit::new().await;
    visit.send(&[77]).await;
    visit.ends_with(CloseCode::Malformed).await;
}

#[tokio::test]
async fn bad_call_on_its_own_stream_ends_that_stream_only() {
    let visit = Visit::new().await;
    for bad in [&oversized()[..], &[9, 200, 200], &[60, 1, 0]] {
        let mut answer = visit.send(&[&[CALL][..], bad].concat()).await;
        assert!(answer.read_to_end(100).await.is_err());
    }
    assert_eq!(visit.connection.close_reason(), None);
    visit.node_goes_on().await;
}

#[tokio::test]
async fn garbled_greeting_is_refused_before_anything_is_read() {
    let visit = Visit::without_greeting().await;
    visit.say(&[CONTROL, 0, 3, 1, 0, 99]).await;
    let server = visit.server.clone();
    visit.ends_with(CloseCode::Hello).await;
    assert_eq!(server.refusals(), 1);
}

#[tokio::test]
async fn second_greeting_ends_the_connection() {
    let visit = Visit::without_greeting().await;
    let hello = Control::Hello(Hello { generation: Generation { random: 1, started_micros: 0 }, announce: None }).encode();
    visit.say(&[&[CONTROL][..], &hello, &hello].concat()).await;
    visit.ends_with(CloseCode::Malformed).await;
}
