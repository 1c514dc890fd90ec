//! Forms that bring files.

use std::io::{Read, Seek};

use caps_adapters::web::{
    Limits,
    axum::{
        body::Body,
        http::{Request, header::CONTENT_TYPE},
    },
    form::FIELDS_MAX,
    upload::{self, FILES_MAX},
};
use tokio::runtime::Builder;

/// A body of parts. The first byte says whether the form is let through to its files.
pub(super) fn form(input: &[u8]) {
    let Some((&flags, body)) = input.split_first() else { return };
    let admits = flags % 4 != 0;
    let mut request = Request::new(Body::from(body.to_vec()));
    request.headers_mut().insert(CONTENT_TYPE, "multipart/form-data; boundary=X".parse().expect("it is a field"));
    request.extensions_mut().insert(Limits { upload_bytes_max: 2_000, body_bytes_max: 200, ..Limits::default() });
    thread_local!(static RUNTIME: tokio::runtime::Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made"));
    match RUNTIME.with(|runtime| runtime.block_on(upload::form(request, |_| admits))) {
        Ok((form, uploads)) => {
            assert!(body.len() <= 2_000 && form.names().count() <= FIELDS_MAX && uploads.len() <= FILES_MAX);
            assert!(form.pairs().all(|(_, value)| value.len() <= 200 && !value.contains('\r')));
            assert!(admits || uploads.is_empty(), "a file was let through");
            for mut upload in uploads {
                let mut bytes = Vec::new();
                upload.file.rewind().and_then(|()| upload.file.read_to_end(&mut bytes)).expect("the file is there");
                assert_eq!(bytes.len() as u64, upload.size_bytes);
                assert!(bytes.is_empty() || body.windows(bytes.len()).any(|window| window == bytes), "the file is what came");
                assert!(
                    !upload.name.contains(['/', '\\']) && upload.name.len() <= 200 && !upload.name.contains(|char: char| char.is_control())
                );
            }
        }
        Err(problem) => assert!((400..500).contains(&problem.status), "{problem:?}"),
    }
}

pub(super) const FORMS: &[&[u8]] = &[
    b"\x01--X\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\ngood\r\n--X\r\nContent-Disposition: form-data; name=\"content\"; filename=\"a/b.txt\"\r\nContent-Type: text/plain\r\n\r\nbytes\r\n--X--\r\n",
    b"\x00--X\r\nContent-Disposition: form-data; name=\"content\"; filename=\"\"\r\n\r\n\r\n--X--\r\n",
    b"\x01--X\r\ncontent-disposition: form-data; name*=UTF-8''%c3%a5; filename*=UTF-8''%c3%a5\r\n\r\nx\r\n--X--",
];

pub(super) const WORDS: &[&str] = &[
    "--X",
    "--X--",
    "\r\n",
    "Content-Disposition: form-data; ",
    "name=",
    "filename=",
    "filename*=UTF-8''",
    "Content-Type: ",
    "Content-Transfer-Encoding: ",
];
