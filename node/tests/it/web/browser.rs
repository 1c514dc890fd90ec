//! The console in a real browser: Chromium, driven by the WebDriver protocol.
//!
//! Screenshots go to the directory in `CAPS_SCREENSHOTS`, if that is set.

#![expect(clippy::disallowed_methods, reason = "a real browser has its own pace: it is asked now and then, in real time")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::company::{Company, PASSWORD};
use super::http::ask;

#[test]
fn two_browsers_see_each_others_work_at_once_and_get_over_lost_hosts() {
    let mut company = Company::at(&["lund", "kiruna"]);
    let (lund, kiruna) = (Browser::start(company.consoles[0].0), Browser::start(company.consoles[1].0));

    // Wrong input is told where it was typed.
    lund.open("/desk");
    lund.log_in("astrid", "wrong-password");
    lund.wait("document.querySelector('[role=alert]')?.textContent.includes('do not belong together')");
    lund.log_in("astrid", PASSWORD);
    lund.wait("location.pathname == '/desk' && document.getElementById('line').dataset.state == 'live'");
    kiruna.open("/desk");
    kiruna.log_in("bo", PASSWORD);
    kiruna.wait("location.pathname == '/desk' && document.getElementById('line').dataset.state == 'live'");
    lund.run("window.unloaded = false");

    // A case arrives by itself, at both sites.
    company.mail("one", "Åsa Öberg <asa@example.com>", "Läckande pump", "Hej!\r\n\r\nDen läcker.");
    for browser in [&lund, &kiruna] {
        browser.wait("document.querySelector('#rows tr')?.textContent.includes('Läckande pump')");
    }
    lund.shoot("queue-live");

    // An agent at one site, who takes the case; the other one sees it.
    let agents = company.site.succeed(&["query", "user", "login = astrid", "--as", "admin", "--json"]);
    let user = serde_json::from_str::<Json>(&agents).unwrap()["objects"][0]["id"].as_str().unwrap().to_owned();
    lund.open("/m/casedesk/add_agent");
    lund.run("window.unloaded = false");
    lund.fill("#f-name", "Astrid");
    lund.run(&format!("const field = document.querySelector('#f-user'); field.value = '{user}'"));
    lund.click("form.sheet button");
    lund.wait("location.pathname.startsWith('/o/')");
    lund.open("/desk");
    lund.click("#rows a");
    lund.wait("document.getElementById('line')?.dataset.state == 'live' && document.querySelector('#agent')");
    lund.run("const agent = document.querySelector('#agent'); agent.selectedIndex = agent.options.length - 1");
    lund.click("#deeds form:has(#agent) button");
    lund.wait("document.querySelector('.notice')?.textContent.includes('Assigned')");
    kiruna.wait("document.querySelector('#rows tr')?.textContent.includes('Astrid') && document.querySelector('#rows .is-open')");

    // A reply, seen in the conversation that is open elsewhere.
    kiruna.click("#rows a");
    kiruna.wait("document.getElementById('line')?.dataset.state == 'live' && document.querySelectorAll('#rows li').length == 1");
    lund.fill("#text", "Vi kommer i morgon. <b>nicht</b> مرحبا");
    lund.click(".reply button.strong");
    lund.wait("document.querySelectorAll('#rows li').length == 2");
    kiruna.wait("document.querySelectorAll('#rows li').length == 2 && document.querySelector('#rows li.outgoing').textContent.includes('<b>nicht</b>')");
    lund.shoot("conversation");

    // A file that is attached here is there at once.
    let photo = company.site.path("pump.txt");
    std::fs::write(&photo, "a photo").unwrap();
    lund.fill("#content", photo.to_str().unwrap());
    lund.click("#deeds form:has(#content) button");
    lund.wait("document.querySelector('#facts').textContent.includes('pump.txt')");
    kiruna.wait("document.querySelector('#facts').textContent.includes('pump.txt')");

    // Closed here, closed there, without anybody loading anything.
    lund.fill("#reason", "pump replaced");
    lund.click("#deeds form:has(#reason) button");
    lund.wait("document.querySelector('#head .is-closed')");
    kiruna.wait("document.querySelector('#head .is-closed') && document.querySelector('#deeds').textContent.includes('Reopen')");
    kiruna.shoot("closed-elsewhere");

    // The overlay on a map, and what is measured as long as somebody looks.
    kiruna.open("/overlay");
    kiruna.wait("document.querySelectorAll('svg.map rect').length == 2 && document.querySelector('svg.map .leading')");
    kiruna.wait("[...document.querySelectorAll('svg.plot polyline')].some(line => line.points.numberOfItems > 3)");
    kiruna.shoot("overlay");

    // No host at all: it is said. Hosts are back: it goes on, and nothing was missed, without loading the page again.
    lund.open("/desk");
    lund.wait("document.getElementById('line')?.dataset.state == 'live'");
    lund.run("window.same = true");
    company.hosts.clear();
    lund.wait("document.getElementById('line').dataset.state == 'lost'");
    lund.shoot("reconnecting");
    company.hosts = company.sites.iter().map(|name| company.site.start(&format!("host-{name}"))).collect();
    company.mail("two", "Bertil <bertil@example.com>", "Valve", "It sticks.");
    lund.wait("document.querySelector('#rows')?.textContent.includes('Valve') && document.getElementById('line').dataset.state == 'live'");
    lund.wait("window.same === true");

    // So it is when the console itself is gone for a while.
    let (address, console) = company.consoles.remove(0);
    assert!(console.terminate());
    lund.wait("document.getElementById('line').dataset.state == 'lost'");
    company.consoles.insert(0, (address, company.site.start("desk-lund")));
    company.mail("three", "Cecilia <cecilia@example.com>", "Hose", "It is torn.");
    lund.wait("document.querySelector('#rows')?.textContent.includes('Hose') && document.getElementById('line').dataset.state == 'live' && window.same");
    for browser in [&lund, &kiruna] {
        // Nothing was blocked by the policy, and no script fell.
        let complaints = browser.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
    lund.look("dark", 1_280);
    lund.shoot("queue-dark");
    lund.look("light", 390);
    lund.shoot("queue-narrow");
}

/// A browser of its own, with nothing in it.
struct Browser {
    driver: Child,
    at: SocketAddr,
    session: String,
    console: SocketAddr,
    _profile: TempDir,
}

impl Browser {
    fn start(console: SocketAddr) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().expect("chromium-driver is installed: `make tools`");
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(at).is_err() {
            assert!(Instant::now() < until, "chromedriver does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let profile = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> = ARGUMENTS.map(ToOwned::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" }
        } } });
        let mut browser = Self { driver, at, session: String::new(), console, _profile: profile };
        browser.session = browser.post("/session", &wanted)["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    fn open(&self, path: &str) {
        self.command("/url", &json!({ "url": format!("http://{}{path}", self.console) }));
    }

    fn log_in(&self, user: &str, password: &str) {
        self.wait("document.querySelector('#user')");
        self.run("document.querySelector('#user').value = ''");
        self.fill("#user", user);
        self.fill("#password", password);
        self.click(".door button");
    }

    fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/click"), &json!({}));
    }

    fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    fn element(&self, selector: &str) -> String {
        self.wait(&format!("document.querySelector('{selector}')"));
        let found = self.command("/element", &json!({ "using": "css selector", "value": selector }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    fn run(&self, script: &str) -> Json {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until something is so.
    fn wait(&self, condition: &str) {
        let until = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({condition})")) != true {
            if Instant::now() > until {
                self.shoot("failed");
                panic!("never so: {condition}\n{}", self.run("return document.body.innerText"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the browser's console says of errors; what was answered with a status that means no is no error, and neither is a line that was cut.
    fn complaints(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({ "type": "browser" }));
        let text = |entry: &Json| entry["message"].as_str().unwrap().to_owned();
        let expected = |entry: &String| entry.contains("Failed to load resource") || entry.contains("ERR_");
        log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE").map(text).filter(|entry| !expected(entry)).collect()
    }

    fn look(&self, scheme: &str, width: u32) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("/goog/cdp/execute", &json!({ "cmd": "Emulation.setEmulatedMedia", "params": media }));
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("/goog/cdp/execute", &json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics }));
    }

    fn shoot(&self, name: &str) {
        let Some(directory) = std::env::var_os("CAPS_SCREENSHOTS") else { return };
        let answer = ask(self.at, "GET", &format!("/session/{}/screenshot", self.session), &[], "");
        let image = STANDARD.decode(answer.json()["value"].as_str().unwrap()).unwrap();
        std::fs::write(std::path::Path::new(&directory).join(format!("{name}.png")), image).unwrap();
    }

    fn command(&self, path: &str, body: &Json) -> Json {
        self.post(&format!("/session/{}{path}", self.session), body)
    }

    fn post(&self, path: &str, body: &Json) -> Json {
        let answer = ask(self.at, "POST", path, &[("Content-Type", "application/json")], &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
        answer.json()["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        ask(self.at, "DELETE", &format!("/session/{}", self.session), &[], "");
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

/// Generous: two cores may be shared with a whole test run.
const PATIENCE: Duration = Duration::from_secs(90);

const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];
