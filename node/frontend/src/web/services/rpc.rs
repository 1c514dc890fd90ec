//! The methods of modules as XML-RPC: `module.method`, with one struct of parameters, or with parameters in the order of the schema.
//!
//! `session.login(user, password)` gives a token, which every other call shows as `Authorization: Bearer`, until `session.logout()`; `system.listMethods`, `methodSignature` and
//! `methodHelp` need none. Moments are in UTC and to the second: XML-RPC knows no others.

use std::sync::Arc;

use caps_adapters::web::Problem;
use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::State;
use caps_adapters::web::axum::http::{HeaderValue, Request, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::body;
use caps_adapters::web::server::Peer;
use caps_adapters::web::xml_rpc::{Call, Fault, Value as Rpc, answer, fault};
use caps_model::schema::{Attribute, Method};
use caps_model::value::Entry;
use caps_model::{Record, Schema, Value, ValueKind};

use super::super::catalogue::Catalogue;
use super::super::input;
use super::super::moment::{parse, rfc3339};
use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::Visitor;
use super::caller::admit;
use super::login::{end, token};

pub(super) async fn serve(State(site): State<Arc<Site>>, request: Request<Body>) -> Response {
    let text = match ask(&site, request).await {
        Ok(result) => answer(&result),
        Err(refused) => fault(&refused),
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

async fn ask(site: &Arc<Site>, request: Request<Body>) -> Result<Rpc, Fault> {
    let peer = request.extensions().get::<Peer>().copied();
    let headers = request.headers().clone();
    let bytes = body::whole(request).await.map_err(of_problem)?;
    let call = Call::parse(&bytes).map_err(|error| Fault { code: PARSE, message: error.to_string() })?;
    let catalogue = site.catalogue().await.map_err(of_trouble)?;
    match call.method.as_str() {
        "session.login" => {
            let [Rpc::Text(user), Rpc::Text(password)] = call.parameters.as_slice() else { return Err(wrong("give user and password")) };
            let (ticket, _) = token(site, peer, user, password).await.map_err(of_problem)?;
            Ok(Rpc::Text(ticket.written()))
        }
        "session.logout" => {
            admit(peer, &headers, site).await.map_err(of_problem)?;
            end(site, &headers).await.map_err(of_trouble)?;
            Ok(Rpc::Bool(true))
        }
        "system.listMethods" => Ok(Rpc::List(names(&catalogue).map(Rpc::Text).collect())),
        "system.methodSignature" => signature(&catalogue, &call.parameters),
        "system.methodHelp" => help(&catalogue, &call.parameters),
        name => {
            let (schema, method) = found(&catalogue, name)?;
            let visitor = admit(peer, &headers, site).await.map_err(of_problem)?;
            let arguments = arguments(&method.parameters, call.parameters)?;
            run(&visitor, schema, method, arguments).await
        }
    }
}

async fn run(visitor: &Visitor, schema: &Schema, method: &Method, arguments: Record) -> Result<Rpc, Fault> {
    let called =
        visitor.client.call(schema.module.clone(), method.name.clone(), arguments).await.map_err(|error| of_trouble(error.into()))?;
    let result = |attribute: &Attribute| {
        let values = called.result.get(&attribute.name).filter(|values| !values.is_empty())?;
        Some((attribute.name.to_string(), several(attribute, values)))
    };
    Ok(Rpc::Members(method.results.iter().filter_map(result).collect()))
}

fn names(catalogue: &Catalogue) -> impl Iterator<Item = String> {
    let ours = OURS.iter().map(|(name, ..)| (*name).to_owned());
    ours.chain(
        catalogue.schemas().iter().flat_map(|schema| schema.methods.iter().map(move |method| format!("{}.{}", schema.module, method.name))),
    )
}

fn found<'a>(catalogue: &'a Catalogue, name: &str) -> Result<(&'a Schema, &'a Method), Fault> {
    let found = name.split_once('.').and_then(|(module, method)| catalogue.method(module, method));
    found.ok_or_else(|| Fault { code: NO_METHOD, message: "there is no such method: system.listMethods says what there is".to_owned() })
}

fn asked_about(parameters: &[Rpc]) -> Result<&str, Fault> {
    match parameters {
        [Rpc::Text(name)] => Ok(name),
        _ => Err(wrong("give the name of a method")),
    }
}

fn signature(catalogue: &Catalogue, parameters: &[Rpc]) -> Result<Rpc, Fault> {
    let name = asked_about(parameters)?;
    let text = |text: &str| Rpc::Text(text.to_owned());
    if let Some((_, signature, _)) = OURS.iter().find(|(ours, ..)| *ours == name) {
        return Ok(Rpc::List(vec![Rpc::List(signature.iter().map(|kind| text(kind)).collect())]));
    }
    let (_, method) = found(catalogue, name)?;
    let kinds = [text("struct")].into_iter().chain(method.parameters.iter().map(|parameter| text(kind(parameter))));
    Ok(Rpc::List(vec![Rpc::List(kinds.collect()), Rpc::List(vec![text("struct"), text("struct")])]))
}

fn help(catalogue: &Catalogue, parameters: &[Rpc]) -> Result<Rpc, Fault> {
    let name = asked_about(parameters)?;
    if let Some((.., help)) = OURS.iter().find(|(ours, ..)| *ours == name) {
        return Ok(Rpc::Text((*help).to_owned()));
    }
    let (_, method) = found(catalogue, name)?;
    let mut help = format!("{} For {}.", method.summary, method.callers.join(", "));
    for parameter in &method.parameters {
        let optional = if parameter.arity.min == 0 { ", optional" } else { "" };
        help.push_str(&format!("\n{} ({}{optional}): {}", parameter.name, kind(parameter), parameter.summary));
    }
    Ok(Rpc::Text(help))
}

fn kind(attribute: &Attribute) -> &'static str {
    match (attribute.is_map, attribute.arity.max) {
        (true, _) => return "struct",
        (false, 1) => {}
        (false, _) => return "array",
    }
    match attribute.kind {
        ValueKind::Bool => "boolean",
        ValueKind::Int | ValueKind::Timespan => "int",
        ValueKind::Float => "double",
        ValueKind::Timestamp => "dateTime.iso8601",
        ValueKind::Bytes => "base64",
        _ => "string",
    }
}

/// The arguments of a call: a struct by name, or one after the other; `nil` stands for none.
fn arguments(parameters: &[Attribute], given: Vec<Rpc>) -> Result<Record, Fault> {
    let by_name = |members: Vec<(String, Rpc)>| -> Result<Record, Fault> {
        let mut record = Record::new();
        for (name, value) in members.into_iter().filter(|(_, value)| *value != Rpc::Nil) {
            let parameter = parameters.iter().find(|parameter| parameter.name == name.as_str());
            let parameter = parameter.ok_or_else(|| wrong("there is a parameter too many: system.methodHelp says what there is"))?;
            let values = values(parameter, value).map_err(|sentence| wrong(&format!("{}: {sentence}", parameter.name)))?;
            record.insert(parameter.name.clone(), values);
        }
        Ok(record)
    };
    let takes_struct = parameters.first().is_some_and(|first| first.is_map);
    match <[Rpc; 1]>::try_from(given) {
        Ok([Rpc::Members(members)]) if !takes_struct => by_name(members),
        Ok([one]) => by_name(parameters.iter().take(1).map(|parameter| (parameter.name.to_string(), one.clone())).collect()),
        Err(given) if given.len() > parameters.len() => Err(wrong("there are parameters too many")),
        Err(given) => by_name(parameters.iter().map(|parameter| parameter.name.to_string()).zip(given).collect()),
    }
}

fn values(parameter: &Attribute, given: Rpc) -> Result<Vec<Value>, String> {
    match (parameter.is_map, parameter.arity.max, given) {
        (true, _, Rpc::Members(members)) => {
            let entry = |(key, given)| {
                let entry = Entry::new(key, value(parameter, given)?).ok_or("an entry holds no entry")?;
                Ok(Value::Entry(Box::new(entry)))
            };
            members.into_iter().map(entry).collect()
        }
        (true, ..) => Err("give a struct".to_owned()),
        (false, 1, given) => value(parameter, given).map(|value| vec![value]),
        (false, _, Rpc::List(list)) => list.into_iter().map(|given| value(parameter, given)).collect(),
        (false, ..) => Err("give an array".to_owned()),
    }
}

fn value(parameter: &Attribute, given: Rpc) -> Result<Value, String> {
    let wrong = || {
        format!("give a value of type {}", kind(&Attribute { arity: caps_model::schema::Arity::ONE, is_map: false, ..parameter.clone() }))
    };
    match (parameter.kind, given) {
        (ValueKind::Bool, Rpc::Bool(truth)) => Ok(Value::Bool(truth)),
        (ValueKind::Int, Rpc::Int(number)) => Ok(Value::Int(number)),
        (ValueKind::Timespan, Rpc::Int(number)) => Ok(Value::Timespan(number)),
        (ValueKind::Float, Rpc::Double(number)) => Ok(Value::Float(number)),
        (ValueKind::Bytes, Rpc::Bytes(bytes)) => Ok(Value::Bytes(bytes)),
        (ValueKind::Timestamp, Rpc::Moment(moment)) => moment_of(&moment).map(Value::Timestamp).ok_or_else(wrong),
        (ValueKind::Bool | ValueKind::Int | ValueKind::Timespan | ValueKind::Float | ValueKind::Bytes, _) => Err(wrong()),
        (_, Rpc::Text(text)) => input::value(parameter, &text),
        _ => Err(wrong()),
    }
}

/// `20261122T10:30:00`, as the specification writes it, or with the dashes that everybody else does.
fn moment_of(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    match date.len() {
        8 if date.is_ascii() => parse(&format!("{}-{}-{}T{time}", &date[..4], &date[4..6], &date[6..])),
        _ => parse(text),
    }
}

fn several(attribute: &Attribute, values: &[Value]) -> Rpc {
    if attribute.is_map {
        let entries = values.iter().filter_map(Value::as_entry);
        return Rpc::Members(entries.map(|entry| (entry.key().to_owned(), one(entry.value()))).collect());
    }
    match (attribute.arity.max, values) {
        (1, [value]) => one(value),
        _ => Rpc::List(values.iter().map(one).collect()),
    }
}

fn one(value: &Value) -> Rpc {
    match value {
        Value::Bool(truth) => Rpc::Bool(*truth),
        Value::Int(number) | Value::Timespan(number) => Rpc::Int(*number),
        Value::Float(number) => Rpc::Double(*number),
        Value::Timestamp(micros) => Rpc::Moment(rfc3339(*micros).get(..19).unwrap_or_default().replace('-', "")),
        Value::Bytes(bytes) => Rpc::Bytes(bytes.clone()),
        Value::Reference(id) => Rpc::Text(id.to_string()),
        Value::Entry(entry) => one(entry.value()),
        other => Rpc::Text(other.to_string()),
    }
}

fn wrong(sentence: &str) -> Fault {
    Fault { code: PARAMETERS, message: sentence.to_owned() }
}

fn of_trouble(trouble: Trouble) -> Fault {
    of_problem(trouble.problem())
}

/// The status of the problem is the code of the fault; the sentence begins with the word and the field, if there are such.
fn of_problem(problem: Problem) -> Fault {
    let head = match (&problem.code, &problem.field) {
        (Some(code), Some(field)) => format!("{code}[{field}]: "),
        (Some(code), None) => format!("{code}: "),
        _ => String::new(),
    };
    Fault { code: problem.status.into(), message: head + if problem.detail.is_empty() { problem.title() } else { &problem.detail } }
}

/// Codes that implementations of XML-RPC agreed on for what the protocol itself finds wrong.
const PARSE: i32 = -32_700;
const NO_METHOD: i32 = -32_601;
const PARAMETERS: i32 = -32_602;

type Described = (&'static str, &'static [&'static str], &'static str);

/// Methods of no module: name, signature, help.
const OURS: [Described; 5] = [
    ("session.login", &["string", "string", "string"], "Takes user and password, and gives a token to send as 'Authorization: Bearer'."),
    ("session.logout", &["boolean"], "Ends the session of the token."),
    ("system.listMethods", &["array"], "The names of all methods."),
    ("system.methodHelp", &["string", "string"], "What a method does, and what it takes."),
    ("system.methodSignature", &["array", "string"], "What a method answers and takes, by type."),
];
