//! What handlers of pages take: the visitor behind a cookie, a form that a page of ours sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::{FromRequest, FromRequestParts};
use caps_adapters::web::axum::http::request::Parts;
use caps_adapters::web::axum::http::{HeaderMap, Request, header};
use caps_adapters::web::form::{Form, FormError};
use caps_adapters::web::upload::Upload;
use caps_adapters::web::{body, cookie, origin, token, upload};

use super::super::blob;
use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::{Ticket, Visitor};
use super::page::Failed;

/// The name of the cookie that holds a ticket.
pub(super) const SESSION_COOKIE: &str = "caps_session";

/// A request of somebody who has logged in; others are sent to the door.
#[derive(Debug)]
pub(super) struct Asked {
    /// Who asks.
    pub(super) visitor: Arc<Visitor>,
    /// What stands behind the question mark.
    pub(super) query: Form,
}

/// A form that somebody who has logged in sent from a page of ours.
#[derive(Debug)]
pub(super) struct Sent {
    /// Who sent it.
    pub(super) visitor: Arc<Visitor>,
    /// The form.
    pub(super) form: Form,
}

/// The ticket that a browser shows.
pub(super) fn ticket(headers: &HeaderMap) -> Option<Ticket> {
    cookie_of(headers, SESSION_COOKIE).and_then(Ticket::parse)
}

/// The value of a cookie.
pub(super) fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookie::value(headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok()), name)
}

/// A form in a body, from a page of this site as far as the browser says.
pub(super) async fn form_of(request: Request<Body>) -> Result<Form, Trouble> {
    check_origin(&request)?;
    let bytes = body::whole(request).await.map_err(|problem| Trouble::Bad(problem.detail))?;
    Form::parse(&bytes).map_err(|error| Trouble::Bad(error.to_string()))
}

fn check_origin(request: &Request<Body>) -> Result<(), Trouble> {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    match origin::is_ours(request.headers(), authority.as_deref()) {
        true => Ok(()),
        false => Err(Trouble::Bad("this form was sent by another site".to_owned())),
    }
}

/// Brings files to the cabinet: their fields hold the blobs' names then, and `FIELD-name` what the files are called. What an earlier attempt brought
/// stands in `FIELD-kept`, and counts where no other file was chosen.
async fn keep(site: &Site, visitor: &Visitor, form: &mut Form, uploads: Vec<Upload>) -> Result<(), Trouble> {
    let wrong = |error: FormError| Trouble::Bad(error.to_string());
    let brought: BTreeSet<String> = uploads.iter().map(|upload| upload.field.clone()).collect();
    for upload in uploads {
        let (field, name) = (upload.field.clone(), upload.name.clone());
        let blob = blob::store(site, &visitor.client, upload).await?;
        form.push(&field, &blob.to_string()).map_err(wrong)?;
        form.push(&format!("{field}-name"), &name).map_err(wrong)?;
    }
    let kept: Vec<(String, String)> =
        form.pairs().filter_map(|(name, value)| Some((name.strip_suffix("-kept")?.to_owned(), value.to_owned()))).collect();
    for (field, blob) in kept.into_iter().filter(|(field, _)| !brought.contains(field)) {
        form.push(&field, &blob).map_err(wrong)?;
    }
    Ok(())
}

async fn visitor_of(parts: &Parts, site: &Arc<Site>) -> Result<Arc<Visitor>, Failed> {
    let here = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let of = |trouble| Failed::at(trouble, here.clone());
    let ticket = ticket(&parts.headers).ok_or_else(|| of(Trouble::SignedOut))?;
    site.visitors.admit(&ticket, &site.client).await.map_err(of)
}

impl FromRequestParts<Arc<Site>> for Asked {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Failed> {
        let visitor = visitor_of(parts, site).await?;
        let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes()).map_err(|error| Trouble::Bad(error.to_string()))?;
        Ok(Self { visitor, query })
    }
}

impl FromRequest<Arc<Site>> for Sent {
    type Rejection = Failed;

    async fn from_request(request: Request<Body>, site: &Arc<Site>) -> Result<Self, Failed> {
        let (parts, body) = request.into_parts();
        let visitor = visitor_of(&parts, site).await?;
        let request = Request::from_parts(parts, body);
        let is_theirs = |form: &Form| form.get("token").is_some_and(|text| token::is_for(text, &visitor.secret));
        let (mut form, uploads) = match upload::is_form(&request) {
            true => {
                check_origin(&request)?;
                let _room = site.upload_room()?;
                upload::form(request, is_theirs).await.map_err(|problem| Trouble::Bad(problem.detail))?
            }
            false => (form_of(request).await?, Vec::new()),
        };
        if !is_theirs(&form) {
            return Err(Trouble::Bad("this form is of another session: load the page again".to_owned()).into());
        }
        keep(site, &visitor, &mut form, uploads).await?;
        Ok(Self { visitor, form })
    }
}
