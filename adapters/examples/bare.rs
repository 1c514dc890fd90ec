//! A bare axum handler behind the server shell: what to hold the console's pages against.
//!
//! `cargo run --release -p caps-adapters --example bare -- 127.0.0.1:8099 4000` serves 4,000 bytes of text.

use caps_adapters::web::Limits;
use caps_adapters::web::axum::Router;
use caps_adapters::web::axum::routing::get;
use caps_adapters::web::server::{Spawn, serve};
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8099".to_owned());
    let bytes = arguments.next().map_or(Ok(4_000), |bytes| bytes.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        let page = "x".repeat(bytes);
        let router = Router::new().route("/", get(async move || page.clone()));
        let spawn = Spawn::by(|task| drop(tokio::spawn(task)));
        serve(listener, router, None, Limits::default(), spawn, std::future::pending()).await;
        Ok(())
    })
}
