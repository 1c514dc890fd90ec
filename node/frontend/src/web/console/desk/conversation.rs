//! A case as a conversation: its messages, an answer to write, and what else an agent does with it.

use std::sync::Arc;

use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::StatusCode;
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_adapters::web::form::{self, Form};
use caps_model::{Name, Object, ObjectId, Query, Value};
use maud::{Markup, html};

use super::super::super::catalogue::Catalogue;
use super::super::super::input::{self, object_id};
use super::super::super::refusal::{Refusal, Trouble};
use super::super::super::shown::{PRIORITIES, Show, bytes, chip, label, priority};
use super::super::super::site::Site;
use super::super::super::visitor::{Profile, Visitor};
use super::super::object::Portrait;
use super::super::page::{Failed, Page, see_other};
use super::super::request::{Asked, Sent};
use crate::{Client, ClientError, MethodCall};

/// What was tried and refused, to be shown beside what was typed.
#[derive(Debug, Default)]
struct Attempt {
    form: Form,
    trouble: Option<Trouble>,
}

pub(in super::super) async fn page(State(site): State<Arc<Site>>, Path(id): Path<String>, asked: Asked) -> Result<Response, Failed> {
    render(&site, &asked.visitor, &id, Attempt::default()).await
}

pub(in super::super) async fn submit(State(site): State<Arc<Site>>, Path(id): Path<String>, sent: Sent) -> Result<Response, Failed> {
    let Sent { visitor, mut form } = sent;
    let catalogue = site.catalogue().await?;
    let action = form.get("action").unwrap_or_default();
    let known = ACTIONS.contains(&action).then(|| catalogue.method("casedesk", action)).flatten();
    let (schema, method) = known.ok_or_else(|| Trouble::Bad("the page is of another release: load it again".to_owned()))?;
    let case = object_id(&id).ok_or_else(nothing)?;
    if action == "attach" && (form.filled("name").is_none() || form.filled("content-name").is_some()) {
        // A document is called as its file.
        let name = form.filled("content-name").unwrap_or("file").to_owned();
        form = form.without("name");
        form.push("name", &name).map_err(|error| Trouble::Bad(error.to_string()))?;
    }
    let action = form.get("action").unwrap_or_default();
    let commit = form.get("commit").and_then(|commit| commit.parse().ok()).unwrap_or_else(|| visitor.client.new_commit());
    let others: Vec<_> = method.parameters.iter().filter(|parameter| parameter.name != *"case").cloned().collect();
    let trouble = match input::arguments(&others, &form) {
        Ok(mut arguments) => {
            arguments.insert(Name::fixed("case"), vec![Value::Reference(case)]);
            let call = MethodCall::new(commit, schema.module.clone(), method.name.clone(), arguments);
            match visitor.client.call_again(call).await.map_err(Trouble::from) {
                Ok(_) => {
                    visitor.note(done(action).to_owned());
                    return Ok(see_other(&format!("/desk/cases/{case}")));
                }
                Err(Trouble::SignedOut) => return Err(Trouble::SignedOut.into()),
                Err(trouble) => trouble,
            }
        }
        Err(complaints) => {
            let (field, sentence) = complaints.into_iter().next().unwrap_or_default();
            Trouble::Refused(Refusal { status: 422, code: "kind".to_owned(), field: Some(field), sentence })
        }
    };
    render(&site, &visitor, &id, Attempt { form, trouble: Some(trouble) }).await
}

async fn render(site: &Site, visitor: &Visitor, id: &str, attempt: Attempt) -> Result<Response, Failed> {
    let case = object_id(id).ok_or_else(nothing)?;
    let (catalogue, profile) = (site.catalogue().await?, visitor.profile().await?);
    let client = &visitor.client;
    let (portrait, messages, agents) =
        tokio::try_join!(Portrait::ask(client, &catalogue, case, None), client.query(messages_of(case)), agents(client, &catalogue))?;
    let portrait = portrait.filter(|portrait| portrait.object.entity == *"case").ok_or_else(nothing)?;
    let now = site.now_micros();
    let show = Show { titles: &portrait.titles, now };
    let title = catalogue.title(&portrait.object);
    let status = attempt.trouble.as_ref().map_or(200, Trouble::status);
    let desk = Desk { site, visitor, profile: &profile, agents: &agents, attempt: &attempt };
    let body = html! {
        p.crumbs { a href="/desk" { "Queue" } }
        (head(show, &portrait.object, &title))
        div.split.desk {
            section aria-label="Conversation" {
                ol.messages #rows { @for message in &messages.objects { (message_row(show, message)) } }
                @if messages.more { p.hint { "There are more: " a href={ "/e/message?q=case%20%3D%20%23" (case) } { "all messages" } } }
                (desk.reply(&portrait.object))
            }
            aside aria-label="Case" {
                (facts(show, &portrait.object))
                (desk.actions(&portrait.object))
                details.history { summary { "Timeline" } (portrait.history(&catalogue, now)) }
            }
        }
    };
    let position = messages.position.to_string();
    let live = format!("/live/desk/cases/{case}?{}", form::query([("from", position.as_str())]));
    let page = Page::new(site, title).of(visitor, &profile, &catalogue, "desk").live(live).with(body);
    Ok((StatusCode::from_u16(status).unwrap_or(StatusCode::OK), page).into_response())
}

/// The messages of a case, in the order in which they came.
pub(in super::super) fn messages_of(case: ObjectId) -> Query {
    Query::equal(Name::fixed("message"), Name::fixed("case"), Value::Reference(case))
        .by(Name::fixed("received_at"), false)
        .limit(MESSAGES_SHOWN)
}

async fn agents(client: &Client, catalogue: &Catalogue) -> Result<Vec<(ObjectId, String)>, ClientError> {
    let found = client.query(Query::all(Name::fixed("agent")).by(Name::fixed("name"), false).limit(AGENTS_SHOWN)).await?;
    Ok(found.objects.iter().map(|agent| (agent.id, catalogue.title(agent))).collect())
}

/// The title and how the case is, which follow what changes.
pub(in super::super) fn head(show: Show<'_>, case: &Object, title: &str) -> Markup {
    html! {
        header.case #head {
            h1 dir="auto" { (title) }
            p {
                (chip(case.text("status").unwrap_or("new"))) " " (priority(case.int("priority").unwrap_or(2)))
                @if let Some(due) = case.value("due_at").and_then(Value::as_timestamp).filter(|_| case.text("status") != Some("closed")) {
                    " due " @if due < show.now { strong.late { (show.distance(due)) } } @else { (show.distance(due)) }
                }
            }
        }
    }
}

/// What there is to know about a case besides, which follows what changes.
pub(in super::super) fn facts(show: Show<'_>, case: &Object) -> Markup {
    let moment = |name: &str| case.value(name).and_then(Value::as_timestamp).map(|micros| show.moment(micros));
    html! {
        dl.facts #facts {
            div { dt { "Customer" } dd { @match case.reference("customer") { Some(id) => (show.reference(id)), None => "—" } } }
            div { dt { "Agent" } dd { @match case.reference("agent") { Some(id) => (show.reference(id)), None => "nobody yet" } } }
            @if let Some(opened) = moment("opened_at") { div { dt { "Opened" } dd { (opened) } } }
            @if let Some(closed) = moment("closed_at") { div { dt { "Closed" } dd { (closed) } } }
            @if let Some(reason) = case.text("close_reason") { div { dt { "Because" } dd dir="auto" { (reason) } } }
            @if !case.values("documents").is_empty() {
                div { dt { "Documents" } dd { @for id in case.values("documents").iter().filter_map(Value::as_reference) { (show.reference(id)) " " } } }
            }
        }
    }
}

/// One message.
pub(in super::super) fn message_row(show: Show<'_>, message: &Object) -> Markup {
    let outgoing = message.text("direction") == Some("out");
    let from = message.text("from").unwrap_or_default();
    let texts = |name: &str| message.values(name).iter().filter_map(Value::as_text).map(ToOwned::to_owned).collect::<Vec<_>>();
    let sizes: Vec<u64> = message.values("attachment_sizes").iter().filter_map(Value::as_int).map(i64::unsigned_abs).collect();
    html! {
        li.message.outgoing[outgoing] data-key=(message.id) {
            header {
                @if outgoing { strong { "Reply" } " to " bdi { (texts("to").join(", ")) } } @else { strong { bdi { (from) } } }
                span.grow {}
                @if let Some(at) = message.value("received_at").and_then(Value::as_timestamp) { (show.moment(at)) }
            }
            div.prose dir="auto" { (message.text("text").unwrap_or_default()) }
            @let names = texts("attachment_names");
            @if !names.is_empty() {
                ul.attachments aria-label="Attachments" {
                    @for (place, name) in names.iter().enumerate() { li { (attached(message, place, name)) " " span.hint { (bytes(sizes.get(place).copied().unwrap_or(0))) } } }
                }
            }
            @if let Some(state) = message.text("delivery") { p.hint dir="auto" { "Delivery: " (state) (said(message, state)) } }
        }
    }
}

/// The name of an attachment, and the way to it if it is kept.
fn attached(message: &Object, place: usize, name: &str) -> Markup {
    match message.values("attachment_contents").get(place) {
        Some(_) => html! { a href={ "/o/" (message.id) "/file/attachment_contents/" (place) } { bdi { (name) } } },
        None => html! { bdi { (name) } },
    }
}

/// What the other side said last, where it is more than that all went well.
fn said(message: &Object, state: &str) -> String {
    let note = message.text("delivery_note").filter(|_| state != "sent");
    note.map(|note| format!(": {note}")).unwrap_or_default()
}

/// What the forms of a page need.
struct Desk<'a> {
    site: &'a Site,
    visitor: &'a Visitor,
    profile: &'a Profile,
    agents: &'a [(ObjectId, String)],
    attempt: &'a Attempt,
}

impl Desk<'_> {
    fn reply(&self, case: &Object) -> Markup {
        let (tried, complaint) = self.outcome("reply");
        html! {
            form.reply method="post" {
                (self.hidden("reply"))
                label for="text" { "Reply" }
                textarea #text name="text" rows="6" required maxlength=(TEXT_MAX) dir="auto" data-focus="r" aria-invalid=[complaint.as_ref().map(|_| "true")] {
                    "\n" (tried.and_then(|form| form.get("text")).unwrap_or_default())
                }
                @if let Some(complaint) = complaint { p.complaint role="alert" { (complaint) } }
                p { button.strong { "Send reply" } @if case.text("status") == Some("closed") { span.hint { " A closed case is reopened first." } } }
            }
        }
    }

    fn actions(&self, case: &Object) -> Markup {
        let mine = self.profile.agent.filter(|mine| case.reference("agent") != Some(*mine));
        let current = case.reference("agent");
        html! {
            div.deeds #deeds {
                @if let Some(mine) = mine {
                    form method="post" { (self.hidden("assign")) input type="hidden" name="agent" value=(mine); button { "Assign to me" } }
                }
                @if !self.agents.is_empty() {
                    (self.form("assign", "Assign", html! {
                        label.hidden for="agent" { "Agent" }
                        select #agent name="agent" required {
                            @if current.is_none() { option value="" { "Agent…" } }
                            @for (id, name) in self.agents { option value=(id) selected[current == Some(*id)] dir="auto" { (name) } }
                        }
                    }))
                }
                (self.form("set_priority", "Set", html! {
                    label.hidden for="priority" { "Priority" }
                    select #priority name="priority" {
                        @for (number, word) in (1..).zip(PRIORITIES) { option value=(number) selected[case.int("priority") == Some(number)] { (word) } }
                    }
                }))
                (self.attach())
                @if case.text("status") == Some("closed") {
                    (self.form("reopen", "Reopen", html! {}))
                } @else {
                    @let typed = self.outcome("close").0.and_then(|form| form.get("reason")).unwrap_or_default();
                    (self.form("close", "Close", html! {
                        label.hidden for="reason" { "Reason" }
                        input #reason name="reason" required maxlength="200" placeholder="Reason to close" value=(typed) dir="auto";
                    }))
                }
            }
        }
    }

    fn attach(&self) -> Markup {
        let (tried, complaint) = self.outcome("attach");
        let kept = tried.and_then(|form| form.filled("content").zip(form.get("name")));
        html! {
            form method="post" enctype="multipart/form-data" {
                (self.hidden("attach"))
                @if let Some((blob, name)) = kept {
                    input type="hidden" name="content-kept" value=(blob);
                    input type="hidden" name="name" value=(name);
                }
                div.inline {
                    label.hidden for="content" { "File" }
                    input #content name="content" type="file" required[kept.is_none()];
                    button { "Attach" }
                }
                @if let Some(complaint) = complaint { p.complaint role="alert" dir="auto" { (complaint) } }
            }
        }
    }

    fn form(&self, action: &str, word: &str, fields: Markup) -> Markup {
        let (_, complaint) = self.outcome(action);
        html! {
            form method="post" {
                (self.hidden(action))
                div.inline { (fields) button { (word) } }
                @if let Some(complaint) = complaint { p.complaint role="alert" dir="auto" { (complaint) } }
            }
        }
    }

    fn hidden(&self, action: &str) -> Markup {
        html! {
            input type="hidden" name="token" value=(self.site.token(&self.visitor.secret));
            input type="hidden" name="commit" value=(self.commit(action));
            input type="hidden" name="action" value=(action);
        }
    }

    /// What perhaps happened is tried again under the same id, and what was refused may be; an id that is spoilt is not.
    fn commit(&self, action: &str) -> String {
        let is_spoilt = self.attempt.trouble.as_ref().is_some_and(|trouble| trouble.status() == 409);
        let tried = self.outcome(action).0.filter(|_| !is_spoilt).and_then(|form| form.get("commit"));
        tried.map_or_else(|| self.visitor.client.new_commit().to_string(), ToOwned::to_owned)
    }

    /// What was typed for an action that was tried, and why it did not happen.
    fn outcome(&self, action: &str) -> (Option<&Form>, Option<String>) {
        let tried = self.attempt.trouble.as_ref().filter(|_| self.attempt.form.get("action") == Some(action));
        let sentence = tried.map(|trouble| match trouble {
            Trouble::Refused(Refusal { field: Some(field), sentence, .. }) if field != "case" => format!("{}: {sentence}", label(field)),
            other => other.sentence(),
        });
        (tried.map(|_| &self.attempt.form), sentence)
    }
}

/// What can be done with a case, which follows what becomes of it.
pub(in super::super) async fn deeds(site: &Site, visitor: &Visitor, catalogue: &Catalogue, case: &Object) -> Result<Markup, Trouble> {
    let (profile, agents) = (visitor.profile().await?, agents(&visitor.client, catalogue).await?);
    Ok(Desk { site, visitor, profile: &profile, agents: &agents, attempt: &Attempt::default() }.actions(case))
}

fn done(action: &str) -> &'static str {
    match action {
        "reply" => "The reply is on its way.",
        "assign" => "Assigned.",
        "attach" => "Attached.",
        "close" => "Closed.",
        "reopen" => "Opened again.",
        _ => "Done.",
    }
}

fn nothing() -> Trouble {
    Trouble::NotFound("There is no such case, or none that you may read.".to_owned())
}

/// What these pages do; everything else has a form of its own.
const ACTIONS: [&str; 6] = ["reply", "assign", "set_priority", "attach", "close", "reopen"];

const MESSAGES_SHOWN: u32 = 200;
const AGENTS_SHOWN: u32 = 200;

/// Bytes of a reply, as the module has it; characters may be fewer, and the module says so.
const TEXT_MAX: u32 = 512 << 10;
