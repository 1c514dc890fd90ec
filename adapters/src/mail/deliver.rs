//! Sending: a mail goes to a relay, and it is known what became of it. The one place in this crate that opens a socket.
//!
//! [`Relay::deliver`] makes one attempt. It never tries again, since only its caller knows what has been tried before; it says in its error what
//! a second attempt would risk. lettre speaks the protocol; around it: `target` (which relay, how), `preface` (TLS before
//! lettre begins), `wire` (what a relay may say, at most).
//!
//! lettre's own transport is not used, for two reasons. It tells that something failed, and not whether the last dot had been sent, which makes the difference
//! between a mail that is certainly not taken and one that may be. And its STARTTLS keeps what came in the clear for an answer under TLS
//! (CVE-2011-0411, from the other side), so TLS is set up before it sees the connection.

use std::time::Duration;

use lettre::transport::smtp::{
    authentication::{Credentials, Mechanism},
    client::AsyncSmtpConnection,
    commands::{Data, Mail, Rcpt},
    extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    response::Response,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    LineEndings, lines,
    smtp::{Address, Domain},
};

mod failure;
mod preface;
mod target;
mod tls;
mod wire;

pub use failure::{DeliveryError, RecipientFailure, Reply, Stage};
pub use target::{RelayUrlError, Security};

use failure::Failure;
use target::Target;

/// A server that takes mail for everybody: a smarthost.
///
/// One connection an attempt; nothing is kept between two of them but the configuration.
#[derive(Debug, Clone)]
pub struct Relay {
    target: Target,
    client_name: Domain,
    tls: tls::Configuration,
}

/// From whom a mail comes and to whom it goes, by SMTP's commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where failures are reported; `None` for a mail that is itself a report or an automatic answer.
    pub reverse_path: Option<Address>,
    /// For whom it is; at least one.
    pub recipients: Vec<Address>,
}

/// A mail that the relay took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// What it said.
    pub reply: Reply,
    /// Recipients whom it did not take the mail for: it went to the others.
    pub failed: Vec<RecipientFailure>,
}

impl Relay {
    /// Reads `smtp://` or `smtps://`, then `[user:password@]host[:port]`, then perhaps `?tls=off`, `opportunistic` or `required` for the first.
    ///
    /// Over `smtp://` TLS is used if it is offered, whoever shows the certificate: that is no worse than none. With a password it is required and the
    /// certificate must be the host's; over `smtps://` always. `client_name` is how we introduce ourselves.
    ///
    /// # Errors
    /// A [`RelayUrlError`] that says which part is wrong and never shows the password.
    pub fn parse(url: &str, client_name: &Domain) -> Result<Self, RelayUrlError> {
        let target = Target::parse(url)?;
        let tls = tls::Configuration::new(target.security)?;
        Ok(Self { target, client_name: client_name.clone(), tls })
    }

    /// Believes certificates that these authorities issued, too: PEM, one or several.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn trust(mut self, authorities: &[u8]) -> Result<Self, RelayUrlError> {
        self.tls.trust(authorities, self.target.security)?;
        Ok(self)
    }

    /// Hands a mail over, until the deadline. The mail's lines end in CRLF.
    ///
    /// A deadline that leaves a relay ten minutes for its last reply (RFC 5321 section 4.5.3.2.6) leaves few mails in doubt.
    ///
    /// # Errors
    /// A [`DeliveryError`], which says whether the mail was refused for good, was certainly not taken, or may have been taken.
    pub async fn deliver(&self, route: &Route, mail: &[u8], deadline: Instant) -> Result<Delivered, DeliveryError> {
        let needs = Needs::of(route, mail)?;
        let mut attempt = Attempt { relay: self, stage: Stage::Connect, is_content_sent: false };
        let outcome = timeout_at(deadline, attempt.run(route, mail, needs)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Failure::Broken("no time is left".to_owned())));
        outcome.map_err(|failure| failure.judge(attempt.stage, attempt.is_content_sent))
    }
}

/// What a server must be able to, for this mail.
#[derive(Debug, Clone, Copy)]
struct Needs {
    eight_bit: bool,
    international: bool,
}

impl Needs {
    /// Looks at a mail, and refuses one that some servers would read as two (CVE-2023-51764 and its kin).
    fn of(route: &Route, mail: &[u8]) -> Result<Self, DeliveryError> {
        if route.recipients.is_empty() {
            return Err(DeliveryError::Unfit { why: "there is no recipient".to_owned() });
        }
        lines::check(mail, LineEndings::Strict).map_err(|refusal| DeliveryError::Unfit { why: refusal.to_string() })?;
        let header_bytes = mail.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(mail.len());
        let is_route_international = route.reverse_path.iter().chain(&route.recipients).any(Address::is_international);
        let international = is_route_international || !mail[..header_bytes].is_ascii();
        Ok(Self { eight_bit: !mail.is_ascii(), international })
    }

    fn parameters(self, connection: &AsyncSmtpConnection) -> Result<Vec<MailParameter>, Failure> {
        let mut parameters = Vec::new();
        let table = [
            (self.international, Extension::SmtpUtfEight, MailParameter::SmtpUtfEight, "SMTPUTF8"),
            (self.eight_bit, Extension::EightBitMime, MailParameter::Body(MailBodyParameter::EightBitMime), "8BITMIME"),
        ];
        for (is_needed, extension, parameter, name) in table {
            if is_needed && !connection.server_info().supports_feature(extension) {
                return Err(Failure::Unfit(format!("the relay lacks {name}, which this mail needs")));
            }
            if is_needed {
                parameters.push(parameter);
            }
        }
        Ok(parameters)
    }
}

/// One attempt, and how far it came.
#[derive(Debug)]
struct Attempt<'r> {
    relay: &'r Relay,
    stage: Stage,
    /// From here on the relay may have the mail.
    is_content_sent: bool,
}

impl Attempt<'_> {
    async fn run(&mut self, route: &Route, mail: &[u8], needs: Needs) -> Result<Delivered, Failure> {
        let mut connection = self.connect().await?;
        let outcome = self.converse(&mut connection, route, mail, needs).await;
        if !matches!(outcome, Err(Failure::Broken(_))) {
            // Politeness, whose failure changes nothing: the outcome is known.
            timeout(FAREWELL_TIME, connection.quit()).await.ok();
        }
        outcome
    }

    async fn connect(&mut self) -> Result<AsyncSmtpConnection, Failure> {
        let Relay { target, client_name, tls } = self.relay;
        let wire = preface::connect(target, client_name, tls, &mut self.stage).await?;
        self.stage = Stage::Greeting;
        let client_id = ClientId::Domain(client_name.to_string());
        let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &client_id).await?;
        if let Some((user, password)) = &target.credentials {
            self.stage = Stage::Authentication;
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &Credentials::new(user.clone(), password.clone())).await?;
        }
        Ok(connection)
    }

    async fn converse(
        &mut self,
        connection: &mut AsyncSmtpConnection,
        route: &Route,
        mail: &[u8],
        needs: Needs,
    ) -> Result<Delivered, Failure> {
        self.stage = Stage::Sender;
        let parameters = needs.parameters(connection)?;
        connection.command(Mail::new(route.reverse_path.as_ref().map(to_lettre), parameters)).await?;
        self.stage = Stage::Recipients;
        let failed = recipients(connection, route).await?;
        self.stage = Stage::Data;
        expect(&connection.command(Data).await?, 354)?;
        self.stage = Stage::Content;
        // lettre ends a mail with CRLF, dot, CRLF, whatever it ends with itself.
        let content = mail.strip_suffix(b"\r\n").unwrap_or(mail);
        let pieces = Pieces { pieces: content.chunks(PIECE_BYTES), are_all_sent: &mut self.is_content_sent };
        let response = connection.message_iter(pieces).await?;
        expect(&response, 250)?;
        Ok(Delivered { reply: Reply::from_response(&response), failed })
    }
}

/// Names the recipients. Fails if none is taken.
async fn recipients(connection: &mut AsyncSmtpConnection, route: &Route) -> Result<Vec<RecipientFailure>, Failure> {
    let mut failed = Vec::new();
    for recipient in &route.recipients {
        match connection.command(Rcpt::new(to_lettre(recipient), Vec::new())).await.map_err(Failure::from) {
            Ok(_) => {}
            Err(Failure::Answered(reply)) => failed.push(RecipientFailure { recipient: recipient.clone(), reply }),
            Err(failure) => return Err(failure),
        }
    }
    if failed.len() == route.recipients.len() { Err(Failure::Recipients(failed)) } else { Ok(failed) }
}

/// A positive reply that is another than the one expected means that one of us counts wrong.
fn expect(response: &Response, code: u16) -> Result<(), Failure> {
    if response.has_code(code) {
        return Ok(());
    }
    let reply = Reply::from_response(response);
    Err(Failure::Broken(format!("the relay answered {} where {code} was expected", reply.code)))
}

/// Our grammar of addresses is narrower than lettre's, so that there is nothing to check again.
fn to_lettre(address: &Address) -> lettre::Address {
    lettre::Address::new_dangerous(address.local(), address.domain())
}

/// The pieces of a mail. When there is none left, lettre has sent them all, and sends the dot.
#[derive(Debug)]
struct Pieces<'m> {
    pieces: std::slice::Chunks<'m, u8>,
    are_all_sent: &'m mut bool,
}

impl<'m> Iterator for Pieces<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        let next = self.pieces.next();
        *self.are_all_sent = next.is_none();
        next
    }
}

/// What is handed to the socket at once.
const PIECE_BYTES: usize = 32 * 1024;

/// For the relay to say good-bye.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
