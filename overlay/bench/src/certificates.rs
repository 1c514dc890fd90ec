//! The certificates of a run: one server and one client, known to each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use caps_certs_gen::{Algorithm, Directory, Identity, Layer, NodeCredentials, Order, TrustAnchors};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;

/// Makes a trust domain in `directory` with P-256 certificates for both sides.
#[expect(clippy::disallowed_methods, reason = "certificates hold from now on, and this is no node")]
pub(crate) fn make(directory: &Path) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let provider = provider();
    let random = &mut |bytes: &mut [u8]| provider.secure_random.fill(bytes).expect("the system gives random bytes");
    let mut domain = Directory::init(directory, DOMAIN, Algorithm::P256, now, random)?;
    domain.add_site(SITE, Algorithm::P256, now, random)?;
    for side in [Side::Server, Side::Client] {
        let order = Order { algorithm: Algorithm::P256, dns_names: vec![DNS_NAME.to_owned()], ..Order::new(side.identity()) };
        domain.issue(&order, now, random)?;
    }
    Ok(())
}

/// Which of the two processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// A business-logic host, which front ends may call.
    Server,
    /// A front end.
    Client,
}

impl Side {
    pub(crate) fn identity(self) -> Identity {
        let (layer, name) = match self {
            Self::Server => (Layer::Host, "bench-server"),
            Self::Client => (Layer::FrontEnd, "bench-client"),
        };
        Identity::node(DOMAIN, SITE, layer, name).expect("these names are well-formed")
    }
}

/// What one side needs, as the overlay, rustls and tonic each want it.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    place: PathBuf,
    pub(crate) credentials: NodeCredentials,
    pub(crate) anchors: TrustAnchors,
}

impl Certificates {
    pub(crate) fn load(directory: &Path, side: Side) -> anyhow::Result<Self> {
        let place = directory.join("nodes").join(side.identity().name());
        let credentials = NodeCredentials::load(&place).context("the certificate of this side cannot be read")?;
        Ok(Self { credentials, anchors: TrustAnchors::load(directory)?, place })
    }

    /// The PEM text of the chain, the key or the root.
    pub(crate) fn pem(&self, file: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.place.join(file)).with_context(|| format!("{file} cannot be read"))
    }

    /// The roots as rustls wants them.
    pub(crate) fn roots(&self) -> anyhow::Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        for root in self.anchors.roots() {
            roots.add(root.clone())?;
        }
        Ok(Arc::new(roots))
    }
}

/// The cryptography that everybody uses here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The name under which the server is dialled by those who check DNS names.
pub(crate) const DNS_NAME: &str = "localhost";

const DOMAIN: &str = "bench.example";
const SITE: &str = "here";
