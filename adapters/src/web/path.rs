//! Paths of requests, before anybody routes by them.

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is too long.
    #[error("a path has at most {PATH_BYTES_MAX} bytes")]
    Long,
    /// It holds a segment that other programs read as another path.
    #[error("a path begins with '/' and has no empty segments, no '.' and '..', no backslash and no control characters, encoded or not")]
    Tricky,
}

/// Refuses paths that two programs may read differently: nothing here is served under such a path.
pub fn check(path: &str) -> Result<(), PathError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::Long);
    }
    // `OPTIONS *` is about the whole server.
    if path == "*" {
        return Ok(());
    }
    let mut segments = path.strip_prefix('/').ok_or(PathError::Tricky)?.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let decoded = decoded(segment).ok_or(PathError::Tricky)?;
        let empty_within = decoded.is_empty() && !is_last;
        let bad = |byte: &u8| byte.is_ascii_control() || *byte == b'\\' || *byte == b'/';
        if empty_within || decoded == b"." || decoded == b".." || decoded.iter().any(bad) || std::str::from_utf8(&decoded).is_err() {
            return Err(PathError::Tricky);
        }
    }
    Ok(())
}

/// The bytes that a segment stands for; `None` when a `%` is not followed by two digits.
fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        decoded.push(if byte == b'%' { (digit()? << 4) | digit()? } else { byte });
    }
    Some(decoded)
}

/// Bytes of a path.
pub const PATH_BYTES_MAX: usize = 1_024;

/// Bytes of the part behind the question mark: a filter of the query language fits.
pub const QUERY_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_pass() {
        for path in ["/", "/a/b", "/a/", "/%C3%A5/x", "/a.b/..c", "*"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "..",
            "a/b",
            "*/b",
            "/a//b",
            "//",
            "/a/../b",
            "/..",
            "/%2e%2E/x",
            "/a%2fb",
            "/a%00",
            "/a\\b",
            "/a%5cb",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/.",
            "/a%0d%0ab",
        ] {
            assert_eq!(check(path), Err(PathError::Tricky), "{path}");
        }
        assert_eq!(check(&format!("/{}", "a".repeat(PATH_BYTES_MAX))), Err(PathError::Long));
    }
}
