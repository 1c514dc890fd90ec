//! Three NATS servers with a JetStream stream of three replicas, spoken with in NATS's text protocol over one connection that is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::VALUE_BYTES;
use super::measure::Ask;
use super::server::{Servers, free_ports};

/// A stream of three replicas.
pub(super) struct Nats {
    servers: Servers,
    ports: Vec<u16>,
    /// Whether an acknowledgement says that it is on the disk.
    syncs: bool,
    connection: Option<(usize, Rc<Connection>)>,
}

/// A connection, and the requests that wait for an answer.
struct Connection {
    send: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    answers: BTreeMap<u64, oneshot::Sender<Vec<u8>>>,
}

impl Nats {
    pub(super) async fn start(place: &Path) -> anyhow::Result<Self> {
        let ports = free_ports(NAMES.len() * 2)?;
        let (clients, peers) = ports.split_at(NAMES.len());
        let routes: Vec<String> = peers.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
        let file = |sync: &str, name: &str, client: u16, peer: u16| {
            let store = place.join(name).display().to_string();
            format!(
                "server_name: {name}\nlisten: \"127.0.0.1:{client}\"\njetstream {{ store_dir: {store:?}{sync} }}\n\
                 cluster {{ name: bench, listen: \"127.0.0.1:{peer}\", routes: [{}] }}\n",
                routes.iter().map(|route| format!("{route:?}")).collect::<Vec<_>>().join(", ")
            )
        };
        let config = |name: &str| place.join(format!("{name}.conf"));
        std::fs::write(config(NAMES[0]), file(SYNC_ALWAYS, NAMES[0], clients[0], peers[0]))?;
        let tested = Command::new("nats-server").arg("-t").arg("-c").arg(config(NAMES[0])).output();
        let syncs = tested.context("cannot start nats-server: is it installed?")?.status.success();
        let mut servers = Servers::default();
        for ((name, client), peer) in NAMES.iter().zip(clients).zip(peers) {
            std::fs::write(config(name), file(if syncs { SYNC_ALWAYS } else { "" }, name, *client, *peer))?;
            let mut command = Command::new("nats-server");
            command.arg("-c").arg(config(name));
            servers.start(command, place, name)?;
        }
        let mut this = Self { servers, ports: clients.to_vec(), syncs, connection: None };
        this.make_stream().await.with_context(|| format!("see the logs in {}", place.display()))?;
        Ok(this)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers.pids()
    }

    /// What must be known beside the figures.
    pub(super) fn notes(&self) -> Vec<String> {
        let refused =
            "this nats-server knows no `sync_interval: always`: it acknowledges before anything is synced, and nothing makes it durable";
        (!self.syncs).then(|| refused.to_owned()).into_iter().collect()
    }

    /// Connects to the server that leads the stream.
    pub(super) async fn find_leader(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let server = self.connection.as_ref().map_or(0, |(server, _)| *server);
            let connection = self.connect(server).await?;
            let info = timeout(ANSWER, connection.request(&format!("$JS.API.STREAM.INFO.{STREAM}"), b"")).await;
            if let Ok(Ok(info)) = info {
                let info: Json = serde_json::from_slice(&info)?;
                let leader = info["cluster"]["leader"].as_str().and_then(|leader| NAMES.iter().position(|name| *name == leader));
                if let Some(leader) = leader {
                    self.connect(leader).await?;
                    return Ok(());
                }
            }
            ensure!(Instant::now() < until, "the stream has no leader");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// How to publish once and wait for the stream's acknowledgement.
    pub(super) fn ask(&self) -> Ask {
        let connection = self.connection.as_ref().map(|(_, connection)| connection.clone());
        Rc::new(move |_| {
            let connection = connection.clone();
            Box::pin(async move {
                let connection = connection.context("nobody is connected")?;
                let answer = connection.request(SUBJECT, &[b'x'; VALUE_BYTES]).await?;
                let acknowledged = answer.starts_with(b"{\"stream\"") && !answer.windows(7).any(|part| part == b"\"error\"");
                ensure!(acknowledged, "not acknowledged: {}", String::from_utf8_lossy(&answer));
                Ok(())
            })
        })
    }

    async fn make_stream(&mut self) -> anyhow::Result<()> {
        let wanted =
            json!({ "name": STREAM, "subjects": [SUBJECT], "storage": "file", "num_replicas": 3, "retention": "limits", "discard": "old" });
        let wanted = serde_json::to_vec(&wanted)?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(connection) = self.connect(0).await
                && let Ok(Ok(answer)) = timeout(ANSWER, connection.request(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &wanted)).await
            {
                let answer: Json = serde_json::from_slice(&answer)?;
                if answer["error"].is_null() {
                    return Ok(());
                }
                ensure!(Instant::now() < until, "the stream cannot be made: {}", answer["error"]);
            }
            ensure!(Instant::now() < until, "JetStream does not answer");
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn connect(&mut self, server: usize) -> anyhow::Result<Rc<Connection>> {
        if let Some((connected, connection)) = &self.connection
            && *connected == server
            && !connection.send.is_closed()
        {
            return Ok(connection.clone());
        }
        let connection = Rc::new(Connection::open(self.ports[server]).await?);
        self.connection = Some((server, connection.clone()));
        Ok(connection)
    }
}

impl Connection {
    async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        let (send, mut outgoing) = mpsc::channel::<Vec<u8>>(4096);
        writer.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n").await?;
        writer.write_all(format!("SUB {INBOX}.* 1\r\n").as_bytes()).await?;
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let (answered, pongs) = (waiting.clone(), send.clone());
        tokio::spawn(async move {
            // The connection's end shows in the requests that get no answer: whoever waits learns that nobody will give one.
            drop(read(BufReader::new(reader), &answered, &pongs).await);
            lock(&answered).answers.clear();
        });
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while let Some(first) = outgoing.recv().await {
                batch.extend_from_slice(&first);
                while let Ok(next) = outgoing.try_recv() {
                    batch.extend_from_slice(&next);
                }
                if writer.write_all(&batch).await.is_err() {
                    return;
                }
                batch.clear();
            }
        });
        Ok(Self { send, waiting })
    }

    /// Publishes and waits for the answer.
    async fn request(&self, subject: &str, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut waiting = lock(&self.waiting);
            waiting.next += 1;
            let number = waiting.next;
            waiting.answers.insert(number, answer);
            number
        };
        let mut message = format!("PUB {subject} {INBOX}.{number} {}\r\n", payload.len()).into_bytes();
        message.extend_from_slice(payload);
        message.extend_from_slice(b"\r\n");
        self.send.send(message).await.map_err(|_| anyhow::anyhow!("the connection is lost"))?;
        answered.await.context("the connection is lost")
    }
}

/// Reads what the server says, and hands the answers out.
async fn read(mut reader: BufReader<OwnedReadHalf>, waiting: &Mutex<Waiting>, pongs: &mpsc::Sender<Vec<u8>>) -> anyhow::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.starts_with(b"PING") {
            pongs.send(b"PONG\r\n".to_vec()).await?;
        } else if line.starts_with(b"-ERR") {
            bail!("{}", String::from_utf8_lossy(&line));
        } else if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") {
            let text = std::str::from_utf8(&line)?;
            let parts: Vec<&str> = text.split_ascii_whitespace().collect();
            let size_bytes: usize = parts.last().context("a message has no size")?.parse()?;
            let number = parts.get(1).and_then(|subject| subject.rsplit('.').next()).and_then(|number| number.parse().ok());
            let mut payload = vec![0; size_bytes + 2];
            reader.read_exact(&mut payload).await?;
            payload.truncate(size_bytes);
            let answer: Option<oneshot::Sender<Vec<u8>>> = number.and_then(|number: u64| lock(waiting).answers.remove(&number));
            if let Some(answer) = answer {
                // Whoever asked may not wait any more.
                answer.send(payload).ok();
            }
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

const NAMES: [&str; 3] = ["nats-a", "nats-b", "nats-c"];
const STREAM: &str = "BENCH";
const SUBJECT: &str = "bench.put";
const INBOX: &str = "_INBOX.bench";
const SYNC_ALWAYS: &str = ", sync_interval: always";
const ANSWER: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
