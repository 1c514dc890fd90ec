//! What a web front end is told by whoever runs it.

use std::net::SocketAddr;

use caps_adapters::tls::Tls;
use caps_adapters::web::Limits;

/// Settings of a web front end.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The TCP address it listens on.
    pub listen: SocketAddr,
    /// What it proves itself with; `None`: it speaks plain HTTP, for this machine only or behind a proxy that speaks TLS.
    pub tls: Option<Tls>,
    /// Whether browsers reach it by TLS, its own or a proxy's: cookies then travel by nothing else.
    pub secure: bool,
    /// Bounds of the server.
    pub limits: Limits,
    /// Requests that a program of one user, or at one address if it does not say whose it is, may send in a second; twice as many at once after a
    /// rest.
    pub requests_per_second: u32,
}

impl Settings {
    /// Plain HTTP on this address, with the usual bounds.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, tls: None, secure: false, limits: Limits::default(), requests_per_second: REQUESTS_PER_SECOND }
    }

    /// The same, by TLS.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), secure: true, ..self }
    }
}

/// What one program may ask for, unless whoever runs the front end says otherwise.
pub const REQUESTS_PER_SECOND: u32 = 200;
