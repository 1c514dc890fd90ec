//! What a certificate shall say.

use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use crate::{Identity, Serial, Validity};

/// What a leaf certificate shall say.
///
/// [`LeafRequest::new`] asks for a good one. The other methods can also ask for certificates that
/// no node may accept, which is what tests of verifiers need; the `certs-gen` program never does.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    domain: String,
    name: String,
    validity: Validity,
    uris: Vec<String>,
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
    is_ca: bool,
}

impl LeafRequest {
    /// A certificate of `identity`, for servers and for clients.
    pub fn new(identity: &Identity, validity: Validity) -> Self {
        Self {
            domain: identity.domain().to_owned(),
            name: identity.name().to_owned(),
            validity,
            uris: vec![identity.uri().to_owned()],
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            is_ca: false,
        }
    }

    /// The DNS names, which CAPS itself ignores; for other programs that look at the certificate.
    pub fn dns_names<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.dns_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// The IP addresses, which CAPS itself ignores.
    pub fn ip_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.ip_addresses = addresses.into_iter().collect();
        self
    }

    /// The period in which the certificate holds.
    pub fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// The URIs, whatever they are and however many. Only one that is an identity is any good.
    pub fn uris<T: Into<String>>(mut self, uris: impl IntoIterator<Item = T>) -> Self {
        self.uris = uris.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the certificate says that its key may sign others. Only `false` is any good.
    pub fn is_ca(mut self, is_ca: bool) -> Self {
        self.is_ca = is_ca;
        self
    }

    pub(crate) fn params(&self, serial: &Serial) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.as_bytes().to_vec().into());
        params.not_before = self.validity.not_before.to_date();
        params.not_after = self.validity.not_after.to_date();
        params.distinguished_name = self.subject();
        params.subject_alt_names = self.subject_alt_names()?;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        Ok(params)
    }

    fn subject(&self) -> DistinguishedName {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, self.domain.as_str());
        subject.push(DnType::CommonName, self.name.as_str());
        subject
    }

    fn subject_alt_names(&self) -> Result<Vec<SanType>, rcgen::Error> {
        let uris = self.uris.iter().map(|uri| Ok(SanType::URI(uri.as_str().try_into()?)));
        let dns_names = self.dns_names.iter().map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)));
        let addresses = self.ip_addresses.iter().map(|ip| Ok(SanType::IpAddress(*ip)));
        uris.chain(dns_names).chain(addresses).collect()
    }
}
