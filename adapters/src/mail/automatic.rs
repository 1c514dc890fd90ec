//! Who must not be answered by a machine.

use super::{Refusal, fields::Fields};

/// Whether the fields of a message say that a machine wrote it, that a list sent it on, or that its sender wants no answer from a machine.
///
/// `Auto-Submitted` is the standard (RFC 3834 section 5): any word but `no`, parameters and comments aside. `Precedence` and
/// `X-Auto-Response-Suppress` (Exchange) are older and found where it is not; `List-Id` (RFC 2919) stands on what goes to many.
pub(super) fn is_automatic(fields: &Fields) -> Result<bool, Refusal> {
    let submitted = fields.raw("Auto-Submitted")?.unwrap_or_default();
    let is_submitted = !submitted.is_empty() && !first_word(&submitted).eq_ignore_ascii_case("no");
    let is_mass = fields.all("Precedence").any(|value| BULK.iter().any(|bulk| first_word(&value).eq_ignore_ascii_case(bulk)));
    let is_suppressed = fields.all("X-Auto-Response-Suppress").any(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"));
    Ok(is_submitted || is_mass || is_suppressed || fields.all("List-Id").next().is_some())
}

fn first_word(value: &str) -> &str {
    value.split([';', '(', ' ', '\t']).next().unwrap_or_default()
}

/// RFC 3834 section 2 names them as signs of mail that is not to be answered.
const BULK: [&str; 3] = ["bulk", "junk", "list"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::fields::FieldLimits;

    fn is_automatic_with(field: &str) -> bool {
        let limits = FieldLimits { section_bytes_max: 999, field_bytes_max: 999 };
        let bytes = format!("{field}\r\n");
        let (fields, _) = Fields::split(bytes.as_bytes(), limits).unwrap();
        is_automatic(&fields).unwrap()
    }

    #[test]
    fn machines_and_lists_are_recognised() {
        for field in [
            "Auto-Submitted: auto-replied",
            "auto-submitted: auto-generated; owner-email=a@b",
            "Precedence: Bulk",
            "Precedence: first-class\r\nPrecedence: junk (very)",
            "Precedence: list",
            "List-Id: Pumps <pumps.example.org>",
            "X-Auto-Response-Suppress: OOF, AutoReply",
            "X-Auto-Response-Suppress: All",
        ] {
            assert!(is_automatic_with(field), "{field}");
        }
    }

    #[test]
    fn people_are_not_taken_for_machines() {
        for field in [
            "Subject: x",
            "Auto-Submitted: No",
            "Auto-Submitted: no (a person)",
            "Auto-Submitted:",
            "Precedence: first-class",
            "Precedence: bulky",
            "X-Auto-Response-Suppress: None",
            "List: x",
        ] {
            assert!(!is_automatic_with(field), "{field}");
        }
    }
}
