//! Certificates of a CAPS trust domain, and the identities they carry.
//!
//! A trust domain has one root. The root signs one authority per site, which may sign leaves and
//! nothing else; a site's authority signs the certificates of the nodes there, and the root signs
//! those of administrators. Each leaf certificate carries exactly one URI, its [`Identity`], and
//! everything the overlay admits or refuses follows from that URI. An authority is held to its own
//! [`Scope`]: that of one site cannot vouch for a node of another.
//!
//! This crate never opens a socket, never reads a clock and never draws ambient randomness: `now`
//! and a source of random bytes are arguments, so that a simulation issues the same certificates
//! from the same seed, byte for byte. Only the `certs-gen` program reads the real ones.
//! (The one exception is a P-256 key, see [`Key::generate`].)
//!
//! Start at [`Identity`]; then [`Authority`], which signs in memory; then [`Verifier`], which
//! believes or not; then [`Directory`], which keeps it all on disk.

mod identity;

mod lifetime;
mod moment;
mod validity;

mod key;
mod scope;
mod serial;

mod request;
mod revocation;

mod authority;

mod anchors;
mod credentials;
mod pem_file;
mod signature;
mod verify;

mod directory;
mod durable;
mod index;
mod inspect;

pub use anchors::{ForgedList, TrustAnchors, TrustAnchorsError};
pub use authority::{Authority, AuthorityError, IssueError};
pub use credentials::{CredentialsError, NodeCredentials};
pub use directory::{Directory, DirectoryError, Order};
pub use identity::{Identity, IdentityError, Layer, LeafError, Role};
pub use index::{Index, Record, Revoked, State, Subject};
pub use inspect::{CertificateFacts, Inspection, RevocationListFacts};
pub use key::{Algorithm, Key, KeyError, Random, SEED_BYTES, UnknownAlgorithm};
pub use lifetime::{Lifetime, LifetimeError};
pub use moment::Moment;
pub use pem_file::{PemFileError, read_certificates};
pub use request::LeafRequest;
pub use revocation::{Reason, Revocation, RevocationList, RevocationListError, UnknownReason};
pub use scope::{NotAnAuthority, Scope};
pub use serial::{Serial, SerialError};
pub use validity::{ADMIN_LIFETIME, BACKDATE, NODE_LIFETIME, ROOT_LIFETIME, SITE_LIFETIME, Validity};
pub use verify::{Rejection, Usage, Verifier, VerifierError};
