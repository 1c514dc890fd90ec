//! Coming in and going out, and what needs no session.

use std::sync::Arc;
use std::time::Duration;

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use caps_adapters::web::axum::response::{IntoResponse, Redirect, Response};
use caps_adapters::web::server::Peer;
use caps_adapters::web::{accept, cookie, form, token};
use maud::html;

use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::Ticket;
use super::page::{Failed, Page, local, see_other};
use super::request::{SESSION_COOKIE, Sent, cookie_of, form_of, ticket};

/// The page to log in with.
pub(super) async fn page(State(site): State<Arc<Site>>, request: Request<Body>) -> Response {
    let query = form::Form::parse(request.uri().query().unwrap_or_default().as_bytes()).unwrap_or_default();
    let next = local(query.get("next")).to_owned();
    if ticket(request.headers()).is_some() && query.get("next").is_none() {
        return Redirect::to("/").into_response();
    }
    login(&site, request.headers(), StatusCode::OK, &next, "", None)
}

/// Logs somebody in.
pub(super) async fn enter(State(site): State<Arc<Site>>, request: Request<Body>) -> Result<Response, Failed> {
    let headers = request.headers().clone();
    let peer = request.extensions().get::<Peer>().copied();
    let form = form_of(request).await?;
    let next = local(form.get("next")).to_owned();
    let user = form.get("user").unwrap_or_default().trim().to_owned();
    let again = |status, sentence: String| Ok(login(&site, &headers, status, &next, &user, Some(sentence)));
    let nonce = cookie_of(&headers, DOOR_COOKIE).unwrap_or_default();
    if nonce.is_empty() || !form.get("token").is_some_and(|text| token::is_for(text, nonce.as_bytes())) {
        return again(StatusCode::BAD_REQUEST, "The page was open for long, or cookies are off. Please try again.".to_owned());
    }
    if let Some(Err(wait)) = peer.map(|peer| site.may_log_in(peer.0.ip())) {
        return again(StatusCode::TOO_MANY_REQUESTS, format!("Too many attempts from here: wait {} s.", wait.as_secs() + 1));
    }
    let client = site.client.stranger();
    match client.login(&user, form.get("password").unwrap_or_default()).await.map_err(Trouble::from) {
        Ok(answer) => {
            let ticket = Ticket { session: answer.session, user: answer.user };
            site.visitors.welcome(&ticket, client);
            let lasts = Duration::from_micros(answer.expires.saturating_sub(site.now_micros()).max(0).unsigned_abs());
            let mut response = see_other(&next);
            set(&mut response, &cookie::set(SESSION_COOKIE, &ticket.written(), lasts.as_secs(), site.secure));
            set(&mut response, &cookie::set(DOOR_COOKIE, "", 0, site.secure));
            Ok(response)
        }
        Err(trouble) => {
            let status = StatusCode::from_u16(trouble.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let sentence = match &trouble {
                Trouble::Refused(_) => "User name and password do not belong together.".to_owned(),
                Trouble::Busy { wait, .. } => format!("Too many failed attempts: wait {} s.", wait.as_secs() + 1),
                other => format!("Nobody could be asked: {}.", other.sentence()),
            };
            again(status, sentence)
        }
    }
}

/// Logs somebody out, here and in the browser.
pub(super) async fn leave(State(site): State<Arc<Site>>, headers: HeaderMap, _sent: Sent) -> Response {
    if let Some(ticket) = ticket(&headers) {
        // The browser forgets it in any case; then it ends by itself, after a day's work.
        if let Err(error) = site.visitors.end(&ticket, site.client.stranger()).await {
            tracing::warn!(%error, "a session could not be ended");
        }
    }
    let mut response = see_other("/login");
    set(&mut response, &cookie::set(SESSION_COOKIE, "", 0, site.secure));
    response
}

/// Files that pages use.
pub(super) async fn asset(State(site): State<Arc<Site>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let takes_gzip = accept::takes_gzip(headers.get(header::ACCEPT_ENCODING).and_then(|field| field.to_str().ok()));
    let assets = [&site.style, &site.script, &site.icon];
    let found = assets.into_iter().find(|asset| asset.path().strip_prefix("/assets/") == Some(file.as_str()));
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |asset| asset.answer(takes_gzip))
}

/// Where old browsers look for the sign in the corner.
pub(super) async fn icon(State(site): State<Arc<Site>>) -> Response {
    Redirect::permanent(site.icon.path()).into_response()
}

/// What is nowhere.
pub(super) async fn nowhere() -> Failed {
    Trouble::NotFound("There is no such page.".to_owned()).into()
}

fn login(site: &Site, headers: &HeaderMap, status: StatusCode, next: &str, user: &str, complaint: Option<String>) -> Response {
    // The nonce of a page that is open in another tab goes on being good.
    let known = cookie_of(headers, DOOR_COOKIE).filter(|nonce| nonce.len() == 32 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let nonce = known.map_or_else(|| format!("{:032x}", site.client.overlay().environment().rng.next_u128()), ToOwned::to_owned);
    let body = html! {
        section.door {
            h1 { "Sign in" }
            form method="post" action="/login" {
                input type="hidden" name="token" value=(site.token(nonce.as_bytes()));
                input type="hidden" name="next" value=(next);
                @if let Some(complaint) = &complaint { p.complaint role="alert" #complaint { (complaint) } }
                label for="user" { "User name" }
                input #user name="user" value=(user) autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" required
                    autofocus[user.is_empty()] aria-describedby=[complaint.as_ref().map(|_| "complaint")];
                label for="password" { "Password" }
                input #password type="password" name="password" autocomplete="current-password" maxlength="256" required autofocus[!user.is_empty()];
                button.strong { "Sign in" }
            }
        }
    };
    let mut response = (status, Page::new(site, "Sign in").with(body)).into_response();
    set(&mut response, &cookie::set(DOOR_COOKIE, &nonce, DOOR_SECONDS, site.secure));
    response
}

fn set(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The cookie whose holder has seen the page to log in with: nobody is logged in by another site, as somebody else.
const DOOR_COOKIE: &str = "caps_door";

const DOOR_SECONDS: u64 = 3_600;
