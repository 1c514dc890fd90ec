//! `caps login` and `caps logout`.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::Global;
use super::connect::{KeptSession, actor, with_client};
use crate::deployment::Deployment;
use crate::output;
use crate::output::say;

/// Act for a user from now on.
///
/// The password is read from standard input, or from a file. The session is kept for its owner beside the deployment's data, and used by later
/// commands of the same front end until `caps logout` or until it expires.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps login astrid\n  caps login astrid --password-file secret.txt --as desk-kiruna")]
pub(super) struct Login {
    /// The user's login name.
    user: String,
    /// Read the password from the first line of this file.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Login {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let password = self.password()?;
        with_client(global, async |client| {
            let answer = client.login(&self.user, &password).await?;
            let deployment = Deployment::read(&global.config)?;
            let kept = KeptSession { session: answer.session, position: answer.position };
            let name = actor(global, &deployment)?;
            kept.write(&deployment, global.cabinet(&deployment, &name)?, &name)?;
            let expires = output::moment(answer.expires);
            match global.json {
                true => say!("{}", json!({"user": answer.user.to_string(), "expires": expires})),
                false => say!("acting for {} until {expires}", self.user),
            }
            Ok(())
        })
        .await
    }

    fn password(&self) -> anyhow::Result<String> {
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(first_line(text));
        }
        let input = std::io::stdin();
        if input.is_terminal() {
            eprint!("Password of {}: ", self.user);
        }
        let _hidden = HiddenInput::start();
        let mut line = String::new();
        input.lock().read_line(&mut line).context("cannot read the password")?;
        Ok(first_line(line))
    }
}

/// Act for the front end's own node again.
///
/// The session is over then, whoever else may have its secret.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps logout")]
pub(super) struct Logout {}

impl Logout {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let name = actor(global, &deployment)?;
        let ended = with_client(global, async |client| Ok(client.logout().await?)).await;
        if let Err(error) = ended {
            eprintln!("the session could not be ended at the hosts, and ends by itself: {error:#}");
        }
        let was_there = KeptSession::remove(&deployment, global.cabinet(&deployment, &name)?, &name)?;
        match global.json {
            true => say!("{}", json!({ "logged_out": was_there })),
            false if was_there => say!("{name} acts for its own node again"),
            false => say!("{name} was acting for its own node"),
        }
        Ok(())
    }
}

/// Switches the terminal's echo off for as long as it lives.
struct HiddenInput {
    before: Option<rustix::termios::Termios>,
}

impl HiddenInput {
    fn start() -> Self {
        let before = rustix::termios::tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut hidden = before.clone();
            hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
            rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &hidden).ok();
        }
        Self { before }
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, before).ok();
            eprintln!();
        }
    }
}
