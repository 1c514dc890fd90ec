//! Those who sign.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::validity::{ADMIN_LIFETIME, NODE_LIFETIME, ROOT_LIFETIME, SITE_LIFETIME};
use crate::{
    Algorithm, CredentialsError, Identity, IdentityError, Key, KeyError, LeafRequest, Moment, NodeCredentials, NotAnAuthority, Random,
    Revocation, Scope, Serial, Validity,
};

/// An authority in memory: the root of a trust domain, or the authority of a site.
///
/// It signs what it is asked to sign, so that tests can have bad certificates too;
/// [`credentials`](Self::credentials) alone asks for good ones only. What was issued is for the
/// caller to remember ([`Directory`](crate::Directory) does, on disk).
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Key,
    scope: Scope,
    validity: Validity,
}

impl Authority {
    /// A new root for `domain` with the Ed25519 key of this seed, for tests and simulations.
    pub fn from_seed(domain: &str, seed: &[u8; 32], now: SystemTime, random: &mut Random<'_>) -> Result<Self, IssueError> {
        Self::root(domain, Key::from_seed(seed), now, random)
    }

    /// A new root for `domain`.
    pub fn root(domain: &str, key: Key, now: SystemTime, random: &mut Random<'_>) -> Result<Self, IssueError> {
        // An identity of the domain exists exactly if the domain is well-formed.
        Identity::admin(domain, "any")?;
        if domain.len() > ORGANIZATION_BYTES_MAX {
            return Err(IssueError::DomainTooLong);
        }
        let scope = Scope::Root { domain: domain.to_owned() };
        let validity = Validity::starting(now, ROOT_LIFETIME);
        let params = authority_params(&scope, &key, validity, random);
        let certificate = params.self_signed(key.pair()).map_err(IssueError::Sign)?;
        Ok(Self { certificate: certificate.into(), key, scope, validity })
    }

    /// A new authority for `site`, signed by this root. It may sign leaves, but no authority.
    pub fn site(&self, site: &str, key: Key, now: SystemTime, random: &mut Random<'_>) -> Result<Self, IssueError> {
        let Scope::Root { domain } = &self.scope else {
            return Err(IssueError::NotTheRoot);
        };
        Identity::node(domain, site, crate::Layer::Cabinet, "any")?;
        self.check_alive(now)?;
        let scope = Scope::Site { domain: domain.clone(), site: site.to_owned() };
        let validity = Validity::starting(now, SITE_LIFETIME).within(self.validity);
        let params = authority_params(&scope, &key, validity, random);
        let certificate = params.signed_by(key.pair(), &self.issuer()?).map_err(IssueError::Sign)?;
        Ok(Self { certificate: certificate.into(), key, scope, validity })
    }

    /// The authority that has this certificate and key.
    pub fn from_parts(certificate: CertificateDer<'static>, key: Key) -> Result<Self, AuthorityError> {
        let scope = Scope::of_certificate(&certificate)?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| NotAnAuthority)?;
        if parsed.public_key().subject_public_key.data != key.public_bytes() {
            return Err(AuthorityError::KeyMismatch);
        }
        let validity = Validity {
            not_before: Moment::from_timestamp(parsed.validity().not_before.timestamp()),
            not_after: Moment::from_timestamp(parsed.validity().not_after.timestamp()),
        };
        Ok(Self { certificate, key, scope, validity })
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What the authority may vouch for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How long the authority's certificate holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Credentials of `identity` with a new Ed25519 key and the usual lifetime, ended with the
    /// authority's own. Refuses an identity that this authority may not vouch for.
    pub fn credentials(&self, identity: &Identity, now: SystemTime, random: &mut Random<'_>) -> Result<NodeCredentials, IssueError> {
        self.check_may_issue(identity, now)?;
        let key = Key::generate(Algorithm::Ed25519, random)?;
        let request = LeafRequest::new(identity, self.usual_validity(identity, now));
        let chain = self.issue(&request, &key, random)?;
        Ok(NodeCredentials::new(chain, key.to_der())?)
    }

    /// Signs what `request` says, be it sensible or not, and gives the chain that a node presents:
    /// the leaf, then this authority's certificate unless it is the root.
    pub fn issue(&self, request: &LeafRequest, key: &Key, random: &mut Random<'_>) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let params = request.params(&Serial::generate(random)).map_err(IssueError::Sign)?;
        let leaf = params.signed_by(key.pair(), &self.issuer()?).map_err(IssueError::Sign)?;
        let mut chain = vec![leaf.into()];
        if let Scope::Site { .. } = self.scope {
            chain.push(self.certificate.clone());
        }
        Ok(chain)
    }

    /// Signs the list of everything that this authority has revoked. `number` must grow from one
    /// list to the next: nodes keep the list with the highest.
    ///
    /// The list names the authority's own end as the time of the next one. Revocations reach
    /// running nodes by the overlay when they happen; a list that lapsed while the root's key was
    /// rightly in a safe would cut off the whole domain and revoke nobody.
    pub fn revocation_list(
        &self,
        revocations: &[Revocation],
        number: u64,
        now: SystemTime,
    ) -> Result<CertificateRevocationListDer<'static>, IssueError> {
        self.check_alive(now)?;
        let list = CertificateRevocationListParams {
            this_update: Moment::from(now).to_date(),
            next_update: self.validity.not_after.plus(Duration::from_secs(1)).to_date(),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revocations.iter().map(Revocation::params).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer()?).map_err(IssueError::Sign)?;
        Ok(signed.into())
    }

    /// Whether this authority may issue a certificate of `identity` now.
    pub fn check_may_issue(&self, identity: &Identity, now: SystemTime) -> Result<(), IssueError> {
        self.check_alive(now)?;
        if self.scope.covers(identity) {
            return Ok(());
        }
        Err(IssueError::OutOfScope { identity: identity.clone(), scope: self.scope.clone() })
    }

    /// The lifetime that nodes or administrators have unless asked otherwise.
    pub fn usual_validity(&self, identity: &Identity, now: SystemTime) -> Validity {
        let lifetime = if identity.is_admin() { ADMIN_LIFETIME } else { NODE_LIFETIME };
        Validity::starting(now, lifetime).within(self.validity)
    }

    fn check_alive(&self, now: SystemTime) -> Result<(), IssueError> {
        if self.validity.has_ended(now) {
            return Err(IssueError::AuthorityExpired { scope: self.scope.clone(), ended: self.validity.not_after });
        }
        Ok(())
    }

    fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, IssueError> {
        Issuer::from_ca_cert_der(&self.certificate, self.key.pair()).map_err(IssueError::Sign)
    }
}

/// Why nothing was issued. Nothing changed.
#[derive(Debug, Error)]
pub enum IssueError {
    /// A part of the identity is not well-formed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The trust domain does not fit into the subject of a certificate.
    #[error("the trust domain is longer than {ORGANIZATION_BYTES_MAX} bytes")]
    DomainTooLong,
    /// Only the root makes authorities.
    #[error("only the root can make the authority of a site")]
    NotTheRoot,
    /// The authority's own certificate has ended, and nobody would believe what it signs.
    #[error("the authority for {scope} expired at {ended}; renew it first")]
    AuthorityExpired {
        /// What the authority may vouch for.
        scope: Scope,
        /// Its last second.
        ended: Moment,
    },
    /// The identity is none that this authority may vouch for.
    #[error("{identity} is out of scope for an authority that vouches for {scope}")]
    OutOfScope {
        /// The identity.
        identity: Identity,
        /// What the authority may vouch for.
        scope: Scope,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What was issued cannot be used: our own fault.
    #[error("the new certificate cannot be used")]
    Unusable(#[from] CredentialsError),
    /// The certificate could not be built, for example because a name is not ASCII.
    #[error("the certificate cannot be built")]
    Sign(#[source] rcgen::Error),
}

/// Why a certificate and a key are not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// The certificate is a leaf's, or was not made here.
    #[error(transparent)]
    NotAnAuthority(#[from] NotAnAuthority),
    /// The two do not belong together.
    #[error("the key of the authority is not the one in its certificate")]
    KeyMismatch,
}

fn authority_params(scope: &Scope, key: &Key, validity: Validity, random: &mut Random<'_>) -> CertificateParams {
    let path_length = match scope {
        Scope::Root { .. } => 1,
        Scope::Site { .. } => 0,
    };
    let mut params = CertificateParams::default();
    params.serial_number = Some(Serial::generate(random).as_bytes().to_vec().into());
    params.not_before = validity.not_before.to_date();
    params.not_after = validity.not_after.to_date();
    params.distinguished_name = scope.subject(&key.short_hash());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// RFC 5280, appendix A.1, `ub-organization-name`.
const ORGANIZATION_BYTES_MAX: usize = 64;
