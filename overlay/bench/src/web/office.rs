//! A replica, a host and a front end with a console, as `caps init` makes them, with somebody who works there.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::caller::Request;
use crate::stores::server::{Servers, free_ports};

/// The office, and where the bare server is to be.
pub(super) struct Office {
    servers: RefCell<Servers>,
    caps: PathBuf,
    place: PathBuf,
    console: SocketAddr,
    pub(super) bare: SocketAddr,
}

impl Office {
    pub(super) async fn open(place: &Path, caps: &Path) -> anyhow::Result<Self> {
        let ports = free_ports(4)?;
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (console, bare) = (local(ports[2]), local(ports[3]));
        let this = Self { servers: RefCell::default(), caps: caps.to_owned(), place: place.to_owned(), console, bare };
        let init = Command::new(caps).args(["init", "--sites", "here", "--domain", "bench.example", "--dir"]).arg(place).output();
        let init = init.with_context(|| format!("cannot run {}: build it with `cargo build --release -p caps-node`", caps.display()))?;
        ensure!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let file = place.join("caps.toml");
        let text = std::fs::read_to_string(&file)?;
        let text = text.replace("127.0.0.1:4100", &local(ports[0]).to_string()).replace("127.0.0.1:4101", &local(ports[1]).to_string());
        let desk = "name = \"desk-here\"\nsite = \"here\"\nlayer = 4\n";
        ensure!(text.contains(desk), "`caps init` writes another file than this knows");
        std::fs::write(&file, text.replace(desk, &format!("{desk}web = {{ listen = \"{console}\", requests_per_second = 1000000 }}\n")))?;
        for node in ["store-here", "host-here"] {
            this.start(node)?;
        }
        this.admin(&["people.add_group", "name=desk"])?;
        this.admin(&["people.add_group", "name=gateway"])?;
        this.admin(&["people.add_user", "login=astrid", "name=Astrid", &format!("password={PASSWORD}"), "groups=desk"])?;
        this.admin(&["people.add_user", "login=desk-here", "name=gateway", "groups=gateway"])?;
        let node = "node=spiffe://bench.example/site/here/layer/4/desk-here";
        this.admin(&["people.bind_node", "login=desk-here", node])?;
        for number in 0..CASES {
            std::fs::write(place.join(format!("{number}.eml")), mail(number))?;
        }
        let mails: Vec<String> = (0..CASES).map(|number| place.join(format!("{number}.eml")).display().to_string()).collect();
        this.caps(&[&["file"], mails.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &["--as", "desk-here"]].concat())?;
        this.start("desk-here")?;
        listens(console).await?;
        Ok(this)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers.borrow().pids()
    }

    /// What is asked for, by name.
    pub(super) async fn requests(&self) -> anyhow::Result<Vec<(&'static str, Request)>> {
        let (session, token) = (self.session()?, self.token()?);
        let browser = vec![("Cookie", format!("caps_session={session}"))];
        let program = vec![("Authorization", format!("Bearer {token}"))];
        let request = |target: &str, fields: &Vec<(&'static str, String)>| Request {
            address: self.console,
            target: target.to_owned(),
            fields: fields.clone(),
        };
        let list = request("/api/v1/objects/case?limit=1", &program).once().await?;
        let list: serde_json::Value = serde_json::from_slice(&list)?;
        let id = list["objects"][0]["id"].as_str().context("there is no case")?.trim_start_matches('#');
        Ok(vec![
            ("page: the queue", request("/desk", &browser)),
            ("page: a conversation", request(&format!("/desk/cases/{id}"), &browser)),
            ("JSON: one object", request(&format!("/api/v1/objects/case/{id}"), &program)),
            ("JSON: 20 of a query", request("/api/v1/objects/case?q=status+%3D+new&order=due_at&limit=20", &program)),
        ])
    }

    /// Starts the bare server over what the office answered.
    pub(super) async fn serve_bare(&self, directory: &Path, count: usize) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve-http").arg(directory).args([count.to_string(), self.bare.to_string()]);
        self.servers.borrow_mut().start(command, &self.place, "bare")?;
        listens(self.bare).await
    }

    fn start(&self, node: &str) -> anyhow::Result<()> {
        let mut command = Command::new(&self.caps);
        command.arg("--config").arg(self.place.join("caps.toml")).args(["run", "--node", node]);
        self.servers.borrow_mut().start(command, &self.place, node)
    }

    fn admin(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.caps(&[&["call"], arguments, &["--as", "admin", "--timeout", "30s"]].concat())
    }

    fn caps(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new(&self.caps).arg("--config").arg(self.place.join("caps.toml")).args(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Logs in as a browser does: with the page's token.
    fn session(&self) -> anyhow::Result<String> {
        let page = say(self.console, "GET /login?next=%2Fdesk", "", "")?;
        let (door, token) = (after(&page, "caps_door=", ";")?, after(&page, "name=\"token\" value=\"", "\"")?);
        let form = format!("user=astrid&password={PASSWORD}&token={token}&next=%2Fdesk");
        let fields = format!("Cookie: caps_door={door}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        after(&say(self.console, "POST /login", &fields, &form)?, "caps_session=", ";")
    }

    fn token(&self) -> anyhow::Result<String> {
        let body = format!("{{\"user\":\"astrid\",\"password\":\"{PASSWORD}\"}}");
        after(&say(self.console, "POST /api/v1/login", "Content-Type: application/json\r\n", &body)?, "\"token\":\"", "\"")
    }
}

/// One request over a connection of its own; all of the answer.
fn say(address: SocketAddr, line: &str, fields: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn after(text: &str, begin: &str, end: &str) -> anyhow::Result<String> {
    let found = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(found, _)| found.to_owned());
    found.with_context(|| format!("there is no {begin} in the answer: {}", text.lines().next().unwrap_or_default()))
}

async fn listens(address: SocketAddr) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > until {
            bail!("nothing listens on {address}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn mail(number: usize) -> String {
    format!(
        "From: Customer {number} <c{number}@bench.example>\r\nTo: desk@bench.example\r\nSubject: Pump {number} leaks\r\n\
         Message-ID: <{number}@bench.example>\r\n\r\nIt drips on the floor of hall {number}, and the light on its front is red.\r\n"
    )
}

const CASES: usize = 60;
const PASSWORD: &str = "correct-horse-battery";
const PATIENCE: Duration = Duration::from_secs(30);
