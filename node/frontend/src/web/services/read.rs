//! Bodies of requests, in the format that they say they are in.

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::http::{HeaderMap, Request, header};
use caps_adapters::web::json::{self, Map, Value as Json};
use caps_adapters::web::{Problem, body, xml};

/// What a body says.
#[derive(Debug)]
pub(super) enum Given {
    /// A JSON object.
    Json(Map<String, Json>),
    /// An XML document.
    Xml(xml::Element),
}

/// Reads a body.
pub(super) async fn given(request: Request<Body>) -> Result<Given, Problem> {
    let is_xml = is_xml(request.headers())?;
    let bytes = body::whole(request).await?;
    match is_xml {
        true => xml::parse(&bytes).map(Given::Xml).map_err(|error| Problem::of(400).detail(error.to_string())),
        false => match json::parse(&bytes) {
            Ok(Json::Object(members)) => Ok(Given::Json(members)),
            Ok(_) => Err(Problem::of(400).detail("the body is an object of parameters")),
            Err(error) => Err(Problem::of(400).detail(error.to_string())),
        },
    }
}

fn is_xml(headers: &HeaderMap) -> Result<bool, Problem> {
    let field = headers.get(header::CONTENT_TYPE).and_then(|field| field.to_str().ok()).unwrap_or_default();
    match field.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(false),
        "application/xml" | "text/xml" => Ok(true),
        _ => Err(Problem::of(415).detail("a body is application/json or application/xml, and says so in Content-Type")),
    }
}
