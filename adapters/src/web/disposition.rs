//! Telling a browser to save what it gets, and under which name (RFC 6266).

use axum::http::HeaderValue;

/// `attachment`, with a name that anybody may have chosen: for old browsers what of it is plain, for others all of it (RFC 8187).
///
/// # Panics
/// Never: what is written is plain ASCII.
pub fn attachment(name: &str) -> HeaderValue {
    let name: String = name.chars().filter(|char| !char.is_control() && !matches!(char, '/' | '\\')).take(NAME_CHARS_MAX).collect();
    let plain: String =
        name.chars().map(|char| if char.is_ascii_alphanumeric() || " .-_()+".contains(char) { char } else { '_' }).collect();
    let encoded: String = name
        .bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() || b".-_".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect();
    let value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}");
    HeaderValue::try_from(value).expect("it is plain ASCII without controls")
}

const NAME_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        let table = [
            ("pump.jpg", "attachment; filename=\"pump.jpg\"; filename*=UTF-8''pump.jpg"),
            ("å b.pdf", "attachment; filename=\"_ b.pdf\"; filename*=UTF-8''%C3%A5%20b.pdf"),
            ("a\"\r\nX: y", "attachment; filename=\"a_X_ y\"; filename*=UTF-8''a%22X%3A%20y"),
            ("../../etc/passwd", "attachment; filename=\"....etcpasswd\"; filename*=UTF-8''....etcpasswd"),
        ];
        for (name, expected) in table {
            assert_eq!(attachment(name), expected, "{name}");
        }
        assert!(attachment(&"𝒳".repeat(9_999)).len() < 4_000);
    }
}
