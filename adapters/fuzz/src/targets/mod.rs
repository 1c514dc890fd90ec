//! What is fuzzed: one target a reader.

mod compose;
mod fields;
mod json;
mod message;
mod oracle;
mod relay;
mod repeated;
mod smtp;
mod sql;
mod tls;
mod upload;
mod written;
mod xml;

/// A reader, what to feed it first, and what must hold of what it gives. It fails by a panic.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    pub(crate) seeds: &'static [&'static [u8]],
    /// Pieces that chance would not find.
    pub(crate) words: &'static [&'static str],
    /// Whether the demo's mails are seeds, too.
    pub(crate) reads_mail: bool,
    /// How long an input may be.
    pub(crate) size_bytes_max: usize,
}

/// A target without words.
const fn target(name: &'static str, run: fn(&[u8]), seeds: &'static [&'static [u8]]) -> Target {
    Target { name, run, seeds, words: &[], reads_mail: false, size_bytes_max: 4096 }
}

/// All of them, mail first.
pub(crate) const ALL: [Target; 24] = [
    Target { words: smtp::WORDS, ..target("smtp_session", smtp::session, smtp::SESSIONS) },
    target("smtp_address", smtp::address, smtp::ADDRESSES),
    Target { words: message::WORDS, reads_mail: true, ..target("message", message::whole, message::WHOLE) },
    Target { words: message::WORDS, ..target("mail_field", message::field, message::FIELDS) },
    Target { words: message::WORDS, ..target("mail_text", message::text, message::TEXTS) },
    Target { words: message::WORDS, ..target("mail_report", message::report, message::REPORTS) },
    target("compose", compose::compose, &[b"\x00\x01\x02\x03subject text name.txt text/plain =?utf-8?q?a?="]),
    Target { words: relay::WORDS, ..target("relay_replies", relay::replies, relay::REPLIES) },
    target("relay_url", relay::url, relay::URLS),
    target("tls_pem", tls::pem, tls::PEMS),
    Target { words: xml::WORDS, ..target("xml", xml::document, xml::DOCUMENTS) },
    Target { words: xml::WORDS, ..target("xml_rpc", xml::call, xml::CALLS) },
    target("json", json::text, json::TEXTS),
    target("form", fields::form, fields::FORMS),
    Target { words: upload::WORDS, ..target("upload", upload::form, upload::FORMS) },
    target("path", fields::path, fields::PATHS),
    target("accept", fields::accept, fields::ACCEPTS),
    target("etag", fields::etag, fields::ETAGS),
    target("idempotency", fields::idempotency, fields::KEYS),
    target("cookie", fields::cookie, fields::COOKIES),
    target("origin", fields::origin, fields::ORIGINS),
    target("web_written", written::answers, written::ANSWERS),
    target("sql", sql::target, sql::TARGETS),
    Target { words: message::WORDS, size_bytes_max: 64, ..target("large", repeated::large, repeated::PATTERNS) },
];
