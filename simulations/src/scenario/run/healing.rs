//! The time after the storm, in which everything must recover.

use std::collections::BTreeMap;
use std::time::Duration;

use caps_certs_gen::Layer;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use super::{AT_ONCE, RealLimit, Run};
use crate::scenario::actor::Actor;
use crate::scenario::monitor::STEP;

impl Run {
    /// Ends everything that is wrong, and waits until all is well. Gives how long that took; `None` when it took too long.
    pub(super) async fn heal(&mut self, told: &impl Fn(Duration), real: &RealLimit) -> anyhow::Result<Option<Duration>> {
        self.tell("nothing more happens: healing");
        self.ledger.open().closed = true;
        self.world.network().reunite();
        for name in std::mem::take(&mut self.paused) {
            self.world.set_paused(&name, false)?;
        }
        for name in self.world.names(Layer::Cabinet) {
            self.world.disks(&name)?.for_each(|disk| disk.limit_capacity(u64::MAX));
        }
        let everybody: Vec<String> = self.servers().into_iter().chain(self.front_ends()).collect();
        for name in everybody.iter().filter(|name| !self.world.is_up(name)) {
            self.comebacks.entry(name.clone()).or_insert_with(Instant::now);
        }
        let (begin, end) = (Instant::now(), Instant::now() + self.scenario.heal);
        let mut wrote = false;
        while Instant::now() < end {
            self.come_back(Instant::now()).await?;
            self.carry_out().await?;
            self.look();
            told(self.world.now());
            real.check()?;
            if self.comebacks.is_empty() {
                wrote = wrote || (self.everybody_went_home() && self.last_words(end).await);
                if wrote && self.is_settled() {
                    self.tell("all is well");
                    return Ok(Some(begin.elapsed()));
                }
            }
            sleep(STEP).await;
        }
        let why = match (self.unsettled(), wrote) {
            (why, false) if why.is_empty() => "not every front end can write".to_owned(),
            (why, _) => why,
        };
        self.broken("recovers", format!("{:?} after the last fault all is not well: {why}", self.scenario.heal));
        Ok(None)
    }

    /// Whether all front ends that live have finished what they were at.
    fn everybody_went_home(&self) -> bool {
        self.ledger.open().at_work.iter().all(|(name, life)| self.lives.get(name) != Some(life))
    }

    /// Every front end writes once more. Says whether all could.
    async fn last_words(&mut self, end: Instant) -> bool {
        let names = self.front_ends();
        let words: Vec<_> = names
            .iter()
            .filter_map(|name| {
                let client = self.clients.get(name)?.clone();
                let life = self.lives.get(name).copied().unwrap_or(0);
                Some(Actor {
                    name: name.clone(),
                    life,
                    client,
                    ledger: self.ledger.clone(),
                    clock: self.world.clock(),
                    rng: self.rng.fork(),
                    load: self.scenario.load.clone(),
                    forbidden: None,
                })
            })
            .collect();
        let count = words.len();
        let mut said = 0;
        let all = stream::iter(words).map(|actor| async move { actor.last_write().await.is_ok() }).buffer_unordered(AT_ONCE);
        let counting = async {
            let mut all = std::pin::pin!(all);
            while let Some(ok) = all.next().await {
                said += usize::from(ok);
            }
        };
        let in_time = timeout(end.saturating_duration_since(Instant::now()), counting).await.is_ok();
        in_time && said == count
    }

    /// Whether every replica is as far as the others, and every follower as far as they.
    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// What is missing until then.
    fn unsettled(&self) -> String {
        if let Some(why) = self.unordered() {
            return why;
        }
        let replicas = self.replicas();
        let mut positions = BTreeMap::new();
        for name in &replicas {
            match self.world.store(name) {
                Some(store) => positions.insert(name.clone(), store.status().position.0),
                None => return format!("{name} is down"),
            };
        }
        let (first, last) = (positions.values().min().copied().unwrap_or(0), positions.values().max().copied().unwrap_or(0));
        if first != last {
            return format!("replicas are at {positions:?}");
        }
        let book = self.ledger.open();
        for ((name, life), seen) in &book.seen {
            let alive = name.split_once(' ').is_some_and(|(front_end, _)| self.lives.get(front_end) == Some(life));
            if alive && (seen.start.is_none() || seen.position < last) {
                return format!("{name} is at {}, and replicas at {last}", seen.position);
            }
        }
        String::new()
    }
}
