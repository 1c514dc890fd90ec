//! The frame of every page, and what is shown when there is no page.

use std::sync::Arc;

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::{Request, State};
use caps_adapters::web::axum::http::{HeaderValue, StatusCode, header};
use caps_adapters::web::axum::middleware::Next;
use caps_adapters::web::axum::response::{Html, IntoResponse, Response};
use caps_adapters::web::form;
use caps_adapters::web::problem::seconds_up;
use maud::{DOCTYPE, Markup, html};

use super::super::catalogue::Catalogue;
use super::super::refusal::Trouble;
use super::super::site::Site;
use super::super::visitor::{Profile, Visitor};

/// A page that is being put together.
#[derive(Debug)]
pub(super) struct Page<'a> {
    site: &'a Site,
    title: String,
    who: Option<Who<'a>>,
    live: Option<String>,
}

#[derive(Debug)]
struct Who<'a> {
    visitor: &'a Visitor,
    profile: &'a Profile,
    has_desk: bool,
    section: &'static str,
}

impl<'a> Page<'a> {
    pub(super) fn new(site: &'a Site, title: impl Into<String>) -> Self {
        Self { site, title: title.into(), who: None, live: None }
    }

    /// For somebody who has logged in, in a section of the console.
    pub(super) fn of(self, visitor: &'a Visitor, profile: &'a Profile, catalogue: &Catalogue, section: &'static str) -> Self {
        Self { who: Some(Who { visitor, profile, has_desk: catalogue.has_module("casedesk"), section }), ..self }
    }

    /// Follows what this stream tells.
    pub(super) fn live(self, stream: String) -> Self {
        Self { live: Some(stream), ..self }
    }

    pub(super) fn with(self, body: Markup) -> Html<String> {
        self.render(body)
    }

    fn render(self, body: Markup) -> Html<String> {
        let Self { site, title, who, live } = self;
        let notice = who.as_ref().and_then(|who| who.visitor.take_notice());
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (title) " · CAPS" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="stylesheet" href=(site.style.path());
                    link rel="icon" type="image/svg+xml" href=(site.icon.path());
                    script src=(site.script.path()) defer {}
                }
                body data-live=[live.as_deref()] {
                    a.skip href="#main" { "Skip to content" }
                    header.bar {
                        a.brand href="/" { "CAPS" }
                        @if let Some(who) = &who {
                            nav aria-label="Sections" {
                                @for (section, href, word) in SECTIONS {
                                    @if section != "desk" || who.has_desk {
                                        a href=(href) aria-current=[(section == who.section).then_some("page")] { (word) }
                                    }
                                }
                            }
                            span.grow {}
                            @if live.is_some() { output.line #line role="status" data-state="plain" title="Changes appear by themselves where scripts run" { "" } }
                            form.out method="post" action="/logout" {
                                input type="hidden" name="token" value=(site.token(&who.visitor.secret));
                                @if !who.profile.name.is_empty() { bdi.who { (who.profile.name) } }
                                button.quiet { "Sign out" }
                            }
                        }
                    }
                    main #main tabindex="-1" {
                        @if let Some(notice) = notice { p.notice role="status" { (notice) } }
                        (body)
                    }
                    div.hidden #news aria-live="polite" {}
                }
            }
        };
        Html(page.into_string())
    }
}

/// Why there is no page, as an answer.
#[derive(Debug)]
pub(in super::super) struct Failed {
    trouble: Trouble,
    /// Where to come back to.
    here: Option<String>,
}

impl Failed {
    /// With the place that was asked for.
    pub(super) fn at(trouble: Trouble, here: String) -> Self {
        Self { trouble, here: Some(here) }
    }
}

impl<T: Into<Trouble>> From<T> for Failed {
    fn from(trouble: T) -> Self {
        Self { trouble: trouble.into(), here: None }
    }
}

/// Marks an answer that is to become a page that says what went wrong: the frame of pages is the site's.
#[derive(Clone, Debug)]
pub(super) struct Sorry {
    pub(super) status: u16,
    pub(super) sentence: String,
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self { trouble, here } = self;
        if matches!(trouble, Trouble::SignedOut) {
            let next = here.map(|here| format!("?{}", form::query([("next", here.as_str())]))).unwrap_or_default();
            return see_other(&format!("/login{next}"));
        }
        let sorry = Sorry { status: trouble.status(), sentence: trouble.sentence() };
        let status = StatusCode::from_u16(sorry.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Html(plain(&sorry))).into_response();
        response.extensions_mut().insert(sorry);
        if let Trouble::Busy { wait, .. } = trouble {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(wait)));
        }
        response
    }
}

/// Puts the frame of the site around what went wrong.
pub(in super::super) async fn framed(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let Some(what) = response.extensions().get::<Sorry>().cloned() else { return response };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(Page::new(&site, "CAPS").with(sorry(&what)).0))
}

/// A page without a frame, in case nobody puts one around it.
fn plain(sorry: &Sorry) -> String {
    html! { (DOCTYPE) html lang="en" { head { title { "CAPS" } } body { main { p { (sorry.sentence) } } } } }.into_string()
}

/// What a page says about what went wrong.
pub(super) fn sorry(sorry: &Sorry) -> Markup {
    let title = match sorry.status {
        404 => "Not found",
        403 => "Not allowed",
        409 => "Changed in between",
        429 => "Too much at once",
        503 => "No host answers",
        500 => "Something is broken",
        _ => "This did not work",
    };
    html! {
        section.sorry {
            h1 { (title) }
            p dir="auto" { (sorry.sentence) }
            @if sorry.status == 503 { p { "Nothing is lost. The page can be loaded again as soon as a host is back." } }
            p { a.button href="/" { "Home" } }
        }
    }
}

/// Sends a browser on to another page, which it gets.
pub(super) fn see_other(place: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    match HeaderValue::from_str(place) {
        Ok(place) => drop(response.headers_mut().insert(header::LOCATION, place)),
        Err(_) => drop(response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"))),
    }
    response
}

/// A place on this site that somebody asked to be sent to; home for all else.
pub(super) fn local(place: Option<&str>) -> &str {
    let good = |place: &&str| {
        place.starts_with('/') && !place.starts_with("//") && !place.contains('\\') && place.bytes().all(|byte| byte.is_ascii_graphic())
    };
    place.filter(good).unwrap_or("/")
}

const SECTIONS: [(&str, &str, &str); 3] = [("desk", "/desk", "Queue"), ("data", "/", "Data"), ("overlay", "/overlay", "Overlay")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        assert_eq!(local(Some("/o/1?a=b")), "/o/1?a=b");
        for place in ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\r\nSet-Cookie: x", "javascript:1"] {
            assert_eq!(local(Some(place)), "/", "{place}");
        }
    }
}
