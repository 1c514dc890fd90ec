//! Joining the overlay as a front end for the length of one command.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use caps_certs_gen::Layer;
use caps_frontend::Client;
use caps_model::Position;
use caps_model::messages::host::Session;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Global;
use super::record::Recorder;
use crate::deployment::{Cabinet, Deployment};
use crate::node;
use crate::output::{from_hex, hex};

/// Does some work with a client for whoever `--as` names, in the user's session if there is one; then leaves the overlay, so that no peer
/// waits for what will not come back.
pub(super) async fn with_client<T>(global: &Global, work: impl AsyncFnOnce(Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deployment = Deployment::read(&global.config)?;
    let name = actor(global, &deployment)?;
    let cabinet = global.cabinet(&deployment, &name)?;
    let client = join(&deployment, cabinet, &name, global.timeout).await?;
    let recorder = Recorder::wanted(&client)?;
    let result = work(client.clone()).await;
    if let Some(recorder) = recorder {
        recorder.leave();
    }
    client.overlay().drain(LEAVE).await;
    result
}

/// Joins the overlay as a front end, in the user's session if there is one.
pub(super) async fn join(deployment: &Deployment, cabinet: &Cabinet, name: &str, timeout: Duration) -> anyhow::Result<Client> {
    let kept = KeptSession::read(deployment, cabinet, name)?;
    let client = Client::new(node::leaf(deployment, name).await?, cabinet.services(), timeout);
    if let Some(kept) = kept {
        client.resume_session(Some(kept.session));
        client.resume_position(kept.position);
    }
    Ok(client)
}

/// The front end to act as.
pub(super) fn actor(global: &Global, deployment: &Deployment) -> anyhow::Result<String> {
    match &global.actor {
        Some(name) => Ok(name.clone()),
        None => match deployment.layer(Layer::FrontEnd).next() {
            Some(node) => Ok(node.name.clone()),
            None => bail!("{} has no front end (layer = 4): add one, or act as the administrator with --as admin", global.config.display()),
        },
    }
}

/// Listens for Ctrl-C and SIGTERM from now on; the future resolves at the first.
///
/// To be called before anybody is told that the process is ready: until then a signal ends it on the spot.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let listen = |kind| signal(kind).inspect_err(|error| tracing::warn!(%error, "cannot listen for signals")).ok();
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    async move {
        let one = async |signals: &mut Option<Signal>| match signals {
            Some(signals) => signals.recv().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            // Both mean the same: the order does not matter.
            biased;
            _ = one(&mut terminate) => {}
            _ = one(&mut interrupt) => {}
        }
    }
}

/// A user's session, with a cabinet, kept between commands in `<data>/sessions/<front end>@<cabinet>`, for its owner only.
pub(super) struct KeptSession {
    pub(super) session: Session,
    pub(super) position: Position,
}

impl KeptSession {
    fn path(deployment: &Deployment, cabinet: &Cabinet, front_end: &str) -> PathBuf {
        deployment.data.join("sessions").join(format!("{front_end}@{}", cabinet.name))
    }

    fn read(deployment: &Deployment, cabinet: &Cabinet, front_end: &str) -> anyhow::Result<Option<Self>> {
        let path = Self::path(deployment, cabinet, front_end);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read the session in {}", path.display())),
        };
        let parsed = Self::parse(&text);
        parsed.map(Some).with_context(|| format!("{} holds no session: log in again, or `caps logout`", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (token, position) = text.trim().split_once(' ')?;
        let secret = from_hex(token)?.try_into().ok()?;
        Some(Self { session: Session(secret), position: Position(position.parse().ok()?) })
    }

    pub(super) fn write(&self, deployment: &Deployment, cabinet: &Cabinet, front_end: &str) -> anyhow::Result<()> {
        let path = Self::path(deployment, cabinet, front_end);
        let token = hex(&self.session.0);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(path.parent().expect("the path has a directory in front"))?;
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            writeln!(file, "{token} {}", self.position)
        };
        write().with_context(|| format!("cannot keep the session in {}", path.display()))
    }

    pub(super) fn remove(deployment: &Deployment, cabinet: &Cabinet, front_end: &str) -> anyhow::Result<bool> {
        let path = Self::path(deployment, cabinet, front_end);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }
}

/// How long leaving may take.
pub(super) const LEAVE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_session_files_are_no_sessions() {
        assert!(KeptSession::parse(&format!("{} 17", "0a".repeat(32))).is_some());
        for text in ["", "zz 1", &"0a".repeat(32), &format!("{} x", "0a".repeat(32)), &format!("{} 1", "å".repeat(32))] {
            assert!(KeptSession::parse(text).is_none(), "{text}");
        }
    }
}
