//! Large values: as files that are saved, and from files that are sent.
//!
//! Whatever it says it is, a browser is not to show it as a page of this site: it is saved, never opened in place.

use std::io;
use std::sync::Arc;

use caps_adapters::web::axum::body::{Body, Bytes};
use caps_adapters::web::axum::http::{HeaderValue, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::disposition;
use caps_adapters::web::upload::Upload;
use caps_model::messages::blobs::Download;
use caps_model::{BlobId, Name, Object, Value};
use futures_util::stream;

use super::refusal::Trouble;
use super::site::Site;
use crate::Client;
use crate::blob::{chunk_of, table_of};

/// One of the large values of an object's attribute, as a file; `None`: there is none.
pub(super) fn file(client: &Client, object: &Object, attribute: &str, number: u32) -> Option<Response> {
    let attribute = Name::new(attribute).ok()?;
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    let blob = object.values(attribute.as_str()).get(place).and_then(Value::blob_within)?;
    let name = name_of(object, &attribute, place);
    // As of the version that was looked at: the parts must be of one blob.
    let wanted = Download { object: object.id, attribute, number, at: Some(object.version), offset: 0, length: blob.size_bytes };
    let mut response = Response::new(Body::from_stream(parts(client.clone(), wanted)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(blob.size_bytes));
    headers.insert(header::CONTENT_DISPOSITION, disposition::attachment(&name));
    Some(response)
}

/// Brings a file that came to the cabinet. Until a commit names the blob, it is nobody's, and goes after some time.
pub(super) async fn store(site: &Site, client: &Client, upload: Upload) -> Result<BlobId, Trouble> {
    let file = Arc::new(upload.file);
    let read = file.clone();
    let failed = |error: io::Error| Trouble::Fault(format!("the file that came cannot be read again: {error}"));
    let table = site.files.run(move || table_of(&read)).await.map_err(io::Error::other).and_then(|table| table).map_err(failed)?;
    Ok(client.put_blob(&table, |index| chunk_of(&file, &table, index), |_| {}).await?.blob)
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
