//! Problems as programs read them: RFC 9457.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What went wrong, for programs and for whoever reads their logs. Its type is `about:blank`: the status, and the code of a refusal, say it all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status of the answer.
    pub status: u16,
    /// What happened and what to change.
    pub detail: String,
    /// The code of the refusal, as the service has it.
    pub code: Option<Box<str>>,
    /// The parameter or attribute that is to blame.
    pub field: Option<Box<str>>,
    /// The commit whose outcome is open.
    pub commit: Option<Box<str>>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem that its status describes; statuses that are none become 500.
    pub fn of(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).as_u16();
        Self { status, detail: String::new(), code: None, field: None, commit: None, retry_after: None }
    }

    /// The type, in words of the RFC.
    pub const TYPE: &str = "about:blank";

    /// The status in words.
    pub fn title(&self) -> &'static str {
        StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
    }

    /// The status as the answer has it.
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The members besides type, title and status that are there, by name.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let detail = (!self.detail.is_empty()).then_some(self.detail.as_str());
        let all =
            [("detail", detail), ("code", self.code.as_deref()), ("field", self.field.as_deref()), ("commit", self.commit.as_deref())];
        all.into_iter().filter_map(|(name, text)| Some((name, text?)))
    }

    /// The problem in JSON.
    pub fn json(&self) -> String {
        let mut json = json!({ "type": Self::TYPE, "title": self.title(), "status": self.status });
        for (name, text) in self.members() {
            json[name] = text.into();
        }
        json.to_string()
    }

    /// The same, with what happened and what to change.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// The same, with the service's code.
    #[must_use]
    pub fn code(self, code: impl Into<Box<str>>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// The same, with a parameter to blame.
    #[must_use]
    pub fn field(self, field: impl Into<Box<str>>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// The same, with advice on when to try again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

/// Whole seconds, rounded up: `Retry-After` knows no others, and too early is in vain.
pub fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = self.status_code();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(wait)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_says_what_there_is_to_say() {
        let problem = Problem::of(422).detail("too long").field("subject").code("size");
        let json: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
        let expected = serde_json::json!({"type": "about:blank", "title": "Unprocessable Entity", "status": 422, "detail": "too long",
            "code": "size", "field": "subject"});
        assert_eq!(json, expected);
        let response = Problem::of(429).retry_after(Duration::from_millis(1_001)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
