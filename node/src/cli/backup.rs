//! `caps backup`.

mod blobs;
mod manifest;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use caps_certs_gen::Layer;
use caps_model::codec;
use caps_model::messages::backup::{BACK_UP, Backed, Reached};
use caps_overlay::{CallError, CallOptions, MethodId, Overlay, Priority, To};
use caps_store::backup::{BackupError, Beside, Copied, Named};
use caps_store::service::failure;
use caps_store::storage::{DiskStorage, Storage};
use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::Global;
use super::connect::LEAVE;
use super::progress::Bar;
use super::scratch::Scratch;
use crate::deployment::{Cabinet, Deployment, Node};
use crate::output::{moment, say};
use blobs::Blobs;
use manifest::BlobCount;
pub(super) use manifest::Manifest;

/// Copy the cabinet while it works.
///
/// The first backup into a directory copies everything, the next ones what is new; one that broke off goes on where it broke. A backup is a
/// journal of its own: every record is verified, what follows must fit what is there, and by default all of it is replayed in the end, to hold what
/// comes out against what the replica says. It is durable when the command says that it is done. `caps restore` brings it back, `caps check` examines
/// it. Blobs that its commits name stand beside it, each proven; one that is there whole is not sent again, and one that broke off goes on in its
/// middle. Blobs that were obliterated since the last time are removed from it. Needs the administrator's certificate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  caps backup /backup/main                       from any replica; again tomorrow, for what is new
  caps backup /backup/main --from store-kiruna   from this one, for example a learner that serves few
  caps backup /backup/main --no-verify           quicker; verify another day
  caps backup /backup/main --json")]
pub(super) struct Backup {
    /// The directory: made if there is none, added to if it holds a backup of this cabinet.
    directory: PathBuf,
    /// The node of layer 1 to copy from; one after the other until one answers, if not given.
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// Do not replay it in the end, and do not read again the blobs that are there. Records and their order are verified in any case, and what is new.
    #[arg(long)]
    no_verify: bool,
}

/// Why copying from a replica ended.
enum Broke {
    /// The replica or the way to it failed: what was copied is kept, and another one may go on.
    There(String),
    /// The backup cannot be made.
    Here(BackupError),
    /// The backup is of another history than the cabinet's.
    OtherHistory(String),
}

impl From<CallError> for Broke {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(refusal) if refusal.code == failure::OTHER_HISTORY => Self::OtherHistory(refusal.message),
            error => Self::There(error.to_string()),
        }
    }
}

impl Backup {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let deployment = Deployment::read(&global.config)?;
        let cabinet = global.cabinet(&deployment, global.administrator())?;
        let replicas = self.replicas(&deployment, cabinet)?;
        let storage = DiskStorage::open(&self.directory).with_context(|| format!("cannot use {}", self.directory.display()))?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let backup = caps_store::backup::Backup::open(storage.clone(), cabinet.name.clone())
            .with_context(|| format!("cannot back up into {}", self.directory.display()))?;
        if let Some(torn) = backup.repaired() {
            tracing::warn!(?torn, "an earlier backup broke off; what it had not finished is copied again");
        }
        let overlay = global.administer(&deployment).await?;
        let copied = self.copy(global, cabinet, &overlay, &replicas, backup).await;
        overlay.drain(LEAVE).await;
        let (copied, reached) = copied?;
        let named = if self.no_verify { None } else { Some(self.prove(global, &copied, &reached)?) };
        let wanted = match &named {
            Some(named) => named.blobs.keys().copied().collect(),
            None => copied.mentioned()?,
        };
        let mut blobs = Blobs::default();
        if !wanted.is_empty() || named.as_ref().is_some_and(|named| !named.obliterated.is_empty()) {
            let beside = Beside::open(storage)?;
            // The replay may have taken longer than a connection lives that nobody uses.
            let overlay = global.administer(&deployment).await?;
            let brought = blobs::copy(global, cabinet, &overlay, &replicas, &beside, &wanted, !self.no_verify).await;
            overlay.drain(LEAVE).await;
            blobs = self.settle(global, &copied, brought?, named, &beside)?;
        }
        let count = BlobCount { count: blobs.whole, size_bytes: blobs.size_bytes };
        let manifest = Manifest::new(&deployment.domain, &reached, &copied, count, !self.no_verify);
        manifest.write(&self.directory)?;
        self.tell(global, &copied, &reached, &blobs);
        Ok(())
    }

    /// Removes what was obliterated, and complains about what is lacking: of what is only mentioned, a replay tells what is needed.
    fn settle(&self, global: &Global, copied: &Copied, mut blobs: Blobs, named: Option<Named>, beside: &Beside) -> anyhow::Result<Blobs> {
        let named = match named {
            None if !blobs.absent.is_empty() => {
                let bar = Bar::new(global, "replaying");
                let scratch = Scratch::for_journal(&self.directory, copied.size_bytes)?;
                Some(copied.named(scratch.state()?, &mut |figures| bar.tell(figures))?)
            }
            named => named,
        };
        if let Some(named) = named {
            blobs.absent.retain(|blob| named.blobs.contains_key(blob));
            for blob in &named.obliterated {
                blobs.removed += u64::from(beside.burn(*blob)?);
            }
        }
        if blobs.absent.is_empty() {
            return Ok(blobs);
        }
        let names: Vec<String> = blobs.absent.iter().take(NAMES_MAX).map(ToString::to_string).collect();
        bail!(
            "no replica gave {} of the blobs that commits name ({}{}); the rest is kept: see `caps cabinet`, and run the command again",
            blobs.absent.len(),
            names.join(", "),
            if blobs.absent.len() > NAMES_MAX { ", ..." } else { "" }
        );
    }

    fn replicas<'a>(&self, deployment: &'a Deployment, cabinet: &'a Cabinet) -> anyhow::Result<Vec<&'a Node>> {
        let Some(name) = &self.from else { return Ok(deployment.keepers(cabinet).collect()) };
        let node = deployment.node(name)?;
        if node.layer != Layer::Cabinet {
            bail!("{name} is of layer {}: only nodes of layer 1 keep the cabinet", node.layer.number());
        }
        Ok(vec![node])
    }

    /// Copies from one replica after the other until all is there. What broke off goes on with the next one.
    async fn copy(
        &self,
        global: &Global,
        cabinet: &Cabinet,
        overlay: &Overlay,
        replicas: &[&Node],
        mut backup: caps_store::backup::Backup,
    ) -> anyhow::Result<(Copied, Reached)> {
        let bar = Bar::new(global, "copying");
        let mut failed = Vec::new();
        for replica in replicas.iter().cycle().take(replicas.len() * ROUNDS) {
            match copy_from(global, cabinet, overlay, replica, &mut backup, &bar).await {
                Ok(reached) => return Ok((backup.finish()?, reached)),
                Err(Broke::Here(error)) => {
                    return Err(error).with_context(|| format!("cannot back up into {}", self.directory.display()));
                }
                Err(Broke::OtherHistory(why)) => {
                    bail!("cannot back up into {}: {}: {why}; begin one in another directory", self.directory.display(), replica.name);
                }
                Err(Broke::There(why)) => failed.push(format!("{}: {why}", replica.name)),
            }
        }
        // What was copied is worth keeping: the next backup goes on from there.
        backup.finish()?;
        failed.dedup();
        bail!("no replica sent all of it ({}); what was copied is kept: run the command again", failed.join("; "))
    }

    fn prove(&self, global: &Global, copied: &Copied, reached: &Reached) -> anyhow::Result<Named> {
        let bar = Bar::new(global, "verifying");
        let scratch = Scratch::for_journal(&self.directory, copied.size_bytes)?;
        let proved = copied.prove(reached, scratch.state()?, &mut |figures| bar.tell(figures));
        proved.map(|(_, named)| named).with_context(|| format!("the backup in {} is not what it should be", self.directory.display()))
    }

    fn tell(&self, global: &Global, copied: &Copied, reached: &Reached, blobs: &Blobs) {
        let head = hex(&reached.chain_head);
        if global.json {
            say!(
                "{}",
                json!({
                    "cabinet": reached.cabinet, "from": reached.node, "directory": self.directory.display().to_string(),
                    "entries": copied.entries, "added": copied.added, "position": reached.position.0, "time": moment(reached.moment),
                    "chain_head": head, "size_bytes": copied.size_bytes, "verified": !self.no_verify,
                    "blobs": {
                        "count": blobs.whole, "size_bytes": blobs.size_bytes, "added": blobs.added, "sent_bytes": blobs.sent_bytes,
                        "removed": blobs.removed,
                    },
                })
            );
            return;
        }
        say!("backed up {} from {} into {}", reached.cabinet, reached.node, self.directory.display());
        say!("{} entries, {} of them new; {} on disk", copied.entries, copied.added, HumanBytes(copied.size_bytes));
        if blobs.whole + blobs.removed > 0 {
            let (size, sent) = (HumanBytes(blobs.size_bytes), HumanBytes(blobs.sent_bytes));
            say!("{} blobs, {} of them new; {size} on disk, {sent} sent", blobs.whole, blobs.added);
        }
        if blobs.removed > 0 {
            say!("{} blobs removed: what named them was obliterated", blobs.removed);
        }
        say!("up to position {}, {}; chain head {}", reached.position, moment(reached.moment), &head[..16]);
        match self.no_verify {
            true => say!("not replayed: the next backup without --no-verify does"),
            false => say!("verified: replayed, it comes to the same"),
        }
    }
}

async fn copy_from(
    global: &Global,
    cabinet: &Cabinet,
    overlay: &Overlay,
    replica: &Node,
    backup: &mut caps_store::backup::Backup,
    bar: &Bar,
) -> Result<Reached, Broke> {
    let method = MethodId { service: cabinet.services().cabinet(), method: BACK_UP };
    let options = CallOptions { deadline: global.timeout, priority: Priority::Bulk, own_stream: true, ..CallOptions::default() };
    let body = codec::encode(&backup.ends_with()).map_err(|error| Broke::There(error.to_string()))?;
    let mut replies = overlay.stream(To::Node(&replica.identity), method, Bytes::from(body), options).await?;
    let mut reached = None;
    while let Some(reply) = replies.next().await {
        let message = codec::decode::<Backed>(&reply?);
        match message.map_err(|error| Broke::There(format!("its answer cannot be read: {error}")))? {
            Backed::Reached(place) => {
                backup.begin(&place).map_err(Broke::Here)?;
                reached = Some(place);
            }
            Backed::Entries(entries) => bar.tell(backup.take(entries).map_err(Broke::Here)?),
        }
    }
    match reached {
        Some(reached) if backup.is_complete() => Ok(reached),
        Some(Reached { index: 0, .. }) => Err(Broke::There("its cabinet is empty: nothing to back up".to_owned())),
        _ => Err(Broke::There("its answer was cut short".to_owned())),
    }
}

/// Bytes as people compare them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How often each replica is asked.
const ROUNDS: usize = 2;

/// Blobs that a complaint names.
const NAMES_MAX: usize = 20;
