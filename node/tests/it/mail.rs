//! Mail by real SMTP clients into real processes, and out to a real mail server.

mod exim;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use self::exim::Exim;
use crate::office::{Office, SITES, until};

/// What clients were told is accepted is filed, once, though the leader of layer 1 is killed twice meanwhile. `CAPS_MAILS` says how many mails.
#[test]
fn accepted_mail_is_filed_once_though_leaders_die() {
    let count: usize = std::env::var("CAPS_MAILS").map_or(600, |count| count.parse().unwrap());
    let mut office = Office::open("");
    let mut storm = storm(&office, count, 8).stdout(Stdio::piped()).spawn().unwrap();
    for share in [10, 3] {
        until("enough is filed", || (filed(&office) > count / share).then_some(()));
        let leader = office.leader();
        assert_eq!(storm.try_wait().unwrap(), None, "the storm was over before {leader} was killed: send more");
        office.kill(&leader);
        until("another one leads", || (office.leader() != leader).then_some(()));
        office.start(&leader);
    }
    let steady = ["desk", "host"].map(|kind| SITES.map(|site| format!("{kind}-{site}"))).concat();
    let before = steady.iter().map(|node| office.memory_kib(node)).max().unwrap();
    let output = storm.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let after = steady.iter().map(|node| office.memory_kib(node)).max().unwrap();
    assert!(after < before + MEMORY_GROWTH_MAX_KIB, "from {before} to {after} KiB with the last two thirds of the mails");
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    let accepted: BTreeSet<&str> = told["accepted"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(told["refused"], Json::Array(Vec::new()));
    assert_eq!(accepted.len(), count);
    let messages = office.objects("message", "direction = in");
    let ids: Vec<&str> = messages.iter().map(|message| message["attributes"]["message_id"][0].as_str().unwrap()).collect();
    let lost: Vec<_> = accepted.iter().filter(|id| !ids.contains(id)).collect();
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(ids.len(), distinct.len(), "doubled");
    assert!(told["by_swaks"].as_u64().unwrap() > 0, "{told}");
    eprintln!(
        "{count} mails in {} s, put off {}, connections lost {}; accepted = filed, 0 lost, 0 doubled; \
         the largest gateway or host held {before} KiB after a third of them and {after} KiB in the end",
        told["seconds"], told["put_off"], told["lost"]
    );
}

/// What gateways and hosts may grow by with thousands of mails: their caches and windows are bounded.
const MEMORY_GROWTH_MAX_KIB: u64 = 64 << 10;

fn filed(office: &Office) -> usize {
    let output = office.site().run(&["query", "message", "direction = in", "--count", "--json", "--as", "desk-lund", "--timeout", "5s"]);
    let counted: Option<Json> = serde_json::from_slice(&output.stdout).ok();
    counted.and_then(|counted| counted["count"].as_u64()).and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

/// Replies reach a real mail server, once each, though it is away for a while and a gateway is killed.
#[test]
fn replies_reach_a_server_that_is_away_for_a_while() {
    let mut exim = Exim::new();
    let mut office = Office::open(&format!(", relay = \"smtp://127.0.0.1:{}\", retry = \"300ms\"", exim.port));
    assert!(storm(&office, 20, 2).output().unwrap().status.success());
    let cases = office.objects("case", "number > 0");
    assert_eq!(cases.len(), 20);
    exim.start();
    let reply = |case: &Json, office: &Office| {
        let case = format!("case=#{}", case["id"].as_str().unwrap());
        office.site().succeed(&["call", "casedesk.reply", &case, "text=We come on Monday.\n.\nYours", "--as", "desk-goteborg"]);
    };
    cases[..10].iter().for_each(|case| reply(case, &office));
    until("half of the replies are sent", || (sent(&office).len() == 10).then_some(()));
    exim.stop();
    cases[10..].iter().for_each(|case| reply(case, &office));
    let put_off = until("some are put off", || {
        let waiting = office.objects("effect", "status = waiting and attempts >= 2");
        waiting.into_iter().next()
    });
    let said = put_off["attributes"]["outcome"][0].as_str().unwrap();
    assert!(said.contains("not taken when connecting"), "{said}");
    let status = office.site().succeed(&["status", "--as", "desk-goteborg"]);
    assert!(status.contains("tried in vain), 0 given up; mail to") && status.contains("not taken when"), "{status}");
    office.kill("desk-lund");
    exim.start();
    office.start("desk-lund");
    let sent = until("all are sent", || Some(sent(&office)).filter(|sent| sent.len() == 20));
    let ids: BTreeSet<String> = sent.iter().map(|message| message["attributes"]["message_id"][0].as_str().unwrap().to_owned()).collect();
    let mails = until("all are there", || Some(exim.mails()).filter(|mails| mails.len() >= 20));
    let came: Vec<String> = mails.iter().map(|mail| field(mail, "Message-ID: ").trim_matches(['<', '>']).to_owned()).collect();
    assert_eq!(came.iter().cloned().collect::<BTreeSet<_>>(), ids);
    assert_eq!(came.len(), 20, "none came twice: no answer was lost");
    for mail in &mails {
        assert_eq!(field(mail, "From: "), format!("<desk@{}>", office.domain()));
        assert!(field(mail, "Subject: ").starts_with("Re: Pump "), "{mail}");
        assert!(mail.contains("We come on Monday.\n.\nYours"), "{mail}");
        assert!(field(mail, "In-Reply-To: ").starts_with("<storm-"), "{mail}");
    }
}

/// Mail comes in over STARTTLS, and what goes out is signed so that another implementation of DKIM agrees.
#[test]
fn mail_comes_over_starttls_and_goes_out_signed() {
    let keys = tempfile::tempdir().unwrap();
    let path = |name: &str| keys.path().join(name).display().to_string();
    openssl(&["genrsa", "-traditional", "-out", &path("dkim.pem"), "2048"]);
    let subject = ["-subj", "/CN=mx.caps.example", "-days", "2", "-nodes"];
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-keyout", &path("key.pem"), "-out", &path("cert.pem")];
    openssl(&[&request[..], &subject].concat());
    let mut exim = Exim::new();
    exim.start();
    let office = Office::open(&format!(
        ", relay = \"smtp://127.0.0.1:{}\", certificate = \"{}\", key = \"{}\", dkim = {{ selector = \"s1\", key = \"{}\" }}",
        exim.port,
        path("cert.pem"),
        path("key.pem"),
        path("dkim.pem")
    ));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mail/starttls.py");
    let output =
        Command::new("python3").args([script, &office.mail[0].to_string(), &format!("desk@{}", office.domain())]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases = office.objects("case", "subject = 'Over TLS'");
    let case = format!("case=#{}", cases[0]["id"].as_str().unwrap());
    office.site().succeed(&["call", "casedesk.reply", &case, "text=We come  on Monday. \n.\nGrüße\n\n", "--as", "desk-lund"]);
    let mails = until("the reply is there", || Some(exim.mails()).filter(|mails| !mails.is_empty()));

    let modulus = openssl(&["rsa", "-in", &path("dkim.pem"), "-noout", "-modulus"]);
    let verify = |mail: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mail/dkim.py");
        let mut command = Command::new("python3");
        command
            .args([script, modulus.trim().trim_start_matches("Modulus=")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut verifier = command.spawn().unwrap();
        verifier.stdin.take().unwrap().write_all(mail.as_bytes()).unwrap();
        verifier.wait_with_output().unwrap()
    };
    let verified = verify(&mails[0]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{}\n{}", String::from_utf8_lossy(&verified.stderr), mails[0]);
    assert!(said.starts_with(&office.domain()) && said.contains("from:") && said.contains("subject:"), "{said}");
    let changed = mails[0].replace("Subject: Re:", "Subject: Sv:");
    assert!(!verify(&changed).status.success(), "a mail that was changed is not signed");
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What programs of strangers may send is refused or filed as what it is, and the next mail is taken.
#[test]
fn hostile_mail_disturbs_nothing() {
    let mut office = Office::open("");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mail/hostile.py");
    let output =
        Command::new("python3").args([script, &office.mail[0].to_string(), &format!("desk@{}", office.domain())]).output().unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let messages = office.objects("message", "direction = in");
    let subjects: BTreeSet<&str> = messages.iter().map(|message| message["attributes"]["subject"][0].as_str().unwrap()).collect();
    assert!(!subjects.contains("smuggled"), "{subjects:?}");
    assert!(subjects.contains("the last one"), "{subjects:?}");
    // Ten thousand parts, a field of a megabyte, two authors.
    let unreadable = office.objects("message", "has unreadable");
    assert_eq!(unreadable.len(), 3);
    let broken = unreadable.iter().find(|message| message["attributes"]["subject"][0] == "two").unwrap();
    assert_eq!(broken["attributes"]["attachment_names"][0], "unreadable.eml");
    let out = office.site().path("unreadable.eml");
    let id = format!("#{}", broken["id"].as_str().unwrap());
    office.site().succeed(&["blob", "get", &id, "attachment_contents", "--out", out.to_str().unwrap(), "--as", "desk-lund"]);
    assert!(std::fs::read_to_string(out).unwrap().contains("two authors"));
    assert!(office.stop("desk-lund"), "it ends well");
}

fn storm(office: &Office, count: usize, clients: usize) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mail/storm.py");
    let mut command = Command::new("python3");
    command.args([script, &count.to_string(), &clients.to_string(), &format!("desk@{}", office.domain())]);
    command.args(office.mail.iter().map(u16::to_string));
    command
}

fn sent(office: &Office) -> Vec<Json> {
    office.objects("message", "direction = out and delivery = sent")
}

/// A field of a mail, its beginning up to the value given.
fn field<'a>(mail: &'a str, beginning: &str) -> &'a str {
    mail.lines().find_map(|line| line.strip_prefix(beginning)).unwrap_or_else(|| panic!("no {beginning} in {mail}"))
}
