//! The environment of a real process: the one place with an ambient clock, entropy, sockets and threads.

#![expect(clippy::disallowed_methods, reason = "this is the shell that the bans point to")]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use quinn::Runtime as _;
use rand::TryRng as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use crate::environment::{Environment, Job, Rng, Tasks, WallClock, Worker, Workers};
use crate::limits::SOCKET_BUFFER_BYTES;

impl Environment {
    /// The environment of a real process, with its socket bound to `bind` (port 0 takes any free one).
    ///
    /// Must be called within a tokio runtime. Fails with what the system says, above all when the port is in use.
    pub fn real(bind: SocketAddr) -> io::Result<Self> {
        let mut seed = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
        Ok(Self {
            socket: quinn::TokioRuntime.wrap_udp_socket(bound_socket(bind)?)?,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            rng: Rng::from_seed(seed),
            wall_clock: Arc::new(SystemClock),
            workers: Arc::new(Threads),
            tasks: Tasks::default(),
        })
    }
}

/// Gives the socket large buffers: the usual 208 KiB lose datagrams on a path that loses none (BASELINES, lesson 5).
/// The system may grant less without saying so.
fn bound_socket(bind: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&bind.into())?;
    Ok(socket.into())
}

#[derive(Debug)]
struct SystemClock;

impl WallClock for SystemClock {
    fn now_micros(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
    }
}

/// A named thread for each worker. The thread ends when its worker is dropped and its queue is empty.
struct Threads;

impl Workers for Threads {
    fn start(&self, name: &str, queue_jobs: usize) -> Worker {
        let (queue, mut jobs) = mpsc::channel::<Job>(queue_jobs.max(1));
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                job();
            }
        });
        // Without the thread the queue's other end is gone, and every job answers `WorkerGone`.
        if let Err(error) = started {
            tracing::error!(name, %error, "cannot start a worker thread");
        }
        Worker::behind(queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_in_use_is_said() {
        let first = Environment::real(([127, 0, 0, 1], 0).into()).unwrap();
        let taken = first.socket.local_addr().unwrap();
        assert_eq!(Environment::real(taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn jobs_run_on_the_named_thread() {
        let worker = Threads.start("test-worker", 1);
        let name = worker.run(|| std::thread::current().name().map(str::to_owned)).await;
        assert_eq!(name, Ok(Some("test-worker".to_owned())));
    }

    #[tokio::test]
    async fn worker_that_panicked_says_so() {
        let worker = Threads.start("test-panics", 1);
        assert!(worker.run(|| panic!("expected in this test")).await.is_err());
    }
}
