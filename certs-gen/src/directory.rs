//! A trust domain's authorities on disk.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use thiserror::Error;

use crate::anchors::{AUTHORITY_DIRECTORY, REVOCATION_DIRECTORY, ROOT_FILE};
use crate::credentials::{CERTIFICATE_FILE, KEY_FILE};
use crate::durable::{self, Secrecy, StagedDirectory};
use crate::{
    Algorithm, Authority, AuthorityError, CertificateFacts, CredentialsError, Identity, Index, IssueError, Key, KeyError, LeafRequest,
    Moment, NodeCredentials, PemFileError, Random, Reason, Record, Serial, Subject, TrustAnchors, TrustAnchorsError, Validity, pem_file,
};

/// A trust domain's authorities, and everything that they have issued, in one directory:
///
/// ```text
/// index.json              every certificate: serial, subject, period, state
/// ca/root.pem             the root's certificate
/// ca/root.key             its key, mode 0600; may be kept elsewhere while it is not needed
/// sites/<site>/ca.pem     the certificate of a site's authority
/// sites/<site>/ca.key     its key, mode 0600
/// nodes/<name>/cert.pem   a node's chain: its leaf, then its site's authority
/// nodes/<name>/key.pem    its key, mode 0600
/// nodes/<name>/root.pem   a copy of the root's certificate: a node needs its own directory only
/// admins/<name>/...       the same for an administrator, whose chain is one leaf
/// crl/root.pem            the root's revocation list
/// crl/<site>.pem          that of a site's authority
/// revoked/<serial>/...    directories of revoked certificates, out of the way of new ones
/// lock                    held while a program works here
/// ```
///
/// Keys are written once and never again: not overwritten, not deleted. Everything else is
/// replaced whole, and is on the disk before the call returns. A certificate enters the index
/// before it enters its place, so that none exists that cannot be revoked.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    index: Index,
    /// Keeps other programs out as long as this lives.
    _lock: File,
}

impl Directory {
    /// Makes a new trust domain with a root in a directory that holds none.
    pub fn init(
        path: impl AsRef<Path>,
        domain: &str,
        algorithm: Algorithm,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<Self, DirectoryError> {
        let path = path.as_ref().to_owned();
        let root = Authority::root(domain, Key::generate(algorithm, random)?, now, random)?;
        fs::create_dir_all(&path).map_err(|source| write_error(&path, source))?;
        let lock = lock(&path)?;
        if path.join(INDEX_FILE).exists() || path.join(AUTHORITY_DIRECTORY).exists() {
            return Err(DirectoryError::AlreadyThere { path });
        }
        let mut directory = Self { path, index: Index::new(domain), _lock: lock };
        directory.record(Subject::Root, root.certificate(), None)?;
        directory.publish(
            directory.authority_directory(&Subject::Root),
            &[(ROOT_FILE, public(&root), Secrecy::Public), (ROOT_KEY_FILE, secret(root.key()), Secrecy::Secret)],
        )?;
        directory.write_revocation_list(&Subject::Root, &root, now)?;
        Ok(directory)
    }

    /// Opens a directory that [`init`](Self::init) made, and keeps other programs out of it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let path = path.as_ref().to_owned();
        let index_path = path.join(INDEX_FILE);
        if !index_path.exists() {
            return Err(DirectoryError::NotThere { path });
        }
        let lock = lock(&path)?;
        Ok(Self { index: read_index(&index_path)?, path, _lock: lock })
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        self.index.domain()
    }

    /// What was issued.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The root and the revocation lists, as they are here now.
    pub fn trust_anchors(&self) -> Result<TrustAnchors, DirectoryError> {
        Ok(TrustAnchors::load(&self.path)?)
    }

    /// Where the chain and the key of a node or an administrator are.
    pub fn place(&self, identity: &Identity) -> PathBuf {
        let kind = if identity.is_admin() { "admins" } else { "nodes" };
        self.path.join(kind).join(identity.name())
    }

    /// Makes the authority of a new site.
    pub fn add_site(
        &mut self,
        site: &str,
        algorithm: Algorithm,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<Record, DirectoryError> {
        if site == ROOT_LIST {
            return Err(DirectoryError::ReservedSite);
        }
        let subject = Subject::Site { site: site.to_owned() };
        let target = self.authority_directory(&subject);
        if target.exists() {
            return Err(DirectoryError::SiteExists { site: site.to_owned() });
        }
        let root = self.authority(&Subject::Root)?;
        let authority = root.site(site, Key::generate(algorithm, random)?, now, random)?;
        let record = self.record(subject.clone(), authority.certificate(), None)?;
        self.publish(
            target,
            &[(SITE_CERTIFICATE_FILE, public(&authority), Secrecy::Public), (SITE_KEY_FILE, secret(authority.key()), Secrecy::Secret)],
        )?;
        self.write_revocation_list(&subject, &authority, now)?;
        Ok(record)
    }

    /// Signs a site's authority anew, with the same key. Its nodes need not do anything at once:
    /// they get the new certificate with their next renewal, and none outlives the old one.
    pub fn renew_site(&mut self, site: &str, now: SystemTime, random: &mut Random<'_>) -> Result<Record, DirectoryError> {
        let subject = Subject::Site { site: site.to_owned() };
        if !self.index.records().iter().any(|record| record.subject == subject) {
            return Err(DirectoryError::NoSite { site: site.to_owned() });
        }
        let key_path = self.key_path(&subject);
        let root = self.authority(&Subject::Root)?;
        let authority = root.site(site, read_key(&key_path)?, now, random)?;
        let record = self.record(subject.clone(), authority.certificate(), None)?;
        self.replace(&self.certificate_path(&subject), &public(&authority))?;
        self.write_revocation_list(&subject, &authority, now)?;
        Ok(record)
    }

    /// Issues the first certificate of a node or an administrator.
    pub fn issue(&mut self, order: &Order, now: SystemTime, random: &mut Random<'_>) -> Result<Record, DirectoryError> {
        self.refuse_taken_name(&order.identity)?;
        let key = Key::generate(order.algorithm, random)?;
        let (record, chain) = self.sign(order, &key, now, random)?;
        let root = read_text(&self.certificate_path(&Subject::Root))?;
        self.publish(
            self.place(&order.identity),
            &[
                (CERTIFICATE_FILE, pem_file::encode_certificates(&chain), Secrecy::Public),
                (KEY_FILE, secret(&key), Secrecy::Secret),
                (ROOT_FILE, root, Secrecy::Public),
            ],
        )?;
        Ok(record)
    }

    /// Issues the next certificate of a node or an administrator: the same identity, names and key.
    ///
    /// The key stays so that the change is one file that a running node can pick up in one step,
    /// and so that the old certificate still works until it ends. For a new key, revoke the name
    /// and issue it again.
    pub fn renew(
        &mut self,
        name: &str,
        lifetime: Option<Duration>,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<Record, DirectoryError> {
        let newest = self.index.newest_of(name).ok_or_else(|| unknown(name))?;
        let identity = newest.subject.identity().ok_or_else(|| unknown(name))?;
        if newest.revoked.is_some() {
            return Err(DirectoryError::Revoked { identity: identity.clone() });
        }
        let order = Order {
            identity: identity.clone(),
            algorithm: Algorithm::default(),
            lifetime,
            dns_names: newest.dns_names.clone(),
            ip_addresses: newest.ip_addresses.clone(),
        };
        let place = self.place(&order.identity);
        let key = read_key(&place.join(KEY_FILE))?;
        let (record, chain) = self.sign(&order, &key, now, random)?;
        self.replace(&place.join(CERTIFICATE_FILE), &pem_file::encode_certificates(&chain))?;
        Ok(record)
    }

    /// Revokes the certificate of this serial, or everything that still holds under this name, and
    /// writes the issuers' lists. Gives what is revoked now. Doing it again writes the lists again.
    pub fn revoke(&mut self, which: &str, reason: Reason, now: SystemTime) -> Result<Vec<Record>, DirectoryError> {
        let serials = self.index.meant_by(which, now);
        let mut index = self.index.clone();
        for serial in &serials {
            index.revoke(serial, Moment::from(now), reason);
        }
        let is_meant = |record: &&Record| serials.contains(&record.serial);
        let revoked: Vec<Record> = index.records().iter().filter(is_meant).cloned().collect();
        let issuers = issuers_of(&revoked)?;
        if issuers.is_empty() {
            return Err(unknown(which));
        }
        // All keys are at hand before anything changes.
        let authorities =
            issuers.into_iter().map(|issuer| Ok((self.authority(&issuer)?, issuer))).collect::<Result<Vec<_>, DirectoryError>>()?;
        self.index = index;
        self.write_index()?;
        for (authority, issuer) in &authorities {
            self.write_revocation_list(issuer, authority, now)?;
        }
        for record in &revoked {
            self.set_aside(record)?;
        }
        Ok(revoked)
    }

    fn refuse_taken_name(&self, identity: &Identity) -> Result<(), DirectoryError> {
        let admin = self.path.join("admins").join(identity.name());
        let node = self.path.join("nodes").join(identity.name());
        match [node, admin].into_iter().find(|place| place.exists()) {
            Some(place) => Err(DirectoryError::NameTaken { name: identity.name().to_owned(), place }),
            None => Ok(()),
        }
    }

    fn sign(
        &mut self,
        order: &Order,
        key: &Key,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<(Record, Vec<CertificateDer<'static>>), DirectoryError> {
        let subject = Subject::Leaf { identity: order.identity.clone() };
        let authority = self.authority(&subject.issuer())?;
        authority.check_may_issue(&order.identity, now)?;
        let request = order.request(&authority, now);
        let chain = authority.issue(&request, key, random)?;
        // Whatever the order says, nothing leaves here that a node could not use.
        NodeCredentials::new(chain.clone(), key.to_der())?;
        let leaf = &chain[0];
        let record = self.record(subject, leaf, Some(order))?;
        Ok((record, chain))
    }

    /// Enters a certificate into the index, which must happen before anybody gets it.
    fn record(&mut self, subject: Subject, certificate: &CertificateDer<'_>, order: Option<&Order>) -> Result<Record, DirectoryError> {
        let (serial, validity) = serial_and_validity(certificate);
        let record = Record {
            serial,
            subject,
            validity,
            dns_names: order.map_or_else(Vec::new, |order| order.dns_names.clone()),
            ip_addresses: order.map_or_else(Vec::new, |order| order.ip_addresses.clone()),
            revoked: None,
        };
        self.index.add(record.clone());
        self.write_index()?;
        Ok(record)
    }

    fn write_index(&self) -> Result<(), DirectoryError> {
        let json = serde_json::to_string_pretty(&self.index).expect("an index has string keys and no value that fails");
        self.replace(&self.path.join(INDEX_FILE), &json)
    }

    fn write_revocation_list(&mut self, issuer: &Subject, authority: &Authority, now: SystemTime) -> Result<(), DirectoryError> {
        let number = self.index.next_list_number();
        // The number is on the disk before the list that bears it, so that no two lists share one.
        self.write_index()?;
        let revocations = self.index.revocations(issuer, now);
        let list = authority.revocation_list(&revocations, number, now)?;
        let folder = self.path.join(REVOCATION_DIRECTORY);
        fs::create_dir_all(&folder).map_err(|source| write_error(&folder, source))?;
        let path = folder.join(format!("{}.pem", issuer.name()));
        self.replace(&path, &pem_file::encode_revocation_list(&list))
    }

    /// Moves the directory of a revoked certificate out of the way, if it is that one's.
    fn set_aside(&self, record: &Record) -> Result<(), DirectoryError> {
        let (place, certificate) = match &record.subject {
            Subject::Root => return Ok(()),
            Subject::Site { .. } => (self.authority_directory(&record.subject), SITE_CERTIFICATE_FILE),
            Subject::Leaf { identity } => (self.place(identity), CERTIFICATE_FILE),
        };
        let certificate = place.join(certificate);
        if !certificate.exists() {
            return Ok(());
        }
        let chain = pem_file::read_certificates(&certificate)?;
        let current = CertificateFacts::of(&chain[0]).map(|facts| facts.serial);
        if current != Some(record.serial.to_string()) {
            return Ok(());
        }
        let target = self.path.join("revoked").join(record.serial.to_string());
        durable::move_directory(&place, &target).map_err(|source| write_error(&target, source))
    }

    fn authority(&self, subject: &Subject) -> Result<Authority, DirectoryError> {
        let path = self.certificate_path(subject);
        if let Subject::Site { site } = subject
            && !path.exists()
        {
            return Err(DirectoryError::NoSite { site: site.clone() });
        }
        let chain = pem_file::read_certificates(&path)?;
        let certificate = chain.into_iter().next().ok_or_else(|| unknown("root"))?;
        let key = read_key(&self.key_path(subject))?;
        Ok(Authority::from_parts(certificate, key)?)
    }

    fn authority_directory(&self, subject: &Subject) -> PathBuf {
        match subject.site() {
            None => self.path.join(AUTHORITY_DIRECTORY),
            Some(site) => self.path.join("sites").join(site),
        }
    }

    fn certificate_path(&self, subject: &Subject) -> PathBuf {
        let file = match subject {
            Subject::Root => ROOT_FILE,
            _ => SITE_CERTIFICATE_FILE,
        };
        self.authority_directory(subject).join(file)
    }

    fn key_path(&self, subject: &Subject) -> PathBuf {
        let file = match subject {
            Subject::Root => ROOT_KEY_FILE,
            _ => SITE_KEY_FILE,
        };
        self.authority_directory(subject).join(file)
    }

    fn publish(&self, target: PathBuf, files: &[(&str, String, Secrecy)]) -> Result<(), DirectoryError> {
        let fill = || {
            let staged = StagedDirectory::begin(target.clone())?;
            for (name, text, secrecy) in files {
                staged.write(name, text, *secrecy)?;
            }
            staged.publish()
        };
        fill().map_err(|source| write_error(&target, source))
    }

    fn replace(&self, path: &Path, text: &str) -> Result<(), DirectoryError> {
        durable::replace(path, text).map_err(|source| write_error(path, source))
    }
}

/// What a new certificate of a node or an administrator shall be.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who it is.
    pub identity: Identity,
    /// The algorithm of the new key.
    pub algorithm: Algorithm,
    /// How long it shall hold; the usual time if not said. Never longer than the issuer does.
    pub lifetime: Option<Duration>,
    /// DNS names, for other programs that look at the certificate.
    pub dns_names: Vec<String>,
    /// IP addresses, for the same.
    pub ip_addresses: Vec<IpAddr>,
}

impl Order {
    /// The usual order for this identity.
    pub fn new(identity: Identity) -> Self {
        Self { identity, algorithm: Algorithm::default(), lifetime: None, dns_names: Vec::new(), ip_addresses: Vec::new() }
    }

    fn request(&self, authority: &Authority, now: SystemTime) -> LeafRequest {
        let validity = match self.lifetime {
            Some(lifetime) => Validity::starting(now, lifetime).within(authority.validity()),
            None => authority.usual_validity(&self.identity, now),
        };
        LeafRequest::new(&self.identity, validity).dns_names(self.dns_names.iter().cloned()).ip_addresses(self.ip_addresses.iter().copied())
    }
}

/// Why a directory was not opened or changed. Unless a variant says so, nothing changed.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// There is an authority already.
    #[error(
        "{path} already holds an authority; choose another directory, or move that one away (keys \
         are never overwritten)"
    )]
    AlreadyThere {
        /// The directory.
        path: PathBuf,
    },
    /// There is no authority.
    #[error("{path} holds no authority; make one with `certs-gen init`, or name another with --dir")]
    NotThere {
        /// The directory.
        path: PathBuf,
    },
    /// Another program works there.
    #[error("another certs-gen is at work in {path}; try again when it is done")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The index cannot be understood.
    #[error("{path} is damaged or from a newer version")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong, unless it is the version.
        source: Option<serde_json::Error>,
    },
    /// A site may not be called as the root's revocation list is.
    #[error("no site can be called {ROOT_LIST}; choose another name")]
    ReservedSite,
    /// The site has an authority.
    #[error("site {site} is there already; `certs-gen site {site} --renew` signs it anew")]
    SiteExists {
        /// The site.
        site: String,
    },
    /// The site has no authority.
    #[error("there is no site {site}; make it with `certs-gen site {site}`")]
    NoSite {
        /// The site.
        site: String,
    },
    /// The name is in use, anywhere in the domain.
    #[error(
        "the name {name} is taken by {place}; choose another, prolong it with `certs-gen renew \
         {name}`, or free it with `certs-gen revoke {name}`"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Where it is in use.
        place: PathBuf,
    },
    /// Nothing that still holds is called so.
    #[error("nothing that still holds is called {which}; `certs-gen list --all` shows what there is")]
    Unknown {
        /// The name or serial.
        which: String,
    },
    /// What is revoked stays revoked.
    #[error("{identity} is revoked; issue it anew with `certs-gen node` or `certs-gen admin`")]
    Revoked {
        /// Who it is.
        identity: Identity,
    },
    /// Nothing could say that the root is revoked.
    #[error("the root cannot be revoked; take its certificate away from every node instead")]
    RootRevoked,
    /// An authority refuses, or the certificate cannot be built.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An authority's files do not belong together.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The new chain could not be used by a node.
    #[error(transparent)]
    Unusable(#[from] CredentialsError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] PemFileError),
    /// The root or the lists cannot be used.
    #[error(transparent)]
    TrustAnchors(#[from] TrustAnchorsError),
    /// A file cannot be written. The index may already name the certificate that it was for; the
    /// command can be run again.
    #[error("cannot write {path}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join("lock");
    durable::lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => DirectoryError::Locked { path: directory.to_owned() },
        _ => write_error(&path, error),
    })
}

fn read_index(path: &Path) -> Result<Index, DirectoryError> {
    let damaged = |source| DirectoryError::Index { path: path.to_owned(), source };
    let index: Index = serde_json::from_str(&read_text(path)?).map_err(|source| damaged(Some(source)))?;
    if index.is_understood() { Ok(index) } else { Err(damaged(None)) }
}

fn read_text(path: &Path) -> Result<String, DirectoryError> {
    fs::read_to_string(path).map_err(|source| DirectoryError::File(PemFileError::Read { path: path.to_owned(), source }))
}

fn read_key(path: &Path) -> Result<Key, DirectoryError> {
    Ok(Key::from_der(&pem_file::private_key(path)?)?)
}

fn serial_and_validity(certificate: &CertificateDer<'_>) -> (Serial, Validity) {
    let facts = CertificateFacts::of(certificate).expect("the certificate was just built");
    let serial = facts.serial.parse().expect("a serial was just written into it");
    (serial, facts.validity)
}

fn issuers_of(records: &[Record]) -> Result<Vec<Subject>, DirectoryError> {
    let mut issuers = Vec::new();
    for record in records {
        if record.subject == Subject::Root {
            return Err(DirectoryError::RootRevoked);
        }
        issuers.push(record.subject.issuer());
    }
    issuers.sort();
    issuers.dedup();
    Ok(issuers)
}

fn public(authority: &Authority) -> String {
    pem_file::encode_certificates(std::slice::from_ref(authority.certificate()))
}

fn secret(key: &Key) -> String {
    pem_file::encode_private_key(&key.to_der())
}

fn unknown(which: &str) -> DirectoryError {
    DirectoryError::Unknown { which: which.to_owned() }
}

fn write_error(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Write { path: path.to_owned(), source }
}

const INDEX_FILE: &str = "index.json";
const ROOT_KEY_FILE: &str = "root.key";
const SITE_CERTIFICATE_FILE: &str = "ca.pem";
const SITE_KEY_FILE: &str = "ca.key";
/// The name of the root's revocation list among those of the sites.
const ROOT_LIST: &str = "root";
