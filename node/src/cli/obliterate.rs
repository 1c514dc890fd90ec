//! `caps obliterate`.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use caps_model::messages::audit::{self, BlobsTaken, Head};
use caps_model::messages::cabinet::{Committed, ReplicaStatus, STATUS};
use caps_model::{BlobId, CommitId, Name, ObjectId, Position, codec};
use caps_overlay::{CallError, Overlay};
use caps_store::service::failure;
use clap::Args;
use serde_json::json;
use tokio::time::sleep;

use super::Global;
use super::cabinet::ask;
use super::connect::LEAVE;
use super::read::object_id;
use crate::ambient;
use crate::deployment::{Cabinet, Deployment, Node};
use crate::output::say;

/// Take values of an object away for ever: now, in its history, and in every replica's files.
///
/// All values that the attribute ever had go, or those that commits from one position to another gave it. With them go the reason, the result and the
/// arguments of effects of the commits that brought them in, because these may repeat them. That it happened, who asked for it and why is recorded
/// like a commit; the chain over the history stays verifiable. It cannot be undone. Blobs go with the values that name them, unless other values name
/// them, too: then they stay, and are listed. References are not obliterated: clear them. Backups and exports are not reached: a backup loses such
/// blobs when it is made again, and the values when it is restored. Needs the administrator's certificate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps obliterate '#01jd4m3v7q8z0r5t1x6y2w9k3n' email --reason 'erasure asked for, letter of 3 May' --as admin
  caps obliterate '#01jd4m3v7q8z0r5t1x6y2w9k3n' body --from 812 --to 812 --reason 'wrong customer' --yes --as admin")]
pub(super) struct Obliterate {
    /// The object.
    #[arg(value_parser = object_id)]
    object: ObjectId,
    /// The attribute.
    attribute: Name,
    /// Only values given by the commit at this position or later ones.
    #[arg(long, value_name = "POSITION", default_value_t = 1)]
    from: u64,
    /// Only values given by the commit at this position or earlier ones.
    #[arg(long, value_name = "POSITION", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// Why. It is recorded and stays: do not repeat in it what is to go.
    #[arg(long)]
    reason: String,
    /// The commit's id, to ask again for what was asked for before.
    #[arg(long, value_name = "ID")]
    id: Option<CommitId>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// How far a replica is.
struct Carried {
    node: String,
    state: &'static str,
    quarantined: u32,
    blobs: Option<BlobsTaken>,
}

impl Obliterate {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        self.confirm()?;
        let cabinet = global.cabinet(&deployment, global.administrator())?;
        let overlay = global.administer(&deployment).await?;
        let done = self.carry_out(global, &deployment, cabinet, &overlay).await;
        overlay.drain(LEAVE).await;
        done
    }

    fn confirm(&self) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let input = std::io::stdin();
        if !input.is_terminal() {
            bail!("nobody is there to confirm it: say --yes");
        }
        let which = match (self.from, self.to) {
            (0 | 1, u64::MAX) => "all values".to_owned(),
            (from, u64::MAX) => format!("the values given from position {from} on"),
            (from, to) => format!("the values given from position {from} to {to}"),
        };
        eprint!("{which} of {} of #{} will be gone for ever. Type yes: ", self.attribute, self.object);
        let mut line = String::new();
        input.lock().read_line(&mut line).context("cannot read the answer")?;
        if line.trim() != "yes" {
            bail!("nothing was obliterated");
        }
        Ok(())
    }

    async fn carry_out(&self, global: &Global, deployment: &Deployment, cabinet: &Cabinet, overlay: &Overlay) -> anyhow::Result<()> {
        let id = self.id.map_or_else(new_id, Ok)?;
        let target =
            audit::Target { object: self.object, attribute: self.attribute.clone(), from: Position(self.from), to: Position(self.to) };
        // Whose order it is, the replicas take from the certificate.
        let order = audit::Obliterate { id, by: String::new(), reason: self.reason.clone(), targets: vec![target] };
        let position = self.order(global, deployment, cabinet, overlay, &order).await?;
        let carried = self.wait(deployment, cabinet, overlay, position).await;
        let all = carried.iter().all(|carried| carried.state == CARRIED_OUT);
        if global.json {
            let nodes: Vec<_> = carried
                .iter()
                .map(|carried| {
                    let taken = carried.blobs.as_ref().map(|blobs| blobs.taken);
                    json!({"node": carried.node, "state": carried.state, "quarantined_files": carried.quarantined, "blobs_taken": taken})
                })
                .collect();
            let left: Vec<_> = left(&carried).iter().map(ToString::to_string).collect();
            say!(
                "{}",
                json!({
                    "commit": id.to_string(), "position": position.0, "carried_out_everywhere": all, "nodes": nodes, "blobs_left": left,
                })
            );
            return Ok(());
        }
        say!("{} of #{} is obliterated at position {position}, commit {id}", self.attribute, self.object);
        for Carried { node, state, quarantined, blobs } in &carried {
            match blobs {
                Some(BlobsTaken { taken, .. }) if *taken > 0 => say!("  {node}: {state}; {taken} blobs overwritten and removed"),
                _ => say!("  {node}: {state}"),
            }
            if *quarantined > 0 {
                say!(
                    "    {quarantined} damaged files or states that were set aside there may hold it still: `caps check --node {node} --purge-quarantined` \
                     removes them, with the node stopped"
                );
            }
        }
        for blob in left(&carried) {
            say!("{blob} stays: other values name it");
        }
        if !all {
            say!("a replica that is away does it before it serves again; ask again with --id {id} to see");
        }
        Ok(())
    }

    /// Asks one replica after the other: any of them finds the leader, and with one id it happens once.
    async fn order(
        &self,
        global: &Global,
        deployment: &Deployment,
        cabinet: &Cabinet,
        overlay: &Overlay,
        order: &audit::Obliterate,
    ) -> anyhow::Result<Position> {
        let mut failures = Vec::new();
        for replica in deployment.keepers(cabinet) {
            match ask::<Committed>(overlay, cabinet, &replica.identity, audit::OBLITERATE, codec::encode(order)?, global.timeout).await {
                Ok(Committed::Accepted { position, .. }) => return Ok(position),
                Ok(Committed::Sealed) => bail!("the commit {} was sealed: ask again without --id", order.id),
                Ok(Committed::Conflict { .. }) => bail!("the object changed meanwhile: nothing was obliterated, ask again"),
                Err(CallError::Failed(refusal)) if refusal.code == failure::REFUSED => bail!("{}", refusal.message),
                Err(error) => failures.push(format!("{}: {error}", replica.name)),
            }
        }
        bail!("no replica could see to it ({}); it may have happened: ask again with --id {}", failures.join("; "), order.id)
    }

    /// How far each replica is with carrying it out, after waiting a little for the slower ones.
    async fn wait(&self, deployment: &Deployment, cabinet: &Cabinet, overlay: &Overlay, position: Position) -> Vec<Carried> {
        let mut carried = Vec::new();
        for _ in 0..LOOKS {
            carried.clear();
            for replica in deployment.keepers(cabinet) {
                let status = ask::<ReplicaStatus>(overlay, cabinet, &replica.identity, STATUS, Vec::new(), LOOK).await;
                let question = codec::encode(&audit::AskHead { at: Some(position) }).unwrap_or_default();
                let head = ask::<Head>(overlay, cabinet, &replica.identity, audit::HEAD, question, LOOK).await;
                let blobs = match &head {
                    Ok(head) => blobs_taken(overlay, cabinet, replica, head.index).await,
                    Err(_) => None,
                };
                let (state, quarantined) = match (status, head) {
                    (Ok(status), Ok(head)) if status.redacted_index >= head.index => (CARRIED_OUT, status.quarantined),
                    (Ok(status), _) => ("under way", status.quarantined),
                    (Err(_), _) => ("does not answer", 0),
                };
                carried.push(Carried { node: replica.name.clone(), state, quarantined, blobs });
            }
            if carried.iter().all(|carried| carried.state == CARRIED_OUT) {
                break;
            }
            sleep(PAUSE).await;
        }
        carried
    }
}

/// What it did to blobs there; nothing, if that is not known.
async fn blobs_taken(overlay: &Overlay, cabinet: &Cabinet, replica: &Node, index: u64) -> Option<BlobsTaken> {
    let question = codec::encode(&audit::AskBlobs { index }).unwrap_or_default();
    ask::<BlobsTaken>(overlay, cabinet, &replica.identity, audit::BLOBS_TAKEN, question, LOOK).await.ok().filter(|blobs| blobs.settled)
}

/// The blobs that stay, as any replica says.
fn left(carried: &[Carried]) -> BTreeSet<BlobId> {
    carried.iter().flat_map(|carried| &carried.blobs).flat_map(|blobs| &blobs.left).copied().collect()
}

fn new_id() -> anyhow::Result<CommitId> {
    let mut random = [0; 16];
    ambient::random()?(&mut random);
    let since = ambient::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(CommitId::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), u128::from_le_bytes(random)))
}

const CARRIED_OUT: &str = "carried out";

/// How often, how long and with which pauses replicas are asked how far they are: some seconds together.
const LOOKS: usize = 20;
const LOOK: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(250);
