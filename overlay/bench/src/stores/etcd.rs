//! Three etcd processes, asked over gRPC. The few messages that it takes are put together by hand (etcd's `rpc.proto`).

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::{Instant, sleep};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use super::measure::Ask;
use super::server::{Servers, free_ports};
use super::{READ, VALUE_BYTES, Work};
use crate::tonic_calls::Plain;

/// etcd with three members.
pub(super) struct Etcd {
    servers: Servers,
    ports: Vec<u16>,
    leader: usize,
    written: Rc<Cell<u64>>,
}

impl Etcd {
    pub(super) async fn start(place: &Path) -> anyhow::Result<Self> {
        let ports = free_ports(NAMES.len() * 2)?;
        let (clients, peers) = ports.split_at(NAMES.len());
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = NAMES.iter().zip(peers).map(|(name, port)| format!("{name}={}", url(port))).collect();
        let mut servers = Servers::default();
        for ((name, client), peer) in NAMES.iter().zip(clients).zip(peers) {
            let mut command = Command::new("etcd");
            command.args(["--name", name]).arg("--data-dir").arg(place.join(name));
            command.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
            command.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
            command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new", "--log-level", "error"]);
            servers.start(command, place, name)?;
        }
        let mut this = Self { servers, ports: clients.to_vec(), leader: 0, written: Rc::default() };
        this.find_leader().await.with_context(|| format!("see the logs in {}", place.display()))?;
        let mut channel = this.channel(this.leader).await?;
        for number in 0..READ as u64 {
            call(&mut channel, PUT, put(number)).await?;
        }
        this.written.set(READ as u64);
        Ok(this)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers.pids()
    }

    /// Finds out who leads now: whose own number is the leader's.
    pub(super) async fn find_leader(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            for member in 0..self.ports.len() {
                let Ok(mut channel) = self.channel(member).await else { continue };
                let Ok(status) = call(&mut channel, STATUS, Bytes::new()).await else { continue };
                // StatusResponse: header = 1 (whose member_id = 2), leader = 4.
                let header = field(&status, 1).map(|header| header.bytes).unwrap_or_default();
                let (me, leader) = (field(&header, 2).map(|id| id.number), field(&status, 4).map(|id| id.number));
                if me.is_some() && me == leader {
                    self.leader = member;
                    return Ok(());
                }
            }
            ensure!(Instant::now() < until, "no member became leader");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How to write once, at the leader, or read once, at a follower. At most 64 callers share a connection.
    pub(super) async fn ask(&self, work: Work, callers: usize) -> anyhow::Result<Ask> {
        let member = if work == Work::Write { self.leader } else { (self.leader + 1) % self.ports.len() };
        let mut channels = Vec::new();
        for _ in 0..callers.div_ceil(CALLERS_A_CONNECTION) {
            channels.push(self.channel(member).await?);
        }
        let written = self.written.clone();
        Ok(Rc::new(move |caller| {
            let mut channel = channels[caller % channels.len()].clone();
            written.set(written.get() + 1);
            let number = written.get();
            Box::pin(async move {
                match work {
                    Work::Write => call(&mut channel, PUT, put(number)).await.map(drop),
                    Work::Read => {
                        let answer = call(&mut channel, RANGE, range(number % READ as u64)).await?;
                        // RangeResponse: kvs = 2.
                        ensure!(field(&answer, 2).is_some(), "what was written is not there");
                        Ok(())
                    }
                }
            })
        }))
    }

    async fn channel(&self, member: usize) -> anyhow::Result<Grpc<Channel>> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.ports[member]))?;
        Ok(Grpc::new(endpoint.tcp_nodelay(true).connect().await?))
    }
}

async fn call(channel: &mut Grpc<Channel>, method: &'static str, message: Bytes) -> anyhow::Result<Bytes> {
    channel.ready().await?;
    Ok(channel.unary(Request::new(message), PathAndQuery::from_static(method), Plain).await?.into_inner())
}

/// PutRequest: key = 1, value = 2.
fn put(number: u64) -> Bytes {
    let mut message = BytesMut::new();
    put_bytes(&mut message, 1, key(number).as_bytes());
    put_bytes(&mut message, 2, &[7; VALUE_BYTES]);
    message.freeze()
}

/// RangeRequest: key = 1, serializable = 7.
fn range(number: u64) -> Bytes {
    let mut message = BytesMut::new();
    put_bytes(&mut message, 1, key(number).as_bytes());
    message.put_slice(&[7 << 3, 1]);
    message.freeze()
}

fn key(number: u64) -> String {
    format!("bench/{number:012}")
}

/// A field of bytes shorter than 128.
fn put_bytes(message: &mut BytesMut, number: u8, bytes: &[u8]) {
    message.put_u8(number << 3 | 2);
    message.put_u8(u8::try_from(bytes.len()).expect("what is sent here is shorter than 128 bytes"));
    message.put_slice(bytes);
}

/// A field of a protobuf message: its number, or its bytes.
#[derive(Default)]
struct Field {
    number: u64,
    bytes: Bytes,
}

/// The first field of this number, among fields of numbers and bytes.
fn field(message: &Bytes, wanted: u64) -> Option<Field> {
    let mut at = 0;
    while at < message.len() {
        let tag = varint(message, &mut at)?;
        let value = varint(message, &mut at)?;
        let field = match tag & 7 {
            0 => Field { number: value, bytes: Bytes::new() },
            2 => {
                let end = at.checked_add(usize::try_from(value).ok()?).filter(|end| *end <= message.len())?;
                let bytes = message.slice(at..end);
                at = end;
                Field { number: 0, bytes }
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(field);
        }
    }
    None
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

const NAMES: [&str; 3] = ["etcd-a", "etcd-b", "etcd-c"];
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const CALLERS_A_CONNECTION: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let message = put(7);
        assert_eq!(field(&message, 1).unwrap().bytes, key(7).as_bytes());
        assert_eq!(field(&message, 2).unwrap().bytes.len(), VALUE_BYTES);
        assert!(field(&message, 3).is_none());
        assert_eq!(field(&range(1), 7).unwrap().number, 1);
        assert!(field(&Bytes::from_static(&[10, 200]), 1).is_none());
    }
}
