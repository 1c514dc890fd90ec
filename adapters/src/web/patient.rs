//! A connection that is given up when its other end does nothing for long.
//!
//! hyper times the heads of HTTP/1 requests. Nobody times a client that opens HTTP/2 and says nothing, or that asks and never reads the answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream with bounds on silence.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    reading: Patience,
    writing: Patience,
}

impl<S> Patient<S> {
    /// `read_within`: something must come this often; `None` where a client has nothing to say while it listens. `write_within`: something that was
    /// written must leave this often.
    pub(super) fn new(stream: S, read_within: Option<Duration>, write_within: Duration) -> Self {
        Self { stream, reading: Patience::new(read_within), writing: Patience::new(Some(write_within)) }
    }
}

/// How long one direction may stand still.
#[derive(Debug)]
struct Patience {
    within: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(within: Option<Duration>) -> Self {
        Self { within, timer: None }
    }

    /// The outcome of an attempt, or the end of all attempts.
    fn of<T>(&mut self, attempt: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(within) = self.within else { return attempt };
        if attempt.is_ready() {
            self.timer = None;
            return attempt;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(within)));
        debug_assert!(timer.deadline() <= Instant::now() + within);
        timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.reading.of(attempt, context)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.writing.of(attempt, context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.writing.of(attempt, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(context);
        self.writing.of(attempt, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(context);
        self.writing.of(attempt, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_and_deafness_end_a_connection() {
        let second = Duration::from_secs(1);
        let (mut theirs, ours) = duplex(4);
        let mut ours = Patient::new(ours, Some(second), second);
        theirs.write_all(b"ab").await.unwrap();
        assert_eq!(ours.read(&mut [0; 4]).await.unwrap(), 2);
        assert_eq!(ours.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(ours.write_all(b"12345").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
