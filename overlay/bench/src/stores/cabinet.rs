//! Three `caps run` processes, asked as a host asks them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use caps_certs_gen::{Algorithm, Directory, Identity, Layer, NodeCredentials, Order, TrustAnchors};
use caps_model::messages::cabinet::{self, Committed, ReplicaRole, ReplicaStatus};
use caps_model::messages::{Get, Got};
use caps_model::{Author, Change, Commit, CommitId, Name, ObjectId, Record, Services, Value, Wire, codec};
use caps_overlay::{CallOptions, Config, Environment, MethodId, Overlay, Rng, Seed, To};
use tokio::time::{Instant, sleep};

use super::measure::Ask;
use super::server::{Servers, free_ports};
use super::{READ, VALUE_BYTES, Work};

/// A cabinet with three voters.
pub(super) struct Cabinet {
    servers: Servers,
    overlay: Overlay,
    replicas: Vec<Identity>,
    leader: usize,
    /// What is read.
    objects: Rc<Vec<ObjectId>>,
    rng: Rng,
}

impl Cabinet {
    pub(super) async fn start(place: &Path, caps: &Path, state: &str) -> anyhow::Result<Self> {
        let ports = free_ports(NAMES.len())?;
        let config = place.join("caps.toml");
        std::fs::write(&config, deployment(&ports, state))?;
        let identity = |layer, name: &str| Identity::node(DOMAIN, SITE, layer, name);
        let replicas = NAMES.iter().map(|name| identity(Layer::Cabinet, name)).collect::<Result<Vec<_>, _>>()?;
        let client = identity(Layer::Host, "client")?;
        certify(&place.join("certs"), replicas.iter().chain([&client]))?;
        let mut servers = Servers::default();
        for name in NAMES {
            let mut command = Command::new(caps);
            command.arg("--config").arg(&config).args(["run", "--node", name]);
            servers.start(command, place, name)?;
        }
        let seeds = replicas
            .iter()
            .zip(&ports)
            .map(|(identity, port)| Seed { identity: identity.clone(), address: ([127, 0, 0, 1], *port).into() });
        let config = Config { seeds: seeds.collect(), ..Config::default() };
        let credentials = NodeCredentials::load(place.join("certs/nodes/client"))?;
        let anchors = TrustAnchors::load(place.join("certs"))?;
        let environment = Environment::real(([127, 0, 0, 1], 0).into())?;
        let rng = environment.rng.fork();
        let overlay = Overlay::start(credentials, anchors, config, Vec::new(), environment).await?;
        let mut this = Self { servers, overlay, replicas, leader: 0, objects: Rc::default(), rng };
        this.find_leader().await.with_context(|| format!("see the logs in {}", place.display()))?;
        this.fill().await?;
        Ok(this)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers.pids()
    }

    /// Finds out who leads now.
    pub(super) async fn find_leader(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            for replica in 0..self.replicas.len() {
                let status: anyhow::Result<ReplicaStatus> =
                    call(&self.overlay, &self.replicas[replica], cabinet::STATUS, Bytes::new()).await;
                if status.is_ok_and(|status| status.role == ReplicaRole::Leader) {
                    self.leader = replica;
                    return Ok(());
                }
            }
            ensure!(Instant::now() < until, "no replica became leader");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How to write once, at the leader, or read once, at a follower.
    pub(super) fn ask(&self, work: Work) -> Ask {
        let (overlay, rng, objects) = (self.overlay.clone(), self.rng.clone(), self.objects.clone());
        match work {
            Work::Write => {
                let (replica, next) = (self.replicas[self.leader].clone(), Rc::new(Cell::new(rng.next_u128())));
                Rc::new(move |_| {
                    let (overlay, replica) = (overlay.clone(), replica.clone());
                    next.set(next.get().wrapping_add(1));
                    let commit = commit_of(next.get());
                    Box::pin(async move {
                        match call(&overlay, &replica, cabinet::COMMIT, encode(&commit)?).await? {
                            Committed::Accepted { .. } => Ok(()),
                            other => bail!("the commit was not accepted: {other:?}"),
                        }
                    })
                })
            }
            Work::Read => {
                let replica = self.replicas[(self.leader + 1) % self.replicas.len()].clone();
                Rc::new(move |_| {
                    let (overlay, replica) = (overlay.clone(), replica.clone());
                    let object = objects[usize::try_from(rng.below(objects.len() as u64)).unwrap_or(0)];
                    Box::pin(async move {
                        let got: Got = call(&overlay, &replica, cabinet::GET, encode(&Get { objects: vec![object] })?).await?;
                        ensure!(got.objects[0].is_some(), "what was written is not there");
                        Ok(())
                    })
                })
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        let mut objects = Vec::new();
        for number in 1..=READ as u128 {
            let _: Committed = call(&self.overlay, &self.replicas[self.leader], cabinet::COMMIT, encode(&commit_of(number))?).await?;
            objects.push(ObjectId(number));
        }
        // Followers have it a moment later.
        sleep(Duration::from_millis(500)).await;
        self.objects = Rc::new(objects);
        Ok(())
    }
}

async fn call<A: Wire>(overlay: &Overlay, replica: &Identity, method: u16, body: Bytes) -> anyhow::Result<A> {
    let method = MethodId { service: Services::of(&Name::fixed("main")).cabinet(), method };
    let reply = overlay.call(To::Node(replica), method, body, CallOptions::default()).await?;
    Ok(codec::decode(&reply.body)?)
}

fn encode(message: &impl Wire) -> anyhow::Result<Bytes> {
    Ok(Bytes::from(codec::encode(message)?))
}

fn commit_of(number: u128) -> Commit {
    let author = Author {
        user: None,
        front_end: "bench".to_owned(),
        host: "bench".to_owned(),
        module: Name::fixed("bench"),
        module_version: 1,
        method: Name::fixed("bench"),
        reason: None,
    };
    let attributes = Record::from([(Name::fixed("value"), vec![Value::Bytes(vec![7; VALUE_BYTES])])]);
    let change = Change::Create { object: ObjectId(number), entity: Name::fixed("thing"), ancestors: Vec::new(), attributes };
    let (reads, effects, result) = (Vec::new(), Vec::new(), BTreeMap::new());
    Commit { id: CommitId(number), author, time: 0, reads, changes: vec![change], effects, result }
}

#[expect(clippy::disallowed_methods, reason = "certificates hold from now on, and this is no node")]
fn certify<'a>(directory: &Path, identities: impl Iterator<Item = &'a Identity>) -> anyhow::Result<()> {
    let now = std::time::SystemTime::now();
    let provider = crate::certificates::provider();
    let random = &mut |bytes: &mut [u8]| provider.secure_random.fill(bytes).expect("the system gives random bytes");
    let mut domain = Directory::init(directory, DOMAIN, Algorithm::P256, now, random)?;
    domain.add_site(SITE, Algorithm::P256, now, random)?;
    for identity in identities {
        domain.issue(&Order { algorithm: Algorithm::P256, ..Order::new(identity.clone()) }, now, random)?;
    }
    Ok(())
}

fn deployment(ports: &[u16], state: &str) -> String {
    let voters: Vec<String> = NAMES.iter().map(|name| format!("{name:?}")).collect();
    let mut text = format!("domain = \"{DOMAIN}\"\n\n[[site]]\nname = \"{SITE}\"\n\n[cabinet]\nvoters = [{}]\n", voters.join(", "));
    text += &format!("state = \"{state}\"\n");
    for (name, port) in NAMES.iter().zip(ports) {
        text += &format!("\n[[node]]\nname = \"{name}\"\nsite = \"{SITE}\"\nlayer = 1\nlisten = \"127.0.0.1:{port}\"\n");
    }
    text
}

const NAMES: [&str; 3] = ["store-a", "store-b", "store-c"];
const DOMAIN: &str = "bench.example";
const SITE: &str = "here";
const PATIENCE: Duration = Duration::from_secs(20);
