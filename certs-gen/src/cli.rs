//! The commands of `certs-gen`, and how their results are shown.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use caps_certs_gen::{
    Algorithm, CertificateFacts, CredentialsError, Directory, Identity, Inspection, Layer, Lifetime, Moment, NodeCredentials, Order,
    Random, Reason, Record, Rejection, State, Subject, TrustAnchors, Verifier, read_certificates,
};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use rustls_pki_types::DnsName;
use serde_json::{Value, json};

/// Make and look after the certificates of a CAPS trust domain.
#[derive(Debug, Parser)]
#[command(name = "certs-gen", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// The directory of the authority.
    #[arg(long, global = true, default_value = "certs", value_name = "DIR")]
    dir: PathBuf,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the root of a new trust domain.
    #[command(after_help = "Example:\n  certs-gen init --domain caps.example --out certs")]
    Init {
        /// The trust domain: a lower-case DNS name. It need not exist in the DNS.
        #[arg(long)]
        domain: String,
        /// The directory to make; that of --dir if not given.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// The algorithm of the root's key: ed25519 or p256.
        #[arg(long, default_value_t)]
        algorithm: Algorithm,
    },
    /// Make the authority of a site, or sign it anew.
    #[command(after_help = "Examples:\n  certs-gen site berlin\n  certs-gen site berlin --renew")]
    Site {
        /// The site.
        name: String,
        /// Sign the authority of a site that is there already for another two years.
        #[arg(long, conflicts_with = "algorithm")]
        renew: bool,
        /// The algorithm of its key: ed25519 or p256.
        #[arg(long, default_value_t)]
        algorithm: Algorithm,
    },
    /// Issue the certificate of a new node.
    #[command(after_help = "Examples:
  certs-gen node --site berlin --layer 1 --name cabinet-1
  certs-gen node --site berlin --layer 4 --name web --dns caps.example --ip 192.0.2.7 --days 30")]
    Node {
        /// The site where it runs.
        #[arg(long)]
        site: String,
        /// The layer it serves: 1 (cabinet), 2 (business logic) or 4 (front end).
        #[arg(long)]
        layer: Layer,
        /// Its name, which no other node of the domain may have.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        wishes: Wishes,
    },
    /// Issue the certificate of a new administrator (30 days unless asked otherwise).
    #[command(after_help = "Example:\n  certs-gen admin --name ada --days 7")]
    Admin {
        /// The administrator's name.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        wishes: Wishes,
    },
    /// Show what was issued and when it ends.
    #[command(after_help = "Examples:
  certs-gen list
  certs-gen list --expiring 30d
  certs-gen list --all --json")]
    List {
        /// Only what still holds and ends within this time, such as 30d or 12h.
        #[arg(long, value_name = "TIME")]
        expiring: Option<Lifetime>,
        /// Every certificate, not only the newest of each node.
        #[arg(long)]
        all: bool,
    },
    /// Show what the certificates, keys and revocation lists in a file say.
    #[command(after_help = "Example:\n  certs-gen inspect certs/nodes/cabinet-1/cert.pem")]
    Inspect {
        /// A PEM file.
        file: PathBuf,
    },
    /// Say whether a node would believe a chain, and why not. Exit code 3 if it would not.
    #[command(after_help = "Examples:
  certs-gen verify certs/nodes/cabinet-1
  certs-gen verify cert.pem --dir certs")]
    Verify {
        /// A PEM file with a chain, leaf first, or the directory of a node (whose key is checked too).
        path: PathBuf,
    },
    /// Revoke a certificate, or everything under a name, and write the revocation lists.
    #[command(after_help = "Examples:
  certs-gen revoke cabinet-1 --reason key-compromise
  certs-gen revoke 4f0c2a...")]
    Revoke {
        /// The name of a node or administrator, or a serial as `list` shows it.
        which: String,
        /// unspecified, key-compromise, superseded, cessation-of-operation or privilege-withdrawn.
        #[arg(long, default_value_t)]
        reason: Reason,
    },
    /// Issue the next certificate of a node or administrator, with the same key and names.
    #[command(after_help = "Example:\n  certs-gen renew cabinet-1 --days 90")]
    Renew {
        /// The name of the node or administrator.
        name: String,
        /// How long it shall hold: days, or a time such as 12h.
        #[arg(long, value_name = "DAYS")]
        days: Option<Lifetime>,
    },
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  certs-gen completions bash > certs-gen.bash")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// What may be wished for a new leaf.
#[derive(Debug, clap::Args)]
struct Wishes {
    /// A DNS name to add, for other programs; may be repeated.
    #[arg(long, value_parser = dns_name)]
    dns: Vec<String>,
    /// An IP address to add, for other programs; may be repeated.
    #[arg(long)]
    ip: Vec<IpAddr>,
    /// How long it shall hold: days, or a time such as 12h. 90 days for nodes, 30 for administrators.
    #[arg(long, value_name = "DAYS")]
    days: Option<Lifetime>,
    /// The algorithm of its key: ed25519 or p256.
    #[arg(long, default_value_t)]
    algorithm: Algorithm,
}

impl Wishes {
    fn order(self, identity: Identity) -> Order {
        Order {
            algorithm: self.algorithm,
            lifetime: self.days.map(|days| days.0),
            dns_names: self.dns,
            ip_addresses: self.ip,
            ..Order::new(identity)
        }
    }
}

/// What the program says to the shell that called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// The chain would not be believed.
    NotBelieved,
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done => Self::SUCCESS,
            Answer::NotBelieved => Self::from(NOT_BELIEVED_CODE),
        }
    }
}

impl Cli {
    /// Does what the arguments say, at this time, with these random numbers.
    pub(crate) fn run(self, now: SystemTime, random: &mut Random<'_>, output: &mut dyn Write) -> Result<Answer> {
        let Self { dir, json, command } = self;
        let mut screen = Screen { now, json, output };
        match command {
            Command::Init { domain, out, algorithm } => {
                let path = out.unwrap_or(dir);
                let directory = Directory::init(&path, &domain, algorithm, now, random)?;
                screen.root(&path, directory.index().records())?;
            }
            Command::Site { name, renew: true, .. } => {
                let record = Directory::open(&dir)?.renew_site(&name, now, random)?;
                screen.issued(&record, &dir.join("sites").join(name))?;
            }
            Command::Site { name, algorithm, .. } => {
                let record = Directory::open(&dir)?.add_site(&name, algorithm, now, random)?;
                screen.issued(&record, &dir.join("sites").join(name))?;
            }
            Command::Node { site, layer, name, wishes } => {
                let mut directory = Directory::open(&dir)?;
                let identity = Identity::node(directory.domain(), &site, layer, &name)?;
                let place = directory.place(&identity);
                let record = directory.issue(&wishes.order(identity), now, random)?;
                screen.issued(&record, &place)?;
            }
            Command::Admin { name, wishes } => {
                let mut directory = Directory::open(&dir)?;
                let identity = Identity::admin(directory.domain(), &name)?;
                let place = directory.place(&identity);
                let record = directory.issue(&wishes.order(identity), now, random)?;
                screen.issued(&record, &place)?;
            }
            Command::List { expiring, all } => {
                let directory = Directory::open(&dir)?;
                screen.records(&listed(&directory, expiring, all, now))?;
            }
            Command::Inspect { file } => screen.inspections(&Inspection::of_file(&file)?)?,
            Command::Verify { path } => {
                let anchors = TrustAnchors::load(&dir).context("no root to verify against; name the authority's directory with --dir")?;
                return screen.verdict(&path, verify(&path, &anchors, now)?);
            }
            Command::Revoke { which, reason } => {
                let revoked = Directory::open(&dir)?.revoke(&which, reason, now)?;
                screen.records(&revoked.iter().collect::<Vec<_>>())?;
            }
            Command::Renew { name, days } => {
                let mut directory = Directory::open(&dir)?;
                let record = directory.renew(&name, days.map(|days| days.0), now, random)?;
                let identity = record.subject.identity();
                let place = identity.map_or(dir, |identity| directory.place(identity));
                screen.issued(&record, &place)?;
            }
            Command::Completions { shell } => {
                // By way of memory: the generator panics when a pipe closes early.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "certs-gen", &mut script);
                screen.output.write_all(&script)?;
            }
        }
        Ok(Answer::Done)
    }
}

fn listed(directory: &Directory, expiring: Option<Lifetime>, all: bool, now: SystemTime) -> Vec<&Record> {
    let index = directory.index();
    let mut records = if all { index.records().iter().collect() } else { index.newest() };
    if let Some(Lifetime(within)) = expiring {
        let end = Moment::from(now).plus(within);
        records.retain(|record| record.state(now) == State::Valid && record.validity.not_after <= end);
    }
    records
}

/// What a node would say: the identity, or why it has none.
fn verify(path: &Path, anchors: &TrustAnchors, now: SystemTime) -> Result<std::result::Result<Identity, String>> {
    let verifier = Verifier::new(anchors)?;
    let chain = if path.is_dir() {
        match NodeCredentials::load(path) {
            Ok(credentials) => credentials.chain().to_vec(),
            Err(error @ CredentialsError::File(_)) => return Err(error.into()),
            Err(error) => return Ok(Err(describe(error.into()))),
        }
    } else {
        read_certificates(path)?
    };
    let verdict = verifier.check_chain(&chain, now);
    Ok(verdict.map_err(|rejection: Rejection| describe(rejection.into())))
}

fn describe(error: anyhow::Error) -> String {
    format!("{error:#}")
}

/// Where results are shown: as a table and sentences for people, or as JSON for programs.
struct Screen<'a> {
    now: SystemTime,
    json: bool,
    output: &'a mut dyn Write,
}

impl Screen<'_> {
    fn root(&mut self, path: &Path, records: &[Record]) -> Result<()> {
        let Some(root) = records.first() else {
            bail!("the new authority has no root, which is a fault of this program");
        };
        self.issued(root, &path.join("ca"))?;
        if !self.json {
            writeln!(
                self.output,
                "keep {} secret and backed up; next: certs-gen --dir {} site <name>",
                path.join("ca").join("root.key").display(),
                path.display()
            )?;
        }
        Ok(())
    }

    fn issued(&mut self, record: &Record, place: &Path) -> Result<()> {
        if self.json {
            let mut value = self.record_json(record);
            value["directory"] = json!(place);
            return self.print_json(&value);
        }
        let what = record.subject.name();
        let end = record.validity.not_after;
        writeln!(self.output, "{what}: serial {}, until {end}, in {}", record.serial, place.display())?;
        Ok(())
    }

    fn records(&mut self, records: &[&Record]) -> Result<()> {
        if self.json {
            let values: Vec<_> = records.iter().map(|record| self.record_json(record)).collect();
            return self.print_json(&json!(values));
        }
        let header = ["NAME", "SITE", "LAYER", "EXPIRES IN", "STATE", "SERIAL"];
        let mut rows = vec![header.map(String::from)];
        rows.extend(records.iter().map(|record| self.row(record)));
        self.table(&rows)
    }

    fn row(&self, record: &Record) -> [String; 6] {
        let subject = &record.subject;
        let left = record.validity.not_after.since(self.now.into());
        let state = record.state(self.now);
        let expires_in = match state {
            State::Valid => Lifetime(left).to_string(),
            State::Expired | State::Revoked => "-".to_owned(),
        };
        [
            subject.name().to_owned(),
            subject.site().unwrap_or("-").to_owned(),
            subject.layer().map_or_else(|| kind(record).to_owned(), |layer| layer.to_string()),
            expires_in,
            state.to_string(),
            record.serial.to_string(),
        ]
    }

    fn inspections(&mut self, inspections: &[Inspection]) -> Result<()> {
        if self.json {
            return self.print_json(&json!(inspections));
        }
        for (number, inspection) in inspections.iter().enumerate() {
            if number > 0 {
                writeln!(self.output)?;
            }
            match inspection {
                Inspection::Certificate(facts) => self.certificate(facts)?,
                Inspection::RevocationList(facts) => {
                    let revoked: Vec<_> = facts.revoked.iter().map(ToString::to_string).collect();
                    self.facts(
                        "revocation list",
                        &[
                            ("issuer", facts.issuer.clone()),
                            ("updated", facts.updated.to_string()),
                            ("revoked", or_dash(&revoked.join(", "))),
                        ],
                    )?;
                }
                Inspection::PrivateKey => writeln!(self.output, "private key (not shown)")?,
                Inspection::Unknown => writeln!(self.output, "something unknown or unreadable")?,
            }
        }
        Ok(())
    }

    fn certificate(&mut self, facts: &CertificateFacts) -> Result<()> {
        let title = if facts.is_authority { "authority" } else { "leaf" };
        let path_length = facts.path_length.map_or_else(String::new, |length| length.to_string());
        self.facts(
            title,
            &[
                ("identity", or_dash(facts.identity.as_deref().unwrap_or_default())),
                ("problem", or_dash(facts.problem.as_deref().unwrap_or_default())),
                ("subject", facts.subject.clone()),
                ("issuer", facts.issuer.clone()),
                ("serial", facts.serial.clone()),
                ("not before", facts.validity.not_before.to_string()),
                ("not after", facts.validity.not_after.to_string()),
                ("path length", or_dash(&path_length)),
                ("names", or_dash(&facts.names.join(", "))),
                ("usages", or_dash(&facts.usages.join(", "))),
                ("key", facts.key_algorithm.to_owned()),
                ("sha-256", facts.fingerprint.clone()),
            ],
        )
    }

    fn facts(&mut self, title: &str, facts: &[(&str, String)]) -> Result<()> {
        writeln!(self.output, "{title}")?;
        for (name, value) in facts {
            writeln!(self.output, "  {name:<12} {value}")?;
        }
        Ok(())
    }

    fn verdict(&mut self, path: &Path, verdict: std::result::Result<Identity, String>) -> Result<Answer> {
        if self.json {
            let identity = verdict.as_ref().ok().map(Identity::uri);
            let reason = verdict.as_ref().err();
            self.print_json(&json!({
                "path": path, "believed": verdict.is_ok(), "identity": identity, "reason": reason,
            }))?;
        } else {
            match &verdict {
                Ok(identity) => writeln!(self.output, "believed: {identity}")?,
                Err(reason) => writeln!(self.output, "not believed: {reason}")?,
            }
        }
        Ok(if verdict.is_ok() { Answer::Done } else { Answer::NotBelieved })
    }

    fn record_json(&self, record: &Record) -> Value {
        let mut value = json!(record);
        value["state"] = json!(record.state(self.now));
        value["name"] = json!(record.subject.name());
        value["site"] = json!(record.subject.site());
        value["layer"] = json!(record.subject.layer().map(Layer::number));
        value["expires_in_seconds"] = json!(record.validity.not_after.since(self.now.into()).as_secs());
        value
    }

    fn print_json(&mut self, value: &Value) -> Result<()> {
        writeln!(self.output, "{value:#}")?;
        Ok(())
    }

    fn table<const N: usize>(&mut self, rows: &[[String; N]]) -> Result<()> {
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        for row in rows {
            let cells = row.iter().zip(&widths);
            let line: Vec<_> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(self.output, "{}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// What stands in the column of the layer for what has none.
fn kind(record: &Record) -> &'static str {
    match record.subject {
        Subject::Root | Subject::Site { .. } => "authority",
        Subject::Leaf { .. } => "admin",
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

fn dns_name(text: &str) -> std::result::Result<String, &'static str> {
    match DnsName::try_from(text) {
        Ok(_) => Ok(text.to_ascii_lowercase()),
        Err(_) => Err("this is not a DNS name"),
    }
}

const EXAMPLES: &str = "\
A trust domain from nothing:
  certs-gen init --domain caps.example --out certs
  certs-gen site berlin
  certs-gen node --site berlin --layer 1 --name cabinet-1
  certs-gen node --site berlin --layer 2 --name host-1
  certs-gen node --site berlin --layer 4 --name web-1
  certs-gen admin --name ada

Give each node its own directory, certs/nodes/<name>, and nothing else; keep certs/ca safe.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 a chain would not be believed.";

const NOT_BELIEVED_CODE: u8 = 3;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// A directory of its own, a clock that stands still unless told, and numbers that count.
    struct Desk {
        home: tempfile::TempDir,
        now: SystemTime,
        counter: u64,
    }

    impl Desk {
        fn new() -> Self {
            Self { home: tempfile::tempdir().unwrap(), now: UNIX_EPOCH + Duration::from_secs(1_800_000_000), counter: 0 }
        }

        fn with_berlin() -> Self {
            let mut desk = Self::new();
            desk.done("init --domain caps.example");
            desk.done("site berlin");
            desk.done("node --site berlin --layer 1 --name cabinet-1");
            desk
        }

        fn path(&self, name: &str) -> PathBuf {
            self.home.path().join("certs").join(name)
        }

        fn run(&mut self, arguments: &str) -> (Result<Answer>, String) {
            let dir = self.home.path().join("certs");
            let mut all = vec!["certs-gen".into(), "--dir".into(), dir.into_os_string()];
            all.extend(arguments.split_whitespace().map(Into::into));
            let cli = Cli::try_parse_from(all).unwrap();
            let mut random = |bytes: &mut [u8]| {
                self.counter += 1;
                bytes.fill(0);
                bytes[1..9].copy_from_slice(&self.counter.to_be_bytes());
            };
            let mut output = Vec::new();
            let answer = cli.run(self.now, &mut random, &mut output);
            (answer, String::from_utf8(output).unwrap())
        }

        fn done(&mut self, arguments: &str) -> String {
            let (answer, output) = self.run(arguments);
            assert_eq!(answer.unwrap(), Answer::Done, "{arguments}");
            output
        }

        fn refused(&mut self, arguments: &str) -> String {
            format!("{:#}", self.run(arguments).0.unwrap_err())
        }

        fn verdict(&mut self, path: &Path) -> (Answer, String) {
            let (answer, output) = self.run(&format!("verify {}", path.display()));
            (answer.unwrap(), output)
        }
    }

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let name = command.get_name();
            assert!(help.is_some_and(|help| help.contains(&format!("certs-gen {name}"))), "{name}");
        }
    }

    #[test]
    fn new_node_is_believed() {
        let mut desk = Desk::with_berlin();
        let (answer, output) = desk.verdict(&desk.path("nodes/cabinet-1"));
        assert_eq!(answer, Answer::Done);
        let uri = "spiffe://caps.example/site/berlin/layer/1/cabinet-1";
        assert_eq!(output, format!("believed: {uri}\n"));
    }

    #[test]
    fn list_shows_what_ends_when() {
        let mut desk = Desk::with_berlin();
        desk.done("admin --name ada");
        let table = desk.done("list --expiring 30d");
        // Only the administrator's 30 days end within 30 days.
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 2, "{table}");
        assert!(lines[1].starts_with("ada"), "{table}");
        assert!(lines[1].contains("admin  30d 0h      valid"), "{table}");
        let all: Value = serde_json::from_str(&desk.done("list --json")).unwrap();
        let names: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["root", "berlin", "ada", "cabinet-1"]);
        assert_eq!(all[3]["layer"], 1);
        assert_eq!(all[3]["state"], "valid");
    }

    #[test]
    fn revoked_node_is_not_believed_and_its_name_is_free_again() {
        let mut desk = Desk::with_berlin();
        let kept = desk.home.path().join("kept.pem");
        std::fs::copy(desk.path("nodes/cabinet-1/cert.pem"), &kept).unwrap();
        let table = desk.done("revoke cabinet-1 --reason key-compromise");
        assert!(table.contains("revoked"), "{table}");
        let (answer, output) = desk.verdict(&kept);
        assert_eq!(answer, Answer::NotBelieved);
        assert!(output.contains("revoked"), "{output}");
        assert!(desk.refused("renew cabinet-1").contains("is revoked"));
        desk.done("node --site berlin --layer 1 --name cabinet-1");
        assert_eq!(desk.verdict(&desk.path("nodes/cabinet-1")).0, Answer::Done);
    }

    #[test]
    fn renewal_keeps_key_and_names_and_prolongs() {
        let mut desk = Desk::with_berlin();
        desk.done("node --site berlin --layer 4 --name web --dns www.example --ip 192.0.2.7");
        let key = std::fs::read(desk.path("nodes/web/key.pem")).unwrap();
        desk.now += Duration::from_secs(80 * 24 * 3600);
        desk.done("renew web");
        desk.now += Duration::from_secs(80 * 24 * 3600);
        assert_eq!(std::fs::read(desk.path("nodes/web/key.pem")).unwrap(), key);
        assert_eq!(desk.verdict(&desk.path("nodes/web")).0, Answer::Done);
        assert_eq!(desk.verdict(&desk.path("nodes/cabinet-1")).0, Answer::NotBelieved);
        let file = desk.path("nodes/web/cert.pem");
        let shown = desk.done(&format!("inspect {}", file.display()));
        assert!(shown.contains("dns www.example, ip 192.0.2.7"), "{shown}");
    }

    #[test]
    fn renewed_site_prolongs_its_nodes() {
        let mut desk = Desk::with_berlin();
        desk.now += Duration::from_secs(700 * 24 * 3600);
        desk.done("node --site berlin --layer 2 --name host-1");
        let short: Value = serde_json::from_str(&desk.done("list --json")).unwrap();
        let left =
            |list: &Value| list.as_array().unwrap().iter().find(|one| one["name"] == "host-1").unwrap()["expires_in_seconds"].as_u64();
        // The site's 730 days leave 30 at day 700.
        assert_eq!(left(&short), Some(30 * 24 * 3600));
        desk.done("site berlin --renew");
        desk.done("renew host-1");
        let long: Value = serde_json::from_str(&desk.done("list --json")).unwrap();
        assert_eq!(left(&long), Some(90 * 24 * 3600));
        assert_eq!(desk.verdict(&desk.path("nodes/host-1")).0, Answer::Done);
    }

    #[test]
    fn refusals_say_what_to_change() {
        let mut desk = Desk::with_berlin();
        assert!(desk.refused("init --domain caps.example").contains("already holds an authority"));
        assert!(desk.refused("site berlin").contains("--renew"));
        assert!(desk.refused("site root").contains("another name"));
        assert!(desk.refused("site Berlin").contains("a-z"));
        assert!(desk.refused("node --site paris --layer 1 --name x").contains("certs-gen site paris"));
        let taken = desk.refused("node --site berlin --layer 2 --name cabinet-1");
        assert!(taken.contains("certs-gen renew cabinet-1"), "{taken}");
        assert!(desk.refused("admin --name cabinet-1").contains("taken"));
        assert!(desk.refused("revoke nobody").contains("list --all"));
        assert!(Desk::new().refused("list").contains("certs-gen init"));
    }

    #[test]
    fn root_cannot_be_revoked_but_a_site_can() {
        let mut desk = Desk::with_berlin();
        let list: Value = serde_json::from_str(&desk.done("list --json")).unwrap();
        let serial = |index: usize| list[index]["serial"].as_str().unwrap().to_owned();
        assert!(desk.refused(&format!("revoke {}", serial(0))).contains("root"));
        desk.done(&format!("revoke {}", serial(1)));
        let (answer, output) = desk.verdict(&desk.path("nodes/cabinet-1"));
        assert_eq!(answer, Answer::NotBelieved);
        assert!(output.contains("revoked"), "{output}");
        desk.done("site berlin");
        desk.done("node --site berlin --layer 1 --name cabinet-2");
        assert_eq!(desk.verdict(&desk.path("nodes/cabinet-2")).0, Answer::Done);
    }

    #[test]
    fn mixed_up_key_is_found() {
        let mut desk = Desk::with_berlin();
        desk.done("node --site berlin --layer 1 --name cabinet-2");
        let key = desk.path("nodes/cabinet-2/key.pem");
        std::fs::copy(key, desk.path("nodes/cabinet-1/key.pem")).unwrap();
        let (answer, output) = desk.verdict(&desk.path("nodes/cabinet-1"));
        assert_eq!(answer, Answer::NotBelieved);
        assert!(output.contains("key is not the one"), "{output}");
    }

    #[test]
    fn node_directory_alone_is_enough_to_trust_others() {
        let mut desk = Desk::with_berlin();
        let anchors = TrustAnchors::load(desk.path("nodes/cabinet-1")).unwrap();
        assert_eq!(anchors.domain(), "caps.example");
        desk.done("admin --name ada");
        let chain = read_certificates(&desk.path("admins/ada/cert.pem")).unwrap();
        let verifier = Verifier::new(&anchors).unwrap();
        assert!(verifier.check_chain(&chain, desk.now).unwrap().is_admin());
    }

    #[test]
    fn p256_works_all_the_way() {
        let mut desk = Desk::new();
        desk.done("init --domain caps.example --algorithm p256");
        desk.done("site berlin --algorithm p256");
        desk.done("node --site berlin --layer 1 --name old --algorithm p256");
        assert_eq!(desk.verdict(&desk.path("nodes/old")).0, Answer::Done);
    }

    #[test]
    fn all_keys_are_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let mut desk = Desk::with_berlin();
        desk.done("admin --name ada");
        for key in ["ca/root.key", "sites/berlin/ca.key", "nodes/cabinet-1/key.pem", "admins/ada/key.pem"] {
            let mode = std::fs::metadata(desk.path(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn keys_are_never_overwritten() {
        let mut desk = Desk::with_berlin();
        let keys = ["ca/root.key", "sites/berlin/ca.key", "nodes/cabinet-1/key.pem"];
        let before = keys.map(|key| std::fs::read(desk.path(key)).unwrap());
        desk.refused("init --domain other.example");
        desk.refused("site berlin");
        desk.refused("node --site berlin --layer 1 --name cabinet-1");
        desk.done("site berlin --renew");
        desk.done("renew cabinet-1");
        assert_eq!(keys.map(|key| std::fs::read(desk.path(key)).unwrap()), before);
    }
}
