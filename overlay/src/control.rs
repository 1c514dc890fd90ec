//! The control stream: each side's first word, and what it says later about the connection as a whole.

use quinn::{ConnectionError, ReadExactError, RecvStream, SendStream, WriteError};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::connection::CONTROL;
use crate::hello::{Control, ControlError, Hello, LENGTH_BYTES};

/// Opens the control stream and greets. It is the first stream that a dialler opens, so that the peer can read it first.
pub(crate) async fn control_stream(quic: &quinn::Connection, hello: &Hello) -> Result<SendStream, ConnectionError> {
    let mut stream = quic.open_uni().await?;
    let greet = async {
        stream.write_all(&[CONTROL]).await?;
        stream.write_all(&Control::Hello(*hello).encode()).await
    };
    match greet.await {
        Ok(()) => Ok(stream),
        Err(WriteError::ConnectionLost(error)) => Err(error),
        // A peer that stops the control stream is about to close the connection, and says why then.
        Err(_) => Err(quic.closed().await),
    }
}

/// Says what there is to say until the connection is gone.
pub(crate) async fn keep_saying(mut stream: SendStream, mut says: mpsc::Receiver<Control>) {
    while let Some(control) = says.recv().await {
        if stream.write_all(&control.encode()).await.is_err() {
            return;
        }
    }
}

/// Why nothing more can be heard on a control stream.
#[derive(Debug, Error)]
pub(crate) enum HearError {
    /// The connection is gone, or the peer ended the stream.
    #[error("the control stream has ended")]
    Ended,
    /// The peer said something that makes no sense.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<ReadExactError> for HearError {
    fn from(_: ReadExactError) -> Self {
        Self::Ended
    }
}

/// The next control message.
pub(crate) async fn hear(stream: &mut RecvStream) -> Result<Control, HearError> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let mut message = vec![0; Control::size(length)?];
    stream.read_exact(&mut message).await?;
    Ok(Control::decode(&message)?)
}

/// The greeting, which is the first message on the first stream.
pub(crate) async fn hear_hello(quic: &quinn::Connection) -> Result<(Hello, RecvStream), HearError> {
    let mut stream = quic.accept_uni().await.map_err(|_| HearError::Ended)?;
    let mut kind = [0; 1];
    stream.read_exact(&mut kind).await?;
    match hear(&mut stream).await? {
        Control::Hello(hello) if kind[0] == CONTROL => Ok((hello, stream)),
        _ => Err(ControlError::Malformed.into()),
    }
}
