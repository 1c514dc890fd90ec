//! What a peer sends on its connection: streams, datagrams, and words on the control stream.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::time::{Instant, timeout};

use crate::close::CloseCode;
use crate::connection::{ANSWER, CALL, CONTROL, Connection, LANE};
use crate::connections::{Connections, has_name};
use crate::control::{HearError, hear};
use crate::failure::CallError;
use crate::frame::take_varint;
use crate::gossip::GossipEvent;
use crate::header::Priority;
use crate::hello::{Control, ControlError};
use crate::limits::{BODY_BYTES_MAX, HELLO_WITHIN};
use crate::served_lane::ServedLane;
use crate::stream;

/// Serves a peer until its connection is gone. The number of streams at once is bounded by QUIC.
pub(crate) async fn serve_peer(connections: Arc<Connections>, connection: Arc<Connection>) {
    let tasks = &connections.node.environment.tasks;
    let two_way = async {
        while let Ok((send, recv)) = connection.quic.accept_bi().await {
            tasks.spawn(serve_stream(connections.clone(), connection.clone(), send, recv));
        }
    };
    let one_way = async {
        while let Ok(recv) = connection.quic.accept_uni().await {
            tasks.spawn(hear_stream(connections.clone(), connection.clone(), recv));
        }
    };
    let datagrams = async {
        while let Ok(datagram) = connection.quic.read_datagram().await {
            if has_name(&connection) {
                connections.tell(GossipEvent::Datagram(connection.peer.clone(), datagram));
            }
        }
    };
    tokio::join!(two_way, one_way, datagrams);
}

/// Listens to the peer's control stream until the connection is gone.
pub(crate) async fn hear_peer(connections: Arc<Connections>, connection: Arc<Connection>, mut stream: RecvStream) {
    loop {
        match hear(&mut stream).await {
            Ok(Control::Drain { leaving }) => {
                tracing::debug!(peer = %connection.peer, leaving, "the peer wants no new calls");
                connections.retire(&connection, None);
            }
            Ok(Control::Retired) => connection.set_peer_retired(),
            Ok(Control::Hello(_)) => return malformed(&connection, &ControlError::Malformed.to_string()),
            Err(HearError::Control(error)) => return malformed(&connection, &error.to_string()),
            Err(HearError::Ended) => return,
        }
    }
}

async fn serve_stream(connections: Arc<Connections>, connection: Arc<Connection>, send: SendStream, mut recv: RecvStream) {
    let Some((kind, mut rest)) = first_bytes(&mut recv).await else { return connection.note_cancel(Instant::now()) };
    let node = connections.node.clone();
    match kind {
        CALL => stream::serve(connection, node, send, recv, rest).await,
        LANE => {
            if rest.is_empty() {
                let Ok(Some(chunk)) = recv.read_chunk(usize::MAX, true).await else { return };
                rest = chunk.bytes;
            }
            let Some(priority) = Priority::from_wire(rest[0]) else { return malformed(&connection, "a lane of no known priority") };
            ServedLane::serve(connection, node, priority, send, recv, rest.slice(1..)).await;
        }
        _ => malformed(&connection, "a stream of no known kind"),
    }
}

async fn hear_stream(connections: Arc<Connections>, connection: Arc<Connection>, mut recv: RecvStream) {
    let mut kind = [0; 1];
    if recv.read_exact(&mut kind).await.is_err() {
        return connection.note_cancel(Instant::now());
    }
    match kind[0] {
        CONTROL if connection.dialled && connection.hello().is_none() => {
            let Ok(Ok(Control::Hello(hello))) = timeout(HELLO_WITHIN, hear(&mut recv)).await else {
                return malformed(&connection, "no greeting");
            };
            if connection.set_hello(hello) {
                connections.greeted(&connection);
                hear_peer(connections, connection, recv).await;
            }
        }
        ANSWER => take_answer(&connection, recv).await,
        _ => malformed(&connection, "a stream of no known kind"),
    }
}

/// Takes an answer that was too large for its lane.
async fn take_answer(connection: &Connection, mut recv: RecvStream) {
    let Ok(answer) = recv.read_to_end(BODY_BYTES_MAX + ANSWER_HEAD_BYTES_MAX).await else {
        return malformed(connection, "an answer that is too large or cut short");
    };
    let answer = Bytes::from(answer);
    if settle(connection, &answer).is_none() {
        malformed(connection, "an answer to no call");
    }
}

fn settle(connection: &Connection, answer: &Bytes) -> Option<()> {
    let (priority, mut rest) = answer.split_first().map(|(first, rest)| (*first, rest))?;
    let lane = connection.opened_lane(Priority::from_wire(priority)?)?;
    let id = u32::try_from(take_varint(&mut rest)?).ok()?;
    let body: Result<Bytes, CallError> = Ok(answer.slice_ref(rest));
    lane.settle(id, body).ok()
}

async fn first_bytes(recv: &mut RecvStream) -> Option<(u8, Bytes)> {
    let chunk = recv.read_chunk(usize::MAX, true).await.ok()??.bytes;
    let kind = *chunk.first()?;
    Some((kind, chunk.slice(1..)))
}

fn malformed(connection: &Connection, reason: &str) {
    // The end of the connection ends its streams in the middle, which is nobody's fault.
    if connection.quic.close_reason().is_none() {
        tracing::warn!(peer = %connection.peer, reason, "the peer broke the protocol");
        connection.close(CloseCode::Malformed, reason);
    }
}

/// The priority and a place's number.
const ANSWER_HEAD_BYTES_MAX: usize = 16;
