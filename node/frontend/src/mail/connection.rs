//! One connection: bytes between a socket and a session, with the session's patience.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use caps_adapters::mail::smtp::{Output, READ_BYTES_MAX, Session, Timeout};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::listener::Shared;
use super::room::Share;
use crate::Stopping;

/// Serves one client until either has enough.
pub(super) async fn serve(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>, mut stopping: Stopping) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut talk = Talk { session: Session::new(shared.settings.clone(), peer), share: shared.room.share(), step: None, shared };
    let Some(stream) = talk.over(stream, &mut stopping).await? else { return Ok(()) };
    let Some(tls) = talk.shared.tls.clone() else { return Ok(()) };
    let encrypted = timeout(talk.shared.settings.handshake_time, tls.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    talk.session.handle_tls_established();
    talk.over(encrypted, &mut stopping).await.map(drop)
}

/// A session, and what surrounds it.
struct Talk {
    session: Session,
    shared: Arc<Shared>,
    share: Share,
    /// What is waited for, and until when at the latest.
    step: Option<(u64, Instant)>,
}

/// What came of waiting.
enum Came {
    Bytes(usize),
    Nothing,
    Stop,
}

impl Talk {
    /// Talks until the end, or until the client asks for TLS: then the stream is given back.
    async fn over<S: AsyncRead + AsyncWrite + Unpin>(&mut self, mut stream: S, stopping: &mut Stopping) -> io::Result<Option<S>> {
        let mut bytes = vec![0; READ_BYTES_MAX];
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Send(bytes) => send(&mut stream, &bytes).await?,
                    Output::StartTls => return Ok(Some(stream)),
                    Output::Mail(envelope, mail) => {
                        let decision = self.shared.taker.take(*envelope, mail).await;
                        self.session.handle_decision(&decision);
                    }
                    Output::Close => {
                        stream.shutdown().await?;
                        return Ok(None);
                    }
                }
            }
            // What is said last is still to be polled for.
            match self.wait(&mut stream, &mut bytes, stopping).await? {
                Came::Bytes(0) => return Ok(None),
                Came::Bytes(count) => {
                    self.session.handle_bytes(&bytes[..count]);
                    if !self.share.hold(self.session.buffered_bytes()) {
                        tracing::warn!("no room for more mail at once");
                        self.session.handle_shutdown();
                    }
                }
                Came::Nothing => self.session.handle_timeout(),
                Came::Stop => self.session.handle_shutdown(),
            }
        }
    }

    async fn wait<S: AsyncRead + Unpin>(&mut self, stream: &mut S, bytes: &mut [u8], stopping: &mut Stopping) -> io::Result<Came> {
        let until = self.patience();
        tokio::select! {
            // Stopping first, then what the client sends, whose time may just have run out.
            biased;
            () = stopping.stopped() => Ok(Came::Stop),
            read = stream.read(bytes) => read.map(Came::Bytes),
            () = sleep_until(until) => Ok(Came::Nothing),
        }
    }

    /// Until when the client may be silent.
    fn patience(&mut self) -> Instant {
        let now = Instant::now();
        let Some(Timeout { step, pause, whole }) = self.session.next_timeout() else { return now };
        let end = match self.step {
            Some((known, end)) if known == step => end,
            _ => now + whole,
        };
        self.step = Some((step, end));
        end.min(now + pause)
    }
}

/// A client that takes no replies is no client.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    let written = timeout(SEND_WITHIN, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    written.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// For a reply to be taken, as the client has five minutes for a command (RFC 5321 section 4.5.3.2).
const SEND_WITHIN: Duration = Duration::from_secs(300);
