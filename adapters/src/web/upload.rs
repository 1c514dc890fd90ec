//! Files that come with requests: in forms (`multipart/form-data`, RFC 7578), or as the whole of a body. They go to the disk as they come, into files
//! without a name, which are gone with whoever holds them.

use std::fs::File;
use std::io;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use multer::{Constraints, Multipart, SizeLimit};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::form::Form;
use super::{Limits, Problem};
use crate::text;

/// A file that came.
#[derive(Debug)]
pub struct Upload {
    /// The field of the form that it came in; empty for a body.
    pub field: String,
    /// What its sender calls it, without the way to it; empty if it says nothing.
    pub name: String,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// The bytes, from the start.
    pub file: File,
}

/// Whether a request brings a form that may carry files.
pub fn is_form<B>(request: &Request<B>) -> bool {
    boundary(request).is_some()
}

/// Reads a form that may carry files. `admits` is asked with the fields before the first file, and a file is written only if it says yes: what forms
/// prove themselves with stands before their files. Fields of files that nobody chose are left out.
pub async fn form(request: Request<Body>, admits: impl FnOnce(&Form) -> bool) -> Result<(Form, Vec<Upload>), Problem> {
    let boundary = boundary(&request).ok_or_else(|| Problem::of(415).detail("a form with files is multipart/form-data"))?;
    let limits = limits(&request);
    match timeout(limits.upload_within, read(bounded(request, limits), boundary, limits, admits)).await {
        Ok(read) => read,
        Err(_) => Err(late(limits)),
    }
}

/// The body of a request, whatever it is, as a file.
pub async fn whole(request: Request<Body>) -> Result<Upload, Problem> {
    let limits = limits(&request);
    let mut body = bounded(request, limits);
    let spooled = async {
        let mut spool = Spool::new()?;
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame.map_err(|error| broken(&error, limits))?.into_data() {
                spool.write(&bytes).await?;
            }
        }
        spool.done(String::new(), String::new()).await
    };
    timeout(limits.upload_within, spooled).await.unwrap_or_else(|_| Err(late(limits)))
}

async fn read(body: Body, boundary: String, limits: Limits, admits: impl FnOnce(&Form) -> bool) -> Result<(Form, Vec<Upload>), Problem> {
    let mut parts = Multipart::with_constraints(
        body.into_data_stream(),
        boundary,
        Constraints::new().size_limit(SizeLimit::new().whole_stream(u64::MAX)),
    );
    let (mut form, mut uploads, mut admits) = (Form::default(), Vec::new(), Some(admits));
    while let Some(mut part) = parts.next_field().await.map_err(|error| of_part(&error, limits))? {
        let field = part.name().ok_or_else(|| Problem::of(400).detail("a part of the form has no name"))?.to_owned();
        let Some(name) = part.file_name().map(plain) else {
            let mut bytes = Vec::new();
            while let Some(more) = part.chunk().await.map_err(|error| of_part(&error, limits))? {
                bytes.extend_from_slice(&more);
                if bytes.len() > limits.body_bytes_max {
                    return Err(Problem::of(413).field(field).detail(format!("a field has at most {} bytes", limits.body_bytes_max)));
                }
            }
            let value = String::from_utf8(bytes).map_err(|_| Problem::of(400).detail("a form is in UTF-8"))?;
            form.push(&field, &value).map_err(|error| Problem::of(400).detail(error.to_string()))?;
            continue;
        };
        if admits.take().is_some_and(|admits| !admits(&form)) {
            return Err(Problem::of(403).detail("this form is of another session: load the page again"));
        }
        if uploads.len() == FILES_MAX {
            return Err(Problem::of(413).field(field).detail(format!("a form has at most {FILES_MAX} files")));
        }
        let mut spool = Spool::new()?;
        while let Some(bytes) = part.chunk().await.map_err(|error| of_part(&error, limits))? {
            spool.write(&bytes).await?;
        }
        // A field in which nobody chose a file comes as one without a name and with nothing in it.
        if spool.size_bytes > 0 || !name.is_empty() {
            uploads.push(spool.done(field, name).await?);
        }
    }
    Ok((form, uploads))
}

/// A file that grows.
struct Spool {
    file: tokio::fs::File,
    size_bytes: u64,
}

impl Spool {
    fn new() -> Result<Self, Problem> {
        Ok(Self { file: tokio::fs::File::from_std(tempfile::tempfile().map_err(|error| unwritten(&error))?), size_bytes: 0 })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.size_bytes += bytes.len() as u64;
        self.file.write_all(bytes).await.map_err(|error| unwritten(&error))
    }

    async fn done(mut self, field: String, name: String) -> Result<Upload, Problem> {
        self.file.flush().await.map_err(|error| unwritten(&error))?;
        Ok(Upload { field, name, size_bytes: self.size_bytes, file: self.file.into_std().await })
    }
}

fn limits<B>(request: &Request<B>) -> Limits {
    request.extensions().get::<Limits>().copied().unwrap_or_default()
}

fn bounded(request: Request<Body>, limits: Limits) -> Body {
    Body::new(Limited::new(request.into_body(), limits.upload_bytes_max))
}

fn boundary<B>(request: &Request<B>) -> Option<String> {
    let field = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(field).ok()
}

/// The last part of a path, as some programs send it.
fn plain(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name = text::printable(last);
    text::cut(&mut name, NAME_BYTES_MAX);
    name
}

fn of_part(error: &multer::Error, limits: Limits) -> Problem {
    match error {
        multer::Error::StreamReadFailed(error) => match error.downcast_ref::<axum::Error>() {
            Some(error) => broken(error, limits),
            None => Problem::of(400).detail("the body broke off"),
        },
        _ => Problem::of(400).detail("the body is no form as multipart/form-data has it, or it broke off"),
    }
}

fn broken(error: &axum::Error, limits: Limits) -> Problem {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return Problem::of(413).detail(format!("files have at most {} MiB together", limits.upload_bytes_max >> 20));
        }
        source = error.source();
    }
    Problem::of(400).detail("the body broke off")
}

fn late(limits: Limits) -> Problem {
    Problem::of(408).detail(format!("files take at most {:?}", limits.upload_within))
}

fn unwritten(error: &io::Error) -> Problem {
    tracing::warn!(%error, "a file that came cannot be written to the temporary directory");
    Problem::of(503).detail("there is no room for the file at this front end")
}

/// Files of one form.
pub const FILES_MAX: usize = 16;

/// Bytes of a file's name.
const NAME_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    fn request(body: &str, bytes_max: usize) -> Request<Body> {
        let limits = Limits { upload_bytes_max: bytes_max, body_bytes_max: 100, ..Limits::default() };
        let mut request = Request::new(Body::from(body.replace('\n', "\r\n")));
        request.headers_mut().insert(header::CONTENT_TYPE, "multipart/form-data; boundary=X".parse().unwrap());
        request.extensions_mut().insert(limits);
        request
    }

    fn text(upload: &mut Upload) -> String {
        let mut text = String::new();
        upload.file.rewind().unwrap();
        upload.file.read_to_string(&mut text).unwrap();
        text
    }

    const BODY: &str = "--X\nContent-Disposition: form-data; name=\"token\"\n\ngood\n\
        --X\nContent-Disposition: form-data; name=\"content\"; filename=\"C:\\temp\\p\u{fc}mp.jpg\"\nContent-Type: image/jpeg\n\nbytes\n\
        --X\nContent-Disposition: form-data; name=\"none\"; filename=\"\"\nContent-Type: application/octet-stream\n\n\n\
        --X\nContent-Disposition: form-data; name=\"after\"\n\na\nb\n--X--\n";

    #[tokio::test]
    async fn forms_bring_fields_and_files() {
        let (form, mut uploads) = form(request(BODY, 10_000), |form| form.get("token") == Some("good")).await.unwrap();
        assert_eq!((form.names().collect::<Vec<_>>(), form.get("after")), (vec!["token", "after"], Some("a\nb")));
        let [upload] = uploads.as_mut_slice() else { panic!("one file: {uploads:?}") };
        assert_eq!((upload.field.as_str(), upload.name.as_str(), upload.size_bytes), ("content", "p\u{fc}mp.jpg", 5));
        assert_eq!(text(upload), "bytes");
        let mut whole = whole(request("a\nb", 4)).await.unwrap();
        assert_eq!((text(&mut whole).as_str(), whole.size_bytes), ("a\r\nb", 4));
    }

    #[tokio::test]
    async fn forms_of_others_large_ones_and_broken_ones_are_refused() {
        let status =
            async |body: &str, max: usize, good: bool| form(request(body, max), |_| good).await.err().map(|problem| problem.status);
        assert_eq!(status(BODY, 10_000, false).await, Some(403));
        assert_eq!(status(BODY, 300, true).await, Some(413));
        assert_eq!(status(&BODY.replace("good", &"x".repeat(101)), 10_000, true).await, Some(413));
        assert_eq!(status(&BODY.replace("; name=\"after\"", ""), 10_000, true).await, Some(400));
        assert_eq!(status(&BODY[..BODY.len() / 2], 10_000, true).await, Some(400));
        assert_eq!(status("", 10_000, true).await, Some(400));
        assert_eq!(whole(request("12345", 4)).await.unwrap_err().status, 413);
        let mut plain = request(BODY, 10_000);
        plain.headers_mut().insert(header::CONTENT_TYPE, "multipart/form-data".parse().unwrap());
        assert!(!is_form(&plain));
        assert_eq!(form(plain, |_| true).await.unwrap_err().status, 415);
        let many = "--X\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\n\na\n".repeat(FILES_MAX + 1) + "--X--\n";
        assert_eq!(status(&many, 10_000, true).await, Some(413));
        let fields = "--X\nContent-Disposition: form-data; name=\"a\"\n\na\n".repeat(crate::web::form::FIELDS_MAX + 1) + "--X--\n";
        assert_eq!(status(&fields, 100_000, true).await, Some(400));
    }
}
