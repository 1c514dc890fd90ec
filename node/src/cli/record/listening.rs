//! The recorded side: a command notes what it asks for, where the recording one told it to.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use caps_frontend::{Client, Exchange, Observer};
use caps_model::codec::{decode, encode};
use caps_model::messages::host::{self, As, Call, Login};
use caps_model::messages::{Get, History, Subscribe};
use caps_model::{Query, Wire};
use caps_overlay::WallClock;

use super::transcript::Line;
use crate::output::hex;

/// The environment variable with the file to write to.
pub(super) const VARIABLE: &str = "CAPS_RECORD";

/// Notes what one command asks for.
#[derive(Clone)]
pub(in crate::cli) struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    clock: Arc<dyn WallClock>,
    /// Consoles that are open: they are noted when they are closed.
    open: Mutex<Vec<Line>>,
}

impl Recorder {
    /// Records what the client asks, if this command runs below `caps record`.
    pub(in crate::cli) fn wanted(client: &Client) -> anyhow::Result<Option<Self>> {
        let path: OsString = match std::env::var_os(VARIABLE) {
            Some(path) if !path.is_empty() => path,
            _ => return Ok(None),
        };
        let file = OpenOptions::new().append(true).open(Path::new(&path));
        let file =
            file.with_context(|| format!("{VARIABLE} says to record into {}, which cannot be written", Path::new(&path).display()))?;
        let clock = client.overlay().environment().wall_clock.clone();
        let recorder = Self { shared: Arc::new(Shared { file, clock, open: Mutex::default() }) };
        client.observe(Arc::new(recorder.clone()));
        Ok(Some(recorder))
    }

    /// Notes the consoles that are closed now.
    pub(in crate::cli) fn leave(self) {
        let now = self.shared.clock.now_micros();
        let open = std::mem::take(&mut *self.shared.open.lock().expect("no holder of this lock panics"));
        open.into_iter().for_each(|line| self.note(&Line { ended_us: now, ..line }));
    }

    /// Lines of several commands at once do not mix: each is one write to a file that is appended to.
    fn note(&self, line: &Line) {
        let written = serde_json::to_string(line).map_err(std::io::Error::from);
        let written = written.and_then(|line| (&self.shared.file).write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            tracing::error!(%error, "cannot record");
        }
    }
}

impl Observer for Recorder {
    fn answered(&self, exchange: &Exchange<'_>) {
        // What is not understood here was made here: there is nothing that it could be.
        let Some(asked) = without_secrets(exchange.method, exchange.asked) else { return };
        let ended_us = self.shared.clock.now_micros();
        let started_us = ended_us.saturating_sub(i64::try_from(exchange.took.as_micros()).unwrap_or(i64::MAX));
        let answer = if exchange.method == host::LOGIN { String::new() } else { hex(exchange.answer) };
        let line = Line { started_us, ended_us, method: exchange.method, asked: hex(&asked), answer };
        match exchange.method {
            host::SUBSCRIBE => self.shared.open.lock().expect("no holder of this lock panics").push(line),
            _ => self.note(&line),
        }
    }
}

/// The message without session and password; `None` for what is no step of an operation.
fn without_secrets(method: u16, asked: &[u8]) -> Option<Vec<u8>> {
    match method {
        host::LOGIN => encode(&Login { password: String::new(), ..decode(asked).ok()? }).ok(),
        host::CALL => encode(&Call { session: None, ..decode(asked).ok()? }).ok(),
        host::QUERY => message::<Query>(asked),
        host::GET => message::<Get>(asked),
        host::HISTORY => message::<History>(asked),
        host::SUBSCRIBE => message::<Subscribe>(asked),
        _ => None,
    }
}

fn message<M: Wire>(asked: &[u8]) -> Option<Vec<u8>>
where
    As<M>: Wire,
{
    encode(&decode::<As<M>>(asked).ok()?.message).ok()
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
