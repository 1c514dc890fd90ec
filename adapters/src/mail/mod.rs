//! Internet mail (RFC 5322 and MIME), read strictly.
//!
//! [`Message::parse`] goes from bytes to a [`Message`] in this order, one file a step: `lines` (line endings and NUL bytes),
//! `fields` (the header section), `mailbox` and `message_id` (what the fields name), `part` (the MIME tree), `body` (the text
//! a person reads, and the attachments), with `flowed` for text that was wrapped on the way and `html` for
//! messages that bring nothing else. Beside them: `automatic` (who is not to be answered), `report` (what became of a mail of
//! ours), `identity` (a name for mails without one), [`Unreadable`] (what is left to say of a mail that was refused).
//!
//! Two readers that disagree about one message are how mail is smuggled past a filter (CVE-2023-51764 and its kin), so
//! whatever could be read in two ways is refused: a field twice, a bare line ending, a part that is never closed. What can only be
//! read badly (a character set nobody knows, broken base64) is kept, and marked as damaged.
//!
//! [`Draft`] is the way back: from typed fields to bytes.
//!
//! [`deliver`] sends them.
//!
//! [`smtp`] takes mail from other servers and programs, up to the bytes that are read here.
//!
//! The structure is walked here, because limits must hold *before* work is done; decoding of words, addresses, dates,
//! transfer encodings, character sets and HTML is `mail-parser`'s.

mod automatic;
mod body;
mod compose;
pub mod deliver;
mod encoded_word;
mod fields;
mod flowed;
mod html;
mod identity;
mod limits;
mod lines;
mod mailbox;
mod message;
mod message_id;
mod part;
mod refusal;
mod report;
mod sign;
pub mod smtp;
mod unreadable;

pub use compose::{Author, ComposeError, Draft, File};
pub use identity::with_message_id;
pub use limits::{Limits, LineEndings};
pub use mailbox::Mailbox;
pub use message::{Attachment, Message};
pub use message_id::MessageId;
pub use refusal::Refusal;
pub use report::{Action, DeliveryReport, RecipientReport, Status};
pub use sign::{Signer, SignerError};
pub use unreadable::Unreadable;

#[cfg(test)]
mod corpus;
