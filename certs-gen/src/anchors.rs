//! What a node needs to judge others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use thiserror::Error;

use crate::signature::is_certificate_signed_by;
use crate::{NotAnAuthority, PemFileError, RevocationList, RevocationListError, Scope, pem_file};

/// The roots of one trust domain, and the revocation lists that are known.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    domain: String,
    roots: Vec<CertificateDer<'static>>,
    revocation_lists: Vec<RevocationList>,
}

impl TrustAnchors {
    /// Loads `root.pem` (or `ca/root.pem`), and whatever `crl/` holds if it exists, from the
    /// directory of the authority or of a node.
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, TrustAnchorsError> {
        let directory = directory.as_ref();
        let own = directory.join(ROOT_FILE);
        let path = if own.exists() { own } else { directory.join(AUTHORITY_DIRECTORY).join(ROOT_FILE) };
        let roots = pem_file::read_certificates(&path)?;
        let lists = load_revocation_lists(&directory.join(REVOCATION_DIRECTORY))?;
        Self::new(roots, lists)
    }

    /// Takes roots, several while an old one is being replaced, and revocation lists. Of several
    /// lists by the same issuer the one with the highest number counts.
    pub fn new(
        roots: Vec<CertificateDer<'static>>,
        revocation_lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, TrustAnchorsError> {
        let mut anchors = Self { domain: common_domain(&roots)?, roots, revocation_lists: Vec::new() };
        for list in revocation_lists {
            anchors.keep_newest(RevocationList::parse(list)?);
        }
        Ok(anchors)
    }

    /// The trust domain that the roots are for.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The roots.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The revocation lists, one an issuer.
    pub fn revocation_lists(&self) -> &[RevocationList] {
        &self.revocation_lists
    }

    /// Adds a list that a peer sent, with the certificate of the authority that signed it, unless a
    /// newer one by the same authority is known; says whether it was added.
    ///
    /// The authority must be one of the roots, or signed by one of them, so that no more lists can
    /// be made to be kept than the roots have made authorities.
    pub fn accept(&mut self, list: RevocationList, issuer: &CertificateDer<'_>) -> Result<bool, ForgedList> {
        let is_root = |root: &CertificateDer<'_>| root == issuer;
        let is_ours = self.roots.iter().any(is_root) || self.roots.iter().any(|root| is_certificate_signed_by(issuer, root));
        if is_ours && list.is_signed_by(issuer) { Ok(self.keep_newest(list)) } else { Err(ForgedList) }
    }

    /// Adds a list unless a newer one by the same issuer is known. Its signature is checked when
    /// the list is used, and a wrong one then refuses everybody.
    fn keep_newest(&mut self, list: RevocationList) -> bool {
        let known = self.revocation_lists.iter_mut().find(|known| known.issuer() == list.issuer());
        match known {
            Some(known) if !list.replaces(known) => return false,
            Some(known) => *known = list,
            None => self.revocation_lists.push(list),
        }
        true
    }
}

/// Why there are no trust anchors. Nothing changed.
#[derive(Debug, Error)]
pub enum TrustAnchorsError {
    /// A file cannot be read or holds something else.
    #[error(transparent)]
    File(#[from] PemFileError),
    /// The directory of the revocation lists cannot be read.
    #[error("cannot list {path}")]
    List {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No root is given.
    #[error("there is no root certificate")]
    NoRoot,
    /// One of the roots is a site's authority, a leaf, or was not made here.
    #[error("a certificate among the roots is not a root")]
    NotARoot,
    /// The roots are of different trust domains, and a node belongs to one.
    #[error("the roots are of the trust domains {first} and {second}; give those of one")]
    SeveralDomains {
        /// The domain of the first root.
        first: String,
        /// Another.
        second: String,
    },
    /// A revocation list cannot be read.
    #[error(transparent)]
    RevocationList(#[from] RevocationListError),
}

/// The list is not signed by an authority of this trust domain. The peer that sent it is at fault;
/// nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the revocation list is not signed by an authority of the trust domain")]
pub struct ForgedList;

impl From<NotAnAuthority> for TrustAnchorsError {
    fn from(_: NotAnAuthority) -> Self {
        Self::NotARoot
    }
}

fn common_domain(roots: &[CertificateDer<'_>]) -> Result<String, TrustAnchorsError> {
    let mut common: Option<String> = None;
    for root in roots {
        let Scope::Root { domain } = Scope::of_certificate(root)? else {
            return Err(TrustAnchorsError::NotARoot);
        };
        match common {
            Some(first) if first != domain => {
                let second = domain;
                return Err(TrustAnchorsError::SeveralDomains { first, second });
            }
            _ => common = Some(domain),
        }
    }
    common.ok_or(TrustAnchorsError::NoRoot)
}

fn load_revocation_lists(directory: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TrustAnchorsError> {
    let cannot_list = |source| TrustAnchorsError::List { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // A node that was given no list starts without and learns them from its peers.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot_list(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot_list)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    let lists = paths.iter().map(|path| pem_file::revocation_list(path));
    Ok(lists.collect::<Result<_, _>>()?)
}

/// The root's certificate, in the authority's own directory and beside each node's chain.
pub(crate) const ROOT_FILE: &str = "root.pem";
/// Where the root is.
pub(crate) const AUTHORITY_DIRECTORY: &str = "ca";
/// Where the revocation lists are.
pub(crate) const REVOCATION_DIRECTORY: &str = "crl";
