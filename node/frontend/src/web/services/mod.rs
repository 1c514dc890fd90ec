//! Services for programs, made from the schemas: JSON and XML over HTTP, events, XML-RPC, and the documents that describe them.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/v1/login` | a token, to be sent as `Authorization: Bearer` |
//! | `POST /api/v1/logout` | nothing; the token is none any more, wherever it is known |
//! | `GET /api/v1/objects/{entity}` | objects, by a filter of the query language, in pages |
//! | `GET /api/v1/objects/{entity}/{id}` | one object; its version is its `ETag` |
//! | `GET /api/v1/objects/{entity}/{id}/history` | what happened to it |
//! | `GET /api/v1/objects/{entity}/events` | what changes, as server-sent events |
//! | `GET /api/v1/objects/{entity}/{id}/files/{attribute}/{number}` | one of its large values, whole |
//! | `POST /api/v1/files` | the name of what was sent, for a call to give to a method |
//! | `POST /api/v1/call/{module}/{method}` | what a method answers; repeated under an `Idempotency-Key`, the same answer |
//! | `GET /api/v1/openapi.json`, `GET /api/v1/schema.xsd` | what all this looks like, exactly |
//! | `POST /xmlrpc` | the methods as XML-RPC |
//!
//! Whoever prefers XML says so by `Accept` and `Content-Type`. No other site's page may ask: there are no CORS fields.

mod answer;
mod caller;
mod events;
mod files;
mod json;
mod login;
mod methods;
mod objects;
mod openapi;
mod read;
mod rpc;
mod xml;
mod xsd;

use std::sync::Arc;

use caps_adapters::web::Problem;
use caps_adapters::web::axum::Router;
use caps_adapters::web::axum::routing::{get, post};

use super::site::Site;

pub(super) fn router(_site: &Arc<Site>) -> Router<Arc<Site>> {
    let api = Router::new()
        .route("/login", post(login::login))
        .route("/logout", post(login::logout))
        .route("/openapi.json", get(openapi::document))
        .route("/schema.xsd", get(xsd::document))
        .route("/objects/{entity}", get(objects::list))
        .route("/objects/{entity}/events", get(events::events))
        .route("/objects/{entity}/{id}", get(objects::one))
        .route("/objects/{entity}/{id}/history", get(objects::history))
        .route("/objects/{entity}/{id}/files/{attribute}/{number}", get(files::give))
        .route("/files", post(files::take))
        .route("/call/{module}/{method}", post(methods::call))
        .fallback(nowhere)
        .method_not_allowed_fallback(other_method);
    Router::new().nest("/api/v1", api).route("/xmlrpc", post(rpc::serve))
}

async fn nowhere() -> Problem {
    Problem::of(404).detail("there is no such resource: /api/v1/openapi.json says what there is")
}

async fn other_method() -> Problem {
    Problem::of(405).detail("this resource does not take this method: /api/v1/openapi.json says what there is")
}
