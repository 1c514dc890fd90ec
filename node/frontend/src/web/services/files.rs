//! Large values: files that come before a call names them, and those that objects have.

use std::sync::Arc;

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::{FromRequestParts, Path, State};
use caps_adapters::web::axum::http::Request;
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::upload;

use super::super::blob;
use super::super::refusal::Trouble;
use super::super::site::Site;
use super::answer::Answer;
use super::caller::{Caller, Refused};
use super::objects::object;

/// Takes a file, and gives the name under which a call may give it to a method.
pub(super) async fn take(State(site): State<Arc<Site>>, request: Request<Body>) -> Result<Response, Refused> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &site).await?;
    caller.knows(&[])?;
    let catalogue = site.catalogue().await.map_err(|trouble| caller.format.trouble(trouble))?;
    let _room = site.upload_room().map_err(|trouble| caller.format.trouble(trouble))?;
    let upload = upload::whole(Request::from_parts(parts, body)).await.map_err(|problem| caller.format.refuse(problem))?;
    let size_bytes = upload.size_bytes;
    let blob = blob::store(&site, &caller.visitor.client, upload).await.map_err(|trouble| caller.format.trouble(trouble))?;
    Ok(Answer::Stored { blob, size_bytes }.respond(caller.format, &catalogue, None))
}

/// Gives one of the large values of an attribute.
pub(super) async fn give(
    Path((entity, id, attribute, number)): Path<(String, String, String, String)>,
    State(site): State<Arc<Site>>,
    caller: Caller,
) -> Result<Response, Refused> {
    caller.knows(&["at_least"])?;
    caller.at_least().await?;
    let catalogue = site.catalogue().await.map_err(|trouble| caller.format.trouble(trouble))?;
    let object = object(&catalogue, &entity, &id, &caller).await?;
    let file = number.parse().ok().and_then(|number| blob::file(&caller.visitor.client, &object, &attribute, number));
    file.ok_or_else(|| caller.format.trouble(Trouble::NotFound("there is no such file, or none that you may read".to_owned())))
}
