//! Forms as browsers send them: `application/x-www-form-urlencoded`, in a body or behind a question mark.

/// The fields of a form in the order in which they came; a name may come several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(String, String)>,
}

/// Why something is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// More fields than any page has.
    #[error("a form has at most {FIELDS_MAX} fields")]
    Fields,
    /// It is not in UTF-8 once it is decoded.
    #[error("a form is in UTF-8")]
    Encoding,
}

impl Form {
    /// Reads a form. Line ends become `\n`, as everywhere but in forms.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        let mut form = Self::default();
        for part in bytes.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
            for (name, value) in form_urlencoded::parse(part) {
                // What was not UTF-8 has become this by now: browsers never send it, since they send UTF-8.
                if value.contains('\u{fffd}') || name.contains('\u{fffd}') {
                    return Err(FormError::Encoding);
                }
                form.push(&name, &value)?;
            }
        }
        Ok(form)
    }

    /// Adds a field. Line ends become `\n`.
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), FormError> {
        if self.fields.len() == FIELDS_MAX {
            return Err(FormError::Fields);
        }
        self.fields.push((name.to_owned(), value.replace("\r\n", "\n").replace('\r', "\n")));
        Ok(())
    }

    /// The same without the fields of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| field != name);
        self
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The first value of this name, if there is something in it.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// All values of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All names and values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names of all fields, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }
}

/// Names and values as they stand behind a question mark.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Fields of one form.
pub const FIELDS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_come_as_they_were_filled_in() {
        let form = Form::parse(b"a=1+2&b=%C3%A5%0D%0Ax&a=&c").unwrap();
        assert_eq!(form.all("a").collect::<Vec<_>>(), ["1 2", ""]);
        assert_eq!((form.get("b"), form.get("c"), form.get("d"), form.filled("c")), (Some("å\nx"), Some(""), None, None));
        assert_eq!(Form::parse(b"a=%ff"), Err(FormError::Encoding));
        assert_eq!(Form::parse("a=1&".repeat(FIELDS_MAX + 1).as_bytes()), Err(FormError::Fields));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn what_is_written_reads_back(pairs in prop::collection::vec(("[a-z]{1,5}", "[^\r\u{fffd}]{0,20}"), 0..8)) {
            let text = query(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert_eq!(Form::parse(text.as_bytes()).unwrap().fields, pairs);
        }

        #[test]
        fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Form::parse(&bytes).ok();
        }
    }
}
