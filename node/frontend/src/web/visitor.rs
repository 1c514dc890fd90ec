//! Whoever asks: a user with a session, as the cookie of a browser or the token of a program says.
//!
//! The secret of the host's session is the cookie, so a console that restarts, or another one, serves the browser on. What is kept here is only
//! what may be forgotten: a client with the position that the session has seen, and who the user is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use caps_model::messages::host::Session;
use caps_model::{Name, ObjectId, Query, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::refusal::Trouble;
use crate::{Client, ClientError};

/// What a browser or a program shows to be let in: `<session>.<user>`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The secret of the session.
    pub(crate) session: Session,
    /// Who it is for, as the ticket says: never believed for anything but a greeting, since the host knows.
    pub(crate) user: ObjectId,
}

impl Ticket {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (digits, user) = text.split_once('.')?;
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        let mut secret = [0; 32];
        for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Some(Self { session: Session(secret), user: user.parse().ok()? })
    }

    pub(crate) fn written(&self) -> String {
        let mut text = String::with_capacity(91);
        self.session.0.iter().for_each(|byte| write!(text, "{byte:02x}").expect("writing to a string does not fail"));
        text + "." + &self.user.to_string()
    }
}

/// A user with a session.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// Acts as the user.
    pub(crate) client: Client,
    /// The user.
    pub(crate) user: ObjectId,
    /// The secret that form tokens are made from.
    pub(crate) secret: [u8; 32],
    /// Room for live streams.
    pub(crate) streams: Arc<Semaphore>,
    /// What the last action came to, to be told once.
    notice: Mutex<Option<String>>,
    profile: Mutex<Option<(Instant, Arc<Profile>)>>,
}

/// Who a user is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    /// The name for people.
    pub(crate) name: String,
    /// The names of the groups that the user belongs to.
    pub(crate) groups: Vec<String>,
    /// The agent of the case desk that the user is.
    pub(crate) agent: Option<ObjectId>,
}

impl Visitor {
    fn new(client: Client, ticket: &Ticket) -> Self {
        client.resume_session(Some(ticket.session.clone()));
        Self {
            client,
            user: ticket.user,
            secret: ticket.session.0,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            notice: Mutex::default(),
            profile: Mutex::default(),
        }
    }

    /// Says on the next page what was done.
    pub(crate) fn note(&self, notice: String) {
        *self.notice.lock().expect("nothing panics while it holds this lock") = Some(notice);
    }

    /// What was done, once.
    pub(crate) fn take_notice(&self) -> Option<String> {
        self.notice.lock().expect("nothing panics while it holds this lock").take()
    }

    /// Who the user is, as it was a minute ago at most.
    pub(crate) async fn profile(&self) -> Result<Arc<Profile>, Trouble> {
        let known = self.profile_lock().clone().filter(|(since, _)| since.elapsed() < PROFILE_FRESH);
        if let Some((_, profile)) = known {
            return Ok(profile);
        }
        let profile = Arc::new(self.ask_profile().await?);
        *self.profile_lock() = Some((Instant::now(), profile.clone()));
        Ok(profile)
    }

    /// Asks anew who the user is, next time: something was done that may have changed it.
    pub(crate) fn forget_profile(&self) {
        *self.profile_lock() = None;
    }

    async fn ask_profile(&self) -> Result<Profile, Trouble> {
        let user = self.client.get(vec![self.user]).await?.objects.into_iter().next().flatten();
        // Users may not be able to see themselves; then the host still knows who they are.
        let Some(user) = user.filter(|user| user.entity == *"user") else { return Ok(Profile::default()) };
        let ids: Vec<ObjectId> = user.values("groups").iter().filter_map(Value::as_reference).collect();
        let mut groups: Vec<String> = Vec::new();
        if ids.contains(&ADMINISTRATORS) {
            groups.push("administrators".to_owned());
        }
        if !ids.is_empty() {
            let found = self.client.get(ids).await?.objects.into_iter().flatten();
            groups.extend(found.filter_map(|group| group.text("name").map(ToOwned::to_owned)));
        }
        let agent = Query::equal(Name::fixed("agent"), Name::fixed("user"), Value::Reference(self.user)).limit(1);
        // Where there is no case desk, there are no agents.
        let agent = self.client.query(agent).await.ok().and_then(|found| found.objects.first().map(|agent| agent.id));
        Ok(Profile { name: user.text("name").unwrap_or_default().to_owned(), groups, agent })
    }

    fn profile_lock(&self) -> MutexGuard<'_, Option<(Instant, Arc<Profile>)>> {
        self.profile.lock().expect("nothing panics while it holds this lock")
    }
}

impl Profile {
    /// Whether the user may call a method, as far as is known here; the host decides.
    pub(crate) fn may_call(&self, callers: &[String]) -> bool {
        self.groups.is_empty() || callers.iter().any(|caller| self.groups.contains(caller))
    }
}

/// Visitors by their secret, each with when it asked last.
type Known = BTreeMap<[u8; 32], (Instant, Arc<Visitor>)>;

/// Visitors by their secret; the one that asked least lately makes room for a new one, and loses nothing by it.
#[derive(Debug, Default)]
pub(crate) struct Visitors {
    by_secret: Mutex<Known>,
}

impl Visitors {
    /// The visitor with this ticket. A new one reads nothing older than what is known anywhere now: it may have written at another console.
    pub(crate) async fn admit(&self, ticket: &Ticket, client: &Client) -> Result<Arc<Visitor>, Trouble> {
        if let Some((last, visitor)) = self.lock().get_mut(&ticket.session.0) {
            *last = Instant::now();
            return Ok(visitor.clone());
        }
        let visitor = Arc::new(Visitor::new(client.stranger(), ticket));
        visitor.client.catch_up().await?;
        self.keep(ticket, visitor.clone());
        Ok(visitor)
    }

    /// Keeps the visitor who just logged in through this client.
    pub(crate) fn welcome(&self, ticket: &Ticket, client: Client) -> Arc<Visitor> {
        let visitor = Arc::new(Visitor::new(client, ticket));
        self.keep(ticket, visitor.clone());
        visitor
    }

    /// Forgets a visitor, and ends the session at every host. `stranger` is used up for it: whoever has the visitor's own client at hand must not go on
    /// as the front end's node.
    pub(crate) async fn end(&self, ticket: &Ticket, stranger: Client) -> Result<(), ClientError> {
        self.lock().remove(&ticket.session.0);
        stranger.resume_session(Some(ticket.session.clone()));
        stranger.logout().await
    }

    fn keep(&self, ticket: &Ticket, visitor: Arc<Visitor>) {
        let mut visitors = self.lock();
        if visitors.len() >= VISITORS_MAX {
            let oldest = visitors.iter().min_by_key(|(_, (last, _))| *last).map(|(secret, _)| *secret);
            oldest.and_then(|oldest| visitors.remove(&oldest));
        }
        visitors.insert(ticket.session.0, (Instant::now(), visitor));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.by_secret.lock().expect("nothing panics while it holds this lock")
    }
}

/// The id of the built-in group of administrators, which is no object that could be asked for its name.
const ADMINISTRATORS: ObjectId = ObjectId(1);

/// Live streams of one visitor: tabs that one person has open.
const STREAMS_MAX: usize = 16;

/// Visitors that are remembered; each takes about a kilobyte.
const VISITORS_MAX: usize = 4_096;

/// Groups change rarely, and the host knows at once.
const PROFILE_FRESH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_read_back_and_others_are_none() {
        let ticket = Ticket { session: Session([7; 32]), user: ObjectId(5) };
        assert!(Ticket::parse(&ticket.written()) == Some(ticket));
        for text in ["", ".", &"0".repeat(64), &format!("{}.x", "0".repeat(64)), &format!("{}.{}", "å".repeat(32), ObjectId(5))] {
            assert!(Ticket::parse(text).is_none(), "{text}");
        }
    }
}
