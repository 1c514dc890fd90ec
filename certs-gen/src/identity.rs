//! Who a certificate speaks for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// An identity in a trust domain, in SPIFFE form.
///
/// `spiffe://<domain>/site/<site>/layer/<n>/<name>` for a node and `spiffe://<domain>/admin/<name>`
/// for an administrator. Exactly one spelling exists for each identity, so that comparing the
/// strings compares the identities: nothing is normalised, anything unusual is refused.
///
/// Cloning costs one reference count. `Display` gives the URI, and the order is that of the URIs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    uri: Arc<str>,
    domain_end: usize,
    place: Place,
}

impl Identity {
    /// The identity of the node `name` of `layer` at `site`.
    pub fn node(domain: &str, site: &str, layer: Layer, name: &str) -> Result<Self, IdentityError> {
        check_domain(domain)?;
        check_label(Part::Site, site)?;
        check_label(Part::Name, name)?;
        let before_site = format!("{SCHEME}{domain}{SITE}");
        Ok(Self {
            domain_end: SCHEME.len() + domain.len(),
            place: Place::Node { site_end: before_site.len() + site.len(), layer },
            uri: format!("{before_site}{site}{LAYER}{layer}/{name}").into(),
        })
    }

    /// The identity of the administrator `name`.
    pub fn admin(domain: &str, name: &str) -> Result<Self, IdentityError> {
        check_domain(domain)?;
        check_label(Part::Name, name)?;
        Ok(Self { domain_end: SCHEME.len() + domain.len(), place: Place::Admin, uri: format!("{SCHEME}{domain}{ADMIN}{name}").into() })
    }

    /// Reads the one spelling that an identity has: no upper case, port, query, fragment, percent
    /// escape, empty segment or trailing slash is accepted (SPIFFE-ID, section 2).
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        if uri.len() > URI_BYTES_MAX {
            return Err(IdentityError::TooLong);
        }
        let rest = uri.strip_prefix(SCHEME).ok_or(IdentityError::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(IdentityError::Path)?;
        let segments: Vec<&str> = path.splitn(PATH_SEGMENTS_MAX + 1, '/').collect();
        match segments[..] {
            ["site", site, "layer", number, name] => Self::node(domain, site, number.parse()?, name),
            ["admin", name] => Self::admin(domain, name),
            _ => Err(IdentityError::Path),
        }
    }

    /// Reads the identity of a leaf certificate.
    ///
    /// The certificate must name exactly one URI, which must parse, and must not be able to sign
    /// others: a signing certificate never authenticates. Whether it is signed by the right
    /// authority, and still is valid, is for the caller to check *on this same certificate*.
    pub fn of_leaf(certificate: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let (rest, leaf) = X509Certificate::from_der(certificate).map_err(|_| LeafError::Malformed)?;
        if !rest.is_empty() {
            return Err(LeafError::Malformed);
        }
        refuse_signing(&leaf)?;
        Ok(Self::parse(only_uri(&leaf)?)?)
    }

    /// The identity as its URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        &self.uri[SCHEME.len()..self.domain_end]
    }

    /// The last segment: the node's or the administrator's own name.
    pub fn name(&self) -> &str {
        let start = match self.place {
            Place::Node { site_end, .. } => site_end + LAYER.len() + LAYER_DIGITS + "/".len(),
            Place::Admin => self.domain_end + ADMIN.len(),
        };
        &self.uri[start..]
    }

    /// What the identity may be: a node of a layer at a site, or an administrator.
    pub fn role(&self) -> Role<'_> {
        match self.place {
            Place::Node { site_end, layer } => Role::Node { site: &self.uri[self.domain_end + SITE.len()..site_end], layer },
            Place::Admin => Role::Admin,
        }
    }

    /// The site of a node; an administrator has none.
    pub fn site(&self) -> Option<&str> {
        match self.role() {
            Role::Node { site, .. } => Some(site),
            Role::Admin => None,
        }
    }

    /// The layer of a node; an administrator has none.
    pub fn layer(&self) -> Option<Layer> {
        match self.role() {
            Role::Node { layer, .. } => Some(layer),
            Role::Admin => None,
        }
    }

    /// Whether this is an administrator.
    pub fn is_admin(&self) -> bool {
        self.role() == Role::Admin
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        Self::parse(uri)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.uri)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.uri)
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.uri)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let uri = String::deserialize(deserializer)?;
        Self::parse(&uri).map_err(de::Error::custom)
    }
}

/// What an identity stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role<'a> {
    /// A node.
    Node {
        /// The site where the node runs.
        site: &'a str,
        /// The layer that the node serves.
        layer: Layer,
    },
    /// An administrator, who belongs to no site and no layer.
    Admin,
}

/// A layer that holds certificates.
///
/// Layer 0 (a database) has credentials of its own kind, and layer 3 (the modules) lives inside the
/// process of layer 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Layer 1, the cabinet.
    Cabinet = 1,
    /// Layer 2, the business-logic host.
    Host = 2,
    /// Layer 4, the front ends.
    FrontEnd = 4,
}

impl Layer {
    /// Every layer that holds certificates, in order.
    pub const ALL: [Self; 3] = [Self::Cabinet, Self::Host, Self::FrontEnd];

    /// The number of the layer, as in the URI.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The layer of this number, if it holds certificates.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.number() == number)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl FromStr for Layer {
    type Err = IdentityError;

    /// Reads the number, which has no sign and no leading zero.
    fn from_str(number: &str) -> Result<Self, Self::Err> {
        match number {
            "1" => Ok(Self::Cabinet),
            "2" => Ok(Self::Host),
            "4" => Ok(Self::FrontEnd),
            _ => Err(IdentityError::Layer),
        }
    }
}

/// Why a string is no identity. Whoever wrote the string is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The URI is longer than any identity can be.
    #[error("the identity is longer than {URI_BYTES_MAX} bytes")]
    TooLong,
    /// The URI does not begin with `spiffe://`.
    #[error("the identity does not begin with spiffe://")]
    Scheme,
    /// The path has neither of the two forms.
    #[error("the path of the identity is neither /site/<site>/layer/<n>/<name> nor /admin/<name>")]
    Path,
    /// The trust domain is not a lower-case DNS name.
    #[error("the trust domain is not a lower-case DNS name such as caps.example")]
    Domain,
    /// The site is not a label.
    #[error("the site is not 1 to 63 of the characters a-z, 0-9 and -")]
    Site,
    /// No layer that holds certificates has this number.
    #[error("the layer is not 1 (cabinet), 2 (business logic) or 4 (front end)")]
    Layer,
    /// The name is not a label.
    #[error("the name is not 1 to 63 of the characters a-z, 0-9 and -")]
    Name,
}

/// Why a certificate gives no identity. The peer that presented it is at fault; it is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeafError {
    /// The bytes are not one X.509 certificate, or an extension of it cannot be read.
    #[error("the certificate is malformed")]
    Malformed,
    /// The certificate is an authority's, or its key may sign certificates or revocation lists.
    #[error("the certificate is an authority's, and those do not authenticate")]
    Authority,
    /// No URI is named.
    #[error("the certificate names no URI")]
    NoUri,
    /// Several URIs are named, so that two readers could take two different identities from it.
    #[error("the certificate names more than one URI")]
    SeveralUris,
    /// The only URI is not an identity.
    #[error("the URI of the certificate is not an identity: {0}")]
    NotAnIdentity(#[from] IdentityError),
}

/// Where the parts of the path end, and what they mean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Node { site_end: usize, layer: Layer },
    Admin,
}

#[derive(Clone, Copy)]
enum Part {
    Site,
    Name,
}

fn check_domain(domain: &str) -> Result<(), IdentityError> {
    let is_host_label = |label: &str| is_label(label) && !label.starts_with('-') && !label.ends_with('-');
    if domain.len() <= DOMAIN_BYTES_MAX && domain.split('.').all(is_host_label) { Ok(()) } else { Err(IdentityError::Domain) }
}

fn check_label(part: Part, label: &str) -> Result<(), IdentityError> {
    match part {
        _ if is_label(label) => Ok(()),
        Part::Site => Err(IdentityError::Site),
        Part::Name => Err(IdentityError::Name),
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn refuse_signing(leaf: &X509Certificate<'_>) -> Result<(), LeafError> {
    let constraints = leaf.basic_constraints().map_err(|_| LeafError::Malformed)?;
    let usage = leaf.key_usage().map_err(|_| LeafError::Malformed)?;
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    if signs || constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(LeafError::Authority);
    }
    Ok(())
}

fn only_uri<'a>(leaf: &'a X509Certificate<'_>) -> Result<&'a str, LeafError> {
    // A second extension of the same kind is an error here, so this one holds all names there are.
    let names = leaf.subject_alternative_name().map_err(|_| LeafError::Malformed)?.ok_or(LeafError::NoUri)?;
    let mut only = None;
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(_) if only.is_some() => return Err(LeafError::SeveralUris),
            GeneralName::URI(uri) => only = Some(*uri),
            GeneralName::Invalid(..) => return Err(LeafError::Malformed),
            _ => {}
        }
    }
    only.ok_or(LeafError::NoUri)
}

const SCHEME: &str = "spiffe://";
const SITE: &str = "/site/";
const LAYER: &str = "/layer/";
const ADMIN: &str = "/admin/";
/// Every layer that holds certificates has a number of one digit.
const LAYER_DIGITS: usize = 1;
/// `site`, its value, `layer`, its value, and the name.
const PATH_SEGMENTS_MAX: usize = 5;
/// RFC 1035, section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// RFC 1035, section 2.3.4, without the root's empty label and the length octets.
const DOMAIN_BYTES_MAX: usize = 253;
/// The longest identity of a node: every part at its own bound.
const URI_BYTES_MAX: usize =
    SCHEME.len() + DOMAIN_BYTES_MAX + SITE.len() + LABEL_BYTES_MAX + LAYER.len() + LAYER_DIGITS + "/".len() + LABEL_BYTES_MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const CABINET: &str = "spiffe://caps.example/site/berlin/layer/1/cabinet-1";
    const ADA: &str = "spiffe://caps.example/admin/ada";

    #[test]
    fn parts_come_out_as_they_went_in() {
        let cabinet = Identity::parse(CABINET).unwrap();
        assert_eq!(cabinet.domain(), "caps.example");
        assert_eq!(cabinet.site(), Some("berlin"));
        assert_eq!(cabinet.layer(), Some(Layer::Cabinet));
        assert_eq!(cabinet.name(), "cabinet-1");
        assert!(!cabinet.is_admin());
        let ada: Identity = ADA.parse().unwrap();
        assert_eq!((ada.domain(), ada.name()), ("caps.example", "ada"));
        assert_eq!(ada.role(), Role::Admin);
        assert_eq!((ada.site(), ada.layer()), (None, None));
    }

    #[test]
    fn near_misses_are_refused() {
        use IdentityError as E;
        for (uri, error) in [
            ("", E::Scheme),
            ("SPIFFE://caps.example/admin/ada", E::Scheme),
            ("spiffe:/caps.example/admin/ada", E::Scheme),
            (" spiffe://caps.example/admin/ada", E::Scheme),
            ("https://caps.example/admin/ada", E::Scheme),
            ("spiffe://caps.example", E::Path),
            ("spiffe://caps.example/", E::Path),
            ("spiffe://caps.example/admin/ada/", E::Path),
            ("spiffe://caps.example//admin/ada", E::Path),
            ("spiffe://caps.example/Admin/ada", E::Path),
            ("spiffe://caps.example/site/berlin/layer/1", E::Path),
            ("spiffe://caps.example/site/berlin/layer/1/x/y", E::Path),
            ("spiffe://caps.example/layer/1/site/berlin/x", E::Path),
            ("spiffe:///admin/ada", E::Domain),
            ("spiffe://Caps.example/admin/ada", E::Domain),
            ("spiffe://caps.example:443/admin/ada", E::Domain),
            ("spiffe://ada@caps.example/admin/ada", E::Domain),
            ("spiffe://caps.example./admin/ada", E::Domain),
            ("spiffe://caps..example/admin/ada", E::Domain),
            ("spiffe://-caps.example/admin/ada", E::Domain),
            ("spiffe://caps_example/admin/ada", E::Domain),
            ("spiffe://caps.example/admin/", E::Name),
            ("spiffe://caps.example/admin/Ada", E::Name),
            ("spiffe://caps.example/admin/ada?x=1", E::Name),
            ("spiffe://caps.example/admin/ada#x", E::Name),
            ("spiffe://caps.example/admin/%61da", E::Name),
            ("spiffe://caps.example/admin/..", E::Name),
            ("spiffe://caps.example/admin/ada\0", E::Name),
            ("spiffe://caps.example/admin/\u{430}da", E::Name),
            ("spiffe://caps.example/site//layer/1/x", E::Site),
            ("spiffe://caps.example/site/a_b/layer/1/x", E::Site),
            ("spiffe://caps.example/site/berlin/layer/3/x", E::Layer),
            ("spiffe://caps.example/site/berlin/layer/0/x", E::Layer),
            ("spiffe://caps.example/site/berlin/layer/01/x", E::Layer),
            ("spiffe://caps.example/site/berlin/layer/+1/x", E::Layer),
        ] {
            assert_eq!(Identity::parse(uri), Err(error), "{uri:?}");
        }
    }

    #[test]
    fn longest_identity_fits_and_one_byte_more_does_not() {
        let label = "a".repeat(LABEL_BYTES_MAX);
        let domain = [&*label, &label, &label, &label[..61]].join(".");
        assert_eq!(domain.len(), DOMAIN_BYTES_MAX);
        let longest = Identity::node(&domain, &label, Layer::Host, &label).unwrap();
        assert_eq!(longest.uri().len(), URI_BYTES_MAX);
        assert_eq!(Identity::parse(longest.uri()), Ok(longest.clone()));
        let longer = format!("{longest}a");
        assert_eq!(Identity::parse(&longer), Err(IdentityError::TooLong));
    }

    #[test]
    fn json_is_the_uri() {
        let cabinet = Identity::parse(CABINET).unwrap();
        let json = serde_json::to_string(&cabinet).unwrap();
        assert_eq!(json, format!("\"{CABINET}\""));
        assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), cabinet);
        assert!(serde_json::from_str::<Identity>("\"spiffe://x/admin/A\"").is_err());
    }

    fn any_identity() -> impl Strategy<Value = Identity> {
        let domain = "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z]{1,8}){0,3}";
        let place = proptest::option::of(("[a-z0-9-]{1,63}", 0..Layer::ALL.len()));
        (domain, place, "[a-z0-9-]{1,63}").prop_map(|(domain, place, name)| match place {
            Some((site, layer)) => Identity::node(&domain, &site, Layer::ALL[layer], &name).unwrap(),
            None => Identity::admin(&domain, &name).unwrap(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn parsing_what_is_shown_gives_the_same(identity in any_identity()) {
            let again = Identity::parse(&identity.to_string()).unwrap();
            prop_assert_eq!(again.role(), identity.role());
            prop_assert_eq!(again.name(), identity.name());
            prop_assert_eq!(again.domain(), identity.domain());
            prop_assert_eq!(again, identity);
        }

        #[test]
        fn nothing_panics_and_only_the_one_spelling_is_accepted(uri in "\\PC*") {
            for uri in [uri.clone(), format!("{SCHEME}{uri}"), format!("{ADA}{uri}")] {
                if let Ok(identity) = Identity::parse(&uri) {
                    prop_assert_eq!(identity.uri(), uri);
                }
            }
        }

        #[test]
        fn no_character_outside_the_alphabet_gets_in(
            identity in any_identity(), at in 0usize..400, stray in "[^a-z0-9./-]",
        ) {
            let uri = identity.uri();
            let at = at % (uri.len() + 1);
            let changed = format!("{}{stray}{}", &uri[..at], &uri[at..]);
            prop_assert!(Identity::parse(&changed).is_err(), "{}", changed);
        }

        #[test]
        fn no_bytes_make_reading_a_leaf_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Identity::of_leaf(&bytes.into()).is_err());
        }
    }
}
