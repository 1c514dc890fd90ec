//! What went wrong, and what it means for the mail.

use std::fmt;

use lettre::transport::smtp::{Error, response::Response};

use super::super::smtp::Address;
use crate::text::{cut, printable};

/// Why a mail was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The relay refuses it for good. It was not taken; trying again gives the same answer.
    #[error("the relay refuses the mail {stage}: {reply}")]
    Refused {
        /// When.
        stage: Stage,
        /// What it said, of the last recipient if it was about them.
        reply: Reply,
        /// What it said of each recipient, if it was about them.
        recipients: Vec<RecipientFailure>,
    },
    /// It cannot be sent to this relay as it is, or to any: nothing was said to anybody.
    #[error("the mail cannot be sent: {why}")]
    Unfit {
        /// Why.
        why: String,
    },
    /// It was certainly not taken, and may be taken another time: the relay is away, busy, or says so itself.
    #[error("the mail was not taken {stage}: {why}")]
    Later {
        /// When.
        stage: Stage,
        /// Why.
        why: String,
    },
    /// It may have been taken: the connection or the time ended between the last dot and the reply. Sending it again may make two of it, which is
    /// why its `Message-ID` must stay the same.
    #[error("the mail may have been taken: {why}")]
    Unsure {
        /// Why it is not known.
        why: String,
    },
}

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before there was a connection.
    Connect,
    /// Up to EHLO.
    Greeting,
    /// While TLS was set up.
    Tls,
    /// While we said who we are.
    Authentication,
    /// At MAIL.
    Sender,
    /// At RCPT.
    Recipients,
    /// At DATA.
    Data,
    /// While the mail was sent, or after it.
    Content,
}

/// What the relay said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The rest, on one line without controls, at most 500 bytes; begins with an enhanced code if the relay has such.
    pub text: String,
}

/// A recipient whom the relay does not take the mail for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientFailure {
    /// Who.
    pub recipient: Address,
    /// What it said.
    pub reply: Reply,
}

impl Reply {
    /// Whether the same question gets the same answer.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500 && !NOT_LOGGED_IN.contains(&self.code)
    }

    pub(super) fn from_response(response: &Response) -> Self {
        Self::new(response.code().into(), &response.message().collect::<Vec<_>>().join(" "))
    }

    pub(super) fn new(code: u16, text: &str) -> Self {
        Self { code, text: one_line(text) }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "when connecting",
            Self::Greeting => "at the greeting",
            Self::Tls => "when setting up TLS",
            Self::Authentication => "when logging in",
            Self::Sender => "at MAIL",
            Self::Recipients => "at RCPT",
            Self::Data => "at DATA",
            Self::Content => "at its content",
        })
    }
}

/// What went wrong, before it is known what it means.
#[derive(Debug)]
pub(super) enum Failure {
    /// The relay said 4xx or 5xx.
    Answered(Reply),
    /// It said so of every recipient.
    Recipients(Vec<RecipientFailure>),
    /// There was no answer that could be understood.
    Broken(String),
    /// The relay cannot take this mail, whatever it says.
    Unfit(String),
}

impl Failure {
    /// What it means, depending on how far the attempt came.
    pub(super) fn judge(self, stage: Stage, is_content_sent: bool) -> DeliveryError {
        match self {
            Self::Unfit(why) => DeliveryError::Unfit { why },
            Self::Broken(why) if is_content_sent => DeliveryError::Unsure { why },
            Self::Broken(why) => DeliveryError::Later { stage, why },
            // Up to MAIL a refusal is about us and not about the mail: a wrong password must not cost anybody a mail.
            Self::Answered(reply) if stage.is_about_mail() && reply.is_permanent() => {
                DeliveryError::Refused { stage, reply, recipients: Vec::new() }
            }
            Self::Answered(reply) => DeliveryError::Later { stage, why: reply.to_string() },
            Self::Recipients(recipients) => judge_recipients(recipients, stage),
        }
    }
}

/// If one of them may be taken another time, the mail is worth another attempt.
fn judge_recipients(recipients: Vec<RecipientFailure>, stage: Stage) -> DeliveryError {
    let worth = recipients.iter().find(|failure| !failure.reply.is_permanent());
    match (worth, recipients.last()) {
        (Some(failure), _) => DeliveryError::Later { stage, why: failure.reply.to_string() },
        (None, Some(last)) => DeliveryError::Refused { stage, reply: last.reply.clone(), recipients },
        (None, None) => DeliveryError::Unfit { why: "there is no recipient".to_owned() },
    }
}

impl Stage {
    fn is_about_mail(self) -> bool {
        matches!(self, Self::Sender | Self::Recipients | Self::Data | Self::Content)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let said = std::error::Error::source(&error).map(ToString::to_string);
        match error.status() {
            Some(code) => Self::Answered(Reply::new(code.into(), &said.unwrap_or_default())),
            None => Self::Broken(one_line(&error.to_string())),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(one_line(&error.to_string()))
    }
}

fn one_line(text: &str) -> String {
    let mut line = printable(text);
    cut(&mut line, TEXT_BYTES_MAX);
    line
}

/// As long as one reply line may be (RFC 5321 section 4.5.3.1.5).
const TEXT_BYTES_MAX: usize = 500;

/// "Authentication required", "encryption required" and their like (RFC 4954 section 6) at a later stage: about us, not about the mail.
const NOT_LOGGED_IN: [u16; 4] = [530, 534, 535, 538];
