//! How fresh an answer has to be.

use anyhow::Context;
use caps_frontend::{Client, ClientError};
use caps_model::Position;
use clap::Args;

/// Without these an answer has everything that this user's commands have seen or done before, and may lack what others did a moment ago.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Freshness {
    /// With everything that anybody was told is done: costs round trips to the cabinet's leader, and to a majority.
    #[arg(long)]
    linearizable: bool,
    /// With at least the commits up to here: what another command printed, at another site perhaps.
    #[arg(long, value_name = "POSITION")]
    at_least: Option<u64>,
}

impl Freshness {
    /// Makes what the client reads from now on as fresh.
    pub(super) async fn ask_of(&self, client: &Client) -> anyhow::Result<()> {
        if let Some(position) = self.at_least {
            client.resume_position(Position(position));
        }
        if self.linearizable {
            client.catch_up().await?;
        }
        Ok(())
    }

    /// What a read came to; of one that was not answered in time, what it may have waited for.
    pub(super) fn explained<T>(&self, answer: Result<T, ClientError>) -> anyhow::Result<T> {
        match (&answer, self.at_least) {
            (Err(ClientError::NoAnswer { .. }), Some(position)) => {
                answer.with_context(|| format!("no replica that can be asked has come to position {position}"))
            }
            _ => Ok(answer?),
        }
    }
}
