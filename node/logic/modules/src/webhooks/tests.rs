//! Webhooks of a case desk, on real hosts over a cabinet in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use caps_logic::Host;
use caps_logic::module::{Name, Object, ObjectId, Record, Value};
use caps_logic::testing::{Identity, World, record};

use super::Webhooks;
use crate::CaseDesk;

struct Office {
    world: World,
    host: Arc<Host>,
    gateway: Identity,
    agent: Identity,
}

impl Office {
    async fn open(seed: u64) -> Self {
        let world = World::new(seed, vec![Arc::new(CaseDesk::default()), Arc::new(Webhooks)]);
        let host = world.host("one");
        let gateway = world.member(&host, "gate", &["gateway"]).await;
        let agent = world.member(&host, "agent", &["desk"]).await;
        world.member(&host, "other", &["personnel"]).await;
        Self { world, host, gateway, agent }
    }

    /// Calls a method of `webhooks` as an administrator; the start of the refusal, if it is refused.
    async fn administer(&self, method: &'static str, arguments: Record) -> Result<Record, String> {
        let called = self.world.ask(&self.host, &self.world.admin(), "webhooks", method, arguments).await;
        called.map(|called| called.result).map_err(|failure| failure.message.split(':').next().unwrap_or_default().to_owned())
    }

    async fn file(&self, id: &str) {
        let texts = |text: &str| vec![Value::text(text)];
        let mail = record([("message_id", texts(id)), ("from_address", texts("ann@example.com")), ("subject", texts("Pump"))]);
        self.world.ask(&self.host, &self.gateway, "casedesk", "file_mail", mail).await.unwrap();
    }

    async fn close(&self, case: &Object) {
        let arguments = record([("case", vec![Value::Reference(case.id)]), ("reason", vec![Value::text("done")])]);
        self.world.ask(&self.host, &self.agent, "casedesk", "close", arguments).await.unwrap();
    }

    fn case(&self, id: ObjectId) -> Object {
        self.world.cabinet.all("case").into_iter().find(|case| case.id == id).unwrap()
    }

    /// What was left for endpoints: towards which, under which key, and what is told.
    fn told(&self) -> Vec<(String, String, Record)> {
        let effects = self.world.cabinet.all("effect").into_iter().filter(|effect| effect.text("kind") == Some("webhook"));
        let text = |effect: &Object, name: &str| effect.text(name).unwrap().to_owned();
        let arguments = |key: &str| {
            let commits = self.world.cabinet.commits();
            let mut effects = commits.iter().flat_map(|commit| &commit.effects).filter(|effect| effect.key == key);
            let found = effects.next().unwrap().arguments.clone();
            assert!(effects.next().is_none(), "one effect of the key {key}");
            found
        };
        effects.map(|effect| (text(&effect, "towards"), text(&effect, "key"))).map(|(to, key)| (to, key.clone(), arguments(&key))).collect()
    }
}

fn webhook(name: &str, events: &[&str], group: &str) -> Record {
    record([
        ("name", vec![Value::text(name)]),
        ("endpoint", vec![Value::text("crm")]),
        ("events", events.iter().map(|event| Value::text(*event)).collect()),
        ("group", vec![Value::text(group)]),
    ])
}

fn texts(record: &Record, name: &str) -> Vec<String> {
    record.get(name).into_iter().flatten().filter_map(Value::as_text).map(str::to_owned).collect()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

#[test]
fn change_is_told_once_in_its_commit_to_those_who_asked() {
    run(async {
        let office = Office::open(1).await;
        office.file("<before@x>").await;
        assert!(office.told().is_empty(), "nobody asked");
        office.administer("add", webhook("crm", &["case.created", "case.changed"], "desk")).await.unwrap();
        office.file("<after@x>").await;
        let [(to, key, told)] = office.told().try_into().unwrap();
        let case = office.case(told["object"][0].as_reference().unwrap());
        assert_eq!((to.as_str(), texts(&told, "type")), ("crm", vec!["case.created".to_owned()]));
        assert!(key.ends_with(&format!("{}-0", case.id)), "{key}");
        office.close(&case).await;
        let (_, key, told) = office.told().into_iter().find(|(_, _, told)| texts(told, "type") == ["case.changed"]).unwrap();
        assert!(key.ends_with(&format!("{}-{}", case.id, case.version)), "{key}");
        assert_eq!(texts(&told, "changed"), ["close_reason", "closed_at", "status"]);
        assert_eq!(office.told().len(), 2);
    });
}

#[test]
fn nothing_is_told_that_the_group_may_not_read_and_nothing_after_removal() {
    run(async {
        let office = Office::open(2).await;
        office.administer("add", webhook("personnel", &["case.created"], "personnel")).await.unwrap();
        office.administer("add", webhook("crm", &["case.created"], "desk")).await.unwrap();
        office.file("<one@x>").await;
        assert_eq!(office.told().len(), 1);
        office.administer("remove", record([("name", vec![Value::text("crm")])])).await.unwrap();
        office.file("<two@x>").await;
        assert_eq!(office.told().len(), 1);
        let gone = office.administer("test", record([("name", vec![Value::text("crm")])])).await;
        assert_eq!(gone.unwrap_err(), "not_found[name]");
    });
}

#[test]
fn what_is_deleted_is_told_at_the_webhook() {
    run(async {
        let office = Office::open(3).await;
        office.administer("add", webhook("audit", &["webhook.deleted", "webhook.created"], "administrators")).await.unwrap();
        office.administer("add", webhook("crm", &["case.created"], "desk")).await.unwrap();
        office.administer("remove", record([("name", vec![Value::text("crm")])])).await.unwrap();
        let kinds = || office.told().iter().flat_map(|(_, _, told)| texts(told, "type")).collect::<BTreeSet<_>>();
        assert_eq!(kinds().into_iter().collect::<Vec<_>>(), ["webhook.created", "webhook.deleted"]);
        office.administer("test", record([("name", vec![Value::text("audit")])])).await.unwrap();
        assert!(kinds().contains("webhook.test"));
    });
}

#[test]
fn what_cannot_be_is_refused() {
    run(async {
        let office = Office::open(4).await;
        let table = [
            (webhook("a", &["csae.created"], "desk"), "no_such_entity[events]"),
            (webhook("a", &["effect.changed"], "desk"), "no_such_entity[events]"),
            (webhook("a", &["case.opened"], "desk"), "pattern[events]"),
            (webhook("a", &[], "desk"), "missing[events]"),
            (webhook("a", &["case.created"], "nobody"), "no_such_group"),
        ];
        for (arguments, expected) in table {
            assert_eq!(office.administer("add", arguments.clone()).await.unwrap_err(), expected, "{arguments:?}");
        }
        let mut elsewhere = webhook("a", &["case.created"], "desk");
        elsewhere.insert(Name::fixed("endpoint"), vec![Value::text("https://evil.example/")]);
        assert_eq!(office.administer("add", elsewhere).await.unwrap_err(), "pattern[endpoint]");
        let by_an_agent = office.world.ask(&office.host, &office.agent, "webhooks", "add", webhook("a", &["case.created"], "desk")).await;
        assert!(by_an_agent.unwrap_err().message.starts_with("not_allowed"));
        office.administer("add", webhook("a", &["case.created"], "desk")).await.unwrap();
        assert_eq!(office.administer("add", webhook("a", &["case.created"], "desk")).await.unwrap_err(), "unique[name]");
    });
}
