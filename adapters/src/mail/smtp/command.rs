//! The grammar of commands (RFC 5321 section 4.1.1).

use super::{
    Address, Body,
    address::{Path, PathFault},
    domain,
    line::COMMAND_BYTES_MAX,
    reply::Reply,
};

/// One command, its arguments read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Hello(Hello),
    StartTls,
    Mail(MailFrom),
    Recipient(RecipientTo),
    Data,
    Reset,
    Noop,
    Quit,
    Verify,
    Help,
    /// A command of SMTP, or of an extension, that this server does not have.
    Foreign,
    /// BDAT, behind which stand bytes that are no commands.
    Chunk,
    /// The beginning of a request of HTTP, by which a browser can be made to talk to a mail server.
    Http,
}

/// HELO or EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) name: String,
    pub(super) is_extended: bool,
}

/// MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MailFrom {
    pub(super) reverse_path: Option<Address>,
    pub(super) size_bytes: Option<u64>,
    pub(super) body: Option<Body>,
    pub(super) is_international: bool,
}

/// RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecipientTo {
    Postmaster,
    Mailbox(Address),
}

impl Command {
    /// Reads a line without its CRLF; or what to tell the client.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Reply> {
        let line = str::from_utf8(line).map_err(|_| NOT_TEXT)?;
        // RFC 5321 section 4.1.1: blanks at the end are to be tolerated.
        let line = line.trim_end_matches([' ', '\t']);
        if line.chars().any(char::is_control) {
            return Err(NOT_TEXT);
        }
        let (verb, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        let verb = verb.to_ascii_uppercase();
        if verb != "MAIL" && line.len() + 2 > COMMAND_BYTES_MAX {
            return Err(LINE_TOO_LONG);
        }
        let argument = rest.strip_prefix(' ').unwrap_or_default();
        match verb.as_str() {
            "EHLO" => Hello::parse(argument, true).map(Self::Hello),
            "HELO" => Hello::parse(argument, false).map(Self::Hello),
            "MAIL" => MailFrom::parse(argument).map(Self::Mail),
            "RCPT" => RecipientTo::parse(argument).map(Self::Recipient),
            "DATA" => bare(argument, Self::Data),
            "RSET" => bare(argument, Self::Reset),
            "QUIT" => bare(argument, Self::Quit),
            "STARTTLS" => bare(argument, Self::StartTls),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" if argument.is_empty() => Err(BAD_ARGUMENTS),
            "VRFY" => Ok(Self::Verify),
            "AUTH" | "ATRN" | "BURL" | "ETRN" | "EXPN" | "SAML" | "SEND" | "SOML" | "TURN" => Ok(Self::Foreign),
            "BDAT" => Ok(Self::Chunk),
            "CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PRI" | "PUT" | "TRACE" => Ok(Self::Http),
            _ => Err(UNKNOWN_COMMAND),
        }
    }
}

/// A command that takes no argument.
fn bare(argument: &str, command: Command) -> Result<Command, Reply> {
    if argument.is_empty() { Ok(command) } else { Err(BAD_ARGUMENTS) }
}

impl Hello {
    fn parse(argument: &str, is_extended: bool) -> Result<Self, Reply> {
        if !domain::is_client_name(argument) {
            return Err(Reply::new(501, "5.5.4", "a host name or an address in brackets is expected"));
        }
        Ok(Self { name: argument.to_owned(), is_extended })
    }
}

impl MailFrom {
    fn parse(argument: &str) -> Result<Self, Reply> {
        let path = after_keyword(argument, "FROM:").ok_or(Reply::new(501, "5.5.4", "MAIL FROM:<address> is expected"))?;
        let (path, parameters) = Path::split(path).map_err(bad_sender)?;
        let mut mail = Self::default();
        for parameter in split_parameters(parameters)? {
            mail.take_parameter(parameter)?;
        }
        mail.reverse_path = match path {
            Path::Null => None,
            Path::To(address) => Some(address),
            Path::Postmaster => return Err(bad_sender(PathFault::Malformed)),
        };
        if !mail.is_international && mail.reverse_path.as_ref().is_some_and(Address::is_international) {
            return Err(Reply::new(553, "5.6.7", "an address beyond ASCII needs the parameter SMTPUTF8"));
        }
        Ok(mail)
    }

    fn take_parameter(&mut self, parameter: &str) -> Result<(), Reply> {
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        match (keyword.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(value)) => set_once(&mut self.size_bytes, parse_size(value)?),
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => set_once(&mut self.body, Body::SevenBit),
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => set_once(&mut self.body, Body::EightBitMime),
            ("SMTPUTF8", None) if !self.is_international => {
                self.is_international = true;
                Ok(())
            }
            ("SIZE" | "BODY" | "SMTPUTF8", _) => Err(BAD_PARAMETER),
            _ => Err(UNKNOWN_PARAMETER),
        }
    }
}

impl RecipientTo {
    fn parse(argument: &str) -> Result<Self, Reply> {
        let path = after_keyword(argument, "TO:").ok_or(Reply::new(501, "5.5.4", "RCPT TO:<address> is expected"))?;
        let (path, parameters) = Path::split(path).map_err(bad_recipient)?;
        if !split_parameters(parameters)?.is_empty() {
            return Err(UNKNOWN_PARAMETER);
        }
        match path {
            Path::To(address) => Ok(Self::Mailbox(address)),
            Path::Postmaster => Ok(Self::Postmaster),
            Path::Null => Err(bad_recipient(PathFault::Malformed)),
        }
    }
}

fn after_keyword<'t>(text: &'t str, keyword: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// The parameters behind a path, one blank before each.
fn split_parameters(text: &str) -> Result<Vec<&str>, Reply> {
    let Some(text) = text.strip_prefix(' ') else {
        return Ok(Vec::new());
    };
    let is_keyword = |parameter: &str| parameter.starts_with(|char: char| char.is_ascii_alphanumeric());
    let parameters: Vec<&str> = text.split(' ').collect();
    if parameters.iter().all(|parameter| is_keyword(parameter)) { Ok(parameters) } else { Err(BAD_PARAMETER) }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Reply> {
    if slot.is_some() {
        return Err(BAD_PARAMETER);
    }
    *slot = Some(value);
    Ok(())
}

/// RFC 1870 section 4: up to 20 digits; a number too large to count is too large a mail.
fn parse_size(text: &str) -> Result<u64, Reply> {
    let is_size = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_size { Ok(text.parse().unwrap_or(u64::MAX)) } else { Err(BAD_PARAMETER) }
}

fn bad_sender(fault: PathFault) -> Reply {
    match fault {
        PathFault::Malformed => Reply::new(501, "5.1.7", "the sender is no mail address"),
        PathFault::TooLong => Reply::new(501, "5.1.7", "the sender is longer than a mail address can be"),
    }
}

fn bad_recipient(fault: PathFault) -> Reply {
    match fault {
        PathFault::Malformed => Reply::new(501, "5.1.3", "the recipient is no mail address"),
        PathFault::TooLong => Reply::new(501, "5.1.3", "the recipient is longer than a mail address can be"),
    }
}

pub(super) const LINE_TOO_LONG: Reply = Reply::new(500, "5.5.2", "the line is too long");
const NOT_TEXT: Reply = Reply::new(500, "5.5.2", "the line holds bytes that are no text");
const UNKNOWN_COMMAND: Reply = Reply::new(500, "5.5.1", "the command is unknown");
const BAD_ARGUMENTS: Reply = Reply::new(501, "5.5.4", "the command has other arguments");
const BAD_PARAMETER: Reply = Reply::new(501, "5.5.4", "a parameter is malformed, or given twice");
const UNKNOWN_PARAMETER: Reply = Reply::new(555, "5.5.4", "a parameter is unknown");

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn refused(line: &str) -> String {
        let mut bytes = Vec::new();
        Command::parse(line.as_bytes()).expect_err(line).write(&mut bytes);
        String::from_utf8(bytes).unwrap()[..9].to_owned()
    }

    #[test]
    fn commands_are_read_without_regard_to_case() {
        let hello = |name: &str, is_extended| Command::Hello(Hello { name: name.to_owned(), is_extended });
        let table = [
            ("ehlo Mail.example", hello("Mail.example", true)),
            ("HELO [10.0.0.1]", hello("[10.0.0.1]", false)),
            ("Data \t", Command::Data),
            ("rset", Command::Reset),
            ("NOOP anything at all", Command::Noop),
            ("QUIT", Command::Quit),
            ("STARTTLS", Command::StartTls),
            ("VRFY anna", Command::Verify),
            ("HELP", Command::Help),
            ("AUTH PLAIN AGEAYg==", Command::Foreign),
            ("BDAT 10 LAST", Command::Chunk),
            ("GET / HTTP/1.1", Command::Http),
            ("rcpt to:<a@b>", Command::Recipient(RecipientTo::Mailbox(address("a@b")))),
            ("RCPT TO:<postmaster>", Command::Recipient(RecipientTo::Postmaster)),
            ("RCPT TO:<é@b>", Command::Recipient(RecipientTo::Mailbox(address("é@b")))),
            ("MAIL FROM:<>", Command::Mail(MailFrom::default())),
        ];
        for (line, command) in table {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn parameters_of_mail_are_read() {
        let mail = MailFrom {
            reverse_path: Some(address("é@b")),
            size_bytes: Some(u64::MAX),
            body: Some(Body::EightBitMime),
            is_international: true,
        };
        let line = "MAIL from:<é@b> size=99999999999999999999 Body=8BitMime smtputf8";
        assert_eq!(Command::parse(line.as_bytes()), Ok(Command::Mail(mail)));
    }

    #[test]
    fn bad_commands_have_their_codes() {
        let table = [
            ("", "500 5.5.1"),
            (" NOOP", "500 5.5.1"),
            ("FOO", "500 5.5.1"),
            ("DATA\u{b}", "500 5.5.2"),
            ("NO\u{7f}OP", "500 5.5.2"),
            ("DATA now", "501 5.5.4"),
            ("QUIT  now", "501 5.5.4"),
            ("STARTTLS x", "501 5.5.4"),
            ("VRFY", "501 5.5.4"),
            ("EHLO", "501 5.5.4"),
            ("EHLO a b", "501 5.5.4"),
            ("EHLO é.example", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL FROM", "501 5.5.4"),
            ("MAIL FROM:", "501 5.1.7"),
            ("MAIL FROM: <a@b>", "501 5.1.7"),
            ("MAIL FROM:a@b", "501 5.1.7"),
            ("MAIL  FROM:<a@b>", "501 5.5.4"),
            ("MAIL FROM:<postmaster>", "501 5.1.7"),
            ("MAIL FROM:<a@b>SIZE=1", "501 5.1.7"),
            ("MAIL FROM:<é@b>", "553 5.6.7"),
            ("MAIL FROM:<a@b> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SMTPUTF8 SMTPUTF8", "501 5.5.4"),
            ("MAIL FROM:<a@b> SMTPUTF8=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", "501 5.5.4"),
            ("MAIL FROM:<a@b>  SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> AUTH=<>", "555 5.5.4"),
            ("RCPT", "501 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a>", "501 5.1.3"),
            ("RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4"),
        ];
        for (line, code) in table {
            assert_eq!(refused(line), code, "{line:?}");
        }
        assert!(Command::parse(b"NOOP \xff").is_err());
    }

    #[test]
    fn mail_has_longer_lines_than_others() {
        let long = format!("<{}@r:a@b>", "@r,".repeat(167));
        assert!(Command::parse(format!("MAIL FROM:{long}").as_bytes()).is_ok());
        assert_eq!(refused(&format!("RCPT TO:{long}")), "500 5.5.2");
        assert!(Command::parse(format!("NOOP {}", "x".repeat(505)).as_bytes()).is_ok());
        assert_eq!(refused(&format!("NOOP {}", "x".repeat(506))), "500 5.5.2");
    }
}
