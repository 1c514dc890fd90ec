//! What a node believes about the members of the overlay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use caps_certs_gen::{Identity, Layer};

use crate::membership::wire::{self, WireError};
use crate::offers::Offers;

/// What this node believes about the members: the server nodes that announce an address.
///
/// A belief, not a fact: it lags behind by the time that gossip takes, and a peer that is `Up` here may
/// be gone already. Bounded at 1,024 members. Published as a whole (`Arc<Directory>`), never
/// changed under a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    members: BTreeMap<Identity, Member>,
    /// Sites that the reader is told of by name only, because it may call nobody there.
    other_sites: BTreeSet<String>,
}

/// One member, as believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is, as its certificate says.
    pub identity: Identity,
    /// Where its peers dial it.
    pub address: SocketAddr,
    /// Which life of the node this is: it grows with every start, and when a node contradicts a false report of its end.
    pub generation: u64,
    /// Whether it answers.
    pub state: MemberState,
    /// When the believer learnt of this state, on the believer's clock (time since it started).
    pub since: Duration,
    /// How busy the member says it is: 0 idle, 255 at its limit.
    pub load: u8,
    /// What the member says it offers, and how far that is; nothing if it has said nothing yet.
    pub offers: Offers,
}

/// Whether a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It answers.
    Up,
    /// It answers, and asks for no new work because it is about to stop.
    Leaving,
    /// It missed a probe, and has a second or so to contradict.
    Suspect,
    /// It stopped, or nobody has heard of it for too long. It comes back with a higher generation.
    Down,
}

impl Directory {
    /// The member of this identity.
    pub fn get(&self, identity: &Identity) -> Option<&Member> {
        self.members.get(identity)
    }

    /// Every member, in the order of the identities.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The members of a layer.
    pub fn of_layer(&self, layer: Layer) -> impl Iterator<Item = &Member> {
        self.members().filter(move |member| member.identity.layer() == Some(layer))
    }

    /// The members of a layer that offer a service, or have not said yet what they offer.
    pub fn offering(&self, layer: Layer, service: u16) -> impl Iterator<Item = &Member> {
        self.of_layer(layer).filter(move |member| member.offers.may_have(service))
    }

    /// The members at a site.
    pub fn of_site<'a>(&'a self, site: &'a str) -> impl Iterator<Item = &'a Member> {
        self.members().filter(move |member| member.identity.site() == Some(site))
    }

    /// Every site that is known, in order, also those where the reader may call nobody.
    pub fn sites(&self) -> BTreeSet<&str> {
        let of_members = self.members.keys().filter_map(Identity::site);
        of_members.chain(self.other_sites.iter().map(String::as_str)).collect()
    }

    /// How many members are known.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The part that a reader needs who may call the layers that `may_call` tells: those members, and of the rest the
    /// names of their sites.
    pub fn view(&self, may_call: impl Fn(Layer) -> bool) -> Self {
        let visible = |member: &&Member| member.identity.layer().is_some_and(&may_call);
        let members: BTreeMap<_, _> = self.members().filter(visible).map(|member| (member.identity.clone(), member.clone())).collect();
        let shown: BTreeSet<&str> = members.keys().filter_map(Identity::site).collect();
        let other_sites = self.sites().difference(&shown).map(ToString::to_string).collect();
        Self { members, other_sites }
    }

    /// Takes in what another directory says, as a reader does who gets snapshots now from one host, now from another.
    ///
    /// A higher generation wins; of the same generation the newcomer does, because states go both ways. A member
    /// that the newcomer does not mention stays, unless it was down: the host asked last may have started just now and know
    /// nobody yet. A full directory forgets a member that is down first, and refuses the rest.
    pub fn merge(&mut self, newcomer: Self) {
        self.members.retain(|identity, known| known.state != MemberState::Down || newcomer.members.contains_key(identity));
        for member in newcomer.members.into_values() {
            self.merge_member(member);
        }
        if !newcomer.other_sites.is_empty() {
            self.other_sites = newcomer.other_sites;
        }
    }

    /// The whole directory as bytes: version, members, names of other sites; at most 560 kB.
    ///
    /// Times travel as ages, so that the clocks of two nodes need not agree.
    pub(crate) fn encode(&self, now: Duration) -> Bytes {
        let mut buf = BytesMut::with_capacity(16 + self.members.len() * MEMBER_BYTES_TYPICAL);
        buf.put_u8(VERSION);
        buf.put_u16(count(self.members.len()));
        for member in self.members() {
            member.encode(&mut buf, now);
        }
        buf.put_u16(count(self.other_sites.len()));
        for site in &self.other_sites {
            wire::put_label(&mut buf, site);
        }
        buf.freeze()
    }

    /// Reads what [`encode`](Self::encode) wrote, for a reader of `domain`. Never panics, never keeps more than
    /// [`MEMBERS_MAX`] members and as many sites.
    pub(crate) fn decode(mut bytes: &[u8], domain: &str, now: Duration) -> Result<Self, WireError> {
        if bytes.try_get_u8()? != VERSION {
            return Err(WireError::Unknown);
        }
        let mut directory = Self::default();
        for _ in 0..take_count(&mut bytes)? {
            let member = Member::decode(&mut bytes, domain, now)?;
            directory.members.insert(member.identity.clone(), member);
        }
        for _ in 0..take_count(&mut bytes)? {
            let mut room = [0; wire::LABEL_BYTES_MAX];
            let site = wire::take_label(&mut bytes, &mut room)?;
            // The name ends up on somebody's terminal: only what a certificate may say gets through.
            let named = Identity::node(domain, site, Layer::Host, "any").map_err(|_| WireError::Name)?;
            directory.other_sites.extend(named.site().map(str::to_owned));
        }
        if bytes.is_empty() { Ok(directory) } else { Err(WireError::Trailing) }
    }

    /// Puts a member in its place, unless the directory is full; whether it did.
    pub(crate) fn insert(&mut self, member: Member) -> bool {
        let fits = self.members.len() < MEMBERS_MAX || self.members.contains_key(&member.identity);
        if fits {
            self.members.insert(member.identity.clone(), member);
        }
        fits
    }

    /// The member of this identity, to be changed.
    pub(crate) fn get_mut(&mut self, identity: &Identity) -> Option<&mut Member> {
        self.members.get_mut(identity)
    }

    /// Forgets whom `keep` does not want.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Identity) -> bool) {
        self.members.retain(|identity, _| keep(identity));
    }

    fn merge_member(&mut self, mut newcomer: Member) {
        if let Some(known) = self.members.get(&newcomer.identity) {
            if known.generation > newcomer.generation {
                return;
            }
            if known.generation == newcomer.generation {
                newcomer.offers = match newcomer.offers.is_empty() {
                    true => known.offers.clone(),
                    false => newcomer.offers.or_later(&known.offers),
                };
            }
        } else if self.members.len() >= MEMBERS_MAX {
            let down = self.members.values().find(|member| member.state == MemberState::Down);
            let Some(down) = down.map(|member| member.identity.clone()) else { return };
            self.members.remove(&down);
        }
        self.members.insert(newcomer.identity.clone(), newcomer);
    }
}

impl FromIterator<Member> for Directory {
    /// Collects members; those beyond 1,024 are dropped.
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Self {
        let mut directory = Self::default();
        for member in members {
            if !directory.insert(member) {
                break;
            }
        }
        directory
    }
}

impl Member {
    /// Whether calls to it can be expected to be answered: it is up, leaving or only suspected.
    pub fn is_active(&self) -> bool {
        self.state != MemberState::Down
    }

    fn encode(&self, buf: &mut BytesMut, now: Duration) {
        wire::put_name(buf, &self.identity).expect("the buffer grows");
        wire::put_address(buf, self.address).expect("the buffer grows");
        buf.put_u64(self.generation);
        buf.put_u8(self.state.number());
        buf.put_u64(now.saturating_sub(self.since).as_millis().try_into().unwrap_or(u64::MAX));
        buf.put_u8(self.load);
        self.offers.encode(buf);
    }

    fn decode(bytes: &mut &[u8], domain: &str, now: Duration) -> Result<Self, WireError> {
        Ok(Self {
            identity: wire::take_name(bytes, domain)?,
            address: wire::take_address(bytes)?,
            generation: bytes.try_get_u64()?,
            state: MemberState::from_number(bytes.try_get_u8()?).ok_or(WireError::Unknown)?,
            since: now.saturating_sub(Duration::from_millis(bytes.try_get_u64()?)),
            load: bytes.try_get_u8()?,
            offers: Offers::decode(bytes)?,
        })
    }
}

impl MemberState {
    const ALL: [Self; 4] = [Self::Up, Self::Leaving, Self::Suspect, Self::Down];

    fn number(self) -> u8 {
        self as u8
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

fn count(length: usize) -> u16 {
    u16::try_from(length).expect("a directory has at most MEMBERS_MAX members and sites")
}

fn take_count(bytes: &mut &[u8]) -> Result<usize, WireError> {
    let count = usize::from(bytes.try_get_u16()?);
    if count > MEMBERS_MAX { Err(WireError::TooMany) } else { Ok(count) }
}

/// The most members that a directory holds. Each costs about 200 bytes here and 50 in every snapshot that is pushed; a
/// company with more server nodes than that needs an overlay of overlays.
pub(crate) const MEMBERS_MAX: usize = 1_024;
const VERSION: u8 = 2;
const MEMBER_BYTES_TYPICAL: usize = 96;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const DOMAIN: &str = "caps.example";

    pub(crate) fn node(site: &str, layer: u8, name: &str) -> Identity {
        Identity::node(DOMAIN, site, Layer::from_number(layer).unwrap(), name).unwrap()
    }

    pub(crate) fn member(identity: Identity) -> Member {
        Member {
            identity,
            address: "192.0.2.1:4433".parse().unwrap(),
            generation: 1,
            state: MemberState::Up,
            since: Duration::ZERO,
            load: 0,
            offers: Offers::default(),
        }
    }

    fn two_sites() -> Directory {
        [node("kiruna", 1, "store"), node("lund", 1, "store"), node("lund", 2, "host")].map(member).into_iter().collect()
    }

    #[test]
    fn look_up_by_identity_layer_and_site() {
        let directory = two_sites();
        let names = |members: Vec<&Member>| members.iter().map(|member| member.identity.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(directory.get(&node("lund", 2, "host")).unwrap().generation, 1);
        assert_eq!(directory.get(&node("lund", 2, "other")), None);
        assert_eq!(names(directory.of_layer(Layer::Host).collect()), ["host"]);
        assert_eq!(names(directory.of_site("lund").collect()), ["store", "host"]);
        assert_eq!(directory.sites().into_iter().collect::<Vec<_>>(), ["kiruna", "lund"]);
    }

    #[test]
    fn encoding_keeps_everything_and_times_travel_as_ages() {
        let mut directory = two_sites().view(|layer| layer == Layer::Host);
        directory.get_mut(&node("lund", 2, "host")).unwrap().since = Duration::from_secs(7);
        // Seven seconds old at ten seconds here means: entered three seconds before; there it is at 100 s now, so at 97 s.
        let bytes = directory.encode(Duration::from_secs(10));
        let read = Directory::decode(&bytes, DOMAIN, Duration::from_secs(100)).unwrap();
        directory.get_mut(&node("lund", 2, "host")).unwrap().since = Duration::from_secs(97);
        assert_eq!(read, directory);
    }

    #[test]
    fn a_view_shows_callable_members_and_names_of_all_sites() {
        let view = two_sites().view(|layer| layer == Layer::Host);
        assert_eq!(view.members().map(|member| member.identity.name()).collect::<Vec<_>>(), ["host"]);
        assert_eq!(view.sites().into_iter().collect::<Vec<_>>(), ["kiruna", "lund"]);
    }

    #[test]
    fn merging_keeps_higher_generations_and_what_a_fresh_host_does_not_know() {
        let host = node("lund", 2, "host");
        let mut known = two_sites();
        known.get_mut(&host).unwrap().generation = 5;
        let mut stale = Directory::default();
        stale.insert(Member { generation: 4, state: MemberState::Down, ..member(host.clone()) });
        known.merge(stale);
        assert_eq!(known.get(&host).unwrap().state, MemberState::Up);
        assert_eq!(known.len(), 3);

        let mut newer = Directory::default();
        newer.insert(Member { generation: 5, state: MemberState::Down, ..member(host.clone()) });
        known.merge(newer);
        assert_eq!(known.get(&host).unwrap().state, MemberState::Down);
        known.merge(Directory::default());
        assert_eq!(known.get(&host), None);
    }

    #[test]
    fn a_full_directory_refuses_more_but_replaces_the_down() {
        let names = (0..MEMBERS_MAX + 10).map(|number| node("lund", 2, &format!("h{number:04}")));
        let mut directory: Directory = names.map(member).collect();
        assert_eq!(directory.len(), MEMBERS_MAX);
        let late = node("lund", 2, "late");
        directory.merge([member(late.clone())].into_iter().collect());
        assert_eq!(directory.get(&late), None);
        directory.get_mut(&node("lund", 2, "h0007")).unwrap().state = MemberState::Down;
        directory.merge([member(late.clone()), member(node("lund", 2, "h0007"))].into_iter().collect());
        assert_eq!(directory.len(), MEMBERS_MAX);
        let mut full = directory.clone();
        full.get_mut(&node("lund", 2, "h0008")).unwrap().state = MemberState::Down;
        full.merge_member(member(late.clone()));
        assert!(full.get(&late).is_some() && full.len() == MEMBERS_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn garbage_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(directory) = Directory::decode(&bytes, DOMAIN, Duration::ZERO) {
                prop_assert!(directory.len() <= MEMBERS_MAX);
            }
        }

        #[test]
        fn a_damaged_snapshot_is_never_a_panic(at in 0usize..200, to in any::<u8>(), cut in 0usize..200) {
            let mut bytes = two_sites().encode(Duration::from_secs(1)).to_vec();
            let length = bytes.len();
            bytes[at % length] = to;
            bytes.truncate(length - cut % length);
            if let Ok(read) = Directory::decode(&bytes, DOMAIN, Duration::ZERO) {
                // What is accepted must mean the same to the next reader.
                let again = read.encode(Duration::ZERO);
                prop_assert_eq!(Directory::decode(&again, DOMAIN, Duration::ZERO).unwrap().len(), read.len());
            }
        }
    }
}
