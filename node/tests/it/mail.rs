//! Mail by real SMTP clients into real processes, and out to a real mail server.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::office::{Office, until};

/// What clients were told is accepted is filed, once, though the leader of layer 1 is killed twice meanwhile. `CAPS_MAILS` says how many mails.
#[test]
fn accepted_mail_is_filed_once_though_leaders_die() {
    let count: usize = std::env::var("CAPS_MAILS").map_or(600, |count| count.parse().unwrap());
    let mut office = Office::open("");
    let ports = office.mail.iter().map(u16::to_string);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mail/storm.py");
    let arguments = [script.to_owned(), count.to_string(), "8".to_owned(), format!("desk@{}", office.domain())].into_iter().chain(ports);
    let mut storm = Command::new("python3").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    for share in [10, 3] {
        until("enough is filed", || (filed(&office) > count / share).then_some(()));
        let leader = office.leader();
        assert_eq!(storm.try_wait().unwrap(), None, "the storm was over before {leader} was killed: send more");
        office.kill(&leader);
        until("another one leads", || (office.leader() != leader).then_some(()));
        office.start(&leader);
    }
    let output = storm.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
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
        "{count} mails in {} s, put off {}, connections lost {}; accepted = filed, 0 lost, 0 doubled",
        told["seconds"], told["put_off"], told["lost"]
    );
}

fn filed(office: &Office) -> usize {
    let output = office.site().run(&["query", "message", "direction = in", "--count", "--json", "--as", "desk-lund", "--timeout", "5s"]);
    let counted: Option<Json> = serde_json::from_slice(&output.stdout).ok();
    counted.and_then(|counted| counted["count"].as_u64()).and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}
