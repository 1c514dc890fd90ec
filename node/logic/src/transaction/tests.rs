//! Transactions over prepared material: constraints, rights, relations, hooks. Nothing here waits.

use caps_model::messages::Objects;
use caps_model::schema::{Arity, Attribute, Constraint, End, Entity, Extension, Method, Relation, Schema};
use caps_model::{Choice, Entry, Filter, ValueKind};

use super::*;
use crate::module::{AttributeEvent, Module, ObjectEvent};
use crate::privileges::{READERS, WRITERS, module_group};
use crate::testing::record;

/// A module of books on shelves, whose methods are closures of the test.
struct Library;

impl Module for Library {
    fn schema(&self) -> Schema {
        let transitions = [("new", "lent"), ("lent", "back")].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
        let book = vec![
            Attribute::one("isbn", ValueKind::Text, "")
                .with(Constraint::Unique)
                .with(Constraint::Unchangeable)
                .with(Constraint::Size { min: 1, max: 5 }),
            Attribute::optional("pages", ValueKind::Int, "").with(Constraint::Range { from: Value::Int(1), to: Value::Int(9) }),
            Attribute::optional("colour", ValueKind::Text, "").with(Constraint::Selection(vec![Value::text("red"), Value::text("blue")])),
            Attribute::optional("state", ValueKind::Text, "").with(Constraint::Transitions(transitions)),
            Attribute::list("tags", ValueKind::Text, 2, ""),
            Attribute::optional("double", ValueKind::Int, "").computed(),
            Attribute::optional("shelf", ValueKind::Reference, "").with(Constraint::RefersTo(Name::fixed("shelf"))),
            Attribute::optional("twin", ValueKind::Reference, "").with(Constraint::RefersTo(Name::fixed("book"))),
            Attribute::list("plates", ValueKind::Reference, 3, "").with(Constraint::RefersTo(Name::fixed("plate"))),
            Attribute { arity: Arity::OPTIONAL, ..Attribute::choice("demand", &["low", "normal", "urgent"], "") },
            Attribute::optional("price", ValueKind::Decimal, "").with(Constraint::Resolution(decimal("0.25"))),
            Attribute::optional("code", ValueKind::Text, "").with(Constraint::Pattern("[A-Z]{2}-[0-9]+".to_owned())),
            Attribute::list("keys", ValueKind::Int, 3, "")
                .with(Constraint::Distinct)
                .with(Constraint::Range { from: Value::Int(1), to: Value::Int(9) }.as_hint())
                .with(Constraint::Range { from: Value::Int(0), to: Value::Int(99) }.on_input()),
            Attribute::optional("seen", ValueKind::Int, "").with(Constraint::ReadOnly),
            Attribute::list("titles", ValueKind::Text, 0, "").map(2).with(Constraint::Size { min: 1, max: 9 }),
        ];
        let atlas = vec![Attribute::optional("scale", ValueKind::Int, "")];
        let plate = vec![Attribute::one("book", ValueKind::Reference, "").with(Constraint::RefersTo(Name::fixed("book")))];
        let shelf = vec![
            Attribute::list("books", ValueKind::Reference, 3, "").with(Constraint::RefersTo(Name::fixed("book"))),
            Attribute::optional("best", ValueKind::Reference, "").with(Constraint::RefersTo(Name::fixed("book"))),
        ];
        let end = |entity, attribute| End::weak(entity, attribute);
        let entity = |name, attributes| Entity { name: Name::fixed(name), summary: String::new(), parent: None, attributes };
        let method = Method {
            name: Name::fixed("nothing"),
            summary: String::new(),
            parameters: vec![Attribute::optional("book", ValueKind::Reference, "").with(Constraint::RefersTo(Name::fixed("book")))],
            results: Vec::new(),
            callers: vec!["readers".to_owned()],
        };
        Schema {
            module: Name::fixed("library"),
            version: 3,
            summary: String::new(),
            entities: vec![
                entity("book", book),
                entity("shelf", shelf),
                entity("plate", plate),
                Entity { parent: Some(Name::fixed("book")), ..entity("atlas", atlas) },
            ],
            extensions: Vec::new(),
            relations: vec![
                Relation { name: Name::fixed("standing"), from: end("book", "shelf"), to: end("shelf", "books") },
                Relation { name: Name::fixed("twins"), from: end("book", "twin"), to: end("book", "twin") },
                Relation { name: Name::fixed("plates"), from: End::strong("plate", "book"), to: end("book", "plates") },
            ],
            methods: vec![method],
        }
    }

    fn call(&self, _: &str, _: &Record, _: &mut Transaction<'_>) -> Result<Record, Halt> {
        Ok(Record::new())
    }

    fn attribute_hook(&self, event: &AttributeEvent, _: &mut Transaction<'_>) -> Result<(), Halt> {
        match event.after.text("colour") {
            Some("blue") if event.attribute == "pages" => {
                Err(Refusal::new("blue", "blue books keep their pages").at(&event.attribute).into())
            }
            _ => Ok(()),
        }
    }

    fn object_hook(&self, event: &ObjectEvent, tx: &mut Transaction<'_>) -> Result<(), Halt> {
        // A red book is tagged, whoever makes it.
        if event.after.text("colour") == Some("red") && event.after.values("tags").is_empty() && !event.after.deleted {
            tx.set(event.after.id, "tags", vec![Value::text("by hook")])?;
        }
        Ok(())
    }

    fn result_check(&self, event: &ObjectEvent, _: &mut Transaction<'_>) -> Result<(), Halt> {
        match event.after.int("pages") {
            Some(8) => Err(Refusal::new("eight", "no book has eight pages").into()),
            _ => Ok(()),
        }
    }

    fn computed(&self, object: &Object, _: &str, _: &mut Transaction<'_>) -> Result<Vec<Value>, Halt> {
        Ok(object.int("pages").map(|pages| Value::Int(2 * pages)).into_iter().collect())
    }
}

/// A module that lends the books of the library.
struct Loans;

impl Module for Loans {
    fn schema(&self) -> Schema {
        let borrower = Attribute::optional("borrower", ValueKind::Text, "");
        Schema {
            module: Name::fixed("loans"),
            version: 1,
            summary: String::new(),
            entities: Vec::new(),
            extensions: vec![Extension { entity: Name::fixed("book"), attributes: vec![borrower] }],
            relations: Vec::new(),
            methods: Vec::new(),
        }
    }

    fn call(&self, _: &str, _: &Record, _: &mut Transaction<'_>) -> Result<Record, Halt> {
        Ok(Record::new())
    }
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

fn entry(key: &str, text: &str) -> Value {
    Value::Entry(Box::new(Entry::new(key, Value::text(text)).unwrap()))
}

fn demand(rank: i32, word: &'static str) -> Value {
    Value::Choice(Choice { rank, word: Name::fixed(word) })
}

const OURS: ObjectId = ObjectId(50);
const THEIRS: ObjectId = ObjectId(51);
const BOOK: ObjectId = ObjectId(100);
const OTHER: ObjectId = ObjectId(101);
const HIDDEN: ObjectId = ObjectId(102);
const LOCKED: ObjectId = ObjectId(103);
const SHELF: ObjectId = ObjectId(200);
const PLATE: ObjectId = ObjectId(201);
const ATLAS: ObjectId = ObjectId(202);
const PLATED: ObjectId = ObjectId(203);
const OF_MODULE: ObjectId = ObjectId(300);

/// A cabinet of a few objects at position 9, and what a transaction of a member of `OURS` makes of it.
struct Bench {
    catalogue: Catalogue,
    principal: Principal,
    objects: Vec<Object>,
}

impl Bench {
    fn new() -> Self {
        let catalogue = Catalogue::new(vec![Arc::new(crate::people::People), Arc::new(Library), Arc::new(Loans)]).unwrap();
        let own = module_group(&Name::fixed("library"));
        let objects = vec![
            object(OURS, "group", ADMINISTRATORS, ADMINISTRATORS, record([("name", vec![Value::text("readers")])])),
            object(BOOK, "book", OURS, OURS, record([("isbn", text("b")), ("state", text("new")), ("pages", vec![Value::Int(3)])])),
            object(OTHER, "book", OURS, OURS, record([("isbn", text("o")), ("shelf", vec![Value::Reference(SHELF)])])),
            object(HIDDEN, "book", THEIRS, THEIRS, record([("isbn", text("h"))])),
            object(LOCKED, "book", OURS, THEIRS, record([("isbn", text("l"))])),
            object(SHELF, "shelf", OURS, OURS, record([("books", vec![Value::Reference(OTHER)])])),
            object(PLATED, "book", OURS, OURS, record([("isbn", text("p")), ("plates", vec![Value::Reference(PLATE)])])),
            object(PLATE, "plate", OURS, OURS, record([("book", vec![Value::Reference(PLATED)])])),
            Object {
                ancestors: vec![Name::fixed("book")],
                ..object(ATLAS, "atlas", OURS, OURS, record([("isbn", text("a")), ("scale", vec![Value::Int(1)])]))
            },
            object(OF_MODULE, "book", own, own, record([("isbn", text("m"))])),
        ];
        Self { catalogue, principal: Principal::node("n").with_group(OURS, "readers"), objects }
    }

    /// Runs `act` as code of the module until it wishes for nothing more.
    fn run<T>(&self, mut act: impl FnMut(&mut Transaction<'_>) -> Result<T, Halt>) -> Result<(T, Decided), Halt> {
        let mut material = Material::default();
        let mut births = Births::new(1_000_000, Rng::seeded(1));
        for _ in 0..10 {
            let mut tx = Transaction::new(&self.catalogue, &self.principal, &material, &mut births, 5);
            tx.enter(self.catalogue.number("library"));
            let outcome = act(&mut tx).and_then(|value| tx.conclude().map(|()| value));
            let wishes = tx.take_wishes();
            if wishes.is_empty() {
                let outcome = tx.halted().map_or(outcome, Err);
                return outcome.and_then(|value| Ok((value, tx.decided()?)));
            }
            material.absorb(self.fetch(wishes));
        }
        panic!("it never has enough");
    }

    fn fetch(&self, wishes: Wishes) -> Fetched {
        let at = Position(9);
        let find = |id: ObjectId| self.objects.iter().find(|object| object.id == id).cloned();
        let answer = |query: Query| {
            let mut objects: Vec<_> = self.objects.iter().filter(|object| query.matches(object)).cloned().collect();
            let more = query.arrange(&mut objects);
            (query, Objects { position: at, objects, more })
        };
        let objects = wishes.objects.into_iter().map(|id| (id, find(id), at)).collect();
        Fetched { objects, answers: wishes.queries.into_iter().map(answer).collect() }
    }

    fn changes(&self, act: impl FnMut(&mut Transaction<'_>) -> Result<(), Halt>) -> Vec<Change> {
        self.run(act).map(|((), decided)| decided.changes).unwrap()
    }

    fn refusal(&self, act: impl FnMut(&mut Transaction<'_>) -> Result<(), Halt>) -> (&'static str, Option<String>) {
        match self.run(act) {
            Err(Halt::Refused(refusal)) => (refusal.code, refusal.attribute.map(|name| name.to_string())),
            other => panic!("expected a refusal, got {:?}", other.map(|((), decided)| decided)),
        }
    }
}

fn object(id: ObjectId, entity: &'static str, readers: ObjectId, writers: ObjectId, mut attributes: Record) -> Object {
    attributes.insert(Name::fixed(READERS), vec![Value::Reference(readers)]);
    attributes.insert(Name::fixed(WRITERS), vec![Value::Reference(writers)]);
    Object { version: Position(2), ..Object::new(id, Name::fixed(entity), Position(1), attributes) }
}

fn text(text: &str) -> Vec<Value> {
    vec![Value::text(text)]
}

fn book(isbn: &str) -> Record {
    record([("isbn", text(isbn)), (READERS, vec![Value::Reference(OURS)]), (WRITERS, vec![Value::Reference(OURS)])])
}

fn isbn(isbn: &str) -> Query {
    Query::equal(Name::fixed("book"), Name::fixed("isbn"), Value::text(isbn))
}

fn attribute_of<'a>(changes: &'a [Change], id: ObjectId, attribute: &str) -> Option<&'a [Value]> {
    changes.iter().find(|change| change.object() == id).and_then(|change| match change {
        Change::Create { attributes, .. } | Change::Update { attributes, .. } => attributes.get(attribute).map(Vec::as_slice),
        Change::Delete { .. } => None,
    })
}

#[test]
fn values_that_break_a_constraint_are_refused_with_code_and_attribute() {
    let bench = Bench::new();
    let table: [(ObjectId, &str, Vec<Value>, &str); 25] = [
        (BOOK, "isbn", text("x"), refusals::UNCHANGEABLE),
        (BOOK, "isbn", vec![], refusals::MISSING),
        (BOOK, "isbn", text("too long"), refusals::SIZE),
        (BOOK, "pages", vec![Value::Int(0)], refusals::RANGE),
        (BOOK, "pages", vec![Value::Int(10)], refusals::RANGE),
        (BOOK, "pages", text("many"), refusals::KIND),
        (BOOK, "pages", vec![Value::Int(1), Value::Int(2)], refusals::TOO_MANY),
        (BOOK, "colour", text("green"), refusals::SELECTION),
        (BOOK, "state", text("back"), refusals::TRANSITION),
        (BOOK, "tags", vec![Value::text("a"), Value::text("b"), Value::text("c")], refusals::TOO_MANY),
        (BOOK, "shelf", vec![Value::Reference(OTHER)], refusals::REFERENCE),
        (BOOK, "shelf", vec![Value::Reference(ObjectId(999))], refusals::REFERENCE),
        (BOOK, "twin", vec![Value::Reference(HIDDEN)], refusals::REFERENCE),
        (BOOK, "price", vec![decimal("1.30")], refusals::RESOLUTION),
        (BOOK, "price", vec![Value::Int(1)], refusals::KIND),
        (BOOK, "code", text("AB-"), refusals::PATTERN),
        (BOOK, "code", text("xAB-1"), refusals::PATTERN),
        (BOOK, "keys", vec![Value::Int(5), Value::Int(5)], refusals::DISTINCT),
        (BOOK, "keys", vec![Value::Int(100)], refusals::RANGE),
        (BOOK, "seen", vec![Value::Int(1)], refusals::READ_ONLY),
        (BOOK, "demand", vec![demand(150, "rather")], refusals::SELECTION),
        (BOOK, "titles", vec![entry("en", "x"), entry("en", "y")], refusals::DISTINCT),
        (BOOK, "titles", vec![entry("en", "")], refusals::SIZE),
        (BOOK, "titles", text("no map"), refusals::KIND),
        (ATLAS, "isbn", text("x"), refusals::UNCHANGEABLE),
    ];
    for (id, attribute, values, code) in table {
        let refused = bench.refusal(|tx| tx.set(id, attribute, values.clone()));
        assert_eq!(refused, (code, Some(attribute.to_owned())), "{attribute} = {values:?}");
    }
}

#[test]
fn values_that_obey_are_accepted_and_only_what_changed_is_committed() {
    let bench = Bench::new();
    let table: [(&str, Vec<Value>, bool); 11] = [
        ("pages", vec![Value::Int(9)], true),
        ("pages", vec![Value::Int(3)], false),
        ("pages", vec![], true),
        ("state", text("lent"), true),
        ("state", text("new"), false),
        ("colour", text("blue"), true),
        ("price", vec![decimal("1.50")], true),
        ("code", text("AB-12"), true),
        // Beyond what is hinted at, within what is checked.
        ("keys", vec![Value::Int(10), Value::Int(0)], true),
        ("demand", vec![demand(300, "urgent")], true),
        ("titles", vec![entry("en", "Pump"), entry("sv", "Pumpen")], true),
    ];
    for (attribute, values, changes) in table {
        let made = bench.changes(|tx| tx.set(BOOK, attribute, values.clone()));
        assert_eq!(attribute_of(&made, BOOK, attribute), changes.then_some(values.as_slice()), "{attribute} = {values:?}");
    }
}

#[test]
fn unique_sees_everybody_and_says_nothing_about_them() {
    let bench = Bench::new();
    // Held by one who may be seen, by one who may not, and twice by this same transaction.
    assert_eq!(bench.refusal(|tx| tx.create("book", book("o")).map(drop)), (refusals::UNIQUE, Some("isbn".to_owned())));
    assert_eq!(bench.refusal(|tx| tx.create("book", book("h")).map(drop)), (refusals::UNIQUE, Some("isbn".to_owned())));
    let twice = bench.refusal(|tx| {
        tx.create("book", book("n"))?;
        tx.create("book", book("n")).map(drop)
    });
    assert_eq!(twice.0, refusals::UNIQUE);
    let (_, decided) = bench.run(|tx| tx.create("book", book("n"))).unwrap();
    let nobody = Read::Query { query: isbn("n").limit(2), at: Position(9) };
    assert!(decided.reads.contains(&nobody), "two hosts must not both win: {:?}", decided.reads);
}

#[test]
fn what_inherits_has_all_that_it_inherits_and_is_found_with_the_rest() {
    let bench = Bench::new();
    let made = bench.changes(|tx| tx.update(ATLAS, record([("pages", vec![Value::Int(4)]), ("scale", vec![Value::Int(2)])])));
    // The hook of the library computes what it computes for any book.
    assert_eq!(attribute_of(&made, ATLAS, "double"), Some(&[Value::Int(8)][..]));
    assert!(bench.run(|tx| tx.one(&isbn("a"))).unwrap().0.is_some_and(|found| found.id == ATLAS));
    assert_eq!(
        bench.refusal(|tx| tx.create("book", book("a")).map(drop)),
        (refusals::UNIQUE, Some("isbn".to_owned())),
        "unique in all books"
    );
    let created = bench.changes(|tx| tx.create("atlas", book("z")).map(drop));
    assert!(matches!(&created[..], [Change::Create { ancestors, .. }] if *ancestors == [Name::fixed("book")]));
    let on_shelf = bench.changes(|tx| tx.set(SHELF, "best", vec![Value::Reference(ATLAS)]));
    assert_eq!(attribute_of(&on_shelf, SHELF, "best"), Some(&[Value::Reference(ATLAS)][..]));
}

#[test]
fn an_extension_is_written_by_the_module_that_adds_it() {
    let bench = Bench::new();
    let as_loans = |tx: &mut Transaction<'_>, attribute: &str, values: Vec<Value>| {
        let library = tx.enter(bench.catalogue.number("loans"));
        let outcome = tx.set(BOOK, attribute, values);
        tx.enter(library);
        outcome
    };
    let made = bench.changes(|tx| as_loans(tx, "borrower", text("Anna")));
    assert_eq!(attribute_of(&made, BOOK, "borrower"), Some(&text("Anna")[..]));
    assert!(matches!(bench.run(|tx| as_loans(tx, "pages", vec![Value::Int(2)])), Err(Halt::Fault(_))));
    assert!(bench.catalogue.entity("atlas").unwrap().attribute("borrower").is_some(), "what inherits has it too");
}

#[test]
fn a_strong_end_keeps_what_it_refers_to() {
    let bench = Bench::new();
    assert_eq!(bench.refusal(|tx| tx.delete(PLATED)), (refusals::REFERRED_TO, Some("plates".to_owned())));
    let both = bench.changes(|tx| {
        tx.delete(PLATE)?;
        tx.delete(PLATED)
    });
    assert_eq!(both.iter().filter(|change| matches!(change, Change::Delete { .. })).count(), 2);
    let plate_only = bench.changes(|tx| tx.delete(PLATE));
    assert_eq!(attribute_of(&plate_only, PLATED, "plates"), Some(&[][..]), "the weak end drops out");
}

#[test]
fn only_the_module_itself_writes_what_is_read_only() {
    let bench = Bench::new();
    let made = bench.changes(|tx| {
        tx.as_module("the test", |tx| {
            let own = record([("isbn", text("r")), ("seen", vec![Value::Int(1)])]);
            tx.create("book", own).map(drop)
        })
    });
    assert!(matches!(&made[..], [Change::Create { attributes, .. }] if attributes.contains_key("seen")));
}

#[test]
fn queries_of_front_ends_are_brought_to_the_kinds_of_attributes() {
    let bench = Bench::new();
    let rights = Filter::equal(Name::fixed(READERS), Value::Reference(OURS));
    let bind = |filter: &str| bench.catalogue.bind(Query::all(Name::fixed("book")).and(filter.parse().unwrap()), &rights, 1_000_000);
    let bound = |filter: &str| bind(filter).unwrap().filter.to_string();
    let readers = format!("readers = #{OURS}");
    assert_eq!(bound("price < 2.5"), format!("price < 2.5 and {readers}"));
    let Filter::And(all) = bind("price < 2.5 and demand >= normal").unwrap().filter else { panic!() };
    assert!(all[0].matches(&object(BOOK, "book", OURS, OURS, record([("price", vec![decimal("2.25")])]))));
    assert!(all[1].matches(&object(BOOK, "book", OURS, OURS, record([("demand", vec![demand(300, "urgent")])]))));
    // What a reference leads to counts only if the asker may see it.
    assert_eq!(bound("shelf.best.pages > 2"), format!("shelf.(best.(pages > 2 and {readers}) and {readers}) and {readers}"));
    for (filter, problem) in [
        ("no_such = 1", "book has no attribute no_such"),
        ("demand = huge", "demand has no choice huge: there are low, normal, urgent"),
        ("isbn = 5", "isbn is of kind text, 5 of kind int: put it in quotes"),
        ("pages like 'x'", "pages is of kind int, and only texts are compared like that"),
        ("titles = 'x'", "titles is a map: say which key, as in titles['key']"),
        ("isbn['x'] = 'y'", "isbn is no map: it has no keys"),
        ("pages.x = 1", "book.pages refers to no other object"),
    ] {
        assert_eq!(bind(filter).unwrap_err(), problem, "{filter}");
    }
    assert!(bench.run(|tx| tx.query(&Query::all(Name::fixed("book")).and("shelf.best.pages = 1".parse().unwrap()))).is_err());
}

#[test]
fn what_may_not_be_read_is_as_if_it_did_not_exist() {
    let bench = Bench::new();
    let missing = ObjectId(999);
    for id in [HIDDEN, missing, OF_MODULE] {
        assert_eq!(bench.run(|tx| tx.get(id)).unwrap().0, None);
        assert_eq!(bench.refusal(|tx| tx.require(id, "book").map(drop)), (refusals::NOT_FOUND, Some("book".to_owned())));
        assert_eq!(bench.refusal(|tx| tx.set(id, "pages", vec![])).0, refusals::NOT_FOUND);
        assert_eq!(bench.refusal(|tx| tx.delete(id)).0, refusals::NOT_FOUND);
        let argument = record([("book", vec![Value::Reference(id)])]);
        let refused = bench.refusal(|tx| bench.catalogue.call("library", "nothing", &argument, tx).map(drop));
        assert_eq!(refused, (refusals::REFERENCE, Some("book".to_owned())));
    }
    assert!(bench.run(|tx| tx.query(&isbn("h"))).unwrap().0.is_empty());
    // Messages must not tell either.
    let message = |id| match bench.run(|tx| tx.set(BOOK, "twin", vec![Value::Reference(id)])) {
        Err(Halt::Refused(refusal)) => refusal.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message(HIDDEN), message(missing));
}

#[test]
fn reading_gives_no_right_to_write() {
    let bench = Bench::new();
    assert!(bench.run(|tx| tx.get(LOCKED)).unwrap().0.is_some());
    assert_eq!(bench.refusal(|tx| tx.set(LOCKED, "pages", vec![Value::Int(1)])).0, refusals::NOT_ALLOWED);
    assert_eq!(bench.refusal(|tx| tx.delete(LOCKED)).0, refusals::NOT_ALLOWED);
}

#[test]
fn as_module_is_another_principal_and_no_superuser() {
    let bench = Bench::new();
    let seen = |id| bench.run(move |tx| tx.as_module("test", |tx| tx.get(id))).unwrap().0.is_some();
    assert_eq!([OF_MODULE, BOOK, HIDDEN].map(seen), [true, false, false]);
    let made = bench.changes(|tx| tx.as_module("test", |tx| tx.set(OF_MODULE, "pages", vec![Value::Int(4)])));
    assert_eq!(attribute_of(&made, OF_MODULE, "pages"), Some(&[Value::Int(4)][..]));
    // The authority ends with the closure, also after an error.
    let after = bench.run(|tx| {
        assert!(tx.as_module("test", |_| Err::<(), _>(Halt::Refused(Refusal::new("no", "no")))).is_err());
        tx.get(OF_MODULE)
    });
    assert_eq!(after.unwrap().0, None);
}

#[test]
fn a_method_is_for_its_callers() {
    let mut bench = Bench::new();
    assert!(bench.run(|tx| bench.catalogue.call("library", "nothing", &Record::new(), tx)).is_ok());
    bench.principal = Principal::node("n").with_group(THEIRS, "others");
    assert_eq!(bench.refusal(|tx| bench.catalogue.call("library", "nothing", &Record::new(), tx).map(drop)).0, refusals::NOT_ALLOWED);
}

#[test]
fn a_transaction_reads_its_own_writes() {
    let bench = Bench::new();
    let (found, _) = bench
        .run(|tx| {
            let new = tx.create("book", book("n"))?;
            tx.set(BOOK, "pages", vec![Value::Int(7)])?;
            tx.delete(OTHER)?;
            let seven = Query::equal(Name::fixed("book"), Name::fixed("pages"), Value::Int(7));
            let three = Query::equal(Name::fixed("book"), Name::fixed("pages"), Value::Int(3));
            let all = Query { filter: Filter::All, ..isbn("") };
            let ids = |found: Vec<Arc<Object>>| found.iter().map(|object| object.id).collect::<Vec<_>>();
            let gone = tx.get(OTHER)?;
            let first = tx.one(&all)?.map(|object| object.id);
            Ok((ids(tx.query(&seven)?), ids(tx.query(&three)?), ids(tx.query(&all)?) == [BOOK, LOCKED, ATLAS, PLATED, new], gone, first))
        })
        .unwrap();
    assert_eq!(found, (vec![BOOK], vec![], true, None, Some(BOOK)));
}

#[test]
fn objects_keep_their_ids_when_the_code_runs_again() {
    let bench = Bench::new();
    let mut ids = BTreeSet::new();
    bench
        .run(|tx| {
            let id = tx.create("book", book("n"))?;
            ids.insert(id);
            // Wishes for something that names the new object, and must find it granted the next time.
            tx.query(&Query::equal(Name::fixed("shelf"), Name::fixed("books"), Value::Reference(id))).map(drop)
        })
        .unwrap();
    assert_eq!(ids.len(), 1);
}

#[test]
fn relations_keep_both_ends_true() {
    let bench = Bench::new();
    let at = |id| vec![Value::Reference(id)];
    // One end written: the other follows.
    let made = bench.changes(|tx| tx.set(BOOK, "shelf", at(SHELF)));
    assert_eq!(attribute_of(&made, SHELF, "books"), Some(&[Value::Reference(OTHER), Value::Reference(BOOK)][..]));
    // Written from the list's side, taking one out and putting one in.
    let made = bench.changes(|tx| tx.set(SHELF, "books", at(BOOK)));
    assert_eq!(attribute_of(&made, BOOK, "shelf"), Some(&at(SHELF)[..]));
    assert_eq!(attribute_of(&made, OTHER, "shelf"), Some(&[][..]));
    // Moved to a new shelf: the old one forgets it.
    let (new, decided) = bench
        .run(|tx| {
            let rights = [READERS, WRITERS].map(|name| (name, vec![Value::Reference(OURS)]));
            let new = tx.create("shelf", record(rights))?;
            tx.set(OTHER, "shelf", at(new))?;
            Ok(new)
        })
        .unwrap();
    assert_eq!(attribute_of(&decided.changes, SHELF, "books"), Some(&[][..]));
    assert_eq!(attribute_of(&decided.changes, new, "books"), Some(&at(OTHER)[..]));
    // Deleted: nobody refers to it any more.
    let made = bench.changes(|tx| tx.delete(OTHER));
    assert_eq!(attribute_of(&made, SHELF, "books"), Some(&[][..]));
    // An entity related to itself.
    let made = bench.changes(|tx| tx.set(BOOK, "twin", at(OTHER)));
    assert_eq!(attribute_of(&made, OTHER, "twin"), Some(&at(BOOK)[..]));
}

#[test]
fn hooks_refuse_and_add_and_computed_attributes_follow() {
    let bench = Bench::new();
    let made = bench.changes(|tx| tx.set(BOOK, "pages", vec![Value::Int(4)]));
    assert_eq!(attribute_of(&made, BOOK, "double"), Some(&[Value::Int(8)][..]));
    let made = bench.changes(|tx| tx.set(BOOK, "colour", text("red")));
    assert_eq!(attribute_of(&made, BOOK, "tags"), Some(&text("by hook")[..]));
    let blue = bench.refusal(|tx| {
        tx.set(BOOK, "colour", text("blue"))?;
        tx.set(BOOK, "pages", vec![Value::Int(4)])
    });
    assert_eq!(blue, ("blue", Some("pages".to_owned())));
    assert_eq!(bench.refusal(|tx| tx.set(BOOK, "pages", vec![Value::Int(8)])).0, "eight");
}

#[test]
fn code_that_swallows_an_error_commits_nothing() {
    let bench = Bench::new();
    let swallowed = bench.refusal(|tx| {
        drop(tx.set(LOCKED, "pages", vec![]));
        tx.set(BOOK, "pages", vec![Value::Int(4)])
    });
    assert_eq!(swallowed.0, refusals::NOT_ALLOWED);
}

#[test]
fn modules_that_break_the_rules_are_at_fault() {
    let bench = Bench::new();
    type Code = fn(&mut Transaction<'_>) -> Result<(), Halt>;
    let faults: [Code; 5] = [
        |tx| tx.set(BOOK, "double", vec![Value::Int(1)]),
        |tx| tx.set(BOOK, "no_such", vec![]),
        |tx| tx.create("group", Record::new()).map(drop),
        |tx| tx.create("no_such", Record::new()).map(drop),
        |tx| tx.create("book", record([("no_such", vec![])])).map(drop),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        assert!(matches!(bench.run(fault), Err(Halt::Fault(_))), "fault {number}");
    }
}

#[test]
fn commits_carry_everything_read_and_the_rights_they_rest_on() {
    let mut bench = Bench::new();
    bench.principal.basis = vec![(ObjectId(7), Position(4))];
    let (_, decided) = bench
        .run(|tx| {
            tx.get(ObjectId(999))?;
            tx.query(&isbn("o"))?;
            tx.set(BOOK, "pages", vec![Value::Int(4)])
        })
        .unwrap();
    let read = |object, version| Read::Object { object, version: Position(version) };
    for expected in [read(ObjectId(7), 4), read(ObjectId(999), 0), read(OTHER, 2), read(BOOK, 2)] {
        assert!(decided.reads.contains(&expected), "{expected:?} in {:?}", decided.reads);
    }
    let seen = Query::equal(Name::fixed("book"), Name::fixed("isbn"), Value::text("o"));
    let seen = seen.and(Filter::equal(Name::fixed(READERS), Value::Reference(OURS)));
    assert!(decided.reads.contains(&Read::Query { query: seen, at: Position(9) }));
}

#[test]
fn modules_that_do_not_fit_are_refused_at_the_start() {
    struct Broken(fn(&mut Schema));
    impl Module for Broken {
        fn schema(&self) -> Schema {
            let mut schema = Library.schema();
            (self.0)(&mut schema);
            schema
        }
        fn call(&self, _: &str, _: &Record, _: &mut Transaction<'_>) -> Result<Record, Halt> {
            Ok(Record::new())
        }
    }
    let breaks: [fn(&mut Schema); 11] = [
        |schema| schema.entities.push(schema.entities[0].clone()),
        |schema| schema.methods.push(schema.methods[0].clone()),
        |schema| schema.entities[0].attributes.push(Attribute::one("readers", ValueKind::Int, "")),
        |schema| schema.entities[0].attributes[0].rules.push(Constraint::RefersTo(Name::fixed("shelf")).into()),
        |schema| schema.entities[1].attributes[0].rules = vec![Constraint::RefersTo(Name::fixed("no_such")).into()],
        |schema| schema.entities[1].attributes[0].arity = Arity { min: 2, max: 1 },
        |schema| schema.entities[0].parent = Some(Name::fixed("atlas")),
        |schema| schema.entities[0].parent = Some(Name::fixed("no_such")),
        |schema| schema.entities[3].attributes.push(Attribute::one("isbn", ValueKind::Text, "")),
        |schema| schema.entities[0].attributes[0].rules.push(Constraint::Pattern("(".to_owned()).into()),
        |schema| schema.entities[1].attributes.push(Attribute::one("none", ValueKind::Choice, "")),
    ];
    for (number, broken) in breaks.into_iter().enumerate() {
        let refused = Catalogue::new(vec![Arc::new(crate::people::People), Arc::new(Broken(broken))]);
        assert!(refused.is_err(), "break {number}");
    }
}
