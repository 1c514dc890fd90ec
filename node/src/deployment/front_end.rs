//! What a front end serves to the outside: web pages and services, mail, webhooks, other databases.

pub(super) mod check;
mod databases;
pub(super) mod file;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use caps_adapters::tls::{Tls, TlsError};
use caps_adapters::web::webhook::{Endpoint, Secrets, Target};
use caps_frontend::sql;

/// What a node of layer 4 serves while `caps run` runs it. One that serves nothing is what commands act as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrontEnd {
    /// The console and the web services, if it serves them.
    pub web: Option<Web>,
    /// Mail, if it takes or sends any.
    pub mail: Option<Mail>,
    /// The endpoints that it sends webhooks to.
    pub webhooks: Vec<Webhook>,
    /// What it reads from other databases.
    pub imports: Vec<Import>,
    /// The tables of other databases that it keeps equal to what the cabinet says.
    pub exports: Vec<Export>,
}

/// The console and the web services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// The TCP address it listens on.
    pub listen: SocketAddr,
    /// The certificate chain and the key, as PEM files, with which it speaks TLS; `None`: it speaks plain HTTP.
    pub tls: Option<Pair>,
    /// Whether browsers come through a proxy that speaks TLS for it.
    pub behind_tls: bool,
    /// Requests that one program may send in a second.
    pub requests_per_second: u32,
}

/// The mail gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The TCP address it takes mail on; `None`: it takes none.
    pub listen: Option<SocketAddr>,
    /// The host name that it greets with, and that its `Received` fields and Message-IDs bear.
    pub host: String,
    /// For whom it takes mail: addresses, or domains as `@example.org`.
    pub recipients: Vec<String>,
    /// The certificate chain and the key, as PEM files, with which it offers STARTTLS; `None`: it offers none.
    pub tls: Option<Pair>,
    /// The mail server that takes what it sends, as `smtp://` or `smtps://`; `None`: it sends nothing.
    pub relay: Option<String>,
    /// How mail that it sends is signed; `None`: not.
    pub dkim: Option<Dkim>,
    /// How long it waits before it tries again, the first time; then twice as long each time.
    pub retry: Duration,
}

/// An endpoint of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name: webhooks that are added say where they go by it.
    pub endpoint: String,
    /// Its address, `https://`; `http://` on this machine.
    pub url: String,
    /// A file that holds the secrets to sign with, one a line.
    pub secret: PathBuf,
    /// The authorities whose certificates it may show, a PEM file; `None`: those that browsers trust.
    pub authorities: Option<PathBuf>,
    /// How long it waits before it tries again, the first time; then twice as long each time.
    pub retry: Duration,
}

/// Rows of another database that become calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name: how far it is, is kept under it.
    pub name: String,
    /// What is read, and what is called; the database is yet to be completed from the environment.
    pub plan: sql::Import,
    /// How long after the end of the rows they are looked for again.
    pub every: Duration,
}

/// Objects that become the rows of another database's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What becomes rows; the database is yet to be completed from the environment.
    pub plan: sql::Export,
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How mail is signed (RFC 6376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dkim {
    /// The domain that signs.
    pub domain: String,
    /// Under which name its key is found.
    pub selector: String,
    /// The private key, a PEM file.
    pub key: PathBuf,
}

impl Pair {
    /// Reads both files.
    pub(crate) fn read(&self, of_pem: impl FnOnce(&[u8], &[u8]) -> Result<Tls, TlsError>) -> anyhow::Result<Tls> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let (chain, key) = (read(&self.certificate)?, read(&self.key)?);
        of_pem(&chain, &key)
            .with_context(|| format!("{} and {} are no certificate and key", self.certificate.display(), self.key.display()))
    }
}

impl Webhook {
    /// Reads the files that it names.
    pub(crate) fn open(&self) -> anyhow::Result<Endpoint> {
        let target = match &self.authorities {
            Some(file) => {
                let authorities = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                Target::parse_trusting(&self.url, &authorities).with_context(|| format!("cannot trust {}", file.display()))?
            }
            None => Target::parse(&self.url)?,
        };
        let secrets = std::fs::read_to_string(&self.secret).with_context(|| format!("cannot read the secret {}", self.secret.display()))?;
        let secrets = Secrets::parse(&secrets).with_context(|| format!("cannot sign with {}", self.secret.display()))?;
        Ok(Endpoint::new(target, secrets))
    }
}

impl FrontEnd {
    /// Whether there is something to run.
    pub fn serves(&self) -> bool {
        let Self { web, mail, webhooks, imports, exports } = self;
        web.is_some() || mail.is_some() || !webhooks.is_empty() || !imports.is_empty() || !exports.is_empty()
    }
}
