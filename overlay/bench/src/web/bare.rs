//! The bare server: axum, and bodies from memory.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;

/// Serves `0.body`, `1.body` and so on of a directory, as `/0`, `/1` and so on, until the process is ended.
pub(crate) fn serve(directory: &Path, count: usize, address: SocketAddr) -> anyhow::Result<()> {
    // As many workers as a front end has: one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut router = Router::new();
        for number in 0..count {
            let body = Bytes::from(std::fs::read(directory.join(format!("{number}.body")))?);
            router = router.route(&format!("/{number}"), get(move || std::future::ready(body.clone())));
        }
        let listener = tokio::net::TcpListener::bind(address).await?;
        Ok(axum::serve(listener, router).await?)
    })
}
