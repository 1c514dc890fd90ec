//! The door: from a listener to a router, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use caps_adapters::web::axum::extract::Request;
use caps_adapters::web::axum::middleware::{Next, from_fn, from_fn_with_state};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::axum::{Router, extract::State};
use caps_adapters::web::server::{Spawn, serve};
use caps_adapters::web::{compression, headers};
use caps_overlay::watch;
use tokio::net::TcpListener;

use super::site::Site;
use super::{Settings, console, services};
use crate::{Client, Stop};

/// A web front end at work.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Stop,
    ended: watch::Receiver<bool>,
}

/// Why a web front end does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}; if another process has it, end that one or change `listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// There is no randomness for the secrets of browsers.
    #[error("the system gives no randomness")]
    Randomness,
}

impl Server {
    /// Listens, and serves whoever comes, through clients beside this one. The tasks belong to the client's overlay.
    pub async fn start(client: Client, settings: Settings) -> Result<Self, StartError> {
        let bound = TcpListener::bind(settings.listen).await;
        let listener = bound.map_err(|cause| StartError::Listen { address: settings.listen, cause })?;
        let address = listener.local_addr().map_err(|cause| StartError::Listen { address: settings.listen, cause })?;
        let tasks = client.overlay().environment().tasks.clone();
        let (stop, mut stopping) = Stop::new();
        let site = Arc::new(Site::new(client, &settings, stopping.clone()));
        let (told, ended) = watch::channel(false);
        let spawn = Spawn::by({
            let tasks = tasks.clone();
            move |task| drop(tasks.spawn(task))
        });
        let Settings { tls, limits, .. } = settings;
        tasks.spawn(async move {
            serve(listener, router(site), tls, limits, spawn, async move { stopping.stopped().await }).await;
            told.send_replace(true);
        });
        Ok(Self { address, stop, ended })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests, finishes those under way, and ends.
    pub async fn shutdown(mut self) {
        self.stop.now();
        // A task that is gone has ended, too.
        self.ended.wait_for(|ended| *ended).await.ok();
    }
}

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .merge(services::router(&site))
        .merge(console::router(&site))
        .layer(from_fn_with_state(site.clone(), hardened))
        .layer(from_fn(compressed))
        .with_state(site)
}

async fn hardened(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    headers::harden(response.headers_mut(), site.secure);
    response
}

async fn compressed(request: Request, next: Next) -> Response {
    let wanted = compression::is_wanted(request.method(), request.headers());
    let response = next.run(request).await;
    if wanted { compression::compressed(response).await } else { response }
}
