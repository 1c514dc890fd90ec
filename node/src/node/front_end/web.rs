//! The web front end, as the deployment file describes it.

use std::net::SocketAddr;

use caps_adapters::tls::Tls;
use caps_frontend::Client;
use caps_frontend::web::{Server, Settings};

use crate::deployment::front_end::Web;

/// Listens for browsers and programs.
pub(super) async fn start(web: &Web, client: Client) -> anyhow::Result<Server> {
    let mut settings = Settings::new(web.listen);
    if let Some(pair) = &web.tls {
        settings = settings.tls(pair.read(Tls::for_web)?);
    }
    settings.secure |= web.behind_tls;
    settings.requests_per_second = web.requests_per_second;
    warn_of_plain(web.listen, &settings);
    Ok(Server::start(client, settings).await?)
}

/// Passwords that cross a network in the open are everybody's.
fn warn_of_plain(listen: SocketAddr, settings: &Settings) {
    if !settings.secure && !listen.ip().is_loopback() {
        tracing::warn!(%listen, "plain HTTP beyond this machine: give `certificate` and `key`, or `behind_tls = true` where a proxy speaks TLS");
    }
}
