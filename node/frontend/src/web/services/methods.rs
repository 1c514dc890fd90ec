//! Methods of modules.

use std::sync::Arc;

use caps_adapters::web::Problem;
use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::{FromRequestParts, Path, State};
use caps_adapters::web::axum::http::{HeaderMap, Request, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::etag::{Tag, Tags};
use caps_adapters::web::idempotency::Key;
use caps_model::{CommitId, Record, Value};

use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::Visitor;
use super::answer::Answer;
use super::caller::{Caller, Refused};
use super::objects::version;
use super::read::{Given, given};
use super::{json, xml};

pub(super) async fn call(
    State(site): State<Arc<Site>>,
    Path((module, method)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Refused> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &site).await?;
    let (headers, request) = (parts.headers.clone(), Request::from_parts(parts, body));
    let refuse = |problem| caller.format.refuse(problem);
    caller.knows(&["reason"])?;
    let catalogue = site.catalogue().await.map_err(|trouble| caller.format.trouble(trouble))?;
    let found = catalogue.method(&module, &method);
    let (schema, method) = found.ok_or_else(|| caller.format.trouble(Trouble::NotFound("no module has this method".to_owned())))?;
    let arguments = match given(request).await.map_err(refuse)? {
        Given::Json(members) => json::arguments(&method.parameters, &members),
        Given::Xml(document) => xml::arguments(&format!("{module}.{}", method.name), &method.parameters, &document),
    };
    let arguments = arguments.map_err(|unfit| refuse(Problem::of(422).code("kind").field(unfit.field).detail(unfit.sentence)))?;
    let scope = [caller.visitor.user.to_string(), schema.module.to_string(), method.name.to_string()];
    let commit = commit(&headers, &caller.visitor, &scope).map_err(refuse)?;
    check_versions(&headers, &caller.visitor, &arguments).await.map_err(refuse)?;
    let reason = caller.query.filled("reason").map(ToOwned::to_owned);
    let (client, names) = (&caller.visitor.client, (schema.module.clone(), method.name.clone()));
    let called = match headers.contains_key(KEY) {
        true => client.call_again(reason, commit, names.0, names.1, arguments).await,
        false => client.call_because(reason, commit, names.0, names.1, arguments).await,
    };
    let called = called.map_err(|error| caller.format.trouble(error))?;
    let answer = Answer::Called {
        module: &schema.module,
        method,
        position: called.position,
        commit,
        repeated: called.repeated,
        result: &called.result,
    };
    Ok(answer.respond(caller.format, &catalogue, None))
}

/// The commit that a request becomes: always the same one for the same user, method and key, so that asking again does nothing twice.
fn commit(headers: &HeaderMap, visitor: &Visitor, scope: &[String; 3]) -> Result<CommitId, Problem> {
    let Some(field) = headers.get(KEY) else { return Ok(visitor.client.new_commit()) };
    let key = field.to_str().ok().and_then(|field| Key::parse(field).ok());
    let key = key.ok_or_else(|| Problem::of(400).field("Idempotency-Key").detail(caps_adapters::web::idempotency::KeyError.to_string()))?;
    Ok(CommitId(key.number(&scope.each_ref().map(String::as_str))))
}

/// Holds `If-Match` against the version of the first object that the arguments name, as it is just before the call: it spares a client what it
/// would have to undo, and is no lock.
async fn check_versions(headers: &HeaderMap, visitor: &Visitor, arguments: &Record) -> Result<(), Problem> {
    let Some(field) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let wrong = |sentence: String| Problem::of(400).field("If-Match").detail(sentence);
    let tags = field.to_str().ok().and_then(|field| Tags::parse(field).ok());
    let tags = tags.ok_or_else(|| wrong(caps_adapters::web::etag::TagError.to_string()))?;
    let named = arguments.values().flatten().find_map(Value::as_reference);
    let named = named.ok_or_else(|| wrong("these arguments name no object that could have a version".to_owned()))?;
    let version = version(visitor, named).await.map_err(|trouble| trouble.problem())?;
    match version {
        Some(version) if tags.has(&Tag::of(version)) => Ok(()),
        Some(version) => Err(Problem::of(412).detail(format!("#{named} is of version {version} by now"))),
        None => Err(Problem::of(412).detail(format!("there is no object {named}, or none that you may read"))),
    }
}

/// The field whose key makes a request repeatable.
const KEY: &str = "idempotency-key";
