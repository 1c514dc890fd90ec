//! Which endpoint, and whom to believe that it is the one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Uri;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::tls::pem_fault;

/// An endpoint's address.
#[derive(Clone)]
pub struct Target {
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Host`.
    pub(super) authority: String,
    pub(super) path: String,
    /// How TLS is spoken there, and with whom; `None`: it is on this machine, and in the clear.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Why an address of an endpoint is none. It may hold a token, and is not repeated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EndpointError {
    /// It is no address of the web.
    #[error("an endpoint is written as https://HOST/PATH")]
    Address,
    /// It is in the clear, and on another machine.
    #[error("an endpoint on another machine begins with https://")]
    Clear,
    /// It holds a password: whoever receives webhooks knows us by their signature.
    #[error("an endpoint's address holds no user and no password: webhooks are signed instead")]
    Credentials,
    /// The authorities to be trusted cannot be read.
    #[error("no certificate in PEM is there: {0}")]
    Authorities(String),
    /// TLS cannot be set up here.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Target {
    /// Reads `https://HOST[:PORT]/PATH`; `http://` only on this machine. Certificates are believed that the authorities issued that browsers trust.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        Self::trusting(url, RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// The same, believing certificates that these authorities issued, PEM, and no others.
    pub fn parse_trusting(url: &str, authorities: &[u8]) -> Result<Self, EndpointError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|error| EndpointError::Authorities(pem_fault(&error).to_owned()))?;
            roots.add(certificate)?;
        }
        match roots.is_empty() {
            true => Err(EndpointError::Authorities("the file holds none".to_owned())),
            false => Self::trusting(url, roots),
        }
    }

    fn trusting(url: &str, roots: RootCertStore) -> Result<Self, EndpointError> {
        if !url.is_ascii() || url.contains('#') {
            return Err(EndpointError::Address);
        }
        let uri: Uri = url.parse().map_err(|_| EndpointError::Address)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(EndpointError::Address) };
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_encrypted = match scheme {
            "https" => true,
            "http" if is_here(&host) => false,
            "http" => return Err(EndpointError::Clear),
            _ => return Err(EndpointError::Address),
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| EndpointError::Address)?;
        // A port that is none reads as if there were none.
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
            "" if is_encrypted => 443,
            "" => 80,
            port => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port > 0).ok_or(EndpointError::Address)?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let tls = is_encrypted.then(|| configuration(roots)).transpose()?.map(|config| (config, name));
        Ok(Self { host, port, authority: authority.to_string(), path, tls })
    }
}

/// The host and the port: a path may hold a token.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn configuration(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_endpoints_are_read() {
        let table = [
            ("https://crm.example/hooks?from=caps", "crm.example", 443, "crm.example", "/hooks?from=caps", true),
            ("https://crm.example?from=caps", "crm.example", 443, "crm.example", "/?from=caps", true),
            ("https://crm.example:8443", "crm.example", 8_443, "crm.example:8443", "/", true),
            ("https://[2001:db8::1]/h", "2001:db8::1", 443, "[2001:db8::1]", "/h", true),
            ("http://127.0.0.1:9000/h", "127.0.0.1", 9_000, "127.0.0.1:9000", "/h", false),
            ("http://localhost/h", "localhost", 80, "localhost", "/h", false),
        ];
        for (url, host, port, authority, path, is_encrypted) in table {
            let target = Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((target.host.as_str(), target.port, target.authority.as_str()), (host, port, authority), "{url}");
            assert_eq!((target.path.as_str(), target.tls.is_some()), (path, is_encrypted), "{url}");
        }
    }

    #[test]
    fn wrong_addresses_are_refused_and_not_repeated() {
        let table = [
            ("", EndpointError::Address),
            ("crm.example/h", EndpointError::Address),
            ("/h", EndpointError::Address),
            ("ftp://crm.example/h", EndpointError::Address),
            ("https://", EndpointError::Address),
            ("https://a_b\u{e5}/", EndpointError::Address),
            ("https://crm.example/a b", EndpointError::Address),
            ("https://crm.example/a\r\nX: y", EndpointError::Address),
            ("https://crm.example/\u{e5}", EndpointError::Address),
            ("https://crm.example/#h", EndpointError::Address),
            ("https://crm.example:0/h", EndpointError::Address),
            ("https://crm.example:99999/h", EndpointError::Address),
            ("http://crm.example/h", EndpointError::Clear),
            ("http://10.0.0.1/h", EndpointError::Clear),
            ("https://user:secret@crm.example/h", EndpointError::Credentials),
        ];
        for (url, expected) in table {
            assert_eq!(Target::parse(url).unwrap_err(), expected, "{url:?}");
        }
        let target = Target::parse("https://crm.example/hooks/s3cret").unwrap();
        assert!(!format!("{target:?}").contains("s3cret"));
        assert!(matches!(Target::parse_trusting("https://a.example/", b"").unwrap_err(), EndpointError::Authorities(_)));
    }
}
