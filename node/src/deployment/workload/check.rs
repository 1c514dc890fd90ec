//! From what the file says to operations that can run; or one clear complaint and its place.

mod arguments;

use std::sync::Arc;
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_model::messages::{GET_MAX, HISTORY_MAX};
use caps_model::query::{LIMIT_DEFAULT, LIMIT_MAX, ParseOrderError};
use caps_model::{Filter, Name, Order, Query, Value, ValueKind};
use toml::Spanned;

use super::declared::{Before, Declared, method};
use super::{Operation, Password, Pick, Source, Step, Template, Users, Workload, file};
use crate::deployment::Node;

/// The byte where something is wrong, and what.
type Complaint = (usize, String);

/// What the file says of operations and users, held against the rest of the deployment.
pub(in crate::deployment) fn workload(
    operations: &[file::Operation],
    users: &[file::Users],
    sites: &[String],
    nodes: &[Node],
    modules: &[String],
) -> Result<Workload, Complaint> {
    let declared = Declared::by(modules);
    let mut workload = Workload::default();
    for written in operations {
        let operation = operation(written, &declared)?;
        if workload.operation(&operation.name).is_some() {
            return Err(complain(&written.name, format!("there are two operations named {:?}", operation.name)));
        }
        workload.operations.push(Arc::new(operation));
    }
    workload.users = users.iter().map(|users| some_users(users, &workload, sites, nodes)).collect::<Result<_, _>>()?;
    Ok(workload)
}

fn operation(operation: &file::Operation, declared: &Declared) -> Result<Operation, Complaint> {
    let name = operation.name.get_ref();
    let shown = !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
    if !shown {
        let problem = format!("{name:?} is no name: an operation's has 1 to {NAME_BYTES_MAX} bytes that can be printed");
        return Err(complain(&operation.name, problem));
    }
    if operation.step.is_empty() {
        return Err(complain(&operation.name, format!("{name:?} does nothing: add [[operation.step]] with what a user does")));
    }
    if operation.step.len() > STEPS_MAX {
        return Err(complain(&operation.name, format!("{name:?} has more than {STEPS_MAX} steps")));
    }
    let limit = operation.limit.as_ref().map(limit).transpose()?;
    let mut before = Before::default();
    let steps = operation.step.iter().map(|written| step(written, declared, &mut before)).collect::<Result<_, _>>()?;
    Ok(Operation { name: name.clone(), about: operation.about.clone(), limit, steps })
}

fn step<'a>(written: &Spanned<file::Step>, declared: &'a Declared, before: &mut Before<'a>) -> Result<Step, Complaint> {
    let file::Step { connect, login, query, get, history, call, file_mail, watch, think } = written.get_ref();
    let given = [
        connect.is_some(),
        login.is_some(),
        query.is_some(),
        get.is_some(),
        history.is_some(),
        call.is_some(),
        file_mail.is_some(),
        watch.is_some(),
        think.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 => return Err(complain(written, format!("this step does nothing: it is one of {STEPS}"))),
        _ => return Err(complain(written, "a step does one thing: write an [[operation.step]] for each".to_owned())),
    }
    if let Some(connect) = connect {
        return match connect.get_ref() {
            true => Ok(Step::Connect),
            false => Err(complain(connect, "a step that does not connect does nothing: leave it out".to_owned())),
        };
    }
    if let Some(login) = login {
        if login.user.get_ref().is_empty() {
            return Err(complain(&login.user, "the user has no name".to_owned()));
        }
        return Ok(Step::Login { user: login.user.get_ref().clone(), password: Password(login.password.clone()) });
    }
    if let Some(query) = query {
        return a_query(query, declared, before);
    }
    if let Some(get) = get {
        return a_get(get, declared, before);
    }
    if let Some(history) = history {
        return a_history(history, before);
    }
    if let Some(call) = call {
        return a_call(call, declared, before);
    }
    if let Some(mail) = file_mail {
        return a_mail(mail, declared, before);
    }
    if let Some(watch) = watch {
        let query = checked_query(&watch.entity, watch.filter.as_ref(), None, LIMIT_DEFAULT, declared, before)?;
        return Ok(Step::Watch { query, length: time(&watch.length, WATCH_MAX)? });
    }
    let think = think.as_ref().expect("exactly one thing is given, and all others are not");
    time(think, THINK_MAX).map(Step::Think)
}

fn a_query<'a>(query: &file::Query, declared: &'a Declared, before: &mut Before<'a>) -> Result<Step, Complaint> {
    let limit = match &query.limit {
        Some(limit) if *limit.get_ref() == 0 || *limit.get_ref() > LIMIT_MAX => {
            return Err(complain(limit, format!("a limit is 1 to {LIMIT_MAX}")));
        }
        Some(limit) => *limit.get_ref(),
        None => LIMIT_SHOWN,
    };
    let pick = match &query.pick {
        None => Pick::First,
        Some(pick) => match pick.get_ref().as_str() {
            "first" => Pick::First,
            "any" => Pick::Any,
            other => return Err(complain(pick, format!("{other:?} picks nothing: it is \"first\" or \"any\""))),
        },
    };
    let checked = checked_query(&query.entity, query.filter.as_ref(), query.order.as_ref(), limit, declared, before)?;
    before.found = Some(declared.entity(checked.entity.as_str()).ok());
    Ok(Step::Query { query: checked, pick })
}

fn a_get<'a>(get: &file::Get, declared: &'a Declared, before: &mut Before<'a>) -> Result<Step, Complaint> {
    let written = match get.objects.get_ref() {
        toml::Value::Array(objects) => objects.iter().collect(),
        one => vec![one],
    };
    let objects: Vec<Template> = written
        .into_iter()
        .map(|object| match object {
            toml::Value::String(text) => object_template(text, before),
            other => Err(format!("{other} is no object: {OBJECTS}")),
        })
        .collect::<Result<_, _>>()
        .map_err(|problem| complain(&get.objects, problem))?;
    if objects.is_empty() || objects.len() > GET_MAX {
        return Err(complain(&get.objects, format!("1 to {GET_MAX} objects: {OBJECTS}")));
    }
    let at_most = match &get.at_most {
        Some(count) if (1..=GET_MAX).contains(count.get_ref()) => *count.get_ref(),
        Some(count) => return Err(complain(count, format!("at_most is 1 to {GET_MAX}"))),
        None => GET_MAX,
    };
    before.found = Some(match objects.as_slice() {
        // The same objects, so of the same entity.
        [Template::Source(Source::Found(None))] => before.found.flatten(),
        [Template::Source(source)] => before.attribute(source).ok().flatten().and_then(|attribute| declared.referred_by(attribute)),
        _ => None,
    });
    Ok(Step::Get { objects, at_most })
}

fn a_history(history: &file::History, before: &Before<'_>) -> Result<Step, Complaint> {
    let object = object_template(history.object.get_ref(), before).map_err(|problem| complain(&history.object, problem))?;
    match &history.limit {
        Some(limit) if !(1..=HISTORY_MAX).contains(limit.get_ref()) => Err(complain(limit, format!("a limit is 1 to {HISTORY_MAX}"))),
        limit => Ok(Step::History { object, limit: limit.as_ref().map_or(LIMIT_SHOWN, |limit| *limit.get_ref()) }),
    }
}

fn a_call<'a>(call: &file::Call, declared: &'a Declared, before: &mut Before<'a>) -> Result<Step, Complaint> {
    let module = declared.module(call.module.get_ref()).map_err(|problem| complain(&call.module, problem))?;
    let method = method(module, call.method.get_ref()).map_err(|problem| complain(&call.method, problem))?;
    let arguments = arguments::checked(call, method, before)?;
    before.result = Some(method);
    Ok(Step::Call { module: module.module.clone(), method: method.name.clone(), arguments })
}

fn a_mail<'a>(mail: &file::FileMail, declared: &'a Declared, before: &mut Before<'a>) -> Result<Step, Complaint> {
    let method = declared.module("casedesk").and_then(|module| method(module, "file_mail"));
    let method = method.map_err(|problem| complain(&mail.text, problem))?;
    let text = Template::of_text(mail.text.get_ref()).map_err(|problem| complain(&mail.text, problem))?;
    for source in text.sources() {
        before.kind(source).map_err(|problem| complain(&mail.text, problem))?;
    }
    let size_bytes = *mail.bytes.get_ref();
    if !(MAIL_BYTES_MIN..=MAIL_BYTES_MAX).contains(&size_bytes) {
        return Err(complain(&mail.bytes, format!("a mail has {MAIL_BYTES_MIN} to {MAIL_BYTES_MAX} bytes")));
    }
    before.result = Some(method);
    Ok(Step::FileMail { text, size_bytes })
}

fn some_users(users: &file::Users, workload: &Workload, sites: &[String], nodes: &[Node]) -> Result<Users, Complaint> {
    let name = users.operation.get_ref();
    let operation = workload.operation(name).ok_or_else(|| {
        let known: Vec<&str> = workload.operations.iter().map(|operation| operation.name.as_str()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        complain(&users.operation, format!("there is no operation {name:?} in this file; {known}"))
    })?;
    let (site, front_ends) = match (&users.front_end, &users.site) {
        (Some(front_end), None) => one_front_end(front_end, nodes)?,
        (None, Some(site)) => front_ends_of(site, sites, nodes)?,
        (Some(_), Some(site)) => return Err(complain(site, "users sit at a front_end or are spread over a site: say one".to_owned())),
        (None, None) => return Err(complain(&users.operation, "where are they? say front_end = \"NODE\" or site = \"SITE\"".to_owned())),
    };
    let count = *users.count.get_ref();
    if count == 0 || count > USERS_MAX {
        return Err(complain(&users.count, format!("the count of users is 1 to {USERS_MAX}")));
    }
    let every = users.every.as_ref().map(|every| time(every, EVERY_MAX)).transpose()?;
    if every.is_none() && !operation.rests() {
        let problem = format!("how often? {name:?} never rests, so say every = \"2m\", the mean time between two starts by one user");
        return Err(complain(&users.operation, problem));
    }
    let own_limit = users.limit.as_ref().map(limit).transpose()?;
    Ok(Users { operation: operation.clone(), site, front_ends, count, every, own_limit })
}

fn one_front_end(front_end: &Spanned<String>, nodes: &[Node]) -> Result<(String, Vec<String>), Complaint> {
    let name = front_end.get_ref();
    let known = || nodes.iter().filter(|node| node.layer == Layer::FrontEnd).map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    match nodes.iter().find(|node| node.name == *name) {
        Some(node) if node.layer == Layer::FrontEnd => Ok((node.site.clone(), vec![name.clone()])),
        Some(node) => Err(complain(front_end, format!("{name} is of layer {}: users sit at nodes of layer 4", node.layer.number()))),
        None => Err(complain(front_end, format!("there is no front end {name:?}; the file has {}", known()))),
    }
}

fn front_ends_of(site: &Spanned<String>, sites: &[String], nodes: &[Node]) -> Result<(String, Vec<String>), Complaint> {
    let name = site.get_ref();
    if !sites.contains(name) {
        return Err(complain(site, format!("there is no site {name:?}; the file has {}", sites.join(", "))));
    }
    let here = nodes.iter().filter(|node| node.layer == Layer::FrontEnd && node.site == *name);
    let front_ends: Vec<String> = here.map(|node| node.name.clone()).collect();
    match front_ends.is_empty() {
        true => Err(complain(site, format!("{name} has no front end (layer = 4): nobody can work there"))),
        false => Ok((name.clone(), front_ends)),
    }
}

fn checked_query(
    entity: &Spanned<String>,
    filter: Option<&Spanned<String>>,
    order: Option<&Spanned<String>>,
    limit: u32,
    declared: &Declared,
    before: &Before<'_>,
) -> Result<Query, Complaint> {
    declared.entity(entity.get_ref()).map_err(|problem| complain(entity, problem))?;
    let bare = Query { limit, ..Query::all(name(entity)?) };
    let ordered = Query { order: order.map(orders).transpose()?.unwrap_or_default(), ..bare };
    declared.check(&ordered, before).map_err(|problem| complain(order.unwrap_or(entity), problem))?;
    let Some(written) = filter else { return Ok(ordered) };
    let filter: Filter = written.get_ref().parse().map_err(|error| complain(written, format!("the filter, {error}")))?;
    let query = Query { filter, ..ordered };
    declared.check(&query, before).map_err(|problem| complain(written, problem))?;
    Ok(query)
}

fn orders(text: &Spanned<String>) -> Result<Vec<Order>, Complaint> {
    text.get_ref().split(',').map(|order| order.parse().map_err(|error: ParseOrderError| complain(text, error.to_string()))).collect()
}

/// An object that a step names: `found`, `found.ATTRIBUTE`, `result.NAME`, with or without `$`, or `#id`.
fn object_template(text: &str, before: &Before<'_>) -> Result<Template, String> {
    if let Some(id) = text.strip_prefix('#') {
        return id.parse().map(|id| Template::Fixed(Value::Reference(id))).map_err(|error| format!("{text:?}: {error}"));
    }
    match Template::of_text(&format!("${}", text.strip_prefix('$').unwrap_or(text))) {
        Ok(Template::Source(source)) if source != Source::Number => match before.kind(&source)? {
            Some(kind) if kind != ValueKind::Reference => Err(format!("{source} is of kind {kind}, not an object")),
            _ => Ok(Template::Source(source)),
        },
        _ => Err(format!("{text:?} is no object: {OBJECTS}")),
    }
}

fn name(text: &Spanned<String>) -> Result<Name, Complaint> {
    Name::new(text.get_ref()).map_err(|error| complain(text, error.to_string()))
}

fn limit(text: &Spanned<String>) -> Result<Duration, Complaint> {
    time(text, LIMIT_TIME_MAX)
}

fn time(text: &Spanned<String>, max: Duration) -> Result<Duration, Complaint> {
    let written = text.get_ref();
    match humantime::parse_duration(written) {
        Err(_) => Err(complain(text, format!("{written:?} is not a duration: write it as 500ms, 2s or 5m20s"))),
        Ok(time) if time.is_zero() => Err(complain(text, format!("{written:?} is no time at all"))),
        Ok(time) if time > max => Err(complain(text, format!("{written} is more than {}", humantime::format_duration(max)))),
        Ok(time) => Ok(time),
    }
}

fn complain<T>(place: &Spanned<T>, problem: String) -> Complaint {
    (place.span().start, problem)
}

const STEPS: &str = "connect, login, query, get, history, call, file_mail, watch, think";
const OBJECTS: &str = "write \"found\", \"found.ATTRIBUTE\", \"result.NAME\" or \"#id\"";

const NAME_BYTES_MAX: usize = 100;
const STEPS_MAX: usize = 1_000;
/// Objects or events that a front end shows when nobody says how many: what the commands ask for.
const LIMIT_SHOWN: u32 = 50;
const USERS_MAX: u32 = 100_000;
/// Headers alone take most of that.
const MAIL_BYTES_MIN: usize = 500;
/// The case desk takes texts of up to 512 KiB.
const MAIL_BYTES_MAX: usize = 400_000;
const LIMIT_TIME_MAX: Duration = Duration::from_secs(3_600);
const THINK_MAX: Duration = Duration::from_secs(86_400);
const WATCH_MAX: Duration = Duration::from_secs(7 * 86_400);
const EVERY_MAX: Duration = Duration::from_secs(31 * 86_400);
