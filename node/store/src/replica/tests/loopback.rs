//! Three replicas and a host as four nodes with real overlays, disks and worker threads, on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use caps_certs_gen::{Authority, Key, TrustAnchors};
use caps_model::messages::cabinet;
use caps_model::messages::cabinet::ReplicaStatus;
use caps_model::{Services, Value, Wire};
use caps_overlay::{CallOptions, Config, MethodId, Replies, Seed, To, WallClock};

use super::*;
use crate::storage::DiskStorage;

#[tokio::test]
async fn a_host_commits_and_watches_while_the_leader_is_killed_and_comes_back() {
    let mut site = Site::start().await;
    let host = site.host().await;
    let mut watched = Watched::start(&host, site.identity("store-1"), From::Present).await;
    for id in 1..=10 {
        commit_at(&host, To::Layer(Layer::Cabinet), id).await;
    }
    let dead = site.leader().await;
    let survivor = VOTERS.into_iter().find(|voter| *voter != dead).unwrap();
    site.kill(dead).await;
    for id in 11..=20 {
        // A survivor may have to wait for the election: the call says how long it may take.
        commit_at(&host, To::Node(&site.identity(&name(survivor))), id).await;
    }
    if dead == 1 {
        watched = watched.resume(&host, site.identity(&name(survivor))).await;
    }
    site.open(dead).await;
    for id in 21..=30 {
        commit_at(&host, To::Layer(Layer::Cabinet), id).await;
    }
    site.assert_equal(Position(30)).await;
    watched.until(30).await;
    assert_eq!(watched.seen, (1..=30).map(ObjectId).collect::<Vec<_>>());
}

/// A trust domain with three layer-1 nodes.
struct Site {
    root: Authority,
    authority: Authority,
    counter: AtomicU8,
    directories: BTreeMap<u64, tempfile::TempDir>,
    addresses: BTreeMap<u64, SocketAddr>,
    running: BTreeMap<u64, (Store, Overlay)>,
}

impl Site {
    async fn start() -> Self {
        let root = Authority::from_seed("test.example", &[1; 32], now(), &mut |bytes| bytes.fill(1)).unwrap();
        let authority = root.site("lund", Key::from_seed(&[2; 32]), now(), &mut |bytes| bytes.fill(2)).unwrap();
        let directories = VOTERS.map(|voter| (voter, tempfile::tempdir().unwrap())).into();
        let mut site =
            Self { root, authority, counter: AtomicU8::new(3), directories, addresses: BTreeMap::new(), running: BTreeMap::new() };
        for voter in VOTERS {
            site.open(voter).await;
        }
        // A group that begins hears its nodes first.
        while site.running.values().any(|(store, _)| !store.shared.is_serving()) {
            sleep(Duration::from_millis(10)).await;
        }
        site
    }

    fn identity(&self, name: &str) -> Identity {
        Identity::node("test.example", "lund", Layer::Cabinet, name).unwrap()
    }

    async fn overlay(&self, identity: Identity, services: Vec<Arc<dyn Service>>, environment: Environment) -> Overlay {
        let server = !services.is_empty();
        let fill = self.counter.fetch_add(1, Ordering::Relaxed);
        let credentials = self.authority.credentials(&identity, now(), &mut |bytes| bytes.fill(fill)).unwrap();
        let anchors = TrustAnchors::new(vec![self.root.certificate().clone()], Vec::new()).unwrap();
        let seeds = self.addresses.iter().map(|(voter, address)| Seed { identity: self.identity(&name(*voter)), address: *address });
        let config = Config {
            announce: server.then(|| environment.socket.local_addr().unwrap()),
            seeds: seeds.filter(|seed| seed.identity != identity).collect(),
            ..Config::default()
        };
        Overlay::start(credentials, anchors, config, services, environment).await.unwrap()
    }

    /// Opens a replica where it was before, or at a free port.
    async fn open(&mut self, voter: u64) {
        let bind = self.addresses.get(&voter).copied().unwrap_or(([127, 0, 0, 1], 0).into());
        let environment = Environment { wall_clock: Arc::new(Fixed), ..bound(bind).await };
        self.addresses.insert(voter, environment.socket.local_addr().unwrap());
        let directory = self.directories[&voter].path();
        let settings = Settings {
            cabinet: Name::fixed("main"),
            identity: self.identity(&name(voter)),
            founders: Settings::founders(VOTERS.map(|voter| self.identity(&name(voter))), []),
            peers: VOTERS.map(|voter| self.identity(&name(voter))).into(),
            // One replica keeps its state in memory, which answers like the others.
            state: if voter == 1 { StateKind::Memory } else { StateKind::Sled(directory.join("state")) },
            timing: Timing::default(),
            reserve_bytes: RESERVE_BYTES,
        };
        let storage = Arc::new(DiskStorage::open(&directory.join("journal")).unwrap());
        let store = Store::open(settings, storage, &environment).unwrap();
        let overlay = self.overlay(self.identity(&name(voter)), store.services(), environment).await;
        store.run(overlay.clone());
        self.running.insert(voter, (store, overlay));
    }

    /// As `kill -9`: every task is dropped where it stands.
    async fn kill(&mut self, voter: u64) {
        let (store, overlay) = self.running.remove(&voter).unwrap();
        overlay.environment().tasks.shutdown().await;
        drop((store, overlay));
    }

    async fn host(&self) -> Overlay {
        let identity = Identity::node("test.example", "lund", Layer::Host, "host").unwrap();
        let environment = Environment { wall_clock: Arc::new(Fixed), ..Environment::real(([127, 0, 0, 1], 0).into()).unwrap() };
        self.overlay(identity, Vec::new(), environment).await
    }

    async fn leader(&self) -> u64 {
        loop {
            let leads = |store: &Store| store.shared.standing().borrow().role == crate::Role::Leader;
            if let Some((voter, _)) = self.running.iter().find(|(_, (store, _))| leads(store)) {
                return *voter;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn assert_equal(&self, position: Position) {
        let mut heads = Vec::new();
        for (store, _) in self.running.values() {
            let arrival = store.shared.at_least(position).unwrap();
            timeout(Duration::from_secs(30), arrival).await.expect("it catches up within seconds").unwrap();
            let ReplicaStatus { position, chain_head, .. } = store.status();
            heads.push((position, chain_head));
        }
        assert!(heads.iter().all(|head| *head == (position, heads[0].1)), "{heads:?}");
    }
}

/// The file of the database is cut somewhere: it does not open, or opens with less, or opens and never closes. The replica does without it.
#[tokio::test]
async fn a_state_whose_file_was_cut_anywhere_is_made_anew() {
    let mut site = Site::start().await;
    let host = site.host().await;
    // More than a table of 32 MiB, so that one is written while the journal is replayed.
    let values: BTreeMap<Name, Vec<Value>> = [(Name::fixed("value"), vec![Value::Bytes(vec![7; 512 << 10])])].into();
    for id in 1..=LARGE {
        let mut commit = commit_of(u128::from(id));
        commit.changes = vec![Change::Create {
            object: ObjectId(u128::from(id)),
            entity: Name::fixed("thing"),
            ancestors: Vec::new(),
            attributes: values.clone(),
        }];
        settle_at(&host, To::Layer(Layer::Cabinet), &commit).await;
    }
    let database = site.directories[&2].path().join("state/db");
    for size_bytes in [1_893_312, 5_930] {
        site.kill(2).await;
        std::fs::OpenOptions::new().write(true).open(&database).unwrap().set_len(size_bytes).unwrap();
        site.open(2).await;
        site.assert_equal(Position(LARGE)).await;
    }
}

/// A subscription over the overlay, and what it told.
struct Watched {
    replies: Replies,
    seen: Vec<ObjectId>,
    from: From,
}

impl Watched {
    async fn start(host: &Overlay, replica: Identity, from: From) -> Self {
        let subscribe = Subscribe::new(Query::all(Name::fixed("thing")), from).every_change();
        let method = MethodId { service: services().cabinet(), method: cabinet::SUBSCRIBE };
        let options = CallOptions::default();
        let replies = host.stream(To::Node(&replica), method, bytes(&subscribe), options).await.unwrap();
        Self { replies, seen: Vec::new(), from }
    }

    /// Goes on at another replica, from where this one ended.
    async fn resume(mut self, host: &Overlay, replica: Identity) -> Self {
        while let Ok(Some(Ok(body))) = timeout(Duration::from_secs(5), self.replies.next()).await {
            self.take(&body);
        }
        Self { seen: self.seen, ..Self::start(host, replica, self.from).await }
    }

    async fn until(&mut self, count: usize) {
        while self.seen.len() < count {
            let body = timeout(Duration::from_secs(30), self.replies.next()).await.expect("updates go on").unwrap().unwrap();
            self.take(&body);
        }
    }

    fn take(&mut self, body: &[u8]) {
        let update: Update = codec::decode(body).unwrap();
        if let Some(position) = update.resume() {
            self.from = From::After(position);
        }
        match update {
            Update::Present { objects, .. } => self.seen.extend(objects.into_iter().map(|object| object.id)),
            Update::Changes { changes, .. } => self.seen.extend(changes.iter().map(ObjectChange::id)),
            Update::Progress { .. } => {}
        }
    }
}

#[derive(Debug)]
struct Fixed;

impl WallClock for Fixed {
    fn now_micros(&self) -> i64 {
        i64::try_from(NOW * 1_000_000).unwrap()
    }
}

/// A killed node's port is free once its socket is dropped, which may take a moment.
async fn bound(bind: SocketAddr) -> Environment {
    for _ in 0..500 {
        match Environment::real(bind) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => sleep(Duration::from_millis(10)).await,
            environment => return environment.unwrap(),
        }
    }
    panic!("the killed node holds on to its socket");
}

/// Asks until it is acknowledged, as a host does: the id makes that safe.
async fn commit_at(host: &Overlay, to: To<'_>, id: u128) {
    settle_at(host, to, &commit_of(id)).await;
}

async fn settle_at(host: &Overlay, to: To<'_>, commit: &Commit) {
    let method = MethodId { service: services().cabinet(), method: COMMIT };
    for _ in 0..50 {
        let options = CallOptions { deadline: Duration::from_secs(5), ..CallOptions::default() };
        match host.call(to, method, bytes(commit), options).await {
            Ok(reply) => {
                let committed: Committed = codec::decode(&reply.body).unwrap();
                assert!(matches!(committed, Committed::Accepted { .. }), "{committed:?}");
                return;
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("{} was never acknowledged", commit.id);
}

fn bytes<T: Wire>(message: &T) -> Bytes {
    codec::encode(message).unwrap().into()
}

fn services() -> Services {
    Services::of(&Name::fixed("main"))
}

fn name(voter: u64) -> String {
    format!("store-{voter}")
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

const NOW: u64 = 1_800_000_000;

const LARGE: u64 = 72;
