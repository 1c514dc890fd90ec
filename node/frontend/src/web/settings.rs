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
}

impl Settings {
    /// Plain HTTP on this address, with the usual bounds.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, tls: None, secure: false, limits: Limits::default() }
    }

    /// The same, by TLS.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), secure: true, ..self }
    }
}
