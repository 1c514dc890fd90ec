//! What an authority may vouch for.

use std::fmt;

use rcgen::{DistinguishedName, DnType};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::Identity;

/// The identities that an authority may vouch for, written into its subject: the organisation is
/// the trust domain, the organisational unit the site.
///
/// X.509 name constraints cannot say "only URIs of this path", so without this a stolen key of one
/// site's authority could issue identities of any other site. Every verifier of this crate holds
/// the authority to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The root, which directly vouches for administrators only.
    Root {
        /// The trust domain.
        domain: String,
    },
    /// The authority of a site, which vouches for the nodes there.
    Site {
        /// The trust domain.
        domain: String,
        /// The site.
        site: String,
    },
}

impl Scope {
    /// Reads the scope of an authority's certificate.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, NotAnAuthority> {
        let (rest, authority) = X509Certificate::from_der(certificate).map_err(|_| NotAnAuthority)?;
        if !rest.is_empty() || !authority.is_ca() {
            return Err(NotAnAuthority);
        }
        Self::of_subject(authority.subject())
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        match self {
            Self::Root { domain } | Self::Site { domain, .. } => domain,
        }
    }

    /// Whether an authority of this scope may sign a certificate of `identity`.
    pub fn covers(&self, identity: &Identity) -> bool {
        identity.domain() == self.domain()
            && match self {
                Self::Root { .. } => identity.is_admin(),
                Self::Site { site, .. } => identity.site() == Some(site),
            }
    }

    /// The subject of the authority whose key has this hash. The hash keeps apart two authorities
    /// of the same scope, the old one and its replacement, and with them their revocation lists.
    pub(crate) fn subject(&self, key_hash: &str) -> DistinguishedName {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, self.domain());
        let common_name = match self {
            Self::Root { .. } => format!("caps root {key_hash}"),
            Self::Site { site, .. } => {
                subject.push(DnType::OrganizationalUnitName, site.as_str());
                format!("caps site {key_hash}")
            }
        };
        subject.push(DnType::CommonName, common_name);
        subject
    }

    fn of_subject(subject: &X509Name<'_>) -> Result<Self, NotAnAuthority> {
        let domain = only(subject.iter_organization())?.ok_or(NotAnAuthority)?;
        Ok(match only(subject.iter_organizational_unit())? {
            Some(site) => Self::Site { domain, site },
            None => Self::Root { domain },
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { domain } => write!(f, "administrators of {domain}"),
            Self::Site { domain, site } => write!(f, "nodes of site {site} of {domain}"),
        }
    }
}

/// The certificate is not one of an authority of CAPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the certificate is not one of an authority made by certs-gen")]
pub struct NotAnAuthority;

/// The value of an attribute that may occur once. Two would be read differently by two readers.
fn only<'a>(mut attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Result<Option<String>, NotAnAuthority> {
    match (attributes.next(), attributes.next()) {
        (None, _) => Ok(None),
        (Some(attribute), None) => match attribute.as_str() {
            Ok(value) => Ok(Some(value.to_owned())),
            Err(_) => Err(NotAnAuthority),
        },
        (Some(_), Some(_)) => Err(NotAnAuthority),
    }
}
