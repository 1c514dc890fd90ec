//! From a password to a token, and the end of one.

use std::sync::Arc;

use caps_adapters::web::Problem;
use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::State;
use caps_adapters::web::axum::http::{HeaderMap, Request, StatusCode};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::server::Peer;

use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::Ticket;
use super::answer::Answer;
use super::caller::{Caller, Format, Refused, ticket};
use super::read::{Given, given};

pub(super) async fn login(State(site): State<Arc<Site>>, headers: HeaderMap, request: Request<Body>) -> Result<Response, Refused> {
    let format = Format::of(&headers)?;
    let peer = request.extensions().get::<Peer>().copied();
    let (user, password) =
        words(given(request).await.map_err(|problem| format.refuse(problem))?).map_err(|problem| format.refuse(problem))?;
    let (ticket, expires) = token(&site, peer, &user, &password).await.map_err(|problem| format.refuse(problem))?;
    let catalogue = site.catalogue().await.map_err(|trouble| format.trouble(trouble))?;
    let answer = Answer::LoggedIn { token: &ticket.written(), user: ticket.user.to_string(), expires };
    Ok(answer.respond(format, &catalogue, None))
}

/// Logs a user in, and gives the token and when it ends.
pub(super) async fn token(site: &Arc<Site>, peer: Option<Peer>, user: &str, password: &str) -> Result<(Ticket, i64), Problem> {
    if let Some(Err(wait)) = peer.map(|peer| site.may_log_in(peer.0.ip())) {
        return Err(Problem::of(429).detail("too many attempts to log in from this address").retry_after(wait));
    }
    let client = site.client.stranger();
    let answer = client.login(user, password).await.map_err(|error| Trouble::from(error).problem())?;
    let ticket = Ticket { session: answer.session, user: answer.user };
    site.visitors.welcome(&ticket, client);
    Ok((ticket, answer.expires))
}

pub(super) async fn logout(State(site): State<Arc<Site>>, headers: HeaderMap, caller: Caller) -> Result<StatusCode, Refused> {
    caller.knows(&[])?;
    end(&site, &headers).await.map_err(|trouble| caller.format.trouble(trouble))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the session of the token, at every host.
pub(super) async fn end(site: &Arc<Site>, headers: &HeaderMap) -> Result<(), Trouble> {
    let ticket = ticket(headers).ok_or(Trouble::SignedOut)?;
    Ok(site.visitors.end(&ticket, site.client.stranger()).await?)
}

fn words(given: Given) -> Result<(String, String), Problem> {
    let wrong = || Problem::of(422).detail("to log in takes user and password, both text, and nothing else");
    match given {
        Given::Json(members) => {
            let text = |name: &str| members.get(name).and_then(|text| text.as_str()).map(ToOwned::to_owned);
            text("user").zip(text("password")).filter(|_| members.len() == 2).ok_or_else(wrong)
        }
        Given::Xml(document) => {
            let text = |name: &str| document.only(name).map(|element| element.text.clone());
            text("user").zip(text("password")).filter(|_| document.name == "Login" && document.elements.len() == 2).ok_or_else(wrong)
        }
    }
}
