//! Cookies (RFC 6265): one name read, one value set, nothing but letters that need no quoting.

/// The value of a cookie among the `Cookie` fields of a request: of several with this name the first.
pub fn value<'a>(fields: impl IntoIterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let pairs = fields.into_iter().flat_map(|field| field.split(';').take(COOKIES_MAX)).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// A `Set-Cookie` for this site only: no script reads it, no other site makes a browser send it.
///
/// `seconds` of 0 takes it away. `secure` where the site is reached by TLS.
pub fn set(name: &str, value: &str, seconds: u64, secure: bool) -> String {
    debug_assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')));
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

/// Cookies of one field that are looked at: browsers keep about 50 for a site.
const COOKIES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        assert_eq!(value(["a=1; b=2", "c=3=4"], "c"), Some("3=4"));
        assert_eq!((value(["a=1;b=2"], "b"), value(["ab=1"], "b"), value([], "b")), (Some("2"), None, None));
        assert_eq!(set("a", "b", 5, true), "a=b; Path=/; HttpOnly; SameSite=Strict; Max-Age=5; Secure");
    }
}
