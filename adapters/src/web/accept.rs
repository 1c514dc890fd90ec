//! What a client takes: `Accept` and `Accept-Encoding` (RFC 9110, section 12.5).

/// How much a list of preferences wants one of its names, from 0 (not at all) to 1000. `wild` are the patterns that stand for it: `*`, `text/*`.
fn quality(field: &str, name: &str, wild: &[&str]) -> u16 {
    let mut best: Option<(usize, u16)> = None;
    for part in field.split(',').take(PREFERENCES_MAX) {
        let mut pieces = part.split(';').map(str::trim);
        let pattern = pieces.next().unwrap_or_default();
        // The more exact pattern counts, whatever the other one says.
        let exactness = match () {
            () if pattern.eq_ignore_ascii_case(name) => wild.len() + 1,
            () => match wild.iter().position(|wild| pattern.eq_ignore_ascii_case(wild)) {
                Some(place) => wild.len() - place,
                None => continue,
            },
        };
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q=")));
        let weight = weight.map_or(1_000, thousandths);
        if best.is_none_or(|(known, _)| exactness > known) {
            best = Some((exactness, weight));
        }
    }
    best.map_or(0, |(_, weight)| weight)
}

/// `0.5` as 500; what is no weight counts as 0.
fn thousandths(text: &str) -> u16 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|digit| digit.is_ascii_digit()) {
        return 0;
    }
    match whole {
        "1" => 1_000,
        "0" => format!("{rest:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a client takes gzip.
pub fn takes_gzip(accept_encoding: Option<&str>) -> bool {
    accept_encoding.is_some_and(|field| quality(field, "gzip", &["*"]) > 0)
}

/// Which of some media types a client likes best; the first one if it does not say; `None` if it takes none of them.
pub fn media_type<'a>(accept: Option<&str>, offered: &[&'a str]) -> Option<&'a str> {
    let Some(accept) = accept else { return offered.first().copied() };
    let mut best = None;
    for name in offered {
        let family = format!("{}/*", name.split('/').next().unwrap_or_default());
        let weight = quality(accept, name, &[&family, "*/*"]);
        if weight > 0 && best.is_none_or(|(_, known)| weight > known) {
            best = Some((*name, weight));
        }
    }
    best.map(|(name, _)| name)
}

/// Preferences that are looked at.
const PREFERENCES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_taken_as_they_are_wanted() {
        for (field, expected) in
            [("gzip, br", true), ("br", false), ("*", true), ("gzip;q=0, *", false), ("GZIP;q=0.1", true), ("gzip;q=x", false)]
        {
            assert_eq!(takes_gzip(Some(field)), expected, "{field}");
        }
        assert!(!takes_gzip(None));
    }

    #[test]
    fn best_liked_type_is_chosen() {
        let offered = ["application/json", "application/xml"];
        for (field, expected) in [
            ("application/xml", Some("application/xml")),
            ("*/*", Some("application/json")),
            ("application/json;q=0.5, application/xml", Some("application/xml")),
            ("application/*;q=0.2, application/json;q=0", Some("application/xml")),
            ("Application/*", Some("application/json")),
            ("text/html", None),
            ("", None),
        ] {
            assert_eq!(media_type(Some(field), &offered), expected, "{field}");
        }
        assert_eq!(media_type(None, &offered), Some("application/json"));
    }
}
