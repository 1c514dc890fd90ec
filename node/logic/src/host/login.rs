//! Logins: from a password to a session; and its end.
//!
//! A session's secret is 32 random bytes that only the front end keeps; the cabinet holds their SHA-256, so the session is good at every host
//! and whoever reads the cabinet cannot use it. A login that is asked again makes no second session: the first one gets a new secret, because
//! nobody knows the old one any more.

use caps_model::messages::Objects;
use caps_model::messages::cabinet::Committed;
use caps_model::messages::host::{As, LoggedIn, LoggedOut, Login, Logout, Session};
use caps_model::{Author, Change, Commit, CommitId, Name, Object, ObjectId, Position, Query, Read, Record, Value};
use caps_overlay::Identity;
use caps_overlay::{Failure, Retry};

use super::call::{owned_by, sealed, without_owner};
use super::{Host, busy, failures};
use crate::cabinet::{Ask, fetch};
use crate::people;
use crate::principals::hash_of;
use crate::privileges::{Principal, Who};
use crate::service::codes;
use crate::transaction::Wishes;

impl Host {
    /// A session for a user who knows the password.
    ///
    /// An unknown user costs as much time as a wrong password and gets the same answer. Failures are counted by login name
    /// ([`LoginGuard`](crate::people::LoginGuard)).
    pub async fn login(&self, login: Login, peer: &Identity, ask: Ask) -> Result<LoggedIn, Failure> {
        let _room = self.login_room.try_acquire().map_err(|_| busy())?;
        let now = self.environment.wall_clock.now_micros();
        let fits = |text: &str, (min, max): (u32, u32)| (min as usize..=max as usize).contains(&text.len());
        // Also what bounds the names that the guard remembers.
        if !fits(&login.user, people::LOGIN_BYTES) || login.password.len() > people::PASSWORD_BYTES.1 as usize {
            return Err(refused());
        }
        self.guard().attempt(&login.user, now).map_err(|wait| {
            let sentence = format!("too many failed logins as {:?}: wait {} s", login.user, wait.as_secs() + 1);
            Failure::new(codes::LOGIN_LOCKED, sentence).retry(Retry::After(wait))
        })?;
        let (user, position) = self.authenticate(&login, ask).await?;
        self.guard().succeeded(&login.user);
        self.open_session(&login, &user, peer, ask.seeing(position)).await
    }

    /// Ends the session that the message comes with, for every host. One that is over, or none, is no error.
    pub async fn logout(&self, logout: As<Logout>, peer: &Identity, ask: Ask) -> Result<LoggedOut, Failure> {
        let Some(Session(secret)) = &logout.session else { return Ok(LoggedOut { position: ask.at_least }) };
        let now = self.environment.wall_clock.now_micros();
        let hash = Value::Bytes(hash_of(secret).to_vec());
        let query = Query::equal(Name::fixed(people::SESSION), Name::fixed("token_hash"), hash).limit(1);
        let Objects { position, objects, .. } = self.cabinet.query(query, ask).await?;
        let Some(session) = objects.into_iter().next() else { return Ok(LoggedOut { position }) };
        let is_over = session.value("expires").and_then(Value::as_timestamp).is_none_or(|expires| expires <= now);
        let Some(user) = session.reference("user").filter(|_| !is_over) else { return Ok(LoggedOut { position }) };
        let principal = Principal { who: Who::User(user), ..Principal::node("") };
        let over = [(Name::fixed("expires"), vec![Value::Timestamp(now)])].into();
        let commit = Commit {
            reads: vec![Read::Object { object: session.id, version: session.version }],
            changes: vec![Change::Update { object: session.id, attributes: over }],
            result: owned_by(&principal, Record::new()),
            ..self.people_commit("logout", logout.message.commit, user, peer, now)
        };
        match self.cabinet.commit(commit, ask.seeing(position)).await.map_err(failures::of_commit)? {
            Committed::Accepted { position, .. } => Ok(LoggedOut { position }),
            Committed::Conflict { .. } => Err(conflict()),
            Committed::Sealed => Err(sealed()),
        }
    }

    async fn authenticate(&self, login: &Login, ask: Ask) -> Result<(Object, Position), Failure> {
        let query = Query::equal(Name::fixed(people::USER), Name::fixed("login"), Value::text(&login.user)).limit(1);
        let Objects { position, objects, .. } = self.cabinet.query(query, ask).await?;
        let user = objects.into_iter().next();
        let hash = user.as_ref().and_then(|user| user.text("password_hash")).map(ToOwned::to_owned);
        let (password, known) = (login.password.clone(), hash.is_some());
        let matches = self.passwords.run(move || people::verify_password(&password, hash.as_deref().unwrap_or(people::matches_nobody())));
        let matches = matches.await.map_err(|gone| Failure::new(codes::FAULT, gone.to_string()))?;
        match user {
            Some(user) if known && matches => Ok((user, position)),
            _ => Err(refused()),
        }
    }

    async fn open_session(&self, login: &Login, user: &Object, peer: &Identity, ask: Ask) -> Result<LoggedIn, Failure> {
        let now = self.environment.wall_clock.now_micros();
        let (secret, expires) = (self.secret()?, now.saturating_add(SESSION_MICROS));
        let session = ObjectId::new(u64::try_from(now / 1_000).unwrap_or(0), self.environment.rng.next_u128());
        let principal = Principal { who: Who::User(user.id), ..Principal::node("") };
        let mut attributes = secret_attributes(&secret, expires);
        attributes.insert(Name::fixed("user"), vec![Value::Reference(user.id)]);
        let commit = Commit {
            reads: vec![Read::Object { object: user.id, version: user.version }, Read::Object { object: session, version: Position::ZERO }],
            changes: vec![Change::Create { object: session, entity: Name::fixed(people::SESSION), ancestors: Vec::new(), attributes }],
            result: owned_by(&principal, [(Name::fixed("session"), vec![Value::Reference(session)])].into()),
            ..self.people_commit("login", login.commit, user.id, peer, now)
        };
        match self.cabinet.commit(commit, ask).await.map_err(failures::of_commit)? {
            Committed::Accepted { position, repeated: false, .. } => {
                Ok(LoggedIn { session: Session(secret), user: user.id, expires, position })
            }
            Committed::Accepted { position, result, repeated: true } => {
                let earlier = without_owner(&principal, result).and_then(|result| result.get("session")?.first()?.as_reference());
                let taken = || Failure::new(codes::COMMIT_ID_TAKEN, "another commit has this id: choose a new one");
                self.renew_session(earlier.ok_or_else(taken)?, user, peer, ask.seeing(position)).await
            }
            // The user was changed while the password was checked; what was checked may be wrong now.
            Committed::Conflict { .. } => Err(conflict()),
            Committed::Sealed => Err(sealed()),
        }
    }

    /// Gives the session that an earlier attempt made, and whose secret got lost with the answer, a new one.
    async fn renew_session(&self, session: ObjectId, user: &Object, peer: &Identity, ask: Ask) -> Result<LoggedIn, Failure> {
        let now = self.environment.wall_clock.now_micros();
        let (secret, expires) = (self.secret()?, now.saturating_add(SESSION_MICROS));
        let wishes = Wishes { objects: [session].into(), queries: Vec::new() };
        let found = fetch(self.cabinet.as_ref(), wishes, ask).await?.objects.into_iter().find_map(|(_, object, _)| object);
        let found = found.filter(|found| found.reference("user") == Some(user.id)).ok_or_else(conflict)?;
        let id = CommitId::new(u64::try_from(now / 1_000).unwrap_or(0), self.environment.rng.next_u128());
        let principal = Principal { who: Who::User(user.id), ..Principal::node("") };
        let commit = Commit {
            reads: vec![Read::Object { object: user.id, version: user.version }, Read::Object { object: session, version: found.version }],
            changes: vec![Change::Update { object: session, attributes: secret_attributes(&secret, expires) }],
            result: owned_by(&principal, Record::new()),
            ..self.people_commit("login", id, user.id, peer, now)
        };
        match self.cabinet.commit(commit, ask).await.map_err(failures::of_commit)? {
            Committed::Accepted { position, .. } => Ok(LoggedIn { session: Session(secret), user: user.id, expires, position }),
            Committed::Conflict { .. } | Committed::Sealed => Err(conflict()),
        }
    }

    fn people_commit(&self, method: &'static str, id: CommitId, user: ObjectId, peer: &Identity, time: i64) -> Commit {
        let author = Author {
            user: Some(user),
            front_end: peer.to_string(),
            host: self.node.to_string(),
            module: Name::fixed(people::MODULE),
            module_version: people::VERSION,
            method: Name::fixed(method),
            reason: None,
        };
        Commit { id, author, time, reads: Vec::new(), changes: Vec::new(), effects: Vec::new(), result: Record::new() }
    }

    fn secret(&self) -> Result<[u8; 32], Failure> {
        let mut secret = [0; 32];
        let filled = (self.environment.secrets)(&mut secret);
        filled.then_some(secret).ok_or_else(|| Failure::new(codes::FAULT, "no randomness for a session"))
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, people::LoginGuard> {
        self.guard.lock().expect("nothing panics while it holds this lock")
    }
}

fn secret_attributes(secret: &[u8; 32], expires: i64) -> Record {
    [(Name::fixed("token_hash"), vec![Value::Bytes(hash_of(secret).to_vec())]), (Name::fixed("expires"), vec![Value::Timestamp(expires)])]
        .into()
}

fn refused() -> Failure {
    Failure::new(codes::LOGIN_REFUSED, "login name and password do not belong together")
}

fn conflict() -> Failure {
    let sentence = "the user or the session was changed at the same moment: try again";
    Failure::new(codes::CONFLICT, sentence).retry(Retry::After(RETRY_PAUSE))
}

/// How long a session lasts: a working day.
const SESSION_MICROS: i64 = 12 * 3_600 * 1_000_000;

const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
