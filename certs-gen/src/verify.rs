//! Whether a chain is to be believed.

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use crate::signature::ALGORITHMS;
use crate::{Identity, LeafError, Moment, RevocationList, Scope, TrustAnchors};

/// Checks chains against the roots and revocation lists of one trust domain.
///
/// "The chain is valid" and "the leaf may be believed" are one answer here, about one and the same
/// certificate: [`check`](Self::check) gives the identity only when everything holds, and there is
/// no other way to get it from a verifier.
#[derive(Debug)]
pub struct Verifier {
    domain: String,
    anchors: Vec<TrustAnchor<'static>>,
    revocation_lists: Vec<CertRevocationList<'static>>,
}

impl Verifier {
    /// A verifier with these roots and lists. Make a new one when a list arrives.
    pub fn new(anchors: &TrustAnchors) -> Result<Self, VerifierError> {
        let roots = anchors.roots().iter();
        let lists = anchors.revocation_lists().iter();
        Ok(Self {
            domain: anchors.domain().to_owned(),
            anchors: roots
                .map(|root| Ok(webpki::anchor_from_trusted_cert(root)?.to_owned()))
                .collect::<Result<_, _>>()
                .map_err(VerifierError::Root)?,
            revocation_lists: lists.map(owned_list).collect::<Result<_, _>>().map_err(VerifierError::RevocationList)?,
        })
    }

    /// Whether `leaf` may be believed at `now`, by way of `intermediates`, and who it is.
    ///
    /// In this order: the leaf has one identity and cannot sign; the identity is of this trust
    /// domain; signatures lead to a root, within the path lengths, for this `usage`, and no
    /// certificate on the way has ended or is revoked; the authority that signed the leaf may
    /// vouch for this identity ([`Scope`]).
    ///
    /// A certificate whose issuer has no list here counts as not revoked: lists arrive through
    /// the overlay, and a new site must be able to connect before its first list can.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: SystemTime,
    ) -> Result<Identity, Rejection> {
        let identity = Identity::of_leaf(leaf)?;
        if identity.domain() != self.domain {
            return Err(Rejection::ForeignDomain { identity, domain: self.domain.clone() });
        }
        let end_entity = EndEntityCert::try_from(leaf).map_err(Rejection::from)?;
        let lists: Vec<_> = self.revocation_lists.iter().collect();
        let path = end_entity.verify_for_usage(
            ALGORITHMS,
            &self.anchors,
            intermediates,
            Moment::from(now).to_unix_time(),
            usage.required(),
            revocation_options(&lists),
            None,
        )?;
        let scope = self.scope_of_issuer(&path)?;
        if !scope.covers(&identity) {
            return Err(Rejection::OutOfScope { identity, scope });
        }
        Ok(identity)
    }

    /// Whether `chain`, the leaf first, may be believed for both usages at `now`; what a node does
    /// with the chain of another, be it the one that calls or the one that is called.
    pub fn check_chain(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Identity, Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::Empty)?;
        self.check(leaf, intermediates, Usage::Server, now)?;
        self.check(leaf, intermediates, Usage::Client, now)
    }

    /// The issuer's scope, from the path that was verified and not from what the peer sent beside it.
    fn scope_of_issuer(&self, path: &VerifiedPath<'_>) -> Result<Scope, Rejection> {
        let Some(issuer) = path.intermediate_certificates().next() else {
            return Ok(Scope::Root { domain: self.domain.clone() });
        };
        match Scope::of_certificate(&issuer.der()) {
            Ok(scope @ Scope::Site { .. }) => Ok(scope),
            // Roots are trusted by being anchors. One that another root signed is none.
            Ok(Scope::Root { .. }) | Err(_) => Err(Rejection::StrangeIssuer),
        }
    }
}

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The peer is called.
    Server,
    /// The peer calls.
    Client,
}

impl Usage {
    fn required(self) -> KeyUsage {
        match self {
            Self::Server => KeyUsage::server_auth(),
            Self::Client => KeyUsage::client_auth(),
        }
    }
}

/// Why a verifier cannot be made. The trust anchors are at fault.
#[derive(Debug, Error)]
pub enum VerifierError {
    /// A root cannot be an anchor.
    #[error("a root certificate cannot be used")]
    Root(#[source] webpki::Error),
    /// A revocation list is of a kind that is not used here.
    #[error("a revocation list cannot be used")]
    RevocationList(#[source] webpki::Error),
}

/// Why a chain is not believed. The peer that presents it is at fault, or whoever set it up.
#[derive(Debug, Error)]
pub enum Rejection {
    /// There is no certificate.
    #[error("no certificate is presented")]
    Empty,
    /// The leaf gives no identity.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The identity is of another trust domain.
    #[error("{identity} is not of the trust domain {domain}")]
    ForeignDomain {
        /// The identity.
        identity: Identity,
        /// The only domain that is trusted.
        domain: String,
    },
    /// A certificate of the chain has ended.
    #[error("a certificate of the chain expired at {not_after}")]
    Expired {
        /// Its last second.
        not_after: Moment,
    },
    /// A certificate of the chain does not hold yet; one of the two clocks may be wrong.
    #[error("a certificate of the chain is not valid before {not_before}")]
    NotYetValid {
        /// Its first second.
        not_before: Moment,
    },
    /// A certificate of the chain is revoked.
    #[error("a certificate of the chain is revoked")]
    Revoked,
    /// No signature leads to a root that is trusted here.
    #[error("no root that is trusted here stands behind the chain")]
    UnknownIssuer,
    /// A site's authority made another authority.
    #[error("the chain has more authorities than its issuers allow")]
    PathTooLong,
    /// The authority that signed the leaf is neither a root nor a site's.
    #[error("the issuer is not the authority of a site")]
    StrangeIssuer,
    /// The authority that signed the leaf may not vouch for this identity.
    #[error("{identity} is signed by an authority that vouches only for {scope}")]
    OutOfScope {
        /// The identity.
        identity: Identity,
        /// What the authority may vouch for.
        scope: Scope,
    },
    /// Anything else that is wrong with the chain.
    #[error("the chain is not valid: {0}")]
    Invalid(#[source] webpki::Error),
}

impl From<webpki::Error> for Rejection {
    fn from(error: webpki::Error) -> Self {
        match error {
            webpki::Error::CertExpired { not_after, .. } => Self::Expired { not_after: moment(not_after) },
            webpki::Error::CertNotValidYet { not_before, .. } => Self::NotYetValid { not_before: moment(not_before) },
            webpki::Error::CertRevoked => Self::Revoked,
            webpki::Error::UnknownIssuer => Self::UnknownIssuer,
            webpki::Error::PathLenConstraintViolated => Self::PathTooLong,
            other => Self::Invalid(other),
        }
    }
}

fn revocation_options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    let options = builder
        .with_depth(RevocationCheckDepth::Chain)
        .with_status_policy(UnknownStatusPolicy::Allow)
        // An authority's lists hold as long as the authority: `Authority::revocation_list`.
        .with_expiration_policy(ExpirationPolicy::Ignore);
    Some(options.build())
}

fn owned_list(list: &RevocationList) -> Result<CertRevocationList<'static>, webpki::Error> {
    Ok(BorrowedCertRevocationList::from_der(list.der())?.to_owned()?.into())
}

fn moment(time: UnixTime) -> Moment {
    Moment::from_timestamp(time.as_secs().try_into().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{Authority, Key, Layer, LeafRequest, NodeCredentials, Reason, Revocation, Serial, Validity};

    /// A trust domain of two sites, the same in every run.
    struct Domain {
        root: Authority,
        berlin: Authority,
        paris: Authority,
        now: SystemTime,
        counter: u8,
    }

    impl Domain {
        fn new() -> Self {
            Self::of_seed("caps.example", 1)
        }

        fn of_seed(name: &str, seed: u8) -> Self {
            let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            let root = Authority::from_seed(name, &[seed; 32], now, &mut |b| b.fill(1)).unwrap();
            let site = |site, seed| root.site(site, Key::from_seed(&[seed; 32]), now, &mut |b| b.fill(seed)).unwrap();
            Self { berlin: site("berlin", seed + 100), paris: site("paris", seed + 101), root, now, counter: 0 }
        }

        fn cabinet(&self) -> Identity {
            let domain = self.root.scope().domain();
            Identity::node(domain, "berlin", Layer::Cabinet, "cabinet-1").unwrap()
        }

        fn request(&self) -> LeafRequest {
            let validity = Validity::starting(self.now, Duration::from_secs(3600));
            LeafRequest::new(&self.cabinet(), validity)
        }

        fn issue(&mut self, request: &LeafRequest) -> Vec<CertificateDer<'static>> {
            self.counter += 1;
            let counter = self.counter;
            let key = Key::from_seed(&[counter; 32]);
            self.berlin.issue(request, &key, &mut |b| b.fill(counter)).unwrap()
        }

        fn anchors(&self, lists: &[&Authority], revoked: &[Revocation]) -> TrustAnchors {
            let roots = vec![self.root.certificate().clone()];
            let lists = lists.iter().zip(1..);
            let lists = lists.map(|(issuer, number)| issuer.revocation_list(revoked, number, self.now).unwrap());
            TrustAnchors::new(roots, lists.collect()).unwrap()
        }

        fn check(&self, chain: &[CertificateDer<'_>]) -> Result<Identity, Rejection> {
            let anchors = self.anchors(&[], &[]);
            Verifier::new(&anchors).unwrap().check_chain(chain, self.now)
        }
    }

    fn revocation_of(certificate: &CertificateDer<'_>, now: SystemTime) -> Revocation {
        let facts = crate::CertificateFacts::of(certificate).unwrap();
        Revocation { serial: facts.serial.parse::<Serial>().unwrap(), at: now.into(), reason: Reason::KeyCompromise }
    }

    #[test]
    fn good_chain_gives_its_identity() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        assert_eq!(domain.check(&chain).unwrap(), domain.cabinet());
    }

    #[test]
    fn administrators_come_from_the_root() {
        let domain = Domain::new();
        let ada = Identity::admin("caps.example", "ada").unwrap();
        let ada = domain.root.credentials(&ada, domain.now, &mut |b| b.fill(9)).unwrap();
        assert_eq!(ada.chain().len(), 1);
        assert!(domain.check(ada.chain()).unwrap().is_admin());
    }

    #[test]
    fn both_ends_of_the_validity_count() {
        let mut domain = Domain::new();
        let (start, end) = (domain.now, domain.now + Duration::from_secs(60));
        let chain = domain.issue(&domain.request().validity(Validity::between(start, end)));
        let second = Duration::from_secs(1);
        for (now, is_good) in [(start - second, false), (start, true), (end, true), (end + second, false)] {
            domain.now = now;
            assert_eq!(domain.check(&chain).is_ok(), is_good, "{now:?}");
        }
        assert!(matches!(domain.check(&chain), Err(Rejection::Expired { not_after }) if not_after == end.into()));
        domain.now = start - second;
        assert!(matches!(domain.check(&chain), Err(Rejection::NotYetValid { .. })));
    }

    #[test]
    fn clock_an_hour_behind_still_believes() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        domain.now -= crate::BACKDATE;
        domain.check(&chain).unwrap();
    }

    #[test]
    fn leaf_names_exactly_one_identity() {
        let mut domain = Domain::new();
        let one = domain.cabinet().to_string();
        let other = Identity::admin("caps.example", "ada").unwrap().to_string();
        let none = domain.issue(&domain.request().uris([""; 0]));
        assert!(matches!(domain.check(&none), Err(Rejection::Leaf(LeafError::NoUri))));
        let two = domain.issue(&domain.request().uris([one.clone(), other]));
        assert!(matches!(domain.check(&two), Err(Rejection::Leaf(LeafError::SeveralUris))));
        let twice = domain.issue(&domain.request().uris([one.clone(), one.clone()]));
        assert!(matches!(domain.check(&twice), Err(Rejection::Leaf(LeafError::SeveralUris))));
        // A second URI counts even if it is no identity.
        let stray = domain.issue(&domain.request().uris([one, "https://caps.example".into()]));
        assert!(matches!(domain.check(&stray), Err(Rejection::Leaf(LeafError::SeveralUris))));
        let strange = domain.issue(&domain.request().uris(["https://caps.example"]));
        assert!(matches!(domain.check(&strange), Err(Rejection::Leaf(LeafError::NotAnIdentity(_)))));
    }

    #[test]
    fn dns_names_and_addresses_do_not_matter() {
        let mut domain = Domain::new();
        let request = domain.request().dns_names(["a.example"]).ip_addresses([[192, 0, 2, 1].into()]);
        let chain = domain.issue(&request);
        assert_eq!(domain.check(&chain).unwrap(), domain.cabinet());
    }

    #[test]
    fn signing_certificates_never_authenticate() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request().is_ca(true));
        assert!(matches!(domain.check(&chain), Err(Rejection::Leaf(LeafError::Authority))));
        let site = [domain.berlin.certificate().clone()];
        assert!(matches!(domain.check(&site), Err(Rejection::Leaf(LeafError::Authority))));
    }

    #[test]
    fn site_cannot_make_an_authority() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request().uris([""; 0]).is_ca(true));
        let below = Authority::from_parts(chain[0].clone(), Key::from_seed(&[1; 32])).unwrap();
        let leaf = below.issue(&domain.request(), &Key::from_seed(&[50; 32]), &mut |b| b.fill(50)).unwrap();
        let chain = [leaf[0].clone(), chain[0].clone(), chain[1].clone()];
        assert!(matches!(domain.check(&chain), Err(Rejection::PathTooLong)));
    }

    #[test]
    fn site_cannot_vouch_for_another_site_or_an_administrator() {
        let domain = Domain::new();
        let key = Key::from_seed(&[60; 32]);
        let chain = domain.paris.issue(&domain.request(), &key, &mut |b| b.fill(60)).unwrap();
        assert!(matches!(domain.check(&chain), Err(Rejection::OutOfScope { .. })));
        let ada = Identity::admin("caps.example", "ada").unwrap();
        let validity = Validity::starting(domain.now, Duration::from_secs(60));
        let request = LeafRequest::new(&ada, validity);
        let chain = domain.paris.issue(&request, &key, &mut |b| b.fill(61)).unwrap();
        assert!(matches!(domain.check(&chain), Err(Rejection::OutOfScope { .. })));
        let polite = domain.paris.credentials(&ada, domain.now, &mut |b| b.fill(62));
        assert!(matches!(polite, Err(crate::IssueError::OutOfScope { .. })));
    }

    #[test]
    fn root_does_not_vouch_for_nodes_directly() {
        let domain = Domain::new();
        let key = Key::from_seed(&[63; 32]);
        let chain = domain.root.issue(&domain.request(), &key, &mut |b| b.fill(63)).unwrap();
        assert!(matches!(domain.check(&chain), Err(Rejection::OutOfScope { .. })));
    }

    #[test]
    fn innocent_authority_beside_the_chain_does_not_lend_its_scope() {
        let domain = Domain::new();
        let key = Key::from_seed(&[64; 32]);
        let by_paris = domain.paris.issue(&domain.request(), &key, &mut |b| b.fill(64)).unwrap();
        let berlin = domain.berlin.certificate().clone();
        let chain = [by_paris[0].clone(), berlin, by_paris[1].clone()];
        assert!(matches!(domain.check(&chain), Err(Rejection::OutOfScope { .. })));
    }

    #[test]
    fn other_domains_and_other_roots_are_strangers() {
        let mut domain = Domain::new();
        let mut foreign = Domain::of_seed("other.example", 2);
        let chain = foreign.issue(&foreign.request());
        assert!(matches!(domain.check(&chain), Err(Rejection::ForeignDomain { .. })));
        // The wrong domain in a certificate that is otherwise perfect.
        let strange = domain.issue(&domain.request().uris([foreign.cabinet().uri()]));
        assert!(matches!(domain.check(&strange), Err(Rejection::ForeignDomain { .. })));
        // The right domain by a root of somebody else.
        let mut impostor = Domain::of_seed("caps.example", 3);
        let chain = impostor.issue(&impostor.request());
        assert!(matches!(domain.check(&chain), Err(Rejection::UnknownIssuer)));
    }

    #[test]
    fn chain_without_its_site_is_not_believed() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        assert!(matches!(domain.check(&chain[..1]), Err(Rejection::UnknownIssuer)));
        assert!(matches!(domain.check(&[]), Err(Rejection::Empty)));
    }

    #[test]
    fn changed_bit_anywhere_in_the_leaf_is_noticed() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        for at in 0..chain[0].len() {
            let mut bytes = chain[0].to_vec();
            bytes[at] ^= 1;
            let changed = [bytes.into(), chain[1].clone()];
            assert!(domain.check(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn revoked_leaf_and_revoked_site_are_not_believed() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        let other = domain.issue(&domain.request());
        let check = |anchors: &TrustAnchors, chain: &[CertificateDer<'_>]| Verifier::new(anchors).unwrap().check_chain(chain, domain.now);
        let leaf = [revocation_of(&chain[0], domain.now)];
        let anchors = domain.anchors(&[&domain.root, &domain.berlin], &leaf);
        assert!(matches!(check(&anchors, &chain), Err(Rejection::Revoked)));
        check(&anchors, &other).unwrap();
        let site = [revocation_of(&chain[1], domain.now)];
        let anchors = domain.anchors(&[&domain.root], &site);
        assert!(matches!(check(&anchors, &other), Err(Rejection::Revoked)));
        // The same serial on another issuer's list means another certificate.
        let anchors = domain.anchors(&[&domain.paris], &leaf);
        check(&anchors, &chain).unwrap();
    }

    #[test]
    fn newest_list_counts_whatever_the_order() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        let revoked = [revocation_of(&chain[0], domain.now)];
        let old = domain.berlin.revocation_list(&[], 255, domain.now).unwrap();
        let new = domain.berlin.revocation_list(&revoked, 256, domain.now).unwrap();
        for lists in [vec![old.clone(), new.clone()], vec![new, old]] {
            let anchors = TrustAnchors::new(vec![domain.root.certificate().clone()], lists).unwrap();
            assert_eq!(anchors.revocation_lists().len(), 1);
            let verifier = Verifier::new(&anchors).unwrap();
            let verdict = verifier.check_chain(&chain, domain.now);
            assert!(matches!(verdict, Err(Rejection::Revoked)));
        }
    }

    #[test]
    fn lists_hold_until_their_authority_ends() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        let anchors = domain.anchors(&[&domain.berlin], &[revocation_of(&chain[0], domain.now)]);
        let later = domain.now + Duration::from_secs(1800);
        let verdict = Verifier::new(&anchors).unwrap().check_chain(&chain, later);
        assert!(matches!(verdict, Err(Rejection::Revoked)));
    }

    #[test]
    fn lists_from_peers_are_accepted_only_with_a_signature_of_the_domain() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        let revoked = [revocation_of(&chain[0], domain.now)];
        let list = |authority: &Authority, number| {
            let der = authority.revocation_list(&revoked, number, domain.now).unwrap();
            RevocationList::parse(der).unwrap()
        };
        let mut anchors = domain.anchors(&[], &[]);
        let berlin = domain.berlin.certificate();
        // Signed by another than it is said to be.
        let paris = domain.paris.certificate();
        anchors.accept(list(&domain.berlin, 2), paris).unwrap_err();
        // Signed well, by an authority of somebody else.
        let impostor = Domain::of_seed("caps.example", 3);
        let forged = list(&impostor.berlin, 2);
        anchors.accept(forged.clone(), impostor.berlin.certificate()).unwrap_err();
        anchors.accept(forged, berlin).unwrap_err();
        // A changed signature.
        let mut bytes = list(&domain.berlin, 2).der().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let changed = RevocationList::parse(bytes.into()).unwrap();
        anchors.accept(changed, berlin).unwrap_err();
        assert!(anchors.revocation_lists().is_empty());

        assert!(anchors.accept(list(&domain.berlin, 2), berlin).unwrap());
        assert!(!anchors.accept(list(&domain.berlin, 2), berlin).unwrap());
        assert!(!anchors.accept(list(&domain.berlin, 1), berlin).unwrap());
        let root = domain.root.certificate();
        assert!(anchors.accept(list(&domain.root, 1), root).unwrap());
        let verdict = Verifier::new(&anchors).unwrap().check_chain(&chain, domain.now);
        assert!(matches!(verdict, Err(Rejection::Revoked)));
    }

    #[test]
    fn no_leaf_signs_a_list() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request().uris([""; 0]).is_ca(true));
        let below = Authority::from_parts(chain[0].clone(), Key::from_seed(&[1; 32])).unwrap();
        // Without the key usage of a list's issuer, the library itself refuses to sign.
        assert!(below.revocation_list(&[], 1, domain.now).is_err());
    }

    #[test]
    fn same_seed_gives_the_same_bytes() {
        let make = || {
            let mut domain = Domain::new();
            let chain = domain.issue(&domain.request());
            let list = domain.berlin.revocation_list(&[], 1, domain.now).unwrap();
            let credentials = domain.berlin.credentials(&domain.cabinet(), domain.now, &mut |b| b.fill(7)).unwrap();
            (domain.root.certificate().clone(), chain, list, credentials.chain().to_vec())
        };
        assert_eq!(make(), make());
        let other = Domain::of_seed("caps.example", 4);
        assert_ne!(other.root.certificate(), &make().0);
    }

    #[test]
    fn expired_authority_issues_nothing() {
        let domain = Domain::new();
        let later = domain.now + crate::SITE_LIFETIME + Duration::from_secs(1);
        let late = domain.berlin.credentials(&domain.cabinet(), later, &mut |b| b.fill(7));
        assert!(matches!(late, Err(crate::IssueError::AuthorityExpired { .. })));
    }

    #[test]
    fn nothing_outlives_its_issuer() {
        let domain = Domain::new();
        let later = domain.now + crate::SITE_LIFETIME - Duration::from_secs(60);
        let leaf = domain.berlin.credentials(&domain.cabinet(), later, &mut |b| b.fill(7)).unwrap();
        let facts = crate::CertificateFacts::of(leaf.leaf()).unwrap();
        assert_eq!(facts.validity.not_after, domain.berlin.validity().not_after);
    }

    #[test]
    fn credentials_need_the_key_of_their_leaf() {
        let mut domain = Domain::new();
        let chain = domain.issue(&domain.request());
        let key = |seed| Key::from_seed(&[seed; 32]).to_der();
        NodeCredentials::new(chain.clone(), key(1)).unwrap();
        assert!(NodeCredentials::new(chain, key(2)).is_err());
    }

    #[test]
    fn authorities_carry_no_uri() {
        let domain = Domain::new();
        for authority in [&domain.root, &domain.berlin] {
            let facts = crate::CertificateFacts::of(authority.certificate()).unwrap();
            assert!(facts.names.is_empty() && facts.is_authority);
        }
    }

    #[test]
    fn roots_of_two_domains_do_not_mix() {
        let (one, other) = (Domain::new(), Domain::of_seed("other.example", 2));
        let certificate = |authority: &Authority| authority.certificate().clone();
        let roots = vec![certificate(&one.root), certificate(&other.root)];
        assert!(TrustAnchors::new(roots, vec![]).is_err());
        assert!(TrustAnchors::new(vec![certificate(&one.berlin)], vec![]).is_err());
        assert!(TrustAnchors::new(vec![], vec![]).is_err());
    }
}
