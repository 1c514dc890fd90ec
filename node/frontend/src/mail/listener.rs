//! Connections of mail servers: how many there may be, and their end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io};

use caps_adapters::mail::smtp::{Decision, Envelope, Settings, Tls as Encryption};
use caps_adapters::tls::Tls;
use caps_overlay::Tasks;
use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::connection;
use super::room::Room;
use crate::{Stop, Stopping};

/// Takes connections and mail until it is stopped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Stop,
}

/// What becomes of mail that came in whole.
pub trait Taker: fmt::Debug + Send + Sync + 'static {
    /// Decides on a mail; the client waits for it.
    fn take(&self, envelope: Envelope, mail: Vec<u8>) -> BoxFuture<'_, Decision>;
}

/// What all connections of a listener have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Option<Tls>,
    pub(super) taker: Arc<dyn Taker>,
    pub(super) room: Room,
    /// Connections by the address they come from.
    crowd: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A place among the connections, given back when it is dropped.
struct Place {
    shared: Arc<Shared>,
    peer: IpAddr,
}

impl Listener {
    /// Listens, and takes connections on tasks of their own. STARTTLS is offered if there is something to prove ourselves with.
    pub async fn start(
        listen: SocketAddr,
        mut settings: Settings,
        tls: Option<Tls>,
        taker: Arc<dyn Taker>,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        settings.tls = if tls.is_some() { Encryption::Offered } else { Encryption::Off };
        let socket = TcpListener::bind(listen).await?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared { settings: Arc::new(settings), tls, taker, room: Room::new(ROOM_BYTES), crowd: Mutex::default() });
        let (stop, stopping) = Stop::new();
        tasks.spawn(accept(socket, shared.clone(), stopping, tasks.clone()));
        Ok(Self { address, shared, stop })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Takes nothing new, and waits a while until every mail that was taken over whole is decided on.
    pub async fn stop(self) {
        self.stop.now();
        let all_gone = async {
            while !self.shared.is_alone() {
                sleep(LOOK_AGAIN).await;
            }
        };
        if timeout(LAST_MAILS, all_gone).await.is_err() {
            tracing::warn!("some mail connections did not end in time");
        }
    }
}

impl Shared {
    fn is_alone(&self) -> bool {
        self.crowd.lock().expect("no holder of this lock panics").is_empty()
    }

    fn place_for(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut crowd = self.crowd.lock().expect("no holder of this lock panics");
        let of_peer = crowd.get(&peer).copied().unwrap_or(0);
        if crowd.values().sum::<usize>() >= CONNECTIONS_MAX || of_peer >= CONNECTIONS_OF_ONE_MAX {
            return None;
        }
        crowd.insert(peer, of_peer + 1);
        Some(Place { shared: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut crowd = self.shared.crowd.lock().expect("no holder of this lock panics");
        match crowd.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(crowd.remove(&self.peer)),
        }
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>, mut stopping: Stopping, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            // Stopping first: a busy socket must not keep it waiting.
            biased;
            () = stopping.stopped() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match shared.place_for(peer.ip()) {
                Some(place) => {
                    let (shared, stopping) = (shared.clone(), stopping.clone());
                    tasks.spawn(async move {
                        let _place = place;
                        if let Err(error) = connection::serve(stream, peer.ip(), shared, stopping).await {
                            tracing::debug!(%peer, %error, "a mail connection broke");
                        }
                    });
                }
                None => {
                    tracing::debug!(%peer, "no room for another mail connection");
                    tasks.spawn(turn_away(stream));
                }
            },
            // Out of descriptors, most likely: those that end give some back.
            Err(error) => {
                tracing::warn!(%error, "no mail connection can be taken");
                sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// Says that there is no room, to whoever listens.
async fn turn_away(mut stream: TcpStream) {
    let said = timeout(TURNED_AWAY_WITHIN, async {
        stream.write_all(b"421 4.3.2 too many connections, try again later\r\n").await?;
        stream.shutdown().await
    });
    said.await.ok();
}

/// Connections at once.
const CONNECTIONS_MAX: usize = 200;

/// Connections at once from one address: a large mail server opens some tens.
const CONNECTIONS_OF_ONE_MAX: usize = 50;

/// Bytes of mail that is being received, all connections together.
const ROOM_BYTES: usize = 256 << 20;

/// For mail that was taken over whole, when the listener stops: it is filed, or the client is told to try again.
const LAST_MAILS: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(5);
