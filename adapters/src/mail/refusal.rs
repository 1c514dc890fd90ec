//! Why a message was not accepted.

use thiserror::Error;

use super::smtp::Objection;

/// Why a message was refused.
///
/// The sender, or a machine between, is at fault in every case; nothing was kept, and reading the same bytes again gives the
/// same refusal. Each message names what to look at, so that it can be shown to the person who sent the mail.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is not one byte.
    #[error("message: is empty")]
    Empty,
    /// The message is larger than [`Limits::message_bytes_max`](super::Limits::message_bytes_max).
    #[error("message: has {size_bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the message.
        size_bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A NUL byte, which RFC 5322 section 4 forbids and at which some readers stop.
    #[error("line {line}: holds a NUL byte")]
    NulByte {
        /// Line, counted from 1.
        line: usize,
    },
    /// A CR that no LF follows.
    #[error("line {line}: holds a carriage return that does not end the line")]
    BareCarriageReturn {
        /// Line, counted from 1.
        line: usize,
    },
    /// An LF that no CR precedes, in strict reading.
    #[error("line {line}: ends in a line feed without a carriage return")]
    BareLineFeed {
        /// Line, counted from 1.
        line: usize,
    },
    /// Lines that end in CRLF and lines that end in LF, in one file.
    #[error("line {line}: ends unlike the lines before it, and a file has one kind of line ending")]
    MixedLineEndings {
        /// Line, counted from 1.
        line: usize,
    },
    /// A header section is longer than [`Limits::header_bytes_max`](super::Limits::header_bytes_max), or a part's than
    /// [`Limits::part_header_bytes_max`](super::Limits::part_header_bytes_max).
    #[error("header section: is longer than {limit} bytes")]
    HeaderTooLong {
        /// The limit.
        limit: usize,
    },
    /// One field is longer than [`Limits::field_bytes_max`](super::Limits::field_bytes_max).
    #[error("{field}: is longer than {limit} bytes")]
    FieldTooLong {
        /// Name of the field.
        field: String,
        /// The limit.
        limit: usize,
    },
    /// A line of a header section is neither a field nor the continuation of one.
    #[error("header section: {line:?} is not a field")]
    NotAField {
        /// The line's beginning.
        line: String,
    },
    /// A field that RFC 5322 section 3.6 and RFC 2045 allow once is there again.
    #[error("{field}: is given more than once")]
    Duplicate {
        /// Name of the field.
        field: &'static str,
    },
    /// There is no `From`.
    #[error("From: is missing")]
    MissingFrom,
    /// `From` holds no mailbox.
    #[error("From: holds no address")]
    MalformedFrom,
    /// `From` holds several mailboxes, and a request has one author.
    #[error("From: names {count} authors, one is expected")]
    SeveralAuthors {
        /// How many.
        count: usize,
    },
    /// There is no `Message-ID`, by which replies and repetitions are told.
    #[error("Message-ID: is missing")]
    MissingMessageId,
    /// `Message-ID` is not of the form `<left@right>`.
    #[error("Message-ID: {value:?} is not of the form <left@right>")]
    MalformedMessageId {
        /// The value's beginning.
        value: String,
    },
    /// What stands where an address belongs is none.
    #[error("{field}: {address:?} is not a mail address")]
    InvalidAddress {
        /// Name of the field.
        field: &'static str,
        /// The beginning of what stands there.
        address: String,
    },
    /// More recipients than [`Limits::recipients_max`](super::Limits::recipients_max).
    #[error("To and Cc: name more than {limit} recipients")]
    TooManyRecipients {
        /// The limit.
        limit: usize,
    },
    /// More parts than [`Limits::parts_max`](super::Limits::parts_max).
    #[error("body: has more than {limit} parts")]
    TooManyParts {
        /// The limit.
        limit: usize,
    },
    /// Multiparts nested deeper than [`Limits::depth_max`](super::Limits::depth_max).
    #[error("body: multiparts are nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A multipart without a boundary, or with one that RFC 2046 section 5.1.1 does not allow (1 to 70 characters).
    #[error("Content-Type: a multipart has no usable boundary")]
    BadBoundary,
    /// The boundary that closes a multipart never comes: the message was cut on its way.
    #[error("body: the multipart with boundary {boundary:?} is never closed, the message is cut short")]
    UnclosedMultipart {
        /// The boundary.
        boundary: String,
    },
}

impl Refusal {
    /// What to object, if the mail is refused while its sender still holds it.
    pub fn objection(&self) -> Objection {
        match self {
            Self::TooLarge { .. } => Objection::Size,
            _ => Objection::Content,
        }
    }

    /// The beginning of a sender's text, fit to be shown: control characters escaped by the reader's `{:?}`, length bounded.
    pub(super) fn excerpt(text: &str) -> String {
        text.trim().chars().take(EXCERPT_CHARS_MAX).collect()
    }
}

/// Enough to recognise the place, too little to fill a log.
const EXCERPT_CHARS_MAX: usize = 80;
