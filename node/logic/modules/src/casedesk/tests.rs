//! The case desk on real hosts over a cabinet in memory.

use std::sync::Arc;
use std::time::Duration;

use caps_logic::Host;
use caps_logic::module::{Name, Object, ObjectId, Record, Value};
use caps_logic::testing::{Identity, World, join_all, record};

use super::{CaseDesk, DESK, GATEWAY};

/// A desk with a gateway that files and an agent who answers.
struct Office {
    world: World,
    hosts: [Arc<Host>; 2],
    gateway: Identity,
    agent: Identity,
}

/// A mail, as a gateway files it.
#[derive(Clone, Copy)]
struct Mail<'a> {
    id: &'a str,
    in_reply_to: &'a [&'a str],
    references: &'a [&'a str],
    from: &'a str,
    subject: &'a str,
    automatic: bool,
}

const MAIL: Mail<'static> =
    Mail { id: "", in_reply_to: &[], references: &[], from: "ann@example.com", subject: "Printer", automatic: false };

/// What filing answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Filed {
    case: ObjectId,
    number: i64,
    created: bool,
    duplicate: bool,
}

impl Office {
    async fn open(seed: u64) -> Self {
        let world = World::new(seed, vec![Arc::new(CaseDesk::default())]);
        let hosts = [world.host("one"), world.host("other")];
        let gateway = world.member(&hosts[0], "gate", &[GATEWAY]).await;
        let agent = world.member(&hosts[0], "agent", &[DESK]).await;
        Self { world, hosts, gateway, agent }
    }

    async fn file_at(&self, host: usize, mail: Mail<'_>) -> Filed {
        let called = self.world.ask(&self.hosts[host], &self.gateway, "casedesk", "file_mail", arguments(mail)).await;
        let result = called.unwrap_or_else(|failure| panic!("{}: {failure}", mail.id)).result;
        let truth = |name: &str| result[name][0].as_bool().unwrap();
        Filed {
            case: result["case"][0].as_reference().unwrap(),
            number: result["number"][0].as_int().unwrap(),
            created: truth("created"),
            duplicate: truth("duplicate"),
        }
    }

    async fn file(&self, mail: Mail<'_>) -> Filed {
        self.file_at(0, mail).await
    }

    /// Calls a method as an agent; the start of the refusal, if it is refused.
    async fn does(&self, method: &'static str, arguments: Record) -> Result<Record, String> {
        let called = self.world.ask(&self.hosts[0], &self.agent, "casedesk", method, arguments).await;
        called.map(|called| called.result).map_err(|failure| failure.message.split(':').next().unwrap_or_default().to_owned())
    }

    fn case(&self, case: ObjectId) -> Object {
        self.world.cabinet.all("case").into_iter().find(|object| object.id == case).unwrap()
    }

    fn status(&self, case: ObjectId) -> String {
        self.case(case).text("status").unwrap().to_owned()
    }
}

fn arguments(mail: Mail<'_>) -> Record {
    let texts = |texts: &[&str]| texts.iter().map(|text| Value::text(*text)).collect::<Vec<_>>();
    record([
        ("message_id", texts(&[mail.id])),
        ("in_reply_to", texts(mail.in_reply_to)),
        ("references", texts(mail.references)),
        ("from_address", texts(&[mail.from])),
        ("from_name", texts(&["Ann"])),
        ("to", texts(&["desk@caps.example"])),
        ("subject", texts(&[mail.subject])),
        ("text", texts(&["It does not print."])),
        ("sent_at", vec![Value::Timestamp(1)]),
        ("attachment_names", texts(&["log.txt"])),
        ("attachment_types", texts(&["text/plain"])),
        ("attachment_sizes", vec![Value::Int(17)]),
        ("auto_submitted", vec![Value::Bool(mail.automatic)]),
    ])
}

fn of(case: ObjectId) -> Record {
    record([("case", vec![Value::Reference(case)])])
}

fn with(case: ObjectId, name: &'static str, value: Value) -> Record {
    let mut arguments = of(case);
    arguments.insert(Name::fixed(name), vec![value]);
    arguments
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

#[test]
fn mail_finds_its_case() {
    run(async {
        let office = Office::open(1).await;
        // Each with the number of the case that it must end in, in the order of arrival.
        let table = [
            (Mail { id: "<a1@x>", ..MAIL }, 1, "the first of a thread"),
            (Mail { id: "<a2@x>", in_reply_to: &["<a1@x>"], ..MAIL }, 1, "answers it"),
            (Mail { id: "<a3@x>", references: &["<no@x>", "<a1@x>"], ..MAIL }, 1, "refers to it"),
            (Mail { id: "<a4@x>", in_reply_to: &[" <a3@x> "], from: "bo@example.com", ..MAIL }, 1, "from somebody else, with white space"),
            (Mail { id: "<b1@x>", from: "bo@example.com", ..MAIL }, 2, "the same subject is no thread"),
            (Mail { id: "<b2@x>", references: &["<a1@x>", "<b1@x>"], ..MAIL }, 2, "the latest reference counts"),
            (Mail { id: "<b3@x>", in_reply_to: &["<b1@x>"], references: &["<b1@x>", "<a1@x>"], ..MAIL }, 2, "In-Reply-To goes first"),
            (Mail { id: "<c2@x>", in_reply_to: &["<c1@x>"], ..MAIL }, 3, "an orphan"),
            (Mail { id: "<c3@x>", references: &["<c1@x>"], ..MAIL }, 3, "its sibling, the parent still missing"),
            (Mail { id: "<c1@x>", ..MAIL }, 3, "the late parent joins its orphans"),
            (Mail { id: "<d1@x>", subject: "Re: Printer [#1]", ..MAIL }, 1, "the customer's own tag"),
            (Mail { id: "<d2@x>", subject: "Re: Printer [#1]", from: "Ann@Example.COM", ..MAIL }, 1, "however the address is written"),
            (Mail { id: "<d3@x>", subject: "Re: Printer [#1]", from: "eve@example.com", ..MAIL }, 4, "a stranger's tag opens a case"),
            (Mail { id: "<d4@x>", subject: "Re: Printer [#99]", ..MAIL }, 5, "a tag of no case"),
            (Mail { id: "<d5@x>", subject: "[#2]", in_reply_to: &["<a1@x>"], ..MAIL }, 1, "threads go before tags"),
            (Mail { id: "<e1@x>", in_reply_to: &["<e1@x>"], ..MAIL }, 6, "a mail that answers itself"),
            (Mail { id: "<f1@x>", subject: "", ..MAIL }, 7, "no subject"),
        ];
        let mut highest = 0;
        for (mail, number, what) in table {
            let filed = office.file(mail).await;
            assert_eq!((filed.number, filed.created, filed.duplicate), (number, number > highest, false), "{what}");
            highest = highest.max(number);
        }
        // One customer for each address, and every message in its case's list.
        assert_eq!(office.world.cabinet.all("customer").len(), 3);
        let listed: usize = office.world.cabinet.all("case").iter().map(|case| case.values("messages").len()).sum();
        assert_eq!(listed, table.len());
        assert_eq!(office.world.cabinet.all("case").iter().filter(|case| case.text("subject") == Some("(no subject)")).count(), 1);
    });
}

#[test]
fn the_same_mail_twice_is_answered_as_the_first_time() {
    run(async {
        let office = Office::open(2).await;
        let first = office.file(Mail { id: "<a@x>", ..MAIL }).await;
        let reply = office.file(Mail { id: "<b@x>", in_reply_to: &["<a@x>"], ..MAIL }).await;
        let before = office.world.cabinet.position();
        for (id, filed) in [("<a@x>", first), ("a@x", first), ("<b@x>", reply)] {
            assert_eq!(office.file(Mail { id, subject: "other", ..MAIL }).await, Filed { duplicate: true, ..filed });
        }
        assert_eq!(office.world.cabinet.position(), before, "nothing was committed");
    });
}

#[test]
fn two_hosts_that_file_at_once_number_without_gaps_and_file_nothing_twice() {
    for seed in 0..10 {
        run(async {
            let office = Office::open(100 + seed).await;
            // Ten mails of five customers, each filed at both hosts at once.
            let ids: Vec<String> = (0..10).map(|number| format!("<m{number}@x>")).collect();
            let senders: Vec<String> = (0..10).map(|number| format!("c{}@example.com", number % 5)).collect();
            let mail = |number: usize| Mail { id: &ids[number], from: &senders[number], ..MAIL };
            let filed = join_all((0..20).map(|turn| office.file_at(turn % 2, mail(turn / 2)))).await;
            let mut numbers: Vec<i64> = filed.iter().filter(|filed| !filed.duplicate).map(|filed| filed.number).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (1..=10).collect::<Vec<_>>(), "seed {seed}");
            assert!(filed.iter().all(|filed| filed.created));
            let mut in_cabinet: Vec<i64> = office.world.cabinet.all("case").iter().map(|case| case.int("number").unwrap()).collect();
            in_cabinet.sort_unstable();
            assert_eq!(in_cabinet, numbers, "seed {seed}");
            assert_eq!((office.world.cabinet.all("message").len(), office.world.cabinet.all("customer").len()), (10, 5), "seed {seed}");
        });
    }
}

#[test]
fn a_customers_mail_makes_it_the_desks_turn_and_a_machines_does_not() {
    run(async {
        let office = Office::open(3).await;
        let case = office.file(Mail { id: "<a@x>", ..MAIL }).await.case;
        let answer = |id, automatic| Mail { id, in_reply_to: &["<a@x>"], automatic, ..MAIL };
        office.does("reply", with(case, "text", Value::text("Try again."))).await.unwrap();
        assert_eq!(office.status(case), "pending");
        office.file(answer("<b@x>", true)).await;
        assert_eq!(office.status(case), "pending");
        office.file(answer("<c@x>", false)).await;
        assert_eq!(office.status(case), "open");
        office.does("close", with(case, "reason", Value::text("solved"))).await.unwrap();
        office.file(answer("<d@x>", true)).await;
        assert_eq!((office.status(case).as_str(), office.case(case).text("close_reason")), ("closed", Some("solved")));
        office.file(answer("<e@x>", false)).await;
        assert_eq!((office.status(case).as_str(), office.case(case).value("closed_at")), ("open", None));
    });
}

#[test]
fn status_goes_where_it_may() {
    run(async {
        let office = Office::open(4).await;
        let agent = office.does("add_agent", record([("name", vec![Value::text("Åsa")])])).await.unwrap()["agent"][0].clone();
        let case = office.file(Mail { id: "<a@x>", ..MAIL }).await.case;
        let close = || with(case, "reason", Value::text("solved"));
        let reply = || with(case, "text", Value::text("Hello."));
        let steps = [
            ("reopen", of(case), Err("not_closed[case]"), "new"),
            ("assign", with(case, "agent", agent.clone()), Ok(()), "open"),
            ("reply", reply(), Ok(()), "pending"),
            ("assign", with(case, "agent", agent.clone()), Ok(()), "pending"),
            ("close", close(), Ok(()), "closed"),
            ("close", close(), Err("closed[case]"), "closed"),
            ("reply", reply(), Err("closed[case]"), "closed"),
            ("reopen", of(case), Ok(()), "open"),
            ("reopen", of(case), Err("not_closed[case]"), "open"),
            ("assign", with(case, "agent", Value::Reference(case)), Err("reference[agent]"), "open"),
            ("close", with(case, "reason", Value::text("")), Err("size[reason]"), "open"),
            ("set_priority", with(case, "priority", Value::Int(5)), Err("range[priority]"), "open"),
            ("close", with(ObjectId(9), "reason", Value::text("x")), Err("reference[case]"), "open"),
        ];
        for (number, (method, arguments, expected, status)) in steps.into_iter().enumerate() {
            let outcome = office.does(method, arguments).await.map(drop);
            assert_eq!(outcome, expected.map_err(ToOwned::to_owned), "step {number}: {method}");
            assert_eq!(office.status(case), status, "step {number}: {method}");
        }
        let of_agent = office.world.cabinet.all("agent")[0].values("cases").to_vec();
        assert_eq!(of_agent, [Value::Reference(case)]);
    });
}

#[test]
fn due_time_follows_priority() {
    run(async {
        let office = Office::open(5).await;
        let case = office.file(Mail { id: "<a@x>", ..MAIL }).await.case;
        let hours_left = || {
            let case = office.case(case);
            let at = |name| case.value(name).and_then(Value::as_timestamp).unwrap();
            (at("due_at") - at("opened_at")) / 3_600_000_000
        };
        assert_eq!(hours_left(), 72);
        for (priority, hours) in [(1, 168), (2, 72), (3, 24), (4, 4)] {
            office.does("set_priority", with(case, "priority", Value::Int(priority))).await.unwrap();
            assert_eq!(hours_left(), hours, "priority {priority}");
        }
    });
}

#[test]
fn a_reply_is_a_message_and_an_effect_with_one_stable_name() {
    run(async {
        let office = Office::open(6).await;
        let filed = office.file(Mail { id: "<a@x>", references: &["<root@x>"], subject: "Re: Printer", ..MAIL }).await;
        let result = office.does("reply", with(filed.case, "text", Value::text("Try again."))).await.unwrap();
        let message = result["message"][0].as_reference().unwrap();
        let commit = office.world.cabinet.commits().pop().unwrap();
        let [effect] = commit.effects.as_slice() else { panic!("one effect: {:?}", commit.effects) };
        assert_eq!((effect.kind.as_str(), effect.object, effect.key.clone()), ("mail", message, format!("{message}@caps.example")));
        let says = |name: &str| effect.arguments[name].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(says("to"), ["ann@example.com"]);
        assert_eq!(says("subject"), ["Re: Printer [#1]"]);
        assert_eq!(says("in_reply_to"), ["a@x"]);
        assert_eq!(says("references"), ["root@x", "a@x"]);
        // The customer's answer to it finds the case by the reply's Message-ID.
        let id = says("message_id").remove(0);
        let back = office.file(Mail { id: "<b@x>", in_reply_to: &[&id], ..MAIL }).await;
        assert_eq!((back.case, back.created), (filed.case, false));
    });
}

#[test]
fn a_gateway_files_and_does_nothing_else() {
    run(async {
        let office = Office::open(7).await;
        let case = office.file(Mail { id: "<a@x>", ..MAIL }).await.case;
        let refused = |method, arguments| {
            let (world, host, gateway) = (&office.world, &office.hosts[0], &office.gateway);
            async move { world.ask(host, gateway, "casedesk", method, arguments).await.unwrap_err().message }
        };
        for (method, arguments) in [("close", with(case, "reason", Value::text("x"))), ("reopen", of(case))] {
            assert!(refused(method, arguments).await.starts_with("not_allowed: "), "{method}");
        }
        // What it filed is for the desk; the counter is for nobody but the module.
        let readers = |object: &Object| object.values("readers").len();
        assert!(office.world.cabinet.all("case").iter().all(|case| readers(case) == 2));
        assert!(office.world.cabinet.all("counter").iter().all(|counter| readers(counter) == 1));
    });
}

#[test]
fn mail_that_makes_no_sense_is_refused_with_a_reason() {
    run(async {
        let office = Office::open(8).await;
        let good = || arguments(Mail { id: "<a@x>", ..MAIL });
        let table = [
            ("message_id", vec![], "missing[message_id]"),
            ("message_id", vec![Value::text("<>")], "message_id[message_id]"),
            ("message_id", vec![Value::text("x".repeat(999))], "size[message_id]"),
            ("from_address", vec![Value::text("")], "size[from_address]"),
            ("attachment_sizes", vec![], "attachments[attachment_names]"),
            ("sent_at", vec![Value::text("today")], "kind[sent_at]"),
        ];
        for (name, values, reason) in table {
            let mut mail = good();
            mail.insert(Name::fixed(name), values);
            assert_eq!(office.does("file_mail", mail).await.unwrap_err(), reason, "{name}");
        }
        // Long lines are cut, at a character, and not refused.
        let mut mail = good();
        mail.insert(Name::fixed("subject"), vec![Value::text("å".repeat(400))]);
        mail.insert(Name::fixed("from_name"), vec![Value::text("ö".repeat(400))]);
        let case = office.does("file_mail", mail).await.unwrap()["case"][0].as_reference().unwrap();
        assert_eq!(office.case(case).text("subject").unwrap().len(), 500);
    });
}

#[test]
fn without_a_desk_nothing_is_filed() {
    run(async {
        let world = World::new(9, vec![Arc::new(CaseDesk::default())]);
        let host = world.host("one");
        let gateway = world.member(&host, "gate", &[GATEWAY]).await;
        let refused = world.ask(&host, &gateway, "casedesk", "file_mail", arguments(Mail { id: "<a@x>", ..MAIL })).await.unwrap_err();
        assert!(refused.message.starts_with("no_such_group: "), "{refused}");
    });
}

/// A reply's message and the effect that sends it.
async fn replied(office: &Office) -> (ObjectId, ObjectId) {
    let case = office.file(Mail { id: "<a@x>", ..MAIL }).await.case;
    let result = office.does("reply", with(case, "text", Value::text("Try again."))).await.unwrap();
    let effect = office.world.cabinet.all("effect").pop().unwrap();
    (result["message"][0].as_reference().unwrap(), effect.id)
}

/// Calls a method of `effects` as a front end; the start of the refusal, if it is refused.
async fn carries(office: &Office, who: &Identity, method: &'static str, effect: ObjectId, more: Record) -> Result<Record, String> {
    let mut arguments = record([("effect", vec![Value::Reference(effect)])]);
    arguments.extend(more);
    let called = office.world.ask(&office.hosts[1], who, "effects", method, arguments).await;
    called.map(|called| called.result).map_err(|failure| failure.message.split(':').next().unwrap_or_default().to_owned())
}

fn outcome(text: &str) -> Record {
    record([("outcome", vec![Value::text(text)])])
}

impl Office {
    fn delivery(&self, message: ObjectId) -> (String, Option<String>) {
        let message = self.world.cabinet.all("message").into_iter().find(|object| object.id == message).unwrap();
        (message.text("delivery").unwrap().to_owned(), message.text("delivery_note").map(str::to_owned))
    }

    fn now(&self) -> i64 {
        self.world.clock.now()
    }
}

#[test]
fn an_effect_is_claimed_by_one_told_to_nobody_else_and_noted_at_the_message() {
    run(async {
        let office = Office::open(10).await;
        let other = office.world.member(&office.hosts[0], "gate-2", &[GATEWAY]).await;
        let (message, effect) = replied(&office).await;
        assert_eq!(office.delivery(message), ("queued".to_owned(), None));
        assert_eq!(office.world.effect(&office.hosts[0], &office.gateway, effect).await, None, "nobody has claimed it");
        assert_eq!(carries(&office, &office.agent, "claim", effect, Record::new()).await.unwrap_err(), "not_allowed");
        assert_eq!(carries(&office, &office.gateway, "claim", effect, Record::new()).await.unwrap()["attempt"], [Value::Int(1)]);
        assert_eq!(carries(&office, &other, "claim", effect, Record::new()).await.unwrap_err(), "claimed[effect]");
        assert_eq!(office.world.effect(&office.hosts[0], &other, effect).await, None, "another one's claim");
        let told = office.world.effect(&office.hosts[0], &office.gateway, effect).await.unwrap();
        assert_eq!(told["text"], [Value::text("Try again.")]);
        assert_eq!(carries(&office, &other, "failed", effect, outcome("no")).await.unwrap_err(), "not_claimed[effect]");
        carries(&office, &office.gateway, "done", effect, outcome("250 queued as 7")).await.unwrap();
        assert_eq!(office.delivery(message), ("sent".to_owned(), Some("250 queued as 7".to_owned())));
        assert_eq!(carries(&office, &other, "claim", effect, Record::new()).await.unwrap_err(), "settled[effect]");
        // Saying it again changes nothing.
        carries(&office, &office.gateway, "done", effect, outcome("again")).await.unwrap();
        assert_eq!(office.delivery(message).1.as_deref(), Some("250 queued as 7"));
        let [kept] = office.world.cabinet.all("effect").try_into().unwrap();
        assert_eq!(kept.text("towards"), Some("example.com"));
        assert!(kept.values("by").is_empty() && kept.value("settled_at").is_some());
    });
}

#[test]
fn what_fails_is_tried_again_later_and_by_others_when_a_claim_runs_out() {
    run(async {
        let office = Office::open(11).await;
        let other = office.world.member(&office.hosts[0], "gate-2", &[GATEWAY]).await;
        let (message, effect) = replied(&office).await;
        carries(&office, &office.gateway, "claim", effect, Record::new()).await.unwrap();
        let mut failure = outcome("451 later");
        failure.extend(record([("pause", vec![Value::Timespan(2_000_000)])]));
        let next = carries(&office, &office.gateway, "failed", effect, failure).await.unwrap()["next_at"][0].as_timestamp().unwrap();
        assert!((2_000_000..=2_500_000).contains(&(next - office.now())), "2 s and up to a quarter");
        assert_eq!(office.delivery(message), ("queued".to_owned(), Some("451 later".to_owned())));
        assert_eq!(carries(&office, &other, "claim", effect, Record::new()).await.unwrap_err(), "too_early[effect]");
        office.world.clock.advance(Duration::from_secs(3));
        carries(&office, &other, "claim", effect, Record::new()).await.unwrap();
        // It says nothing more; three minutes later another one takes it up.
        office.world.clock.advance(Duration::from_secs(179));
        assert_eq!(carries(&office, &office.gateway, "claim", effect, Record::new()).await.unwrap_err(), "claimed[effect]");
        office.world.clock.advance(Duration::from_secs(2));
        assert_eq!(carries(&office, &office.gateway, "claim", effect, Record::new()).await.unwrap()["attempt"], [Value::Int(3)]);
        // The one that was silent did it after all.
        carries(&office, &other, "done", effect, outcome("250 ok")).await.unwrap();
        assert_eq!(carries(&office, &office.gateway, "failed", effect, outcome("x")).await.unwrap_err(), "not_claimed[effect]");
        assert_eq!(office.delivery(message).0, "sent");
    });
}

#[test]
fn what_is_given_up_is_dead_until_somebody_asks_for_another_try() {
    run(async {
        let office = Office::open(12).await;
        let (message, effect) = replied(&office).await;
        assert_eq!(carries(&office, &office.agent, "retry", effect, Record::new()).await.unwrap_err(), "not_dead[effect]");
        carries(&office, &office.gateway, "claim", effect, Record::new()).await.unwrap();
        let mut failure = outcome("550 no such user");
        failure.extend(record([("final", vec![Value::Bool(true)])]));
        assert!(carries(&office, &office.gateway, "failed", effect, failure).await.unwrap().is_empty());
        assert_eq!(office.delivery(message), ("failed".to_owned(), Some("550 no such user".to_owned())));
        assert_eq!(carries(&office, &office.gateway, "retry", effect, Record::new()).await.unwrap_err(), "not_allowed");
        carries(&office, &office.agent, "retry", effect, Record::new()).await.unwrap();
        assert_eq!(office.delivery(message).0, "queued");
        // After five days of failures it is given up by itself.
        office.world.clock.advance(Duration::from_secs(5 * 24 * 3_600));
        carries(&office, &office.gateway, "claim", effect, Record::new()).await.unwrap();
        carries(&office, &office.gateway, "failed", effect, outcome("connection refused")).await.unwrap();
        assert_eq!(office.delivery(message).0, "failed");
    });
}

#[test]
fn a_bounce_is_filed_with_what_came_back_and_makes_it_the_desks_turn() {
    run(async {
        let office = Office::open(13).await;
        let (message, effect) = replied(&office).await;
        let case = office.world.cabinet.all("case").pop().unwrap().id;
        carries(&office, &office.gateway, "claim", effect, Record::new()).await.unwrap();
        carries(&office, &office.gateway, "done", effect, outcome("250 ok")).await.unwrap();
        assert_eq!(office.status(case), "pending");
        let mut bounce =
            arguments(Mail { id: "<d@mx>", from: "mailer-daemon@mx.example", subject: "Undelivered", automatic: true, ..MAIL });
        bounce.extend(record([
            ("bounced_id", vec![Value::text(format!("{message}@caps.example"))]),
            ("bounce_note", vec![Value::text("5.1.1 no such user")]),
        ]));
        let filed = office.does("file_mail", bounce).await.unwrap();
        assert_eq!(filed["case"], [Value::Reference(case)]);
        assert_eq!(office.delivery(message), ("bounced".to_owned(), Some("5.1.1 no such user".to_owned())));
        assert_eq!(office.status(case), "open");
    });
}
