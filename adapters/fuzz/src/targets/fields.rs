//! Small fields of HTTP, and what stands in a URL.

use caps_adapters::web::{
    accept,
    axum::http::{HeaderMap, HeaderName, HeaderValue},
    cookie,
    etag::{TAGS_MAX, Tag, Tags},
    form::{self, FIELDS_MAX, Form},
    idempotency::{KEY_BYTES_MAX, Key},
    origin,
    path::{self, PATH_BYTES_MAX},
    token,
};

use super::oracle::{is_shown, text};

/// A form, which is read from what it is written as.
pub(super) fn form(input: &[u8]) {
    let Ok(form) = Form::parse(input) else { return };
    assert!(form.names().count() <= FIELDS_MAX);
    let mut seen: Vec<&str> = Vec::new();
    let mut pairs = Vec::new();
    for name in form.names() {
        let value = form.all(name).nth(seen.iter().filter(|known| **known == name).count()).expect("each field has a value");
        assert!(!value.contains('\r'));
        seen.push(name);
        pairs.push((name, value));
    }
    let written = form::query(pairs);
    assert!(written.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(Form::parse(written.as_bytes()).as_ref(), Ok(&form), "{written}");
}

/// A path: what is let through means one thing.
pub(super) fn path(input: &[u8]) {
    let given = text(input);
    if path::check(&given).is_err() || given == "*" {
        return;
    }
    assert!(given.len() <= PATH_BYTES_MAX && given.starts_with('/'));
    let decoded = percent_decoded(given.as_bytes());
    let decoded = str::from_utf8(&decoded).expect("a path is text");
    assert!(!decoded.contains("//") && !decoded.contains('\\') && !decoded.contains(|char: char| char.is_ascii_control()));
    assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."));
    assert_eq!(decoded.matches('/').count(), given.matches('/').count());
}

/// `Accept` and `Accept-Encoding`.
pub(super) fn accept(input: &[u8]) {
    let field = text(input);
    let offered = ["text/html", "application/json", "text/event-stream"];
    let chosen = accept::media_type(Some(&field), &offered);
    assert!(chosen.is_none_or(|chosen| offered.contains(&chosen)));
    assert_eq!(accept::media_type(Some(&field.to_ascii_uppercase()), &offered), chosen, "names are compared without regard to case");
    assert_eq!(accept::takes_gzip(Some(&field)), accept::takes_gzip(Some(&field.to_ascii_uppercase())));
    assert_eq!(accept::media_type(Some(&field), &[]), None);
}

/// `If-Match`; and a version, whose tag comes back as it was given.
pub(super) fn etag(input: &[u8]) {
    let field = text(input);
    let tag = Tag::of(&field);
    assert!(HeaderValue::from_str(&tag.to_string()).is_ok());
    assert_eq!(Tags::parse(&tag.to_string()), Ok(Tags::Some(vec![tag.clone()])));
    let Ok(tags) = Tags::parse(&field) else { return };
    assert!(tags.has(&tag) || tags != Tags::Any);
    if let Tags::Some(list) = &tags {
        assert!((1..=TAGS_MAX).contains(&list.len()) && list.iter().all(|tag| tags.has(tag) && is_shown(tag.as_str())));
        let written: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(Tags::parse(&written.join(", ")).as_ref(), Ok(&tags));
    }
}

/// `Idempotency-Key`.
pub(super) fn idempotency(input: &[u8]) {
    let Ok(key) = Key::parse(&text(input)) else { return };
    assert!((1..=KEY_BYTES_MAX).contains(&key.as_str().len()) && key.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(Key::parse(&format!("\"{}\"", key.as_str())).as_ref(), Ok(&key));
    assert_ne!(key.number(&["a"]), key.number(&["a", ""]));
}

/// Cookies, and the token in a form.
pub(super) fn cookie(input: &[u8]) {
    let field = text(input);
    for name in ["session", "a"] {
        if let Some(value) = cookie::value(field.split('\n'), name) {
            assert!(!value.contains(';') && field.contains(&format!("{name}={value}")));
        }
    }
    let Some((mask, secret)) = input.split_first_chunk::<16>() else { return };
    let masked = token::masked(secret, *mask);
    assert!(token::is_for(&masked, secret) && !token::is_for(&masked[1..], secret));
    let other = [secret, b"x"].concat();
    assert!(!token::is_for(&masked, &other));
    // Only by its own mask can a text be a token.
    let is_token = token::is_for(&field, secret);
    assert!(!is_token || field.len() == 64);
}

/// The fields by which a request says where it comes from, a line each: `Sec-Fetch-Site`, `Origin`, `Host`.
pub(super) fn origin(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in ["sec-fetch-site", "origin", "host"] {
        let line = lines.next().unwrap_or_default();
        if let Ok(value) = HeaderValue::from_bytes(line).map_err(|_| ()).and_then(|value| if line.is_empty() { Err(()) } else { Ok(value) })
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let is_ours = origin::is_ours(&headers, None);
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (headers.contains_key("sec-fetch-site"), headers.contains_key("origin")) {
        (true, _) => assert_eq!(is_ours, matches!(said("sec-fetch-site"), Some("same-origin" | "none"))),
        (false, true) if is_ours => assert!(said("origin").is_some_and(|origin| origin.ends_with(said("host").unwrap_or("no host")))),
        (false, true) => {}
        (false, false) => assert!(is_ours),
    }
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

pub(super) const FORMS: &[&[u8]] = &[b"a=b&c=%C3%A4+x&a=%0D%0A&=&d", b"=%3D&&a=%FF"];
pub(super) const PATHS: &[&[u8]] = &[b"/a/b%20c/", b"/%2e%2e/x", b"/a//b", b"*", b"/%C3%A4"];
pub(super) const ACCEPTS: &[&[u8]] = &[b"text/html;q=0.5, application/json, */*;q=0.1", b"gzip;q=0, *", b"Text/*; level=1; Q=0.3"];
pub(super) const ETAGS: &[&[u8]] = &[b"\"1\", W/\"2\"", b"*", b"\"a,b\""];
pub(super) const KEYS: &[&[u8]] = &[b"\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", b"abc"];
pub(super) const COOKIES: &[&[u8]] = &[b"session=abc; a=b\na=c", b"0123456789abcdef01234567"];
pub(super) const ORIGINS: &[&[u8]] = &[b"\nhttps://a.example\na.example", b"same-origin\nx\ny"];
