//! What all requests of one web front end share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use caps_adapters::web::asset::Asset;
use caps_adapters::web::rate::Limiter;
use caps_adapters::web::{token, upload};
use caps_model::ObjectId;
use caps_overlay::Worker;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::catalogue::Catalogue;
use super::refusal::Trouble;
use super::samples::Samples;
use super::settings::Settings;
use super::visitor::Visitors;
use crate::{Client, Stopping};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Site {
    /// Acts for nobody: asks for schemas and status only. Its own rights are used for nothing.
    pub(crate) client: Client,
    /// Browsers come by TLS only.
    pub(crate) secure: bool,
    /// Who has asked lately.
    pub(crate) visitors: Visitors,
    /// The style sheet of all pages.
    pub(crate) style: Asset,
    /// The script of all pages.
    pub(crate) script: Asset,
    /// The sign in the corner of a tab.
    pub(crate) icon: Asset,
    /// Room for live streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Room for files that arrive.
    uploads: Semaphore,
    /// Where files are read that arrived.
    pub(crate) files: Worker,
    /// When everything is to end.
    pub(crate) stopping: Stopping,
    catalogue: Mutex<Option<(Instant, Arc<Catalogue>)>>,
    logins: Mutex<Limiter<IpAddr>>,
    asking: Mutex<Limiter<Who>>,
    samples: Mutex<Samples>,
    started: Instant,
}

impl Site {
    pub(crate) fn new(client: Client, settings: &Settings, stopping: Stopping) -> Self {
        let every = Duration::from_secs(1) / settings.requests_per_second.max(1);
        Self {
            client: client.stranger(),
            secure: settings.secure,
            visitors: Visitors::default(),
            style: Asset::new("caps", "css", "text/css; charset=utf-8", include_bytes!("assets/caps.css")),
            script: Asset::new("caps", "js", "text/javascript; charset=utf-8", include_bytes!("assets/caps.js")),
            icon: Asset::new("caps", "svg", "image/svg+xml", include_bytes!("assets/caps.svg")),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            uploads: Semaphore::new(UPLOADS_MAX),
            files: client.overlay().environment().workers.start("files", UPLOADS_MAX * upload::FILES_MAX),
            stopping,
            catalogue: Mutex::default(),
            logins: Mutex::new(Limiter::new(LOGIN_EVERY, LOGIN_BURST, ADDRESSES_MAX)),
            asking: Mutex::new(Limiter::new(every, settings.requests_per_second.saturating_mul(2), ADDRESSES_MAX)),
            samples: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// What the modules declare, as it was half a minute ago at most; older when no host answers.
    pub(crate) async fn catalogue(&self) -> Result<Arc<Catalogue>, Trouble> {
        let known = self.known_catalogue();
        if let Some((since, catalogue)) = &known
            && since.elapsed() < CATALOGUE_FRESH
        {
            return Ok(catalogue.clone());
        }
        match (self.client.schemas().await, known) {
            (Ok(answer), _) => {
                let catalogue = Arc::new(Catalogue::new(answer.schemas));
                *self.catalogue.lock().expect("nothing panics while it holds this lock") = Some((Instant::now(), catalogue.clone()));
                Ok(catalogue)
            }
            (Err(_), Some((_, catalogue))) => Ok(catalogue),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Lets somebody at this address try to log in, or says how long to wait.
    pub(crate) fn may_log_in(&self, address: IpAddr) -> Result<(), Duration> {
        let now = self.uptime();
        self.logins.lock().expect("nothing panics while it holds this lock").take(&address, now)
    }

    /// Lets a program of a user, or at an address if it does not say whose it is, ask for something; or says how long to wait.
    pub(crate) fn may_ask(&self, user: Option<ObjectId>, address: Option<IpAddr>) -> Result<(), Duration> {
        let now = self.uptime();
        let who = user.map_or(Who::At(address), |user| Who::User(user, address));
        self.asking.lock().expect("nothing panics while it holds this lock").take(&who, now)
    }

    /// Room for files that arrive in one request, for as long as it is held.
    pub(crate) fn upload_room(&self) -> Result<SemaphorePermit<'_>, Trouble> {
        let sentence = || "too many files arrive at once: try again in a moment".to_owned();
        self.uploads.try_acquire().map_err(|_| Trouble::Busy { wait: Duration::from_secs(5), sentence: sentence() })
    }

    /// What was measured of hosts lately.
    pub(crate) fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().expect("nothing panics while it holds this lock")
    }

    /// How long this site has been up.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time of day, in microseconds since 1970.
    pub(crate) fn now_micros(&self) -> i64 {
        self.client.overlay().environment().wall_clock.now_micros()
    }

    /// A token for a form of whoever holds this secret.
    pub(crate) fn token(&self, secret: &[u8]) -> String {
        token::masked(secret, self.client.overlay().environment().rng.next_u128().to_be_bytes())
    }

    fn known_catalogue(&self) -> Option<(Instant, Arc<Catalogue>)> {
        self.catalogue.lock().expect("nothing panics while it holds this lock").clone()
    }
}

/// Whom requests of programs are counted for: what a token says of its user is not proven yet, so the address counts, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    User(ObjectId, Option<IpAddr>),
    At(Option<IpAddr>),
}

/// Modules change when hosts are started anew.
const CATALOGUE_FRESH: Duration = Duration::from_secs(30);

/// Requests with files at once: each may take as much of the temporary directory as one may bring.
const UPLOADS_MAX: usize = 8;

/// Live streams of everybody: each takes about 20 kilobytes.
const STREAMS_MAX: usize = 1_024;

/// Attempts to log in from one address, at once after a rest and from then on. The host counts failures by name besides.
const LOGIN_BURST: u32 = 30;
const LOGIN_EVERY: Duration = Duration::from_secs(1);

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;
