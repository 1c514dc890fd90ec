//! Methods of modules.

use std::sync::Arc;

use caps_adapters::web::Problem;
use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::{FromRequestParts, Path, State};
use caps_adapters::web::axum::http::{HeaderMap, Request, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::etag::Tags;
use caps_adapters::web::idempotency::Key;
use caps_model::messages::host::Expected;
use caps_model::{CommitId, Position, Record, Value};

use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::Visitor;
use super::answer::Answer;
use super::caller::{Caller, Refused};
use super::read::{Given, given};
use super::{json, xml};
use crate::MethodCall;

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
    let expected = expected(&headers, &arguments).map_err(refuse)?;
    let reason = caller.query.filled("reason").map(ToOwned::to_owned);
    let call = MethodCall::new(commit, schema.module.clone(), method.name.clone(), arguments).because(reason).expecting(expected);
    let client = &caller.visitor.client;
    let called = match headers.contains_key(KEY) {
        true => client.call_again(call).await,
        false => client.call_with(call).await,
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

/// What `If-Match` says of the first object that the arguments name: it holds where the commit stands, so nobody's change is written over unseen.
fn expected(headers: &HeaderMap, arguments: &Record) -> Result<Vec<Expected>, Problem> {
    let Some(field) = headers.get(header::IF_MATCH) else { return Ok(Vec::new()) };
    let wrong = |sentence: String| Problem::of(400).field("If-Match").detail(sentence);
    let tags = field.to_str().ok().and_then(|field| Tags::parse(field).ok());
    let tags = tags.ok_or_else(|| wrong(caps_adapters::web::etag::TagError.to_string()))?;
    let named = arguments.values().flatten().find_map(Value::as_reference);
    let object = named.ok_or_else(|| wrong("these arguments name no object that could have a version".to_owned()))?;
    let versions = match tags {
        Tags::Any => Vec::new(),
        // A tag that is no version is none of ours: what it stands for is over.
        Tags::Some(tags) => tags.iter().map(|tag| tag.as_str().parse().map_or(Position(u64::MAX), Position)).collect(),
    };
    Ok(vec![Expected { object, versions }])
}

/// The field whose key makes a request repeatable.
const KEY: &str = "idempotency-key";
