//! `caps outcome`.

use caps_model::CommitId;
use caps_model::messages::Outcome as Answer;
use clap::Args;
use serde_json::json;

use super::Global;
use super::connect::with_client;
use crate::output;
use crate::output::say;

/// Ask what became of a commit.
///
/// The answer comes from the cabinet's leader, so it is never out of date. "unknown" means: not yet. With --seal a commit that has not
/// happened never will, and the answer is final.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps outcome 01jd4m3v7q8z0r5t1x6y2w9k3n\n  caps outcome 01jd4m3v7q8z0r5t1x6y2w9k3n --seal")]
pub(super) struct Outcome {
    /// The commit's id, as `caps call` printed it.
    commit: CommitId,
    /// Make the answer final.
    #[arg(long)]
    seal: bool,
}

impl Outcome {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            let answer = client.outcome(self.commit, self.seal).await?;
            match (&answer, global.json) {
                (Answer::Accepted { position, result }, true) => {
                    say!("{}", json!({"outcome": "accepted", "position": position.0, "result": output::record(result)}));
                }
                (Answer::Accepted { position, .. }, false) => say!("accepted at position {position}"),
                (Answer::Sealed, true) => say!("{}", json!({"outcome": "sealed"})),
                (Answer::Sealed, false) => say!("it has not happened, and never will"),
                (Answer::Unknown, true) => say!("{}", json!({"outcome": "unknown"})),
                (Answer::Unknown, false) => say!("it has not happened yet; with --seal it never will"),
            }
            Ok(())
        })
        .await
    }
}
