//! Answers made smaller where the client takes it.
//!
//! Only gzip, which every client takes: a page is made for one visitor and sent once, so it is not worth a format that compresses slowly to be small.

use std::io::Write;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;

use super::accept;

/// Bytes in gzip, as small as it gets.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    squeeze(bytes, Compression::best())
}

/// Whether an answer may be compressed for whoever sent these fields.
pub fn is_wanted(method: &Method, headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|field| field.to_str().ok());
    *method != Method::HEAD && accept::takes_gzip(accepted)
}

/// The same answer, compressed if it is text, whole, and of a size where that pays: what is streamed, tiny or huge stays as it is.
pub async fn compressed(response: Response) -> Response {
    if !is_worthwhile(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // It is in memory: there is nothing to wait for, and nothing that can fail.
    let Ok(body) = body.collect().await else { return Response::from_parts(parts, Body::empty()) };
    let small = squeeze(&body.to_bytes(), Compression::new(LEVEL));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(parts, Body::from(Bytes::from(small)))
}

fn is_worthwhile(response: &Response) -> bool {
    let exact = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let fits = exact.is_some_and(|bytes| (BYTES_MIN..=BYTES_MAX).contains(&bytes));
    fits && !response.headers().contains_key(header::CONTENT_ENCODING) && is_text(response.headers())
}

fn is_text(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|field| field.to_str().ok()).unwrap_or_default();
    media_type.starts_with("text/") || media_type.contains("json") || media_type.contains("xml")
}

fn squeeze(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), level);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// One packet takes about this much: less saves nothing.
const BYTES_MIN: usize = 1_200;

/// Compressing runs on the thread that serves everybody: a mebibyte takes about 20 ms.
const BYTES_MAX: usize = 1 << 20;

/// Nearly as small as the best, in a third of the time.
const LEVEL: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(media_type: &'static str, bytes: usize) -> Response {
        let mut response = Response::new(Body::from("a".repeat(bytes)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    #[tokio::test]
    async fn only_texts_of_some_size_are_compressed() {
        for (media_type, bytes, expected) in [("text/html", 5_000, true), ("text/html", 100, false), ("image/png", 5_000, false)] {
            let response = compressed(answer(media_type, bytes)).await;
            assert_eq!(response.headers().contains_key(header::CONTENT_ENCODING), expected, "{media_type} {bytes}");
        }
    }
}
