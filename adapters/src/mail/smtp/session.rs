//! The session: which command may follow which, what is counted, what is answered.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    Address, Decision, Envelope, Protocol, Settings, Tls,
    command::{Command, Hello, LINE_TOO_LONG, MailFrom, RecipientTo},
    data::DataReader,
    domain::address_literal,
    line::{LineFault, LineReader},
    reply::Reply,
    settings::Recipient,
};

/// One session of a server, from its greeting on.
///
/// Its owner feeds it what comes from the socket while [`wants_bytes`](Self::wants_bytes), and after each thing it handled does what
/// [`poll_output`](Self::poll_output) says until that says nothing more. The same bytes give the same outputs, however they are cut
/// into pieces.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    peer: IpAddr,
    /// Bytes that came and were not read yet; at most [`INPUT_BYTES_MAX`].
    input: Vec<u8>,
    lines: LineReader,
    /// Replies to send; not much more than [`REPLY_BYTES_MAX`], since no command is read while there are as many.
    replies: Vec<u8>,
    /// What is to be done after the replies are sent.
    next: Option<Output>,
    state: State,
    hello: Option<Hello>,
    transaction: Option<Transaction>,
    is_encrypted: bool,
    is_shutting_down: bool,
    mails: usize,
    errors: usize,
    idle_commands: usize,
    step: u64,
}

/// What the owner of a session is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Begin TLS as its server, on the bytes that come from now on; then say [`Session::handle_tls_established`]. A handshake that
    /// fails ends the connection.
    StartTls,
    /// Decide on a mail, by [`Session::handle_decision`]; the session waits. Its lines end in CRLF, and neither a CR or LF alone nor a NUL byte is in it.
    Mail(Box<Envelope>, Vec<u8>),
    /// Close the connection, when all is sent; nothing comes after this.
    Close,
}

/// How long to wait for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    /// What is waited for. While it stays the same, `whole` is not begun anew.
    pub step: u64,
    /// For the next bytes.
    pub pause: Duration,
    /// For all of the step.
    pub whole: Duration,
}

/// What the next byte is.
#[derive(Debug)]
enum State {
    /// Part of a command.
    Commands,
    /// Part of a mail.
    Data(DataReader),
    /// Kept until the mail is decided on.
    Deciding,
    /// Not ours to read, but TLS's.
    Encrypting,
    /// Of no interest.
    Closed,
}

/// What was said of the mail to come.
#[derive(Debug, Default)]
struct Transaction {
    mail: MailFrom,
    recipients: Vec<Address>,
}

impl Session {
    /// A session with a client that just connected. Its greeting is the first output.
    pub fn new(settings: Arc<Settings>, peer: IpAddr) -> Self {
        let mut session = Self {
            settings,
            peer,
            input: Vec::new(),
            lines: LineReader::default(),
            replies: Vec::new(),
            next: None,
            state: State::Commands,
            hello: None,
            transaction: None,
            is_encrypted: false,
            is_shutting_down: false,
            mails: 0,
            errors: 0,
            idle_commands: 0,
            step: 0,
        };
        let greeting = format!("220 {} ESMTP\r\n", session.settings.host_name);
        session.replies.extend_from_slice(greeting.as_bytes());
        session
    }

    /// Takes bytes from the client, at most [`READ_BYTES_MAX`] at once.
    ///
    /// Bytes that come while the session does not want any are kept, up to a bound; a client that sends more than that ahead of its replies is
    /// cut off.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        match self.state {
            State::Closed => {}
            // Bytes in the clear behind STARTTLS, which would be taken for what was sent under TLS (CVE-2011-0411).
            State::Encrypting => self.close(),
            State::Commands | State::Data(_) | State::Deciding if self.input.len() + bytes.len() > INPUT_BYTES_MAX => {
                self.end(&Reply::new(421, "4.7.0", "more was sent ahead than is kept, closing"));
            }
            State::Commands | State::Data(_) | State::Deciding => self.input.extend_from_slice(bytes),
        }
    }

    /// Takes the decision on the mail that was put out last. Without one that waits it means nothing: the session ended in between.
    pub fn handle_decision(&mut self, decision: &Decision) {
        if !matches!(self.state, State::Deciding) {
            return;
        }
        self.say(&Reply::to_decision(decision));
        self.await_command();
        if self.is_shutting_down {
            self.end(&SHUTTING_DOWN);
        }
    }

    /// Begins anew, as if the client had just connected (RFC 3207 section 4.2), without a greeting.
    pub fn handle_tls_established(&mut self) {
        if !matches!(self.state, State::Encrypting) {
            return;
        }
        self.is_encrypted = true;
        self.hello = None;
        self.await_command();
    }

    /// Ends the session, because the client let pass what [`next_timeout`](Self::next_timeout) gave it.
    pub fn handle_timeout(&mut self) {
        match self.state {
            State::Commands | State::Data(_) => self.end(&Reply::new(421, "4.4.2", "nothing more came in time, closing")),
            State::Encrypting => self.close(),
            State::Deciding | State::Closed => {}
        }
    }

    /// Ends the session, because the server stops; a mail that waits is decided on first.
    pub fn handle_shutdown(&mut self) {
        self.is_shutting_down = true;
        match self.state {
            State::Commands | State::Data(_) => self.end(&SHUTTING_DOWN),
            State::Encrypting => self.close(),
            State::Deciding | State::Closed => {}
        }
    }

    /// What to do next; nothing, if bytes, a decision, TLS or a time-out must come first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.read_input();
        if !self.replies.is_empty() {
            return Some(Output::Send(std::mem::take(&mut self.replies)));
        }
        self.next.take()
    }

    /// How long to wait for the client; `None` while the client waits for us.
    pub fn next_timeout(&self) -> Option<Timeout> {
        let settings = &self.settings;
        let (pause, whole) = match self.state {
            State::Commands => (settings.command_time, settings.command_time),
            State::Data(_) => (settings.data_pause, settings.data_time),
            State::Encrypting => (settings.handshake_time, settings.handshake_time),
            State::Deciding | State::Closed => return None,
        };
        Some(Timeout { step: self.step, pause, whole })
    }

    /// Whether to read from the socket. A client that sends while we are busy waits in its own buffers.
    pub fn wants_bytes(&self) -> bool {
        matches!(self.state, State::Commands | State::Data(_)) && self.input.is_empty() && self.next.is_none()
    }

    /// How many bytes are held; bounded as [`Settings`] says.
    pub fn buffered_bytes(&self) -> usize {
        let content_bytes = match &self.state {
            State::Data(data) => data.buffered_bytes(),
            _ => 0,
        };
        self.input.len() + self.lines.buffered_bytes() + self.replies.len() + content_bytes
    }

    fn read_input(&mut self) {
        let input = std::mem::take(&mut self.input);
        let mut used = 0;
        while used < input.len() && self.next.is_none() && self.replies.len() < REPLY_BYTES_MAX {
            let bytes = &input[used..];
            used += match &mut self.state {
                State::Commands => self.read_command(bytes),
                State::Data(_) => self.read_data(bytes),
                State::Deciding | State::Encrypting | State::Closed => break,
            };
            if matches!(self.state, State::Encrypting) {
                self.enter_tls(used == input.len());
            }
        }
        if !matches!(self.state, State::Closed) {
            self.input = input;
            self.input.drain(..used);
        }
    }

    fn read_command(&mut self, bytes: &[u8]) -> usize {
        let (used, line) = self.lines.read(bytes);
        if let Some(line) = line {
            self.step += 1;
            match line.map_err(line_fault).and_then(|line| Command::parse(&line)) {
                Ok(command) => self.obey(command),
                Err(reply) => self.answer(&reply),
            }
        }
        used
    }

    fn read_data(&mut self, bytes: &[u8]) -> usize {
        let State::Data(data) = &mut self.state else {
            return 0;
        };
        let used = data.read(bytes);
        if data.has_ended() {
            self.end_data();
        } else if data.read_bytes() > self.settings.message_bytes_max as u64 * 2 + EXCESS_BYTES_MAX {
            self.end(&Reply::new(421, "4.3.4", "the mail is far too large, closing"));
        }
        used
    }

    fn end_data(&mut self) {
        let State::Data(data) = std::mem::replace(&mut self.state, State::Deciding) else {
            return;
        };
        let content = data.into_content();
        match (content, self.take_envelope()) {
            (Ok(content), Some(envelope)) => self.next = Some(Output::Mail(Box::new(envelope), content)),
            (Err(fault), _) => {
                self.say(&Reply::to_data_fault(fault));
                self.await_command();
            }
            (Ok(_), None) => {
                self.say(&BAD_SEQUENCE);
                self.await_command();
            }
        }
    }

    fn take_envelope(&mut self) -> Option<Envelope> {
        let Transaction { mail, recipients } = self.transaction.take()?;
        let hello = self.hello.as_ref()?;
        let protocol =
            Protocol { is_extended: hello.is_extended, is_encrypted: self.is_encrypted, is_international: mail.is_international };
        Some(Envelope {
            reverse_path: mail.reverse_path,
            recipients,
            client_name: hello.name.clone(),
            peer: self.peer,
            protocol,
            body: mail.body.unwrap_or_default(),
        })
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Hello(hello) => self.take_hello(hello),
            Command::StartTls => self.start_tls(),
            Command::Mail(mail) => self.begin(mail),
            Command::Recipient(recipient) => self.add(recipient),
            Command::Data => self.begin_data(),
            Command::Reset => {
                self.transaction = None;
                self.idle(&OK);
            }
            Command::Noop => self.idle(&OK),
            Command::Verify => self.idle(&Reply::new(252, "2.1.5", "not told, try to send")),
            Command::Help => self.idle(&Reply::new(214, "2.0.0", "EHLO MAIL RCPT DATA RSET NOOP QUIT (RFC 5321)")),
            Command::Quit => self.end(&Reply::new(221, "2.0.0", "bye")),
            Command::Foreign => self.answer(&NOT_IMPLEMENTED),
            Command::Chunk => self.end(&NOT_IMPLEMENTED),
            Command::Http => self.end(&Reply::new(421, "4.7.0", "this is no web server, closing")),
        }
    }

    /// RFC 5321 section 4.1.4: a second one begins anew.
    fn take_hello(&mut self, hello: Hello) {
        self.transaction = None;
        let mut said = format!("{} greets {}", self.settings.host_name, address_literal(self.peer));
        if hello.is_extended {
            for extension in self.extensions() {
                self.replies.extend_from_slice(format!("250-{said}\r\n").as_bytes());
                said = extension;
            }
        }
        self.hello = Some(hello);
        self.idle(&Reply::saying(250, "", &said));
    }

    fn extensions(&self) -> Vec<String> {
        let mut extensions = vec![
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.settings.message_bytes_max),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        if self.offers_tls() {
            extensions.push("STARTTLS".to_owned());
        }
        extensions
    }

    fn offers_tls(&self) -> bool {
        self.settings.tls != Tls::Off && !self.is_encrypted
    }

    fn start_tls(&mut self) {
        if self.offers_tls() {
            self.transaction = None;
            self.state = State::Encrypting;
        } else {
            let reply = if self.is_encrypted { BAD_SEQUENCE } else { NOT_IMPLEMENTED };
            self.answer(&reply);
        }
    }

    /// Says that TLS may begin, if STARTTLS was the last that came, as RFC 3207 section 4 asks; see [`handle_bytes`](Self::handle_bytes).
    fn enter_tls(&mut self, was_last: bool) {
        if !was_last {
            return self.end(&Reply::new(421, "4.7.0", "bytes behind STARTTLS came before TLS, closing"));
        }
        self.say(&Reply::new(220, "2.0.0", "go ahead with TLS"));
        self.next = Some(Output::StartTls);
    }

    fn begin(&mut self, mail: MailFrom) {
        let Some(hello) = &self.hello else {
            return self.answer(&Reply::new(503, "5.5.1", "HELO or EHLO comes first"));
        };
        if self.settings.tls == Tls::Required && !self.is_encrypted {
            return self.answer(&Reply::new(530, "5.7.0", "STARTTLS comes first"));
        }
        if self.transaction.is_some() {
            return self.answer(&BAD_SEQUENCE);
        }
        let has_parameters = mail.size_bytes.is_some() || mail.body.is_some() || mail.is_international;
        if has_parameters && !hello.is_extended {
            return self.answer(&Reply::new(555, "5.5.4", "parameters need EHLO"));
        }
        if mail.size_bytes.is_some_and(|size_bytes| size_bytes > self.settings.message_bytes_max as u64) {
            return self.say(&Reply::new(552, "5.3.4", "the mail is too large"));
        }
        if self.mails >= self.settings.mails_max {
            return self.end(&Reply::new(421, "4.7.0", "enough mails for one session, closing"));
        }
        self.transaction = Some(Transaction { mail, recipients: Vec::new() });
        self.say(&Reply::new(250, "2.1.0", "sender noted"));
    }

    fn add(&mut self, recipient: RecipientTo) {
        let reply = self.judge(recipient);
        self.answer(&reply);
    }

    /// The answer to a recipient, who is noted if it is a good one.
    fn judge(&mut self, recipient: RecipientTo) -> Reply {
        let settings = &self.settings;
        let Some(transaction) = &mut self.transaction else {
            return BAD_SEQUENCE;
        };
        let address = match recipient {
            RecipientTo::Postmaster => Address::postmaster_at(&settings.host_name),
            RecipientTo::Mailbox(address) => address,
        };
        if address.is_international() && !transaction.mail.is_international {
            return Reply::new(553, "5.6.7", "an address beyond ASCII needs the parameter SMTPUTF8 of MAIL");
        }
        match settings.destinations.judge(&address, &settings.host_name) {
            Recipient::Known => {}
            Recipient::Unknown => return Reply::new(550, "5.1.1", "nobody here has this address"),
            Recipient::Elsewhere => return Reply::new(550, "5.7.1", "mail for this address is not taken here"),
        }
        if !transaction.recipients.contains(&address) {
            if transaction.recipients.len() >= settings.recipients_max {
                return Reply::new(452, "4.5.3", "enough recipients for one mail");
            }
            transaction.recipients.push(address);
        }
        Reply::new(250, "2.1.5", "recipient noted")
    }

    fn begin_data(&mut self) {
        match &self.transaction {
            None => self.answer(&BAD_SEQUENCE),
            Some(transaction) if transaction.recipients.is_empty() => {
                self.answer(&Reply::new(554, "5.5.1", "there is no recipient"));
            }
            Some(_) => {
                self.mails += 1;
                self.idle_commands = 0;
                self.state = State::Data(DataReader::new(self.settings.message_bytes_max));
                self.say(&Reply::new(354, "", "send the mail, end with CRLF.CRLF"));
            }
        }
    }

    /// Replies, and counts a mistake.
    fn answer(&mut self, reply: &Reply) {
        self.say(reply);
        if reply.is_permanent_fault() {
            self.errors += 1;
            if self.errors > self.settings.errors_max {
                self.end(&Reply::new(421, "4.7.0", "too many errors, closing"));
            }
        }
    }

    /// Replies to a command that brings no mail nearer.
    fn idle(&mut self, reply: &Reply) {
        self.say(reply);
        self.idle_commands += 1;
        if self.idle_commands > self.settings.idle_commands_max {
            self.end(&Reply::new(421, "4.7.0", "too many commands without a mail, closing"));
        }
    }

    /// Replies, and ends the session.
    fn end(&mut self, reply: &Reply) {
        self.say(reply);
        self.close();
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.input = Vec::new();
        self.lines = LineReader::default();
        self.transaction = None;
        self.next = Some(Output::Close);
    }

    fn say(&mut self, reply: &Reply) {
        reply.write(&mut self.replies);
    }

    fn await_command(&mut self) {
        self.transaction = None;
        self.step += 1;
        self.state = State::Commands;
    }
}

fn line_fault(fault: LineFault) -> Reply {
    match fault {
        LineFault::BareEnding => Reply::new(500, "5.5.2", "a line ends in a CR or an LF alone, CRLF is expected"),
        LineFault::NulByte => Reply::new(500, "5.5.2", "the line holds a NUL byte"),
        LineFault::TooLong => LINE_TOO_LONG,
    }
}

const OK: Reply = Reply::new(250, "2.0.0", "ok");
const BAD_SEQUENCE: Reply = Reply::new(503, "5.5.1", "the command has no place here");
const NOT_IMPLEMENTED: Reply = Reply::new(502, "5.5.1", "the command is not implemented");
const SHUTTING_DOWN: Reply = Reply::new(421, "4.3.2", "the server stops, come again");

/// What the owner of a session reads from the socket at once, at most; more in one piece only costs memory.
pub const READ_BYTES_MAX: usize = 32 * 1024;

/// One read, and one that was already under way when the session began to be busy.
const INPUT_BYTES_MAX: usize = 2 * READ_BYTES_MAX;

/// Replies before which no further command is read: as many as fit into a few packets, so that a client that pipelines and never reads
/// fills its own buffers and not ours.
const REPLY_BYTES_MAX: usize = 4 * 1024;

/// What is read of a mail beyond twice the limit before the connection is cut. A client may well send a few MiB before it looks at the
/// reply; one that goes on burns our line on purpose.
const EXCESS_BYTES_MAX: u64 = 1024 * 1024;
