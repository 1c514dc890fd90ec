//! How much a message may ask of its reader.

/// The bounds within which a message is read.
///
/// The worst a message within the defaults can cost is a few passes over its bytes per level of nesting, plus, for each header
/// field, work that grows with the square of [`field_bytes_max`](Self::field_bytes_max) (encoded words that never end).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Which line endings are read. Default: [`LineEndings::Strict`], because most bytes come from a network.
    pub line_endings: LineEndings,
    /// Size of the whole message, in bytes. Default 10 MiB: a few photographs of a rating plate after base64, and what most mail
    /// servers let through. Raising it raises memory: a message is held three times while it is read, and
    /// up to seven times if its text is in an Asian character set.
    pub message_bytes_max: usize,
    /// Size of the message's own header section, in bytes. Default 64 KiB: signatures, authentication results and a dozen
    /// `Received` fields fill about 10 KiB.
    pub header_bytes_max: usize,
    /// Size of the header section of one MIME part, in bytes. Default 8 KiB: a Japanese file name of 255 characters, given twice
    /// (RFC 2231), needs 5 KiB.
    pub part_header_bytes_max: usize,
    /// Size of one header field, in bytes, folds included. Default 16 KiB: 200 references or 300 recipients.
    pub field_bytes_max: usize,
    /// MIME parts in a message, containers included. Default 64: nobody attaches more by hand, and each part is a chance to make
    /// the reader work.
    pub parts_max: usize,
    /// Multiparts inside one another, the outermost included. Default 8: a signed mail with pictures and an alternative text has 4.
    pub depth_max: usize,
    /// Mailboxes in `To` and `Cc` together. Default 200: a mail to a support address has a few; more is a mailing.
    pub recipients_max: usize,
    /// References kept from `References` (and from `In-Reply-To`), the first and the latest ones. Default 64: the oldest names the
    /// thread, the latest name where in it the message belongs.
    pub references_max: usize,
    /// Size of the subject, in bytes of UTF-8; longer ones are cut. Default 998: one full line of RFC 5322 section 2.1.1.
    pub subject_bytes_max: usize,
    /// Size of the text, in bytes of UTF-8; longer ones are cut and marked. Default 1 MiB: some 300 pages, more than a person
    /// reads and as much as one frame of ours may hold.
    pub text_bytes_max: usize,
}

/// The line endings a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEndings {
    /// Every line ends in CRLF; a CR or an LF alone is refused. For bytes from a network.
    Strict,
    /// Every line ends in CRLF, or every line ends in LF; a mixture or a CR alone is refused. For files, which editors and version
    /// control rewrite as a whole.
    FromFile,
}

impl Limits {
    /// The default limits, for a message that lies in a file.
    pub fn from_file() -> Self {
        Self { line_endings: LineEndings::FromFile, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_endings: LineEndings::Strict,
            message_bytes_max: 10 * 1024 * 1024,
            header_bytes_max: 64 * 1024,
            part_header_bytes_max: 8 * 1024,
            field_bytes_max: 16 * 1024,
            parts_max: 64,
            depth_max: 8,
            recipients_max: 200,
            references_max: 64,
            subject_bytes_max: 998,
            text_bytes_max: 1024 * 1024,
        }
    }
}
