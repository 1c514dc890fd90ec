//! What everybody was told, against what the cabinet says at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caps_frontend::Client;
use caps_model::messages::{From, History, Outcome as CommitOutcome, Update};
use caps_model::{CommitId, Name, Object, ObjectId, Query};
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::{AT_ONCE, Run, VIOLATIONS_MAX};
use crate::scenario::closing;
use crate::scenario::ledger::WriteState;

/// What the reckoning found about writes of which nothing was heard.
#[derive(Debug, Default)]
pub(super) struct Reckoning {
    pub(super) open_happened: u64,
    pub(super) open_not_happened: u64,
    pub(super) orphaned: u64,
}

impl Run {
    /// Compares what everybody was told with what the cabinet says.
    pub(super) async fn reckon(&mut self) -> anyhow::Result<Reckoning> {
        let names = self.front_ends();
        let Some(reader) = names.first().and_then(|name| self.clients.get(name)).cloned() else { return Ok(Reckoning::default()) };
        let messages = all(&reader, "message").await?;
        let cases = all(&reader, "case").await?;
        let mut by_message_id: BTreeMap<String, u64> = BTreeMap::new();
        for message in &messages {
            if let Some(id) = message.text("message_id") {
                *by_message_id.entry(id.to_owned()).or_default() += 1;
            }
        }
        for (id, times) in by_message_id.iter().filter(|(_, times)| **times > 1) {
            self.broken("nothing-twice", format!("the mail {id} was filed {times} times"));
        }
        let reckoning = self.reckon_writes(&by_message_id).await?;
        self.reckon_replicas(&messages, &cases).await?;
        self.reckon_followers(&reader, messages.iter().chain(&cases)).await?;
        Ok(reckoning)
    }

    /// Looks for what replicas hold and should not.
    async fn reckon_replicas(&mut self, messages: &[Object], cases: &[Object]) -> anyhow::Result<()> {
        if let Some(problem) = closing::misnumbered(cases) {
            self.broken("serializable", problem);
        }
        let members = self.replicas();
        let deployment = self.world.deployment();
        let nodes = deployment.keepers(deployment.cabinet()).filter(|node| members.contains(&node.name));
        let replicas: Vec<_> = nodes.map(|node| (node.name.clone(), node.identity.clone())).collect();
        let objects: Vec<ObjectId> = messages.iter().chain(cases).map(|object| object.id).collect();
        let services = self.world.deployment().cabinet().services();
        let administrator = self.world.administrator().await?;
        for problem in closing::unequal(&administrator, services, &replicas, &objects).await?.into_iter().take(VIOLATIONS_MAX) {
            self.broken("equal-replicas", problem);
        }
        for problem in closing::unanswering(&administrator, services, &replicas).await? {
            self.broken("recovers", problem);
        }
        let followed = 2 * self.scenario.load.watchers.min(self.front_ends().len());
        if closing::subscriptions(&self.world, followed).is_some() {
            // Readers that died in silence are given up when their connections are.
            sleep(FORGOTTEN_AFTER).await;
        }
        if let Some(problem) = closing::subscriptions(&self.world, followed) {
            self.broken("bounded", problem);
        }
        Ok(())
    }

    async fn reckon_writes(&mut self, by_message_id: &BTreeMap<String, u64>) -> anyhow::Result<Reckoning> {
        let mut reckoning = Reckoning::default();
        let writes = self.ledger.open().writes.clone();
        let ask = |(commit, by): (CommitId, String)| {
            let client = self.clients.get(&by).cloned();
            async move {
                let Some(client) = client else { return (commit, None) };
                (commit, client.outcome(commit, true).await.ok())
            }
        };
        let asked: Vec<(CommitId, String)> = writes.iter().map(|(commit, write)| (*commit, write.by.clone())).collect();
        let outcomes: BTreeMap<CommitId, Option<CommitOutcome>> = stream::iter(asked).map(ask).buffered(AT_ONCE).collect().await;
        let mut positions: BTreeMap<u64, CommitId> = BTreeMap::new();
        for (commit, write) in &writes {
            let filed = write.message_id.as_ref().map(|id| by_message_id.get(id).copied().unwrap_or(0));
            let outcome = outcomes.get(commit).cloned().flatten();
            match (&write.state, outcome) {
                (WriteState::Acknowledged(position), Some(CommitOutcome::Accepted { position: at, .. })) => {
                    if at != *position {
                        self.broken("nothing-lost", format!("{commit} was acknowledged at {position} and is at {at}"));
                    }
                    if filed == Some(0) {
                        self.broken("nothing-lost", format!("{commit} of {} was acknowledged, and its mail is not there", write.by));
                    }
                    if let Some(other) = positions.insert(at.0, *commit) {
                        self.broken("nothing-twice", format!("{commit} and {other} are both at {at}"));
                    }
                }
                (WriteState::Acknowledged(position), outcome) => {
                    self.broken("nothing-lost", format!("{commit} was acknowledged at {position}, and its outcome is {outcome:?}"));
                }
                (WriteState::Open, _) if self.lives.get(&write.by) != Some(&write.life) => reckoning.orphaned += 1,
                (WriteState::Open, Some(CommitOutcome::Accepted { .. })) => {
                    reckoning.open_happened += 1;
                    if filed == Some(0) {
                        self.broken("outcome", format!("{commit} is said to have happened, and its mail is not there"));
                    }
                }
                (WriteState::Open, Some(CommitOutcome::Sealed)) => {
                    reckoning.open_not_happened += 1;
                    if filed.is_some_and(|times| times > 0) {
                        self.broken("outcome", format!("{commit} is said never to happen, and its mail is there"));
                    }
                }
                (WriteState::Open, outcome) => {
                    self.broken(
                        "outcome",
                        format!("nobody can tell whether {commit} of {} at {:?} happened: {outcome:?}", write.by, write.at),
                    );
                }
                (WriteState::Refused, Some(CommitOutcome::Accepted { position, .. })) => {
                    self.broken("outcome", format!("{commit} of {} was refused, and happened at {position}", write.by));
                }
                (WriteState::Refused, _) => {}
            }
        }
        Ok(reckoning)
    }

    async fn reckon_followers<'a>(&mut self, reader: &Client, objects: impl Iterator<Item = &'a Object>) -> anyhow::Result<()> {
        let seen = self.ledger.open().seen.clone();
        if seen.is_empty() {
            return Ok(());
        }
        let ask = |(entity, id): (String, ObjectId)| {
            let reader = reader.clone();
            async move {
                let timeline = reader.history(History { object: id, before: None, limit: 1_000 }).await?;
                anyhow::Ok(timeline.events.into_iter().map(|event| (entity.clone(), id, event.object.version.0)).collect::<Vec<_>>())
            }
        };
        let asked: Vec<(String, ObjectId)> = objects.map(|object| (object.entity.to_string(), object.id)).collect();
        let mut truth: BTreeMap<String, BTreeSet<(ObjectId, u64)>> = BTreeMap::new();
        let mut answers = stream::iter(asked).map(ask).buffered(AT_ONCE);
        while let Some(versions) = answers.next().await {
            for (entity, id, version) in versions? {
                truth.entry(entity).or_default().insert((id, version));
            }
        }
        for ((name, life), seen) in seen {
            let Some((_, entity)) = name.split_once(' ') else { continue };
            let Some(start) = seen.start else { continue };
            let none = BTreeSet::new();
            let truth = truth.get(entity).unwrap_or(&none);
            let expected = truth.iter().filter(|(_, version)| (start + 1..=seen.position).contains(version));
            let gaps: Vec<u64> = expected.filter(|version| !seen.versions.contains_key(version)).map(|(_, version)| *version).collect();
            if !gaps.is_empty() {
                let which = &gaps[..gaps.len().min(5)];
                self.broken("gapless", format!("{name} (process {life}) was not told of {} changes, at {which:?}", gaps.len()));
            }
            let twice: u64 = seen.versions.values().map(|times| times - 1).sum();
            if twice + seen.disordered > 0 {
                self.broken("gapless", format!("{name} (process {life}) was told {twice} changes twice, {} out of order", seen.disordered));
            }
        }
        Ok(())
    }
}

/// Every object of an entity.
async fn all(client: &Client, entity: &'static str) -> anyhow::Result<Vec<Object>> {
    let mut subscription = client.subscribe(Query::all(Name::fixed(entity)), From::Present);
    let mut all = Vec::new();
    loop {
        if let Update::Present { objects, complete, .. } = subscription.next().await? {
            all.extend(objects);
            if complete {
                return Ok(all);
            }
        }
    }
}

/// However long a connection to somebody who is gone is kept.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(90);
