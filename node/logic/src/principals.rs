//! Who is asking: from a session's secret, or a node's certificate, to a principal with its groups.
//!
//! Found out by reading layer 1, and remembered as long as the host hears of every change of a user ([`Principals::watch`]). Groups keep their
//! names and sessions their users for ever, so users are all there is to hear of. A principal that is remembered is good up to the position
//! that has been heard of; who needs it later than that pays for a look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caps_model::messages::host::Session;
use caps_model::messages::{From as StartAt, Subscribe, Update};
use caps_model::{Name, Object, ObjectId, Position, Query, Value};
use caps_overlay::{Identity, Priority, watch};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::cabinet::{Ask, CabinetError, CabinetPort, fetch};
use crate::environment::HostEnvironment;
use crate::people::{GROUP, SESSION, USER};
use crate::privileges::{ADMINISTRATORS, ADMINISTRATORS_NAME, Principal, Who};
use crate::transaction::{Fetched, Wishes};

/// How somebody proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Credential {
    /// By the secret of a session; only its hash is kept here.
    Session([u8; 32]),
    /// By the certificate of the connection.
    Node(Identity),
}

/// Why nobody stands behind a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrincipalError {
    /// The session is over, or never was.
    #[error("there is no such session, or it is over: log in again")]
    NoSession,
    /// Layer 1 was not there to ask.
    #[error(transparent)]
    Cabinet(#[from] CabinetError),
}

/// The principals that this host has to do with.
#[derive(Debug)]
pub(crate) struct Principals {
    cabinet: Arc<dyn CabinetPort>,
    environment: HostEnvironment,
    remembered: Mutex<Remembered>,
    /// Counts changes of users, for those who live on what they once found out.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Remembered {
    principals: BTreeMap<Credential, Arc<Principal>>,
    /// Every change of a user up to here has been heard of; `None` while nobody listens.
    heard: Option<Position>,
    /// The last change of a user: what was found out before it may be wrong.
    changed: Position,
}

impl Credential {
    /// The credential that a message carries: the session's, else that of the node which sent it.
    pub(crate) fn of(session: Option<&Session>, peer: &Identity) -> Self {
        session.map_or_else(|| Self::Node(peer.clone()), |session| Self::Session(hash_of(&session.0)))
    }
}

/// What the cabinet keeps of a session's secret: who reads the cabinet cannot use it.
pub(crate) fn hash_of(secret: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

impl Principals {
    pub(crate) fn new(cabinet: Arc<dyn CabinetPort>, environment: HostEnvironment) -> Self {
        Self { cabinet, environment, remembered: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Who stands behind a credential, as of `ask.at_least` or later.
    ///
    /// A replica may lag behind what was heard of here: rights from before a change that was heard are stale, and nothing would tell so later.
    pub(crate) async fn resolve(&self, credential: &Credential, ask: Ask) -> Result<Arc<Principal>, PrincipalError> {
        let changed = self.remembered().changed;
        let ask = ask.seeing(changed);
        if let Some(principal) = self.recall(credential, ask.at_least) {
            return self.not_over(principal);
        }
        if let Some(remembered) = self.recall(credential, Position::ZERO)
            && let Some(principal) = self.confirm(credential, &remembered, ask).await?
        {
            return self.not_over(principal);
        }
        self.not_over(self.find_out(credential, ask).await?)
    }

    /// Who stood behind a credential lately, at no cost if that is remembered: good enough to decide a commit with, because a commit is
    /// validated together with the rights that it was decided with.
    pub(crate) async fn presume(&self, credential: &Credential, ask: Ask) -> Result<Arc<Principal>, PrincipalError> {
        match self.recall(credential, Position::ZERO) {
            Some(principal) => self.not_over(principal),
            None => self.resolve(credential, ask).await,
        }
    }

    /// Who stands behind a credential as of `at_least`, if that is known without asking.
    pub(crate) fn recall(&self, credential: &Credential, at_least: Position) -> Option<Arc<Principal>> {
        let remembered = self.remembered();
        let heard = remembered.heard?;
        let principal = remembered.principals.get(credential)?;
        (principal.position.max(heard) >= at_least).then(|| principal.clone())
    }

    /// Wakes whenever a user has changed, or may have.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Listens to changes of users for ever, resuming after failures with growing pauses.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut pause = PAUSE_MIN;
        loop {
            let started = Instant::now();
            let problem = self.listen().await;
            self.deaf();
            if started.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            tracing::debug!(?problem, "not hearing of changes of users");
            tokio::time::sleep(self.environment.rng.jitter(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn listen(&self) -> Result<(), CabinetError> {
        let users = Query::all(Name::fixed(USER));
        let start = self.cabinet.query(users.clone().limit(1), self.ask(Position::ZERO)).await?.position;
        let subscribe = Subscribe::new(users, StartAt::After(start));
        let ask = Ask { deadline: Instant::now() + SUBSCRIBED_FOR, ..self.ask(start) };
        let mut updates = self.cabinet.subscribe(subscribe, ask).await?;
        self.heard_of(start, true);
        while let Some(update) = updates.next().await {
            match update? {
                Update::Changes { position, .. } | Update::Present { position, .. } => self.heard_of(position, true),
                Update::Progress { position, .. } => self.heard_of(position, false),
            }
        }
        Ok(())
    }

    fn ask(&self, at_least: Position) -> Ask {
        Ask { at_least, deadline: Instant::now() + LOOK_UP_WITHIN, priority: Priority::Interactive }
    }

    fn heard_of(&self, position: Position, changed: bool) {
        let mut remembered = self.remembered();
        remembered.heard = remembered.heard.max(Some(position));
        if changed {
            remembered.changed = remembered.changed.max(position);
            remembered.principals.clear();
        }
        drop(remembered);
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn deaf(&self) {
        let mut remembered = self.remembered();
        remembered.heard = None;
        remembered.principals.clear();
    }

    fn remember(&self, credential: &Credential, principal: &Arc<Principal>) {
        let mut remembered = self.remembered();
        if remembered.heard.is_none() || principal.position < remembered.changed {
            return;
        }
        // Whoever fills the table makes everybody be looked up once more, and gains nothing.
        if remembered.principals.len() >= REMEMBERED_MAX {
            remembered.principals.clear();
        }
        remembered.principals.insert(credential.clone(), principal.clone());
    }

    fn not_over(&self, principal: Arc<Principal>) -> Result<Arc<Principal>, PrincipalError> {
        match principal.expires {
            Some(expires) if expires <= self.environment.wall_clock.now_micros() => Err(PrincipalError::NoSession),
            _ => Ok(principal),
        }
    }

    /// The principal as of now, if what it was found out from has not changed since: one round trip instead of three.
    async fn confirm(&self, credential: &Credential, known: &Principal, ask: Ask) -> Result<Option<Arc<Principal>>, CabinetError> {
        if known.basis.is_empty() {
            return Ok(None);
        }
        let wishes = Wishes { objects: known.basis.iter().map(|(id, _)| *id).collect(), queries: Vec::new() };
        let fetched = fetch(self.cabinet.as_ref(), wishes, ask.seeing(known.position)).await?;
        let Some(position) = fetched.objects.iter().map(|(_, _, at)| *at).min() else { return Ok(None) };
        let unchanged = |(id, version): &(ObjectId, Position)| {
            fetched.objects.iter().any(|(found, object, _)| found == id && object.as_ref().is_some_and(|object| object.version == *version))
        };
        if !known.basis.iter().all(unchanged) {
            return Ok(None);
        }
        let principal = Arc::new(Principal { position, ..known.clone() });
        self.remember(credential, &principal);
        Ok(Some(principal))
    }

    async fn find_out(&self, credential: &Credential, ask: Ask) -> Result<Arc<Principal>, PrincipalError> {
        let principal = match credential {
            Credential::Session(hash) => self.of_session(hash, ask).await?,
            Credential::Node(identity) if identity.is_admin() => {
                // An administrator's groups depend on nothing in the cabinet, so they are right as of any position.
                let principal = Principal::node(identity.uri()).with_group(ADMINISTRATORS, ADMINISTRATORS_NAME);
                return Ok(Arc::new(Principal { position: ask.at_least, ..principal }));
            }
            Credential::Node(identity) => self.of_node(identity, ask).await?,
        };
        let principal = Arc::new(principal);
        self.remember(credential, &principal);
        Ok(principal)
    }

    async fn of_session(&self, hash: &[u8; 32], ask: Ask) -> Result<Principal, PrincipalError> {
        let query = Query::equal(Name::fixed(SESSION), Name::fixed("token_hash"), Value::Bytes(hash.to_vec())).limit(1);
        let found = self.cabinet.query(query, ask).await?;
        let session = found.objects.first().ok_or(PrincipalError::NoSession)?;
        let user = session.reference("user").ok_or(PrincipalError::NoSession)?;
        let expires = session.value("expires").and_then(Value::as_timestamp).ok_or(PrincipalError::NoSession)?;
        let (user, position) = self.object(user, ask.seeing(found.position)).await?.ok_or(PrincipalError::NoSession)?;
        let mut principal = self.of_user(Who::User(user.id), &user, position, ask).await?;
        principal.basis.push((session.id, session.version));
        principal.expires = Some(expires);
        Ok(principal)
    }

    async fn of_node(&self, identity: &Identity, ask: Ask) -> Result<Principal, CabinetError> {
        let who = Who::Node(identity.uri().to_owned());
        let query = Query::equal(Name::fixed(USER), Name::fixed("node"), Value::text(identity.uri())).limit(1);
        let found = self.cabinet.query(query, ask).await?;
        match found.objects.first() {
            Some(user) => self.of_user(who, user, found.position, ask).await,
            None => Ok(Principal { position: found.position, ..Principal::node(identity.uri()) }),
        }
    }

    /// A principal with the groups of `user`, as that was at `position`.
    async fn of_user(&self, who: Who, user: &Object, position: Position, ask: Ask) -> Result<Principal, CabinetError> {
        let objects = user.values("groups").iter().filter_map(Value::as_reference).collect();
        let wishes = Wishes { objects, queries: Vec::new() };
        let mut groups: BTreeMap<ObjectId, String> = BTreeMap::new();
        if wishes.objects.contains(&ADMINISTRATORS) {
            groups.insert(ADMINISTRATORS, ADMINISTRATORS_NAME.to_owned());
        }
        let Fetched { objects, .. } = fetch(self.cabinet.as_ref(), wishes, ask.seeing(position)).await?;
        for group in objects.into_iter().filter_map(|(_, object, _)| object) {
            if group.entity == GROUP && !group.deleted {
                groups.insert(group.id, group.text("name").unwrap_or_default().to_owned());
            }
        }
        let basis = vec![(user.id, user.version)];
        Ok(Principal { who, groups, basis, position, since: user.version, expires: None })
    }

    async fn object(&self, id: ObjectId, ask: Ask) -> Result<Option<(Object, Position)>, CabinetError> {
        let wishes = Wishes { objects: [id].into(), queries: Vec::new() };
        let fetched = fetch(self.cabinet.as_ref(), wishes, ask).await?;
        let found = fetched.objects.into_iter().find_map(|(_, object, position)| object.map(|object| (object, position)));
        Ok(found.filter(|(object, _)| !object.deleted))
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().expect("nothing panics while it holds this lock")
    }
}

/// Principals remembered, about 500 bytes each.
const REMEMBERED_MAX: usize = 4_096;

/// How long finding out where to listen may take.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(10);

/// Pauses before listening again, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The deadline of a subscription: it is renewed once a day, by resuming it.
pub(crate) const SUBSCRIBED_FOR: Duration = Duration::from_secs(86_400);
