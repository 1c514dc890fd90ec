//! Where somebody begins who has logged in: what there is.

use std::sync::Arc;

use caps_adapters::web::axum::extract::State;
use caps_adapters::web::axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use super::super::shown::label;
use super::super::site::Site;
use super::page::{Failed, Page};
use super::request::Asked;

pub(super) async fn page(State(site): State<Arc<Site>>, asked: Asked) -> Result<Response, Failed> {
    let (catalogue, profile) = (site.catalogue().await?, asked.visitor.profile().await?);
    let module = |schema: &caps_model::Schema| -> Markup {
        let mine: Vec<_> = schema.methods.iter().filter(|method| profile.may_call(&method.callers)).collect();
        html! {
            section.module {
                h2 { (label(schema.module.as_str())) }
                p.lead { (schema.summary) }
                ul.cards {
                    @for entity in &schema.entities {
                        li { a href={ "/e/" (entity.name) } { (label(entity.name.as_str())) } p { (entity.summary) } }
                    }
                }
                @if !mine.is_empty() {
                    details {
                        summary { "What you can do" }
                        ul { @for method in mine {
                            li { a href={ "/m/" (schema.module) "/" (method.name) } { (label(method.name.as_str())) } " — " (method.summary) }
                        } }
                    }
                }
            }
        }
    };
    let body = html! {
        h1 { "Data" }
        @for schema in catalogue.schemas() { (module(schema)) }
    };
    let page: Html<String> = Page::new(&site, "Data").of(&asked.visitor, &profile, &catalogue, "data").with(body);
    Ok(page.into_response())
}
