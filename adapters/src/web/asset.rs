//! Files that browsers keep for ever, because their name changes with what is in them.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::compression;

/// A file of a program, compressed once.
#[derive(Clone, Debug)]
pub struct Asset {
    path: String,
    media_type: &'static str,
    plain: &'static [u8],
    gzip: Vec<u8>,
}

impl Asset {
    /// A file that is served as `/assets/<name>.<hash>.<extension>`.
    pub fn new(name: &str, extension: &str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let hash: String = Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { path: format!("/assets/{name}.{hash}.{extension}"), media_type, plain: bytes, gzip: compression::gzip(bytes) }
    }

    /// Where it is served.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes that travel, compressed.
    pub fn gzip_bytes(&self) -> usize {
        self.gzip.len()
    }

    /// The answer to whoever asks for it.
    pub fn answer(&self, takes_gzip: bool) -> Response {
        let body = if takes_gzip { Body::from(self.gzip.clone()) } else { Body::from(self.plain) };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if takes_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_changes_with_the_content() {
        let (one, other) = (Asset::new("a", "css", "text/css", b"x"), Asset::new("a", "css", "text/css", b"y"));
        assert_ne!(one.path(), other.path());
        assert!(one.path().starts_with("/assets/a.") && one.path().ends_with(".css"));
        assert_eq!(one.answer(true).headers()[header::CONTENT_ENCODING], "gzip");
    }
}
