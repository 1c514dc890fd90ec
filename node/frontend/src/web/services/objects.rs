//! Objects by query and by id, and what happened to them.

use std::sync::Arc;

use caps_adapters::web::Problem;
use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::{HeaderMap, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::etag::{Tag, Tags};
use caps_model::messages::History;
use caps_model::query::ORDERS_MAX;
use caps_model::{Filter, Name, Object, Order, Position, Query};

use super::super::catalogue::{Catalogue, Kind};
use super::super::input;
use super::super::refusal::Trouble;
use super::super::site::Site;
use super::answer::{Answer, not_modified};
use super::caller::{Caller, Refused};
use crate::web::cursor;

pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Path(entity): Path<String>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Refused> {
    caller.knows(&["q", "order", "columns", "after", "limit", "at_least"])?;
    caller.at_least().await?;
    let catalogue = site.catalogue().await.map_err(|trouble| caller.format.trouble(trouble))?;
    let kind = kind(&catalogue, &entity, &caller)?;
    let (query, columns) = asked(kind, &caller)?;
    let found = caller.visitor.client.query(query.clone()).await.map_err(|error| caller.format.trouble(error))?;
    let next = found.objects.last().filter(|_| found.more).map(|last| cursor::written(&query.cursor(last)));
    let answer = Answer::Objects { position: found.position, objects: &found.objects, next, columns: columns.as_deref() };
    // At one position the answer is always the same, unless it depends on the time.
    let tag = (!query.filter.is_relative_to_now()).then(|| Tag::of(found.position));
    if let Some(tag) = &tag
        && is_known(&headers, tag, &caller)?
    {
        return Ok(not_modified(tag));
    }
    Ok(answer.respond(caller.format, &catalogue, tag.as_ref()))
}

pub(super) async fn one(
    State(site): State<Arc<Site>>,
    Path((entity, id)): Path<(String, String)>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Refused> {
    caller.knows(&["at_least"])?;
    caller.at_least().await?;
    let catalogue = site.catalogue().await.map_err(|trouble| caller.format.trouble(trouble))?;
    let object = object(&catalogue, &entity, &id, &caller).await?;
    let tag = Tag::of(object.version);
    if is_known(&headers, &tag, &caller)? {
        return Ok(not_modified(&tag));
    }
    Ok(Answer::Object(&object).respond(caller.format, &catalogue, Some(&tag)))
}

/// An object of an entity, or of those that inherit from it.
pub(super) async fn object(catalogue: &Catalogue, entity: &str, id: &str, caller: &Caller) -> Result<Object, Refused> {
    kind(catalogue, entity, caller)?;
    let id = input::object_id(id).ok_or_else(|| nothing(caller))?;
    let got = caller.visitor.client.get(vec![id]).await.map_err(|error| caller.format.trouble(error))?;
    let object = got.objects.into_iter().next().flatten().filter(|object| object.entities().any(|known| known == entity));
    object.ok_or_else(|| nothing(caller))
}

pub(super) async fn history(
    State(site): State<Arc<Site>>,
    Path((entity, id)): Path<(String, String)>,
    caller: Caller,
) -> Result<Response, Refused> {
    caller.knows(&["before", "limit", "at_least"])?;
    caller.at_least().await?;
    let catalogue = site.catalogue().await.map_err(|trouble| caller.format.trouble(trouble))?;
    kind(&catalogue, &entity, &caller)?;
    let id = input::object_id(&id).ok_or_else(|| nothing(&caller))?;
    let (before, limit) = (number(&caller, "before")?, limit(&caller, HISTORY_MAX)?);
    let asked = History { object: id, before: before.map(Position), limit: limit + 1 };
    let mut timeline = caller.visitor.client.history(asked).await.map_err(|error| caller.format.trouble(error))?;
    let more = timeline.events.len() > limit as usize;
    timeline.events.truncate(limit as usize);
    timeline.events.retain(|event| event.object.entities().any(|known| known == entity.as_str()));
    if timeline.events.is_empty() && before.is_none() {
        return Err(nothing(&caller));
    }
    Ok(Answer::History { position: timeline.position, events: &timeline.events, more }.respond(caller.format, &catalogue, None))
}

/// What a request asks for, and which attributes it wants to see.
pub(super) fn asked(kind: &Kind, caller: &Caller) -> Result<(Query, Option<Vec<Name>>), Refused> {
    let wrong = |field: &str, sentence: String| caller.format.refuse(Problem::of(400).field(field).detail(sentence));
    let filter: Filter = caller
        .query
        .get("q")
        .unwrap_or_default()
        .parse()
        .map_err(|error: caps_model::query::ParseFilterError| wrong("q", error.to_string()))?;
    let mut query = Query { filter, ..Query::all(kind.entity.name.clone()) };
    query.limit = limit(caller, OBJECTS_MAX)?;
    for order in caller.query.filled("order").into_iter().flat_map(|order| order.split(',')) {
        query.order.push(order.trim().parse::<Order>().map_err(|error| wrong("order", error.to_string()))?);
    }
    if query.order.len() > ORDERS_MAX {
        return Err(wrong("order", format!("an order has at most {ORDERS_MAX} attributes")));
    }
    if let Some(after) = caller.query.filled("after") {
        query.after =
            Some(cursor::read(after).ok_or_else(|| wrong("after", "this is no cursor: give `next` of the page before, whole".to_owned()))?);
    }
    let Some(names) = caller.query.filled("columns") else { return Ok((query, None)) };
    let known = |name: &str| {
        let attribute = kind.entity.attribute(name.trim());
        attribute
            .map(|attribute| attribute.name.clone())
            .ok_or_else(|| wrong("columns", "there is no attribute of one of these names".to_owned()))
    };
    let columns = names.split(',').take(COLUMNS_MAX).map(known).collect::<Result<_, _>>()?;
    Ok((query, Some(columns)))
}

pub(super) fn kind<'a>(catalogue: &'a Catalogue, entity: &str, caller: &Caller) -> Result<&'a Kind, Refused> {
    catalogue.kind(entity).ok_or_else(|| caller.format.trouble(Trouble::NotFound("no module declares this entity".to_owned())))
}

fn nothing(caller: &Caller) -> Refused {
    caller.format.trouble(Trouble::NotFound("there is no such object, or none that you may read".to_owned()))
}

fn is_known(headers: &HeaderMap, tag: &Tag, caller: &Caller) -> Result<bool, Refused> {
    let Some(field) = headers.get(header::IF_NONE_MATCH) else { return Ok(false) };
    let tags = field.to_str().ok().and_then(|field| Tags::parse(field).ok());
    tags.map(|tags| tags.has(tag))
        .ok_or_else(|| caller.format.refuse(Problem::of(400).field("If-None-Match").detail(caps_adapters::web::etag::TagError.to_string())))
}

fn number(caller: &Caller, name: &'static str) -> Result<Option<u64>, Refused> {
    let wrong = |_| caller.format.refuse(Problem::of(400).field(name).detail("give a whole number from 0"));
    caller.query.get(name).map(|text| text.parse::<u64>().map_err(wrong)).transpose()
}

fn limit(caller: &Caller, max: u32) -> Result<u32, Refused> {
    let limit = number(caller, "limit")?.unwrap_or(LIMIT_DEFAULT.into());
    let wrong = || caller.format.refuse(Problem::of(400).field("limit").detail(format!("a limit is 1 to {max}")));
    u32::try_from(limit).ok().filter(|limit| (1..=max).contains(limit)).ok_or_else(wrong)
}

/// Objects, and events, of a page if nobody says how many, and at most.
pub(super) const LIMIT_DEFAULT: u32 = 50;
pub(super) const OBJECTS_MAX: u32 = 500;
pub(super) const HISTORY_MAX: u32 = 200;

/// Attributes that a request names.
const COLUMNS_MAX: usize = 64;
