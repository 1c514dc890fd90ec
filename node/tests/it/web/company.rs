//! A company with a console at each site, and somebody who works there.

use std::net::{SocketAddr, TcpListener};

use super::http::{Answer, ask, form};
use crate::fixture::{Process, Site};

/// The nodes of a deployment with consoles.
pub(super) struct Company {
    pub(super) site: Site,
    pub(super) sites: Vec<&'static str>,
    pub(super) hosts: Vec<Process>,
    pub(super) consoles: Vec<(SocketAddr, Process)>,
    _stores: Vec<Process>,
}

impl Company {
    /// Starts everything, with Astrid and Bo at the desk.
    pub(super) fn at(sites: &[&'static str]) -> Self {
        let site = Site::found_at(&sites.join(","), u16::try_from(sites.len() * 2).unwrap());
        // Held together, so that no two are the same.
        let held: Vec<TcpListener> = sites.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = held.iter().map(|listener| listener.local_addr().unwrap()).collect();
        for (name, address) in sites.iter().zip(&addresses) {
            let node = format!("name = \"desk-{name}\"\nsite = \"{name}\"\nlayer = 4\n");
            site.edit(&node, &format!("{node}web = {{ listen = \"{address}\" }}\n"));
        }
        drop(held);
        let stores = sites.iter().map(|name| site.start(&format!("store-{name}"))).collect();
        let hosts = sites.iter().map(|name| site.start(&format!("host-{name}"))).collect();
        let administer = |arguments: &[&str]| drop(site.succeed(&[&["call"], arguments, &["--as", "admin"]].concat()));
        administer(&["people.add_group", "name=desk"]);
        administer(&["people.add_group", "name=gateway"]);
        for (login, name) in [("astrid", "name='Astrid Lind'"), ("bo", "name='Bo Ek'")] {
            administer(&["people.add_user", &format!("login={login}"), name, &format!("password={PASSWORD}"), "groups=desk"]);
        }
        let gateway = format!("desk-{}", sites[0]);
        administer(&["people.add_user", &format!("login={gateway}"), "name=gateway", "groups=gateway"]);
        let node = format!("node=spiffe://caps.example/site/{}/layer/4/{gateway}", sites[0]);
        administer(&["people.bind_node", &format!("login={gateway}"), &node]);
        let consoles = sites.iter().zip(addresses).map(|(name, address)| (address, site.start(&format!("desk-{name}")))).collect();
        Self { site, sites: sites.to_vec(), hosts, consoles, _stores: stores }
    }

    /// The console of the first site.
    pub(super) fn console(&self) -> SocketAddr {
        self.consoles[0].0
    }

    /// Files a mail, as a gateway does.
    pub(super) fn mail(&self, id: &str, from: &str, subject: &str, text: &str) {
        let file = self.site.path(format!("{id}.eml"));
        let mail = format!(
            "From: {from}\r\nTo: desk@caps.example\r\nSubject: {subject}\r\nMessage-ID: <{id}@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
        );
        std::fs::write(&file, mail).unwrap();
        self.site.succeed(&["file", file.to_str().unwrap(), "--as", &format!("desk-{}", self.sites[0])]);
    }
}

/// A browser without a screen: it keeps its cookies.
pub(super) struct Visit {
    address: SocketAddr,
    cookies: String,
}

impl Visit {
    /// Logs in.
    pub(super) fn log_in(address: SocketAddr, user: &str) -> Self {
        let answer = try_log_in(address, user, PASSWORD, &[]);
        let session = answer.cookie("caps_session").unwrap_or_else(|| panic!("{answer:?}"));
        Self { address, cookies: format!("caps_session={session}") }
    }

    pub(super) fn get(&self, target: &str) -> Answer {
        ask(self.address, "GET", target, &[("Cookie", &self.cookies)], "")
    }

    pub(super) fn post(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        ask(self.address, "POST", target, &[("Cookie", &self.cookies)], &form(fields))
    }

    /// Sends a form with a file in the field `content`, as browsers do.
    pub(super) fn send_file(&self, target: &str, fields: &[(&str, &str)], (name, content): (&str, &str)) -> Answer {
        let mut body = String::new();
        for (field, value) in fields {
            body += &format!("--X-Y\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n");
        }
        body += &format!("--X-Y\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{name}\"\r\n");
        body += &format!("Content-Type: text/html\r\n\r\n{content}\r\n--X-Y--\r\n");
        let fields = [("Cookie", self.cookies.as_str()), ("Content-Type", "multipart/form-data; boundary=X-Y")];
        ask(self.address, "POST", target, &fields, &body)
    }

    /// The id of the first row of a page.
    pub(super) fn first(&self, target: &str) -> String {
        let page = self.get(target).body;
        let at = page.find("data-key=\"").unwrap_or_else(|| panic!("no row in {page}")) + 10;
        page[at..at + 26].to_owned()
    }
}

/// Loads the page to log in with, and sends it back, with more fields in the request if there are some.
pub(super) fn try_log_in(address: SocketAddr, user: &str, password: &str, fields: &[(&str, &str)]) -> Answer {
    let page = ask(address, "GET", "/login?next=%2Fdesk", &[], "");
    let (door, token) = (page.cookie("caps_door").unwrap(), page.hidden("token"));
    let cookie = format!("caps_door={door}");
    let fields = [&[("Cookie", cookie.as_str())], fields].concat();
    ask(address, "POST", "/login", &fields, &form(&[("user", user), ("password", password), ("token", &token), ("next", "/desk")]))
}

pub(super) const PASSWORD: &str = "correct-horse-battery";
