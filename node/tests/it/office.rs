//! A case desk of real processes: replicas and hosts at three sites, a mail gateway at each.

use std::collections::BTreeMap;
use std::net::TcpListener;

use serde_json::Value as Json;

use crate::fixture::{Process, Site};

/// The desk; its processes end with it.
pub(crate) struct Office {
    site: Site,
    running: BTreeMap<String, Process>,
    /// Where each site's gateway takes mail.
    pub(crate) mail: Vec<u16>,
}

/// The sites.
pub(crate) const SITES: [&str; 3] = ["lund", "goteborg", "kiruna"];

impl Office {
    /// Starts everything, and makes the groups and the users that the gateways act as. `more` goes into each gateway's `[node.mail]`.
    pub(crate) fn open(more: &str) -> Self {
        let site = Site::found_at(&SITES.join(","), 6);
        let mail: Vec<u16> = SITES.iter().map(|_| free_port()).collect();
        for (name, port) in SITES.iter().zip(&mail) {
            let node = format!("name = \"desk-{name}\"\nsite = \"{name}\"\nlayer = 4\n");
            site.edit(&node, &format!("{node}mail = {{ listen = \"127.0.0.1:{port}\"{more} }}\n"));
        }
        let mut office = Self { site, running: BTreeMap::new(), mail };
        for kind in ["store", "host"] {
            for name in SITES {
                office.start(&format!("{kind}-{name}"));
            }
        }
        for group in ["gateway", "desk"] {
            office.site.succeed(&["call", "people.add_group", &format!("name={group}"), "--as", "admin", "--timeout", "60s"]);
        }
        let domain = office.domain();
        for name in SITES {
            let login = format!("login=desk-{name}");
            let node = format!("node=spiffe://{domain}/site/{name}/layer/4/desk-{name}");
            office.site.succeed(&["call", "people.add_user", &login, "name=Desk", "groups=gateway", "groups=desk", "--as", "admin"]);
            office.site.succeed(&["call", "people.bind_node", &login, &node, "--as", "admin"]);
            office.start(&format!("desk-{name}"));
        }
        office
    }

    /// Its deployment.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, node: &str) {
        let process = self.site.start(node);
        self.running.insert(node.to_owned(), process);
    }

    /// Kills a node as `kill -9` does.
    pub(crate) fn kill(&mut self, node: &str) {
        drop(self.running.remove(node).unwrap());
    }

    /// Asks a node to end, and waits until it has; whether it ended well.
    pub(crate) fn stop(&mut self, node: &str) -> bool {
        self.running.remove(node).unwrap().terminate()
    }

    /// Memory that a node holds, in KiB, as the kernel counts it.
    pub(crate) fn memory_kib(&self, node: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running[node].pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The replica that leads now.
    pub(crate) fn leader(&self) -> String {
        let picture = until("a replica leads", || {
            let output = self.site.run(&["cabinet", "--json", "--timeout", "5s"]);
            let picture: Json = serde_json::from_slice(&output.stdout).ok()?;
            let members = picture["members"].as_array()?.clone();
            members.iter().find(|member| member["part"] == "leader").map(|leader| leader["node"].as_str().unwrap_or_default().to_owned())
        });
        picture.rsplit('/').next().unwrap().to_owned()
    }

    /// All objects of an entity that a filter finds, as JSON.
    pub(crate) fn objects(&self, entity: &str, filter: &str) -> Vec<Json> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut arguments = vec!["query", entity, filter, "--json", "--limit", "5000", "--as", "desk-lund", "--linearizable"];
            if let Some(after) = &after {
                arguments.extend(["--after", after]);
            }
            let page: Json = serde_json::from_str(&self.site.succeed(&arguments)).unwrap();
            all.extend(page["objects"].as_array().unwrap().iter().cloned());
            match page["after"].as_str().filter(|_| page["more"] == true) {
                Some(next) => after = Some(next.to_owned()),
                None => return all,
            }
        }
    }

    /// Its domain.
    pub(crate) fn domain(&self) -> String {
        let text = std::fs::read_to_string(self.site.path("caps.toml")).unwrap();
        let line = text.lines().find(|line| line.starts_with("domain")).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    }
}

/// Asks until there is an answer: for what takes real processes a while.
#[expect(clippy::disallowed_methods, reason = "these are real processes in real time")]
pub(crate) fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_800 {
        if let Some(answer) = answer() {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("it never came to that {what}");
}

/// A TCP port that nobody uses now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
