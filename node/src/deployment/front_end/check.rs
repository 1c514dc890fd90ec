//! From what the file says of a front end to what makes sense.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use caps_adapters::web::webhook::Target;
use caps_certs_gen::Layer;
use caps_frontend::web::REQUESTS_PER_SECOND;
use toml::Spanned;

use super::{Dkim, FrontEnd, Mail, Pair, Web, Webhook, databases, file};
use crate::deployment::Node;
use crate::deployment::check::{Complaint, address, complain};
use crate::deployment::file::Node as Written;

/// Gives each node of layer 4 what it serves. `base` is where relative files start.
pub(in super::super) fn front_ends(base: &Path, domain: &str, nodes: &mut [Node], written: &[Written]) -> Result<(), Complaint> {
    let mut taken = Taken::default();
    for (node, written) in nodes.iter_mut().zip(written) {
        let places = [
            written.web.as_ref().map(Spanned::span),
            written.mail.as_ref().map(Spanned::span),
            written.webhooks.first().map(Spanned::span),
            written.imports.first().map(Spanned::span),
            written.exports.first().map(Spanned::span),
        ];
        let place = places.into_iter().flatten().map(|span| span.start).next();
        if let Some(place) = place.filter(|_| node.layer != Layer::FrontEnd) {
            let problem = format!(
                "{} is of layer {}: web, mail, webhooks, imports and exports are for front ends, layer 4",
                node.name,
                node.layer.number()
            );
            return Err((place, problem));
        }
        let web = written.web.as_ref().map(|web| self::web(base, node, web.get_ref(), &mut taken)).transpose()?;
        let mail = written.mail.as_ref().map(|mail| self::mail(base, domain, node, mail, &mut taken)).transpose()?;
        let webhooks = webhooks(base, &written.webhooks)?;
        let (imports, exports) = (databases::imports(base, &written.imports)?, databases::exports(base, &written.exports)?);
        node.front_end = FrontEnd { web, mail, webhooks, imports, exports };
    }
    Ok(())
}

/// Who listens where: TCP, of which the overlay's addresses know nothing.
#[derive(Default)]
struct Taken(BTreeMap<SocketAddr, String>);

impl Taken {
    fn take(&mut self, node: &Node, text: &Spanned<String>) -> Result<SocketAddr, Complaint> {
        let listen = address(text)?;
        match self.0.insert(listen, node.name.clone()) {
            Some(other) => Err(complain(text, format!("{listen} is taken by {other}: give {} another port", node.name))),
            None => Ok(listen),
        }
    }
}

fn web(base: &Path, node: &Node, written: &file::Web, taken: &mut Taken) -> Result<Web, Complaint> {
    let tls = pair(base, written.certificate.as_ref(), written.key.as_ref())?;
    let requests_per_second = match &written.requests_per_second {
        None => REQUESTS_PER_SECOND,
        Some(number) if (1..=PER_SECOND_MAX).contains(number.get_ref()) => *number.get_ref(),
        Some(number) => {
            let problem = format!("{} requests in a second: one program may send 1 to {PER_SECOND_MAX}", number.get_ref());
            return Err((number.span().start, problem));
        }
    };
    Ok(Web { listen: taken.take(node, &written.listen)?, tls, behind_tls: written.behind_tls, requests_per_second })
}

/// More than a front end can answer.
const PER_SECOND_MAX: u32 = 1_000_000;

/// A certificate and its key: both or neither.
fn pair(base: &Path, certificate: Option<&Spanned<String>>, key: Option<&Spanned<String>>) -> Result<Option<Pair>, Complaint> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(Pair { certificate: base.join(certificate.get_ref()), key: base.join(key.get_ref()) })),
        (None, None) => Ok(None),
        (Some(one), None) => Err(complain(one, "a certificate needs its key: add key = \"FILE\"".to_owned())),
        (None, Some(one)) => Err(complain(one, "a key needs its certificate: add certificate = \"FILE\"".to_owned())),
    }
}

fn mail(base: &Path, domain: &str, node: &Node, written: &Spanned<file::Mail>, taken: &mut Taken) -> Result<Mail, Complaint> {
    let mail = written.get_ref();
    if mail.listen.is_none() && mail.relay.is_none() {
        return Err(complain(
            written,
            "a mail gateway takes mail (listen = \"ADDRESS:PORT\"), or sends some (relay = \"smtp://SERVER\"), or both".to_owned(),
        ));
    }
    let tls = pair(base, mail.certificate.as_ref(), mail.key.as_ref())?;
    Ok(Mail {
        listen: mail.listen.as_ref().map(|listen| taken.take(node, listen)).transpose()?,
        host: mail.host.as_ref().map_or_else(|| Ok(format!("{}.{domain}", node.name)), host)?,
        recipients: recipients(domain, mail)?,
        tls,
        relay: mail.relay.as_ref().map(relay).transpose()?,
        dkim: mail.dkim.as_ref().map(|dkim| Dkim {
            domain: dkim.domain.clone().unwrap_or_else(|| domain.to_owned()),
            selector: dkim.selector.clone(),
            key: base.join(&dkim.key),
        }),
        retry: mail.retry.as_ref().map_or(Ok(RETRY), |written| retry(written, "mail"))?,
    })
}

fn webhooks(base: &Path, written: &[Spanned<file::Webhook>]) -> Result<Vec<Webhook>, Complaint> {
    let mut known = BTreeSet::new();
    let mut webhooks = Vec::new();
    for webhook in written {
        let file::Webhook { endpoint, url, secret, authorities, retry: pause } = webhook.get_ref();
        if !is_label(endpoint.get_ref()) {
            return Err(complain(endpoint, format!("{:?} is no name for an endpoint: letters, digits and - make one", endpoint.get_ref())));
        }
        if !known.insert(endpoint.get_ref()) {
            return Err(complain(endpoint, format!("{} is there twice: webhooks say by the name where they go", endpoint.get_ref())));
        }
        // It may hold a token: it is not repeated.
        Target::parse(url.get_ref()).map_err(|error| complain(url, error.to_string()))?;
        webhooks.push(Webhook {
            endpoint: endpoint.get_ref().clone(),
            url: url.get_ref().clone(),
            secret: base.join(secret),
            authorities: authorities.as_ref().map(|file| base.join(file)),
            retry: pause.as_ref().map_or(Ok(WEBHOOK_RETRY), |written| retry(written, "a webhook"))?,
        });
    }
    if let Some(more) = written.get(WEBHOOKS_MAX) {
        return Err(complain(
            more,
            format!("a front end sends webhooks to {WEBHOOKS_MAX} endpoints at most: give the others to another one"),
        ));
    }
    Ok(webhooks)
}

fn host(text: &Spanned<String>) -> Result<String, Complaint> {
    let host = text.get_ref();
    match host.len() <= 253 && host.split('.').all(is_label) {
        true => Ok(host.clone()),
        false => Err(complain(text, format!("{host:?} is not a host name: write it as mx.example.org"))),
    }
}

/// Whether it is one part of a host name, which is also a sane name for a file.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn recipients(domain: &str, mail: &file::Mail) -> Result<Vec<String>, Complaint> {
    let Some(written) = &mail.recipients else { return Ok(vec![format!("@{domain}")]) };
    if written.get_ref().is_empty() {
        return Err(complain(
            written,
            "no recipients: name those for whom mail is taken, as \"desk@example.org\" or \"@example.org\"".to_owned(),
        ));
    }
    let one = |text: &Spanned<String>| match text.get_ref().rsplit_once('@') {
        Some((_, domain)) if !domain.is_empty() => Ok(text.get_ref().to_lowercase()),
        _ => {
            Err(complain(text, format!("{:?} is neither an address nor a domain: write desk@example.org or @example.org", text.get_ref())))
        }
    };
    written.get_ref().iter().map(one).collect()
}

fn relay(text: &Spanned<String>) -> Result<String, Complaint> {
    let relay = text.get_ref();
    match relay.strip_prefix("smtp://").or_else(|| relay.strip_prefix("smtps://")).is_some_and(|rest| !rest.is_empty()) {
        true => Ok(relay.clone()),
        // It may hold a password: it is not repeated.
        false => Err(complain(text, "a relay is written as smtp://SERVER:PORT, or smtps://USER:PASSWORD@SERVER".to_owned())),
    }
}

fn retry(text: &Spanned<String>, what: &str) -> Result<Duration, Complaint> {
    let written = text.get_ref();
    let retry =
        humantime::parse_duration(written).map_err(|_| complain(text, format!("{written:?} is not a duration: write it as 30s or 5m")))?;
    match (RETRY_MIN..=RETRY_MAX).contains(&retry) {
        true => Ok(retry),
        false => Err(complain(text, format!("{what} is tried again after 100ms to 1h, not {written}"))),
    }
}

/// The first pause of a mail that could not be sent: servers that defer unknown senders expect a minute or more (RFC 6647 section 5).
const RETRY: Duration = Duration::from_secs(60);
/// The first pause of a webhook that was not taken: a restart of the other side is over then.
const WEBHOOK_RETRY: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// Endpoints of one front end: each is a subscription, and a few connections while there is something to do.
const WEBHOOKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::deployment::Deployment;

    const GOOD: &str = r#"
domain = "pumps.example"
site = [{ name = "lund" }]
cabinet = { voters = ["store-lund"] }

[[node]]
name = "store-lund"
site = "lund"
layer = 1
listen = "127.0.0.1:4101"

[[node]]
name = "gateway-lund"
site = "lund"
layer = 4
web = { listen = "127.0.0.1:8080" }

[node.mail]
listen = "127.0.0.1:2525"
relay = "smtps://user:secret@mail.example"
retry = "5s"

[[node.webhooks]]
endpoint = "crm"
url = "https://crm.example/hooks/s3cret"
secret = "crm.secret"

[[node.imports]]
name = "staff"
from = "sqlite:staff.db"
query = "SELECT * FROM staff"
key = "id"
call = "people.add_user"
map = { login = "login", name = "full_name" }
set = { password = "changeme please" }

[[node.exports]]
name = "bi"
to = "postgres://writer:s3cret@bi.example/bi"
entity = "case"
filter = "status != closed"
"#;

    fn parse(text: &str) -> Result<Deployment, String> {
        Deployment::parse(Path::new("etc/caps.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn front_end_gets_what_the_file_says_and_sane_defaults() {
        let deployment = parse(GOOD).unwrap();
        let front_end = &deployment.node("gateway-lund").unwrap().front_end;
        assert!(front_end.serves());
        let mail = front_end.mail.clone().unwrap();
        assert_eq!((mail.host.as_str(), mail.recipients.as_slice()), ("gateway-lund.pumps.example", &["@pumps.example".to_owned()][..]));
        assert!(!deployment.node("store-lund").unwrap().front_end.serves());
        let [webhook] = front_end.webhooks.as_slice() else { panic!("one endpoint: {:?}", front_end.webhooks) };
        assert_eq!((webhook.secret.as_path(), webhook.retry), (Path::new("etc/crm.secret"), Duration::from_secs(5)));
        let ([import], [export]) = (front_end.imports.as_slice(), front_end.exports.as_slice()) else { panic!("{front_end:?}") };
        assert_eq!((import.every, import.plan.target.to_string().as_str()), (Duration::from_secs(60), "sqlite://etc/staff.db"));
        // Columns stand in the order of their parameters, and what is always the same comes last.
        let parameters: Vec<&str> = import.plan.parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((parameters, import.plan.extract.columns.join(",").as_str()), (vec!["login", "name", "password"], "login,full_name"));
        assert_eq!(
            (export.plan.table.as_str(), export.plan.filter.to_string().as_str(), export.plan.follow),
            ("case", "status != closed", true)
        );
        let with = parse(
            &GOOD.replace("retry =", "certificate = \"c.pem\"\nkey = \"/k.pem\"\ndkim = { selector = \"s1\", key = \"d.pem\" }\nretry ="),
        )
        .unwrap();
        let mail = with.node("gateway-lund").unwrap().front_end.mail.clone().unwrap();
        assert_eq!(mail.tls.unwrap().certificate, Path::new("etc/c.pem"));
        assert_eq!(mail.dkim.unwrap().domain, "pumps.example");
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let table = [
            (
                "layer = 4",
                "layer = 2\nlisten = \"127.0.0.1:4201\"",
                "etc/caps.toml:17: gateway-lund is of layer 2: web, mail, webhooks, imports and exports are for front ends",
            ),
            ("127.0.0.1:2525", "127.0.0.1:8080", "etc/caps.toml:19: 127.0.0.1:8080 is taken by gateway-lund"),
            ("8080\" }", "8080\", requests_per_second = 0 }", "etc/caps.toml:16: 0 requests in a second: one program may send 1 to"),
            ("127.0.0.1:2525", "2525", "etc/caps.toml:19: \"2525\" is not an address"),
            (
                "listen = \"127.0.0.1:2525\"\nrelay = \"smtps://user:secret@mail.example\"\n",
                "",
                "etc/caps.toml:18: a mail gateway takes mail",
            ),
            ("smtps://", "http://", "etc/caps.toml:20: a relay is written as smtp://SERVER:PORT"),
            ("retry = \"5s\"", "retry = \"0s\"", "etc/caps.toml:21: mail is tried again after 100ms to 1h, not 0s"),
            ("retry = \"5s\"", "retry = \"soon\"", "etc/caps.toml:21: \"soon\" is not a duration"),
            ("retry =", "recipients = []\nretry =", "etc/caps.toml:21: no recipients"),
            ("retry =", "recipients = [\"desk\"]\nretry =", "etc/caps.toml:21: \"desk\" is neither an address nor a domain"),
            ("retry =", "host = \"a b\"\nretry =", "etc/caps.toml:21: \"a b\" is not a host name"),
            ("retry =", "key = \"k.pem\"\nretry =", "etc/caps.toml:21: a key needs its certificate"),
            ("8080\" }", "8080\", key = \"k.pem\" }", "etc/caps.toml:16: a key needs its certificate"),
            ("retry =", "port = 25\nretry =", "etc/caps.toml:21: unknown field `port`"),
            ("endpoint = \"crm\"", "endpoint = \"c r m\"", "etc/caps.toml:24: \"c r m\" is no name for an endpoint"),
            ("https://crm", "http://crm", "etc/caps.toml:25: an endpoint on another machine begins with https://"),
            ("https://crm", "https://u:p@crm", "etc/caps.toml:25: an endpoint's address holds no user"),
            ("https://crm", "crm", "etc/caps.toml:25: an endpoint is written as https://HOST/PATH"),
            ("secret = \"crm.secret\"\n", "", "etc/caps.toml:23: missing field `secret`"),
            ("crm.secret\"\n", "crm.secret\"\nretry = \"2h\"\n", "etc/caps.toml:27: a webhook is tried again after 100ms to 1h, not 2h"),
            (
                "[[node.webhooks]]\n",
                "[[node.webhooks]]\nendpoint = \"crm\"\nurl = \"https://a.example\"\nsecret = \"a\"\n[[node.webhooks]]\n",
                "etc/caps.toml:28: crm is there twice",
            ),
            ("name = \"staff\"", "name = \"../staff\"", "etc/caps.toml:29: \"../staff\" is no name for this"),
            ("sqlite:staff.db", "oracle:staff", "etc/caps.toml:30: a database is postgres://USER:PASSWORD@HOST:PORT/NAME"),
            ("people.add_user", "add_user", "etc/caps.toml:33: \"add_user\" names no method: write MODULE.METHOD"),
            ("people.add_user", "people.add user", "etc/caps.toml:33: "),
            ("map = { login = \"login\", name = \"full_name\" }", "map = {}", "etc/caps.toml:34: no column becomes an argument"),
            ("\"changeme please\"", "\"#nobody\"", "etc/caps.toml:35: "),
            ("set = {", "every = \"1ms\"\nset = {", "etc/caps.toml:35: rows are looked for every 1s at most"),
            ("\"status != closed\"", "\"status !\"", "etc/caps.toml:41: "),
            ("entity = \"case\"", "entity = \"a case\"", "etc/caps.toml:40: "),
            (
                "[[node.exports]]\n",
                "[[node.exports]]\nname = \"bi\"\nto = \"sqlite:a\"\nentity = \"case\"\n[[node.exports]]\n",
                "etc/caps.toml:42: bi is there twice",
            ),
        ];
        for (from, to, expected) in table {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(expected), "{to}: {error}");
            assert!(!error.contains("user:secret") && !error.contains("s3cret"), "{error}");
        }
    }
}
