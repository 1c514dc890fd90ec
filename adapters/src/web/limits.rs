//! What a client may make a server hold, and for how long.

use std::time::Duration;

/// The bounds of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the system's queue. Each costs about 100 KiB at worst. 1,024: a large office.
    pub connections_max: usize,
    /// Connections at once from one address, so that one client cannot take all of them. 256: an office behind one address.
    pub connections_per_address_max: usize,
    /// Header fields of a request. Browsers send about 20.
    pub headers_max: usize,
    /// Bytes of a request's head; hyper reads into a buffer of this size, so it is at least 8 KiB. Browsers send about 2 KiB.
    pub head_bytes_max: usize,
    /// From the beginning of waiting for a request to the end of its head; also how long an idle connection is kept.
    pub head_within: Duration,
    /// For a TLS handshake.
    pub handshake_within: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// For a request's body, however it trickles.
    pub body_within: Duration,
    /// Bytes of a body that brings files. They go to the temporary directory, not into memory. 100 MiB: four times what mail servers take.
    pub upload_bytes_max: usize,
    /// For a body that brings files: 100 MiB at 1.4 Mbit/s.
    pub upload_within: Duration,
    /// For some of an answer to be taken, and for some sign of life on HTTP/2, where clients answer pings.
    pub silence_within: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// For requests that were accepted, once the server is to end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            connections_per_address_max: 256,
            headers_max: 64,
            head_bytes_max: 32 << 10,
            head_within: Duration::from_secs(20),
            handshake_within: Duration::from_secs(10),
            body_bytes_max: 1 << 20,
            body_within: Duration::from_secs(30),
            upload_bytes_max: 100 << 20,
            upload_within: Duration::from_secs(600),
            silence_within: Duration::from_secs(60),
            streams_max: 64,
            drain: Duration::from_secs(5),
        }
    }
}
