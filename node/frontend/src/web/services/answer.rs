//! What services answer, before it is written in one format or the other.

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::http::{HeaderValue, StatusCode, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::etag::Tag;
use caps_adapters::web::json::{Value as Json, json};
use caps_model::messages::Event;
use caps_model::schema::{Attribute, Method};
use caps_model::{BlobId, CommitId, Name, Object, Position, Record};

use super::super::catalogue::{Catalogue, Kind};
use super::super::moment::rfc3339;
use super::caller::Format;
use super::{json, xml};

/// An answer.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    /// A page of objects.
    Objects { position: Position, objects: &'a [Object], next: Option<String>, columns: Option<&'a [Name]> },
    /// One object.
    Object(&'a Object),
    /// What happened to one.
    History { position: Position, events: &'a [Event], more: bool },
    /// What a method answered.
    Called { module: &'a Name, method: &'a Method, position: Position, commit: CommitId, repeated: bool, result: &'a Record },
    /// A token.
    LoggedIn { token: &'a str, user: String, expires: i64 },
    /// The name of what was sent.
    Stored { blob: BlobId, size_bytes: u64 },
}

impl Answer<'_> {
    /// The answer as it travels, with the version of what is in it.
    pub(super) fn respond(&self, format: Format, catalogue: &Catalogue, tag: Option<&Tag>) -> Response {
        let (body, media_type) = match format {
            Format::Json => (self.json(catalogue).to_string(), "application/json"),
            Format::Xml => (xml::answer(self, catalogue), "application/xml"),
        };
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::VARY, HeaderValue::from_static("accept, authorization"));
        if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(&tag.to_string()).ok()) {
            headers.insert(header::ETAG, tag);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        }
        response
    }

    fn json(&self, catalogue: &Catalogue) -> Json {
        match self {
            Self::Objects { position, objects, next, columns } => {
                let objects: Json = objects.iter().map(|found| object(catalogue, found, *columns)).collect();
                let mut json = json!({ "position": position.0, "objects": objects });
                if let Some(next) = next {
                    json["next"] = next.as_str().into();
                }
                json
            }
            Self::Object(found) => object(catalogue, found, None),
            Self::History { position, events, more } => {
                let events: Json = events.iter().map(|one| event(catalogue, one)).collect();
                json!({ "position": position.0, "more": more, "events": events })
            }
            Self::Called { method, position, commit, repeated, result, .. } => {
                let result = json::record(&method.results, result);
                json!({ "position": position.0, "commit": commit.to_string(), "repeated": repeated, "result": result })
            }
            Self::LoggedIn { token, user, expires } => json!({ "token": token, "user": user, "expires": rfc3339(*expires) }),
            Self::Stored { blob, size_bytes } => json!({ "blob": blob.to_string(), "bytes": size_bytes }),
        }
    }
}

/// Nothing new since the version that the client has.
pub(super) fn not_modified(tag: &Tag) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    if let Ok(tag) = HeaderValue::from_str(&tag.to_string()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// An object, with these attributes only if some are named.
pub(super) fn object(catalogue: &Catalogue, object: &Object, columns: Option<&[Name]>) -> Json {
    let attributes = shown(catalogue.kind(object.entity.as_str()), columns);
    let mut json = json!({
        "id": object.id.to_string(),
        "entity": object.entity.as_str(),
        "created": object.created.0,
        "version": object.version.0,
        "deleted": object.deleted,
        "attributes": json::record(&attributes, &object.attributes),
    });
    if !object.obliterated.is_empty() {
        json["obliterated"] = object.obliterated.iter().map(Name::as_str).collect();
    }
    json
}

fn event(catalogue: &Catalogue, event: &Event) -> Json {
    let mut json = json!({
        "position": event.object.version.0,
        "commit": event.commit.to_string(),
        "time": rfc3339(event.time),
        "front_end": event.front_end,
        "method": format!("{}.{}", event.method.0, event.method.1),
        "object": object(catalogue, &event.object, None),
    });
    if let Some(user) = event.user {
        json["user"] = user.to_string().into();
    }
    if let Some(reason) = &event.reason {
        json["reason"] = reason.as_str().into();
    }
    json
}

/// The attributes that are shown.
pub(super) fn shown(kind: Option<&Kind>, columns: Option<&[Name]>) -> Vec<Attribute> {
    let all = kind.iter().flat_map(|kind| &kind.entity.attributes);
    all.filter(|attribute| columns.is_none_or(|columns| columns.contains(&attribute.name))).cloned().collect()
}
