//! A form for any method of any module.

use std::sync::Arc;

use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::StatusCode;
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_model::schema::Method;
use caps_model::{CommitId, Name, ObjectId, Record, Schema, Value, ValueKind};
use maud::html;

use super::super::catalogue::Catalogue;
use super::super::input::{self, object_id};
use super::super::refusal::Trouble;
use super::super::shown::label;
use super::super::site::Site;
use super::super::visitor::Visitor;
use super::form::Filled;
use super::page::{Failed, Page, local, see_other};
use super::request::{Asked, Sent};
use crate::MethodCall;

pub(super) async fn page(State(site): State<Arc<Site>>, Path(path): Path<(String, String)>, asked: Asked) -> Result<Response, Failed> {
    let catalogue = site.catalogue().await?;
    let (schema, method) = found(&catalogue, &path)?;
    let given = method.parameters.iter().filter_map(|parameter| {
        let id = asked.query.filled(parameter.name.as_str()).and_then(object_id)?;
        parameter.target().map(|_| (parameter.name.clone(), (id, id.to_string())))
    });
    let filled = Filled { given: given.collect(), form: asked.query, ..Filled::default() };
    let commit = asked.visitor.client.new_commit();
    render(&site, &catalogue, &asked.visitor, (schema, method), commit, filled, StatusCode::OK).await
}

pub(super) async fn submit(State(site): State<Arc<Site>>, Path(path): Path<(String, String)>, sent: Sent) -> Result<Response, Failed> {
    let catalogue = site.catalogue().await?;
    let (schema, method) = found(&catalogue, &path)?;
    let Sent { visitor, form } = sent;
    // The page chose the id, so that a form that is sent twice does its work once.
    let commit = form.get("commit").and_then(|commit| commit.parse().ok()).unwrap_or_else(|| visitor.client.new_commit());
    let given = method.parameters.iter().filter(|parameter| form.get(&format!("given-{}", parameter.name)).is_some());
    let given = given.filter_map(|parameter| {
        form.filled(parameter.name.as_str()).and_then(object_id).map(|id| (parameter.name.clone(), (id, id.to_string())))
    });
    let mut filled = Filled { given: given.collect(), ..Filled::default() };
    let arguments = match input::arguments(&method.parameters, &form) {
        Ok(arguments) => arguments,
        Err(complaints) => {
            let filled = Filled { complaints, form, ..filled };
            return render(&site, &catalogue, &visitor, (schema, method), commit, filled, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let why = form.filled("why-it-is-done").map(ToOwned::to_owned);
    let call = MethodCall::new(commit, schema.module.clone(), method.name.clone(), arguments.clone()).because(why);
    match visitor.client.call_again(call).await.map_err(Trouble::from) {
        Ok(called) => {
            visitor.forget_profile();
            visitor.note(format!("{}: done, at position {}.", label(method.name.as_str()), called.position));
            let next = form.filled("next").map(|next| local(Some(next)).to_owned());
            let object = reference(&called.result).or_else(|| reference(&arguments));
            Ok(see_other(&next.unwrap_or_else(|| object.map_or_else(|| "/".to_owned(), |id| format!("/o/{id}")))))
        }
        Err(Trouble::SignedOut) => Err(Trouble::SignedOut.into()),
        Err(trouble) => {
            let status = StatusCode::from_u16(trouble.status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            filled.complain(&trouble, &method.parameters);
            filled.form = form;
            // What perhaps happened is tried again under the same id, and what was refused may be; an id that is spoilt is not.
            let commit = if status == StatusCode::CONFLICT { visitor.client.new_commit() } else { commit };
            render(&site, &catalogue, &visitor, (schema, method), commit, filled, status).await
        }
    }
}

fn found<'a>(catalogue: &'a Catalogue, (module, method): &(String, String)) -> Result<(&'a Schema, &'a Method), Trouble> {
    catalogue.method(module, method).ok_or_else(|| Trouble::NotFound(format!("No module has a method {module}.{method}.")))
}

/// The first object that a record refers to.
fn reference(record: &Record) -> Option<ObjectId> {
    record.values().flatten().find_map(Value::as_reference)
}

async fn render(
    site: &Site,
    catalogue: &Catalogue,
    visitor: &Visitor,
    (schema, method): (&Schema, &Method),
    commit: CommitId,
    mut filled: Filled,
    status: StatusCode,
) -> Result<Response, Failed> {
    filled.offer(&visitor.client, catalogue, &method.parameters).await?;
    let profile = visitor.profile().await?;
    let has_reason = method.parameters.iter().any(|parameter| parameter.name == *"reason");
    let takes_files = method.parameters.iter().any(|parameter| parameter.kind == ValueKind::Blob);
    let given: Vec<&Name> = filled.given.keys().collect();
    let body = html! {
        h1 { (label(method.name.as_str())) }
        p.lead { (method.summary) }
        (filled.complaint())
        form.sheet method="post" action={ "/m/" (schema.module) "/" (method.name) } enctype=[takes_files.then_some("multipart/form-data")] {
            input type="hidden" name="token" value=(site.token(&visitor.secret));
            input type="hidden" name="commit" value=(commit);
            @if let Some(next) = filled.form.filled("next") { input type="hidden" name="next" value=(next); }
            @for name in given { input type="hidden" name={ "given-" (name) } value="1"; }
            (filled.fields(&method.parameters))
            @if !has_reason {
                div.field {
                    label for="why" { "Reason" span.hint { " optional" } }
                    input #why name="why-it-is-done" maxlength="200" dir="auto" value=(filled.form.get("why-it-is-done").unwrap_or_default());
                    p.hint { "For whoever reads the history." }
                }
            }
            button.strong { (label(method.name.as_str())) }
        }
    };
    let page = Page::new(site, label(method.name.as_str())).of(visitor, &profile, catalogue, "data").with(body);
    Ok((status, page).into_response())
}
