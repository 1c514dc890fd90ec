//! A large value, as a file that a browser saves.
//!
//! Whatever it says it is, a browser is not to show it as a page of this site: it is saved, never opened in place.

use std::io;
use std::sync::Arc;

use caps_adapters::web::axum::body::{Body, Bytes};
use caps_adapters::web::axum::extract::{Path, State};
use caps_adapters::web::axum::http::{HeaderValue, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::disposition;
use caps_model::messages::blobs::Download;
use caps_model::{Name, Object, Value};
use futures_util::stream;

use super::super::input::object_id;
use super::super::refusal::Trouble;
use super::super::site::Site;
use super::page::Failed;
use super::request::Asked;
use crate::Client;

pub(super) async fn file(
    State(_): State<Arc<Site>>,
    Path((id, attribute, number)): Path<(String, String, u32)>,
    asked: Asked,
) -> Result<Response, Failed> {
    let nothing = || Trouble::NotFound("There is no such file, or none that you may read.".to_owned());
    let (id, attribute) = (object_id(&id).ok_or_else(nothing)?, Name::new(&attribute).map_err(|_| nothing())?);
    let client = asked.visitor.client.clone();
    let object = client.get(vec![id]).await.map_err(Trouble::from)?.objects.into_iter().next().flatten().ok_or_else(nothing)?;
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    let blob = object.values(attribute.as_str()).get(place).and_then(Value::blob_within).ok_or_else(nothing)?;
    let name = name_of(&object, &attribute, place);
    // As of the version that was looked at: the parts must be of one blob.
    let wanted = Download { object: id, attribute, number, at: Some(object.version), offset: 0, length: blob.size_bytes };
    let mut response = Response::new(Body::from_stream(parts(client, wanted)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(blob.size_bytes));
    headers.insert(header::CONTENT_DISPOSITION, disposition::attachment(&name));
    Ok(response)
}

/// The parts, one after the other: the next one is fetched when the browser has taken the last.
fn parts(client: Client, wanted: Download) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((client, wanted), async |(client, mut wanted)| {
        if wanted.length == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let part = Download { length: wanted.length.min(PART_BYTES), ..wanted.clone() };
        let fetched = client.get_blob(part, |_, more| {
            bytes.extend_from_slice(more);
            Ok(())
        });
        let (_, count) = fetched.await.map_err(io::Error::other)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        wanted.offset += count;
        wanted.length = wanted.length.saturating_sub(count);
        Ok(Some((Bytes::from(bytes), (client, wanted))))
    })
}

/// What a file is called: the name that stands beside it in a list of names, or the object's own.
fn name_of(object: &Object, attribute: &Name, place: usize) -> String {
    let names = attribute.as_str().strip_suffix("_contents").map(|of| format!("{of}_names"));
    let listed = names.and_then(|names| object.values(&names).get(place).and_then(Value::as_text).map(str::to_owned));
    listed.or_else(|| object.text("name").map(str::to_owned)).unwrap_or_else(|| format!("{attribute}-{place}"))
}

/// Bytes fetched at once.
const PART_BYTES: u64 = 1 << 20;
