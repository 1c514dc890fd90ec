//! Every bound of the overlay, and why it is what it is.

use std::time::Duration;

/// What one node lets its peers make it hold.
///
/// quinn's own defaults allow about 250 MB a connection (RELIABILITY, mistake 8); these allow about 12 MiB, and that only
/// to a peer whose certificate was accepted.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes in the body of a message. 1 MiB by default; what is larger goes in parts over a stream. Memory cost:
    /// one such body per call that is being received.
    pub body_bytes: usize,
    /// The most calls of one peer that are being served at once; more are refused as overloaded. 1,024 by default: four
    /// times the concurrency that saturates a core.
    pub calls_per_connection: usize,
    /// The most calls that wait for one peer's answer on one lane; more are refused here. 4,096 by default.
    pub pending_calls: usize,
    /// The most streams of each kind that a peer may have open. 256 by default: quinn keeps an entry for each permitted
    /// stream, which costs an idle connection 52 KiB at 256 and 711 KiB at 8,192 (BASELINES).
    pub streams: u32,
    /// The most connections that are open at once. 4,096 by default, about 200 MiB when all are idle.
    pub connections: usize,
    /// The most handshakes at once beyond the connections that may be open. 256 by default, half a second's work of one
    /// core; more are refused.
    pub incoming: usize,
    /// The receive window of a connection. 8 MiB by default: 100 Mbit/s at 600 ms round trip; larger ones made quinn lose
    /// connections ("too many gaps", BASELINES, lesson 11).
    pub connection_window_bytes: u32,
    /// The receive window of one stream. 4 MiB by default, half of the connection's, so that no stream starves the rest.
    pub stream_window_bytes: u32,
    /// The most bytes that are sent and not acknowledged on a connection. 8 MiB by default, like what peers receive.
    pub send_window_bytes: u64,
    /// Datagrams that were received and not read. 256 KiB by default; older ones are dropped.
    pub datagram_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: BODY_BYTES_MAX,
            calls_per_connection: 1024,
            pending_calls: 4096,
            streams: 256,
            connections: 4096,
            incoming: 256,
            connection_window_bytes: 8 << 20,
            stream_window_bytes: 4 << 20,
            send_window_bytes: 8 << 20,
            datagram_bytes: 256 << 10,
        }
    }
}

/// How long things take before somebody gives up or tries again.
#[derive(Clone, Debug)]
pub struct Timing {
    /// How long a dial may take. 2 s by default: six round trips of the longest line in SIMULATION.md's table.
    pub dial: Duration,
    /// The first pause after a failed dial; each further one is twice as long. 50 ms by default, jittered by half.
    pub back_off_min: Duration,
    /// The longest pause after failed dials. 2 s by default, jittered by half: a restarted peer is found within 3 s.
    pub back_off_max: Duration,
    /// How often the dialling side shows that it is alive. 1 s by default; costs about 70 bytes a second each way.
    pub keep_alive: Duration,
    /// After how much silence a connection is given up. 3 s by default: two keep-alives may be lost.
    pub idle: Duration,
    /// What the round-trip time is taken for before it is measured. 100 ms by default (quinn's 333 ms make a lost first
    /// packet cost a second: BASELINES, lesson 9).
    pub initial_rtt: Duration,
    /// The most that the holder of a name may take to show that it lives when a second process claims the name. 1 s by
    /// default; on short paths eight round trips, but half a second at least.
    pub probe: Duration,
    /// How often the certificates of open connections are checked again. One minute by default; a check costs about
    /// 0.1 ms of one core per connection.
    pub recheck: Duration,
    /// How long a repeatable call waits for a silent peer, beyond three times the usual latency, before it is also sent
    /// elsewhere. 200 ms by default.
    pub hedge: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(2),
            back_off_min: Duration::from_millis(50),
            back_off_max: Duration::from_secs(2),
            keep_alive: Duration::from_secs(1),
            idle: Duration::from_secs(3),
            initial_rtt: Duration::from_millis(100),
            probe: Duration::from_secs(1),
            recheck: Duration::from_secs(60),
            hedge: Duration::from_millis(200),
        }
    }
}

/// The most bytes that the body of any message has, whatever the configuration says.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// From this size on a body goes on a stream of its own, so that small calls do not wait behind it. At 100 Mbit/s it
/// holds them up for 1.3 ms.
pub(crate) const LANE_BODY_BYTES_MAX: usize = 16 << 10;

/// The most output that a lane holds before callers wait, and before a server stops reading.
pub(crate) const LANE_OUTPUT_BYTES: usize = 256 << 10;

/// The most bytes of a failure's message that travel.
pub(crate) const FAILURE_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The kernel's buffers for the socket (BASELINES, lesson 5). Unused memory is not taken.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The largest datagram on loopback. Above about 6,550 bytes batches of segments vanish silently (BASELINES, lesson 6).
pub(crate) const LOOPBACK_MTU: u16 = 6500;

/// The initial congestion window on loopback: ten datagrams, as RFC 9002, section 7.2, says for smaller ones.
pub(crate) const LOOPBACK_WINDOW_BYTES: u64 = 10 * LOOPBACK_MTU as u64;

/// What a connection may send before anything is acknowledged when nothing is known of the path: 100 calls of 1 KiB. quinn paces it over most
/// of a round trip. RFC 9002, section 7.2, recommends 14,720 bytes, with which such a burst takes four round trips; 240,000 overflow the queue
/// of a slow line (`overlay/PATHS.md`).
pub(crate) const WINDOW_BYTES: u64 = 120_000;

/// The least, when the last connection over the path could not keep up more (RFC 9002, section 7.2).
pub(crate) const WINDOW_BYTES_MIN: u64 = 14_720;

/// The most, when it could.
pub(crate) const WINDOW_BYTES_MAX: u64 = 240_000;

/// Of how many addresses it is remembered how they were reached; about 200 bytes each.
pub(crate) const PATHS_REMEMBERED: usize = 1024;

/// How many cancellations a peer may send at once, and how many a second after that. Somebody who opens and cancels
/// faster makes us work for nothing (HTTP/2 rapid reset) and is cut.
pub(crate) const CANCELS_AT_ONCE: u32 = 8192;
/// See [`CANCELS_AT_ONCE`].
pub(crate) const CANCELS_PER_SECOND: u32 = 2048;

/// How many attempts one call makes at different nodes.
pub(crate) const ATTEMPTS_MAX: usize = 4;

/// How many refused peers are remembered, so that each is logged once.
pub(crate) const REFUSALS_REMEMBERED: usize = 1024;

/// How long somebody may take to say hello after the handshake.
pub(crate) const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// News of peers, membership datagrams among them, that were not yet read; more are dropped.
pub(crate) const EVENT_QUEUE: usize = 4096;

/// One-way messages to one peer that wait for its connection; more are dropped.
pub(crate) const NOTIFY_QUEUE: usize = 1024;
