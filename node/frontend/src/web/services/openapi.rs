//! The OpenAPI 3.1 document of the services, made from the schemas: each entity and each method has paths of its own, so that types are exact.

use std::sync::Arc;

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::State;
use caps_adapters::web::axum::http::{HeaderValue, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::json::{Map, Value as Json, json};
use caps_model::schema::{Attribute, Constraint, Method};
use caps_model::{Schema, Value, ValueKind};

use super::super::catalogue::{Catalogue, Kind, range, selection, size};
use super::super::site::Site;
use super::caller::{Format, Refused};
use super::objects::{HISTORY_MAX, LIMIT_DEFAULT, OBJECTS_MAX};
use super::xsd::ID_PATTERN;

pub(super) async fn document(State(site): State<Arc<Site>>) -> Result<Response, Refused> {
    let catalogue = site.catalogue().await.map_err(|trouble| Format::Json.trouble(trouble))?;
    let mut response = Response::new(Body::from(openapi(&catalogue).to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn openapi(catalogue: &Catalogue) -> Json {
    let mut paths = Map::new();
    paths.insert("/api/v1/login".to_owned(), login());
    paths.insert("/api/v1/logout".to_owned(), logout());
    paths.insert("/api/v1/files".to_owned(), files());
    for kind in catalogue.kinds() {
        let name = &kind.entity.name;
        if kind.entity.attributes.iter().any(|attribute| attribute.kind == ValueKind::Blob) {
            paths.insert(format!("/api/v1/objects/{name}/{{id}}/files/{{attribute}}/{{number}}"), file(kind));
        }
        paths.insert(format!("/api/v1/objects/{name}"), list(kind));
        paths.insert(format!("/api/v1/objects/{name}/{{id}}"), one(kind));
        paths.insert(format!("/api/v1/objects/{name}/{{id}}/history"), history(kind));
        paths.insert(format!("/api/v1/objects/{name}/events"), events(kind));
    }
    let calls = catalogue.schemas().iter().flat_map(|schema| schema.methods.iter().map(move |method| (schema, method)));
    paths.extend(calls.map(|(schema, method)| (format!("/api/v1/call/{}/{}", schema.module, method.name), call(schema, method))));
    let schemas: Map<String, Json> =
        catalogue.kinds().map(|kind| (kind.entity.name.to_string(), object(kind, catalogue))).chain(ours()).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "CAPS", "version": version(catalogue),
            "description": "Objects and methods of the modules that this deployment loads. The same answers come as XML to who asks for application/xml: see /api/v1/schema.xsd."
        },
        "paths": paths,
        "security": [{ "token": [] }],
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "From POST /api/v1/login." } },
            "responses": problems()
        }
    })
}

/// It changes when a module does.
fn version(catalogue: &Catalogue) -> String {
    catalogue.schemas().iter().map(|schema| format!("{}-{}", schema.module, schema.version)).collect::<Vec<_>>().join("+")
}

fn ours() -> Vec<(String, Json)> {
    let problem = json!({
        "type": "object", "required": ["type", "title", "status"], "additionalProperties": false, "description": "RFC 9457.",
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What happened and what to change." },
            "code": { "type": "string", "description": "The refusal's word for programs." },
            "field": { "type": "string", "description": "The parameter that is to blame." },
            "commit": { "type": "string", "description": "The commit whose outcome is open: ask again under the same Idempotency-Key." }
        }
    });
    vec![("Problem".to_owned(), problem), ("Id".to_owned(), id()), ("Position".to_owned(), json!({ "type": "integer", "minimum": 0 }))]
}

fn id() -> Json {
    json!({ "type": "string", "pattern": format!("^{ID_PATTERN}$") })
}

/// An object of an entity, or of those that inherit from it.
fn object(kind: &Kind, catalogue: &Catalogue) -> Json {
    let heirs: Vec<&Kind> = catalogue.kinds().filter(|other| other.entity.parent.as_ref() == Some(&kind.entity.name)).collect();
    let attributes: Map<String, Json> =
        kind.entity.attributes.iter().map(|attribute| (attribute.name.to_string(), shown(attribute))).collect();
    let mut object = json!({
        "type": "object", "description": kind.entity.summary,
        "required": ["id", "entity", "created", "version", "deleted", "attributes"],
        "properties": {
            "id": reference("Id"), "entity": { "type": "string" }, "created": reference("Position"), "version": reference("Position"),
            "deleted": { "type": "boolean" }, "obliterated": { "type": "array", "items": { "type": "string" } },
            // What heirs have besides is said by their own schemas.
            "attributes": { "type": "object", "properties": attributes, "additionalProperties": !heirs.is_empty() }
        },
        "additionalProperties": false
    });
    if heirs.is_empty() {
        object["properties"]["entity"] = json!({ "const": kind.entity.name.as_str() });
    }
    object
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An attribute as objects have it: bounds may have changed since they were made, kinds have not.
fn shown(attribute: &Attribute) -> Json {
    several(attribute, scalar(attribute), false)
}

/// A parameter, with everything that is asked of it and that a schema can say.
fn asked(attribute: &Attribute) -> Json {
    let mut schema = scalar(attribute);
    if let Some((min, max)) = size(attribute).filter(|_| attribute.kind == ValueKind::Text) {
        schema["maxLength"] = max.into();
        schema["minLength"] = min.div_ceil(4).into();
    }
    for rule in attribute.rules.iter().filter(|rule| rule.check != caps_model::schema::Check::Hint) {
        match &rule.constraint {
            Constraint::Pattern(pattern) => schema["pattern"] = format!("^(?:{pattern})$").into(),
            Constraint::Resolution(Value::Int(step)) if *step > 0 => schema["multipleOf"] = (*step).into(),
            _ => {}
        }
    }
    match range(attribute) {
        Some((Value::Int(from), Value::Int(to))) => (schema["minimum"], schema["maximum"]) = ((*from).into(), (*to).into()),
        Some((Value::Float(from), Value::Float(to))) => (schema["minimum"], schema["maximum"]) = ((*from).into(), (*to).into()),
        _ => {}
    }
    if let Some(values) = selection(attribute) {
        schema["enum"] = values.iter().map(plain).collect();
    }
    several(attribute, schema, true)
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Int(number) => (*number).into(),
        Value::Bool(truth) => (*truth).into(),
        other => other.to_string().into(),
    }
}

fn several(attribute: &Attribute, mut one: Json, is_asked: bool) -> Json {
    let mut schema = match (attribute.is_map, attribute.arity.max) {
        (true, max) => json!({ "type": "object", "additionalProperties": one, "maxProperties": max }),
        (false, 1) => {
            one["description"] = attribute.summary.as_str().into();
            return one;
        }
        (false, max) => json!({ "type": "array", "items": one, "maxItems": max }),
    };
    if is_asked && attribute.arity.min > 0 && !attribute.is_map {
        schema["minItems"] = attribute.arity.min.into();
    }
    if is_asked && attribute.constraints().any(|constraint| *constraint == Constraint::Distinct) && !attribute.is_map {
        schema["uniqueItems"] = true.into();
    }
    schema["description"] = attribute.summary.as_str().into();
    schema
}

fn scalar(attribute: &Attribute) -> Json {
    match attribute.kind {
        ValueKind::Bool => json!({ "type": "boolean" }),
        ValueKind::Int => json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX }),
        ValueKind::Timespan => {
            json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX, "x-unit": "microseconds" })
        }
        // Infinities and NaN are null.
        ValueKind::Float => json!({ "type": ["number", "null"] }),
        ValueKind::Text => json!({ "type": "string" }),
        ValueKind::Timestamp => json!({ "type": "string", "format": "date-time" }),
        ValueKind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        ValueKind::Reference => {
            let mut id = id();
            if let Some(target) = attribute.target() {
                id["x-refers-to"] = target.as_str().into();
            }
            id
        }
        ValueKind::Decimal => json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$" }),
        ValueKind::Choice => json!({ "enum": attribute.choices.iter().map(|choice| choice.word.as_str()).collect::<Vec<_>>() }),
        ValueKind::Blob => json!({ "type": "string", "pattern": BLOB_PATTERN }),
        ValueKind::Entry => json!({}),
    }
}

fn login() -> Json {
    let text = |max: u32| json!({ "type": "string", "maxLength": max });
    let body = json!({ "type": "object", "required": ["user", "password"], "additionalProperties": false,
        "properties": { "user": text(64), "password": text(256) } });
    let answer = json!({ "type": "object", "required": ["token", "user", "expires"], "additionalProperties": false,
        "properties": { "token": { "type": "string" }, "user": reference("Id"), "expires": { "type": "string", "format": "date-time" } } });
    json!({ "post": {
        "operationId": "login", "summary": "Gives a token.", "security": [],
        "requestBody": body_of(&body), "responses": responses(&answer, &["400", "401", "406", "413", "415", "422", "429", "503"])
    } })
}

fn logout() -> Json {
    let mut responses = problems_of(&["400", "401", "406", "429", "503"]);
    responses["204"] = json!({ "description": "The token is none any more, wherever it is known." });
    json!({ "post": { "operationId": "logout", "summary": "Ends the session of the token.", "responses": responses } })
}

fn files() -> Json {
    let answer = json!({ "type": "object", "required": ["blob", "bytes"], "additionalProperties": false, "properties": {
        "blob": { "type": "string", "pattern": BLOB_PATTERN, "description": "Give this to a method within a day." },
        "bytes": { "type": "integer", "minimum": 0 } } });
    json!({ "post": { "operationId": "put_file", "summary": "Takes a file of at most 100 MiB, and gives the name under which a call may give it to a method.",
        "requestBody": { "required": true, "content": { "application/octet-stream": { "schema": {} } } },
        "responses": responses(&answer, &["400", "401", "406", "408", "413", "429", "503"]) } })
}

fn file(kind: &Kind) -> Json {
    let name = kind.entity.name.as_str();
    let attributes: Vec<&str> = kind
        .entity
        .attributes
        .iter()
        .filter(|attribute| attribute.kind == ValueKind::Blob)
        .map(|attribute| attribute.name.as_str())
        .collect();
    let in_path = |name: &str, schema: &Json| json!({ "name": name, "in": "path", "required": true, "schema": schema });
    let parameters = json!([
        of_object(),
        in_path("attribute", &json!({ "enum": attributes })),
        in_path("number", &json!({ "type": "integer", "minimum": 0 })),
        at_least()
    ]);
    let mut responses = problems_of(&["400", "401", "404", "406", "429", "503"]);
    responses["200"] = json!({ "description": "The bytes.", "content": { "application/octet-stream": { "schema": {} } } });
    json!({ "get": { "operationId": format!("file_of_{name}"), "summary": "One of its large values: the first one is number 0.", "parameters": parameters,
        "responses": responses } })
}

fn list(kind: &Kind) -> Json {
    let name = kind.entity.name.as_str();
    let answer = json!({ "type": "object", "required": ["position", "objects"], "additionalProperties": false, "properties": {
        "position": reference("Position"), "objects": { "type": "array", "items": reference(name), "maxItems": OBJECTS_MAX },
        "next": { "type": "string", "description": "There are more: give this as `after`." } } });
    let parameters = json!([
        parameter("q", &json!({ "type": "string" }), "A filter in the query language, such as `status = open and due_at < now + 2d`."),
        parameter("order", &json!({ "type": "string" }), "Attributes with commas between, each with `desc` behind it or not."),
        parameter("columns", &json!({ "type": "string" }), "Only these attributes, with commas between."),
        parameter("after", &json!({ "type": "string", "pattern": "^([0-9a-f]{2})*$" }), "Where the page before ended: its `next`."),
        parameter(
            "limit",
            &json!({ "type": "integer", "minimum": 1, "maximum": OBJECTS_MAX, "default": LIMIT_DEFAULT }),
            "At most this many."
        ),
        at_least(),
        if_none_match()
    ]);
    let mut responses = responses(&answer, &["400", "401", "404", "406", "429", "503"]);
    responses["304"] = unchanged();
    json!({ "get": { "operationId": format!("list_{name}"), "summary": format!("Objects of {name}."), "parameters": parameters, "responses": responses } })
}

fn one(kind: &Kind) -> Json {
    let name = kind.entity.name.as_str();
    let mut responses = responses(&reference(name), &["400", "401", "404", "406", "429", "503"]);
    responses["304"] = unchanged();
    responses["200"]["headers"] = json!({ "ETag": { "schema": { "type": "string" }, "description": "The version." } });
    json!({ "get": { "operationId": format!("get_{name}"), "summary": kind.entity.summary,
        "parameters": [of_object(), at_least(), if_none_match()], "responses": responses } })
}

fn history(kind: &Kind) -> Json {
    let name = kind.entity.name.as_str();
    let text = || json!({ "type": "string" });
    let event = json!({ "type": "object", "required": ["position", "commit", "time", "front_end", "method", "object"], "additionalProperties": false,
        "properties": { "position": reference("Position"), "commit": reference("Id"), "time": { "type": "string", "format": "date-time" }, "front_end": text(),
            "method": text(), "user": reference("Id"), "reason": text(), "object": reference(name) } });
    let answer = json!({ "type": "object", "required": ["position", "more", "events"], "additionalProperties": false, "properties": {
        "position": reference("Position"), "more": { "type": "boolean" }, "events": { "type": "array", "items": event } } });
    let parameters = json!([
        of_object(),
        parameter("before", &json!({ "type": "integer", "minimum": 0 }), "Only changes before this position."),
        parameter(
            "limit",
            &json!({ "type": "integer", "minimum": 1, "maximum": HISTORY_MAX, "default": LIMIT_DEFAULT }),
            "At most this many."
        ),
        at_least()
    ]);
    json!({ "get": { "operationId": format!("history_of_{name}"), "summary": "What ever happened to it, newest first.", "parameters": parameters,
        "responses": responses(&answer, &["400", "401", "404", "406", "429", "503"]) } })
}

fn events(kind: &Kind) -> Json {
    let name = kind.entity.name.as_str();
    let parameters = json!([
        parameter("q", &json!({ "type": "string" }), "A filter in the query language."),
        parameter("columns", &json!({ "type": "string" }), "Only these attributes, and only when they change."),
        parameter(
            "from",
            &json!({ "type": "string" }),
            "The id of the event that was heard last, or a position; `Last-Event-ID` does as well."
        )
    ]);
    // Of a stream, the schema is that of one event, as readers of these documents have come to take it.
    let told = json!({ "type": "string", "enum": ["present", "changes", "progress", "problem"] });
    let event = json!({ "type": "object", "required": ["event", "data"], "properties": {
        "id": { "type": "string", "description": "Where to go on, as `Last-Event-ID`." },
        "event": told,
        "data": { "type": "string", "description": "An object, as JSON." },
    } });
    let description = "Events, one after the other, until either side ends the stream.";
    let stream = json!({ "description": description, "content": { "text/event-stream": { "schema": event } } });
    let mut responses = problems_of(&["400", "401", "404", "406", "429", "503"]);
    responses["200"] = stream;
    json!({ "get": { "operationId": format!("events_of_{name}"), "summary": "What changes, each once.", "parameters": parameters, "responses": responses } })
}

fn call(schema: &Schema, method: &Method) -> Json {
    let properties: Map<String, Json> = method.parameters.iter().map(|parameter| (parameter.name.to_string(), asked(parameter))).collect();
    let required: Vec<&str> =
        method.parameters.iter().filter(|parameter| parameter.arity.min > 0).map(|parameter| parameter.name.as_str()).collect();
    let body = json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let results: Map<String, Json> = method.results.iter().map(|result| (result.name.to_string(), shown(result))).collect();
    let answer = json!({ "type": "object", "required": ["position", "commit", "repeated", "result"], "additionalProperties": false, "properties": {
        "position": reference("Position"), "commit": reference("Id"),
        "repeated": { "type": "boolean", "description": "It had happened before, under the same Idempotency-Key." },
        "result": { "type": "object", "properties": results, "additionalProperties": false } } });
    let header = |name: &str, pattern: &str, about: &str| json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string", "pattern": pattern, "minLength": 1 } });
    let parameters = json!([
        header(
            "Idempotency-Key",
            "^[!-~]{1,255}$",
            "1 to 255 visible ASCII characters. Asked again under the same key, a method does nothing twice and gives the first answer."
        ),
        header(
            "If-Match",
            TAGS_PATTERN,
            "Versions, or *, of the first object that the arguments name, which it still has to be where the commit stands."
        ),
        parameter("reason", &json!({ "type": "string" }), "Why, for whoever reads the history.")
    ]);
    json!({ "post": {
        "operationId": format!("{}.{}", schema.module, method.name), "summary": method.summary,
        "description": format!("For {}.", method.callers.join(", ")), "parameters": parameters, "requestBody": body_of(&body),
        "responses": responses(&answer, &["400", "401", "403", "404", "406", "409", "412", "413", "415", "422", "429", "503"])
    } })
}

fn body_of(schema: &Json) -> Json {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn responses(answer: &Json, problems: &[&str]) -> Json {
    let mut responses = problems_of(problems);
    responses["200"] = json!({ "description": "Done.", "content": { "application/json": { "schema": answer } } });
    responses
}

fn problems_of(statuses: &[&str]) -> Json {
    statuses
        .iter()
        .map(|status| ((*status).to_owned(), json!({ "$ref": format!("#/components/responses/{status}") })))
        .collect::<Map<_, _>>()
        .into()
}

fn problems() -> Json {
    let problem = |(status, about): (&str, &str)| {
        let mut response = json!({ "description": about, "content": { "application/problem+json": { "schema": reference("Problem") } } });
        if matches!(status, "429" | "503") {
            response["headers"] = json!({ "Retry-After": { "schema": { "type": "integer" } } });
        }
        (status.to_owned(), response)
    };
    STATUSES.into_iter().map(problem).collect::<Map<_, _>>().into()
}

fn unchanged() -> Json {
    json!({ "description": "It is as the client knows it." })
}

fn parameter(name: &str, schema: &Json, about: &str) -> Json {
    json!({ "name": name, "in": "query", "description": about, "schema": schema })
}

fn of_object() -> Json {
    json!({ "name": "id", "in": "path", "required": true, "schema": reference("Id") })
}

fn at_least() -> Json {
    parameter("at_least", &json!({ "type": "integer", "minimum": 0 }), "Every commit up to this position is reflected.")
}

fn if_none_match() -> Json {
    json!({ "name": "If-None-Match", "in": "header", "description": "ETags that are known.", "schema": { "type": "string", "pattern": TAGS_PATTERN, "minLength": 1 } })
}

const BLOB_PATTERN: &str = "^blob:[0-9a-f]{64}:[0-9]+$";

/// Conditions, as `If-Match` and `If-None-Match` have them.
const TAGS_PATTERN: &str = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;

const STATUSES: [(&str, &str); 13] = [
    ("400", "What was sent is not understood."),
    ("401", "There is no token, or none any more; or name and password do not belong together."),
    ("403", "The user's groups do not admit this."),
    ("404", "There is no such thing, or none that the user may know of."),
    ("406", "Answers are JSON or XML."),
    ("408", "The body took too long."),
    ("409", "Others changed the same objects, or somebody else's commit has this id."),
    ("412", "The object has another version."),
    ("413", "The body is too large."),
    ("415", "The body is neither JSON nor XML."),
    ("422", "The module, or the schema, says no."),
    ("429", "Too much at once."),
    ("503", "No host answers."),
];
