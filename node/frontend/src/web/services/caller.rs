//! Programs that ask: the token that they show, and how often they may.

use std::sync::Arc;

use caps_adapters::web::axum::extract::FromRequestParts;
use caps_adapters::web::axum::http::request::Parts;
use caps_adapters::web::axum::http::{HeaderMap, HeaderValue, header};
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_adapters::web::form::Form;
use caps_adapters::web::server::Peer;
use caps_adapters::web::{Problem, accept};
use caps_model::Position;

use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::{Ticket, Visitor};
use super::xml;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Xml,
}

/// A program with a token.
#[derive(Debug)]
pub(super) struct Caller {
    /// Acts as the user of the token.
    pub(super) visitor: Arc<Visitor>,
    /// What stands behind the question mark.
    pub(super) query: Form,
    /// How it wants its answer.
    pub(super) format: Format,
}

/// A problem, in the format that was asked for.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) format: Format,
    pub(super) problem: Problem,
}

impl Format {
    const OFFERED: [&'static str; 2] = ["application/json", "application/xml"];

    /// The format that these fields ask for; JSON for problems if it is none of ours.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let accept = headers.get(header::ACCEPT).and_then(|field| field.to_str().ok());
        match accept::media_type(accept, &Self::OFFERED) {
            Some("application/json") => Ok(Self::Json),
            Some(_) => Ok(Self::Xml),
            None => Err(Self::Json.refuse(Problem::of(406).detail("answers are application/json or application/xml"))),
        }
    }

    pub(super) fn refuse(self, problem: Problem) -> Refused {
        Refused { format: self, problem }
    }

    pub(super) fn trouble(self, trouble: impl Into<Trouble>) -> Refused {
        self.refuse(trouble.into().problem())
    }
}

impl Caller {
    /// Refuses what was misspelt rather than overlooking it.
    pub(super) fn knows(&self, parameters: &[&str]) -> Result<(), Refused> {
        let unknown = self.query.names().find(|name| !parameters.contains(name));
        unknown.map_or(Ok(()), |name| {
            let name: String = name.chars().take(63).collect();
            Err(self
                .format
                .refuse(Problem::of(400).field(name).detail(format!("there is no such parameter: there are {}", parameters.join(", ")))))
        })
    }

    /// Reads at least at a position from now on, if the request names one. One that does not exist yet is refused: it would be waited for in vain, by
    /// every later request of the session, too.
    pub(super) async fn at_least(&self) -> Result<(), Refused> {
        let Some(text) = self.query.get("at_least") else { return Ok(()) };
        let wrong = |sentence: &str| self.format.refuse(Problem::of(400).field("at_least").detail(sentence));
        let position = text.parse().map(Position).map_err(|_| wrong("a position is a whole number"))?;
        let client = &self.visitor.client;
        if position > client.position() && position > client.catch_up().await.map_err(|error| self.format.trouble(error))? {
            return Err(wrong("there is no such position yet"));
        }
        client.resume_position(position);
        Ok(())
    }
}

impl FromRequestParts<Arc<Site>> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Refused> {
        let format = Format::of(&parts.headers)?;
        let visitor =
            admit(parts.extensions.get::<Peer>().copied(), &parts.headers, site).await.map_err(|problem| format.refuse(problem))?;
        let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query = query.map_err(|error| format.refuse(Problem::of(400).detail(error.to_string())))?;
        Ok(Self { visitor, query, format })
    }
}

/// The token that a program shows.
pub(super) fn ticket(headers: &HeaderMap) -> Option<Ticket> {
    let field = headers.get(header::AUTHORIZATION).and_then(|field| field.to_str().ok());
    let token = field.and_then(|field| field.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.and_then(|(_, token)| Ticket::parse(token.trim()))
}

/// The visitor whose token this is.
pub(super) async fn admit(peer: Option<Peer>, headers: &HeaderMap, site: &Arc<Site>) -> Result<Arc<Visitor>, Problem> {
    let ticket = ticket(headers);
    let busy = |wait| Problem::of(429).detail("too many requests").retry_after(wait);
    // Whoever shows no token that looks like one is counted by address, whoever does by the session.
    site.may_ask(ticket.as_ref().map(|ticket| ticket.user), peer.map(|peer| peer.0.ip())).map_err(busy)?;
    let ticket = ticket.ok_or_else(|| Trouble::SignedOut.problem())?;
    site.visitors.admit(&ticket, &site.client).await.map_err(|trouble| trouble.problem())
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.problem.status;
        let mut response = match self.format {
            Format::Json => self.problem.into_response(),
            Format::Xml => xml::problem(self.problem),
        };
        if status == 401 {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
