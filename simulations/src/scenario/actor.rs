//! The people of a scenario: front ends that write and read the case desk, and follow it, and write down what they were told.

use std::time::Duration;

use bytes::Bytes;
use caps_adapters::mail::Limits;
use caps_frontend::{Client, ClientError, gateway};
use caps_model::messages::{From, ObjectChange, Outcome, Subscribe, Update};
use caps_model::{CommitId, Filter, Name, Object, ObjectId, Query, Record, Value};
use caps_overlay::{CallOptions, Identity, Layer, MethodId, Rng, To};
use tokio::time::sleep;

use super::Load;
use super::ledger::Ledger;
use crate::clock::Clock;

/// One front end at work.
pub(super) struct Actor {
    pub(super) name: String,
    /// Which of the front end's processes it is, from 1.
    pub(super) life: u64,
    pub(super) client: Client,
    pub(super) ledger: Ledger,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
    pub(super) load: Load,
    /// A replica, which no front end may reach.
    pub(super) forbidden: Option<Identity>,
}

impl Actor {
    /// Works until the ledger is closed.
    pub(super) async fn work(self) {
        let me = (self.name.clone(), self.life);
        let mut mails = Vec::new();
        for number in 0_u64.. {
            sleep(self.rng.jitter(self.load.every)).await;
            if self.ledger.open().closed {
                return;
            }
            self.ledger.open().at_work.insert(me.clone());
            const SHARES: u64 = 1_000_000;
            if (self.rng.below(SHARES) as f64) < self.load.writes * SHARES as f64 {
                match self.rng.below(20) {
                    0 | 1 => self.close_a_case().await,
                    2 => self.seal_a_mail(number).await,
                    _ => self.file_a_mail(number, &mut mails).await,
                }
            } else {
                self.read().await;
            }
            if number % 50 == 7 {
                self.try_what_is_forbidden().await;
            }
            self.ledger.open().at_work.remove(&me);
        }
    }

    /// Follows an entity for as long as the front end lives.
    pub(super) async fn follow(self, entity: &'static str) {
        // What it was told is held against every version that there was.
        let everything = Subscribe::new(Query::all(Name::fixed(entity)), From::Present).every_change();
        let mut subscription = self.client.follow(everything);
        let key = (format!("{} {entity}", self.name), self.life);
        self.ledger.open().seen.entry(key.clone()).or_default();
        loop {
            let update = match subscription.next().await {
                Ok(update) => update,
                Err(error) => {
                    self.ledger.open().failed(format!("following: {error}"));
                    sleep(self.rng.jitter(Duration::from_secs(1))).await;
                    continue;
                }
            };
            let mut book = self.ledger.open();
            if let Update::Changes { position, .. } = &update {
                book.followed(*position, self.now());
            }
            let Some(seen) = book.seen.get_mut(&key) else { return };
            match update {
                Update::Present { position, complete: true, .. } => {
                    // A new start after a break in the first objects, or after a change of rights, counts from there.
                    seen.start = Some(seen.start.map_or(position.0, |start| start.min(position.0)));
                    seen.position = seen.position.max(position.0);
                }
                Update::Present { .. } => {}
                Update::Changes { position, changes, .. } => {
                    seen.disordered += u64::from(position.0 <= seen.position);
                    seen.position = position.0;
                    for change in changes {
                        if let ObjectChange::Added(object) | ObjectChange::Changed(object) = change {
                            *seen.versions.entry((object.id, object.version.0)).or_default() += 1;
                        }
                    }
                }
                Update::Progress { position, .. } => seen.position = seen.position.max(position.0),
            }
        }
    }

    /// One write whose acknowledgement is waited for: the last thing that a scenario asks of a front end.
    pub(super) async fn last_write(&self) -> Result<(), ClientError> {
        // A mail of its own: one that an earlier attempt filed would be found, and nothing would be committed.
        let commit = self.client.new_commit();
        self.file_as(commit, &format!("last-{commit}"), None).await.map(drop)
    }

    async fn file_a_mail(&self, number: u64, mails: &mut Vec<String>) {
        let id = format!("{number}-{}-{}", self.name, self.life);
        let answered = match mails.len() {
            0 => None,
            known if self.rng.below(3) == 0 => mails.get(usize::try_from(self.rng.below(known as u64)).unwrap_or(0)).cloned(),
            _ => None,
        };
        let commit = self.client.new_commit();
        if let Ok(answer) = self.file_as(commit, &id, answered.as_deref()).await {
            mails.push(id);
            if let Some(case) = answer.get("case").and_then(|values| values.first()?.as_reference()) {
                self.look_for(case, answer.get("number").and_then(|values| values.first()?.as_int())).await;
            }
            if self.rng.below(4) == 0 {
                self.ask_a_stranger(commit).await;
            }
        }
    }

    /// Files a mail while somebody else sees to it that it is never filed: one of the two wins, and both hear the same.
    async fn seal_a_mail(&self, number: u64) {
        let (commit, id) = (self.client.new_commit(), format!("sealed-{number}-{}-{}", self.name, self.life));
        let sealing = async {
            sleep(Duration::from_millis(self.rng.below(20))).await;
            self.client.outcome(commit, true).await
        };
        let (filed, sealed) = futures_util::future::join(self.file_as(commit, &id, None), sealing).await;
        if let (Ok(_), Ok(Outcome::Sealed)) = (&filed, &sealed) {
            self.broken(format!("{commit} was said never to happen, and was acknowledged"));
        }
    }

    /// What was acknowledged is known to everybody who asks afterwards, whatever they have seen before.
    async fn ask_a_stranger(&self, commit: CommitId) {
        let stranger = self.client.stranger();
        match stranger.outcome(commit, false).await {
            Ok(Outcome::Accepted { .. }) => self.ledger.open().reads += 1,
            Ok(outcome) => self.broken(format!("{commit} was acknowledged, and then its outcome was {outcome:?}")),
            Err(error) => self.ledger.open().failed(error.to_string()),
        }
    }

    async fn file_as(&self, commit: CommitId, id: &str, answers: Option<&str>) -> Result<Record, ClientError> {
        let raw = mail(&self.name, id, answers);
        let arguments = gateway::file_mail_arguments(raw.as_bytes(), &Limits::default()).expect("the mail above is well formed");
        self.ledger.open().asked(commit, &self.name, self.life, self.now(), Some(message_id(id)));
        let answer = self.client.call_as(commit, Name::fixed("casedesk"), Name::fixed("file_mail"), arguments).await;
        self.note(commit, &answer);
        answer.map(|called| called.result)
    }

    /// Whoever was told that something is durable finds it.
    async fn look_for(&self, case: ObjectId, number: Option<i64>) {
        let before = self.client.position();
        match self.client.get(vec![case]).await {
            Ok(got) => {
                match got.objects.first().and_then(Option::as_ref) {
                    None => self.broken(format!("a case that was just filed is not there, read at {} after {before}", got.position)),
                    Some(case) if case.int("number") != number => {
                        self.broken(format!(
                            "the case {} was said to have the number {number:?}, and has {:?}",
                            case.id,
                            case.int("number")
                        ));
                    }
                    Some(_) => {}
                }
                self.answered_at(before.0, got.position.0);
            }
            Err(error) => self.ledger.open().failed(error.to_string()),
        }
    }

    async fn read(&self) {
        let before = self.client.position();
        match self.client.query(new_cases()).await {
            Ok(found) => self.answered_at(before.0, found.position.0),
            Err(error) => self.ledger.open().failed(error.to_string()),
        }
    }

    async fn close_a_case(&self) {
        let found: Vec<Object> = match self.client.query(new_cases()).await {
            Ok(found) => found.objects,
            Err(error) => return self.ledger.open().failed(error.to_string()),
        };
        if found.is_empty() {
            return;
        }
        let place = usize::try_from(self.rng.below(found.len() as u64)).unwrap_or(0);
        let arguments: Record =
            [(Name::fixed("case"), vec![Value::Reference(found[place].id)]), (Name::fixed("reason"), vec![Value::text("done")])].into();
        let commit = self.client.new_commit();
        self.ledger.open().asked(commit, &self.name, self.life, self.now(), None);
        let answer = self.client.call_as(commit, Name::fixed("casedesk"), Name::fixed("close"), arguments).await;
        self.note(commit, &answer);
    }

    /// A front end has no business with layer 1; an answer from there, whatever it says, is a hole.
    async fn try_what_is_forbidden(&self) {
        let Some(replica) = &self.forbidden else { return };
        let status = MethodId { service: self.client.services().cabinet(), method: caps_model::messages::cabinet::STATUS };
        let options = CallOptions { deadline: Duration::from_secs(2), ..CallOptions::default() };
        if self.client.overlay().call(To::Node(replica), status, Bytes::new(), options).await.is_ok() {
            self.broken(format!("{} was answered by {replica}, with which it has no business", self.name));
        }
    }

    fn note(&self, commit: CommitId, answer: &Result<caps_model::messages::host::Called, ClientError>) {
        let mut book = self.ledger.open();
        match answer {
            Ok(called) => book.acknowledged(commit, called.position, self.now()),
            Err(ClientError::Refused(failure)) => book.refused(commit, failure.message.clone()),
            Err(error) => book.failed(error.to_string()),
        }
    }

    /// A session never goes back.
    fn answered_at(&self, before: u64, position: u64) {
        self.ledger.open().reads += 1;
        if position < before {
            self.broken(format!("{} had seen position {before} and was then answered at {position}", self.name));
        }
    }

    fn broken(&self, what: String) {
        self.ledger.open().must_never_be(self.now(), what);
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns())
    }
}

/// Whom nobody but hosts and replicas may call.
pub(super) fn forbidden(deployment: &caps_node::deployment::Deployment) -> Option<Identity> {
    deployment.layer(Layer::Cabinet).next().map(|node| node.identity.clone())
}

fn new_cases() -> Query {
    let filter: Filter = "status = new".parse().expect("the filter is well formed");
    Query { filter, ..Query::all(Name::fixed("case")) }.limit(20)
}

pub(super) fn message_id(id: &str) -> String {
    format!("{id}@customers.example")
}

fn mail(from: &str, id: &str, answers: Option<&str>) -> String {
    let in_reply_to = answers.map(|id| format!("In-Reply-To: <{}>\r\n", message_id(id))).unwrap_or_default();
    format!(
        "From: {from} <{from}@customers.example>\r\nTo: desk@pumps.example\r\nSubject: Pump {id} drips\r\n\
         Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <{}>\r\n{in_reply_to}\r\nIt has dripped since Monday.\r\n",
        message_id(id)
    )
}
