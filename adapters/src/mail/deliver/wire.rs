//! The connection to a relay, as lettre sees it.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A connection that gives whole lines, one at a time, and not too many of them.
///
/// Whoever reads from it never holds more than one line, so that nothing that came too early is taken for an answer to what was
/// asked later.
#[derive(Debug)]
pub(super) struct Wire {
    transport: Transport,
    /// What came and is no whole line yet, or is behind one.
    incoming: Vec<u8>,
    /// The line that is being given, and how much of it was.
    line: Vec<u8>,
    given: usize,
    /// How much more is read.
    left_bytes: usize,
}

/// What is below.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, incoming: Vec::new(), line: Vec::new(), given: 0, left_bytes: READ_BYTES_MAX }
    }

    /// A connection that gives a line first which came on another one.
    pub(super) fn after(line: &str, transport: Transport) -> Self {
        Self { line: format!("{line}\r\n").into_bytes(), ..Self::new(transport) }
    }

    /// The connection below, if nothing came that was not asked for.
    pub(super) fn into_transport(self) -> Option<Transport> {
        (self.incoming.is_empty() && self.given == self.line.len()).then_some(self.transport)
    }

    /// Sends a command and its CRLF.
    pub(super) async fn send(&mut self, command: &str) -> io::Result<()> {
        self.write_all(format!("{command}\r\n").as_bytes()).await?;
        self.flush().await
    }

    /// The next line, without its ending.
    pub(super) async fn next_line(&mut self) -> io::Result<String> {
        poll_fn(|context| self.poll_line(context)).await?;
        self.given = self.line.len();
        if self.line.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(self.line.trim_ascii_end()).into_owned())
    }

    /// Puts the next line into `line`; at the end of the connection it stays empty.
    fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.clear();
        self.given = 0;
        loop {
            if let Some(at) = self.incoming.iter().position(|byte| *byte == b'\n') {
                self.line = readable(self.incoming.drain(..=at).as_slice());
                return Poll::Ready(Ok(()));
            }
            if self.incoming.len() >= LINE_BYTES_MAX.min(self.left_bytes) {
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, "the relay says more than is read")));
            }
            let mut piece = [0; 1024];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(self.transport.poll_read_plain(context, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.left_bytes = self.left_bytes.saturating_sub(piece.filled().len());
            self.incoming.extend_from_slice(piece.filled());
        }
    }
}

/// A line without blanks at its end: lettre 0.11.23 ends the program at a line of EHLO's reply that has nothing else.
fn readable(line: &[u8]) -> Vec<u8> {
    let kept = line.trim_ascii_end();
    // The separator of a reply without text is a blank itself, and may be missing.
    let separator: &[u8] = if kept.len() == CODE_BYTES { b" " } else { b"" };
    [kept, separator, b"\r\n"].concat()
}

impl Transport {
    fn poll_read_plain(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given == self.line.len() {
            ready!(self.poll_line(context))?;
        }
        let rest = &self.line[self.given..];
        let piece = &rest[..rest.len().min(buffer.remaining())];
        buffer.put_slice(piece);
        let given = piece.len();
        self.given += given;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.transport {
            Transport::Plain(stream) => stream.peer_addr(),
            Transport::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

/// The digits of a reply.
const CODE_BYTES: usize = 3;

/// RFC 5321 section 4.5.3.1.5 has 512; some relays say more.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// For all that a relay says in one session: a few hundred replies, one to each recipient among them.
const READ_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_at_the_end_of_a_line_are_removed() {
        assert_eq!(readable(b"250-PIPELINING \t\r\n"), b"250-PIPELINING\r\n");
        assert_eq!(readable(b"250-   \r\n"), b"250-\r\n");
        assert_eq!(readable(b"250 \n"), b"250 \r\n");
        assert_eq!(readable(b"250\r\n"), b"250 \r\n");
        assert_eq!(readable(b"\r\n"), b"\r\n");
    }
}
