//! The console: pages for people. They work without script, and follow what changes with a little of it.
//!
//! Templates are maud's: HTML in Rust, checked when it is compiled, every text escaped unless somebody says otherwise, and nobody does.

mod desk;
mod door;
mod form;
mod home;
mod list;
mod listing;
mod live;
mod method;
mod object;
mod overlay;
mod page;
mod request;
mod timeline;

use std::sync::Arc;

use caps_adapters::web::axum::Router;
use caps_adapters::web::axum::middleware::from_fn_with_state;
use caps_adapters::web::axum::routing::{get, post};

use super::site::Site;

pub(super) fn router(site: &Arc<Site>) -> Router<Arc<Site>> {
    Router::new()
        .route("/", get(home::page))
        .route("/login", get(door::page).post(door::enter))
        .route("/logout", post(door::leave))
        .route("/e/{entity}", get(list::page))
        .route("/o/{id}", get(object::page))
        .route("/o/{id}/file/{attribute}/{number}", get(object::file))
        .route("/m/{module}/{method}", get(method::page).post(method::submit))
        .route("/desk", get(desk::queue::page))
        .route("/desk/cases/{id}", get(desk::conversation::page).post(desk::conversation::submit))
        .route("/overlay", get(overlay::page))
        .route("/live/list/{entity}", get(live::list))
        .route("/live/object/{id}", get(live::object))
        .route("/live/desk", get(live::queue))
        .route("/live/desk/cases/{id}", get(live::conversation))
        .route("/live/overlay", get(live::overlay))
        .route("/assets/{file}", get(door::asset))
        .route("/favicon.ico", get(door::icon))
        .fallback(door::nowhere)
        .layer(from_fn_with_state(site.clone(), page::framed))
}
