use std::path::Path;
use std::time::Duration;

use caps_model::{ObjectId, Value};

use super::*;
use crate::deployment::Deployment;

const GOOD: &str = r##"
domain = "pumps.example"
site = [{ name = "lund" }, { name = "malmo" }, { name = "ystad" }]
node = [
  { name = "store-lund", site = "lund", layer = 1, listen = "127.0.0.1:4101" },
  { name = "desk-malmo", site = "malmo", layer = 4 },
  { name = "desk-2", site = "malmo", layer = 4 },
]
cabinet = { voters = ["store-lund"] }

[[operation]]
name = "case closed"
about = "An agent takes a case and closes it."
limit = "1s500ms"

[[operation.step]]
connect = true

[[operation.step]]
login = { user = "astrid", password = "correct horse" }

[[operation.step]]
query = { entity = "case", filter = "status = open and not (number < 3 or subject = 'it''s $$n')", order = "number desc", limit = 20, pick = "any" }

[[operation.step]]
get = { objects = "found", at_most = 1 }

[[operation.step]]
history = { object = "found.customer", limit = 10 }

[[operation.step]]
think = "2s"

[[operation.step]]
call = { module = "casedesk", method = "close", arguments = { case = "$found", reason = "no. $n of $found.number" } }

[[operation.step]]
get = { objects = ["$result.case", "#00000000000000000000000001"], at_most = 2 }

[[operation]]
name = "mail filed"

[[operation.step]]
file_mail = { text = "Pump $n\nstands still", bytes = 4000 }

[[operation.step]]
watch = { entity = "case", filter = "status != closed", for = "8h" }

[[users]]
operation = "case closed"
site = "malmo"
count = 3
every = "2m"
limit = "4s"

[[users]]
operation = "mail filed"
front_end = "desk-2"
count = 1
"##;

fn parse(text: &str) -> Result<Deployment, String> {
    Deployment::parse(Path::new("caps.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn good_workload_is_understood() {
    let workload = parse(GOOD).unwrap().workload;
    let closed = workload.operation("case closed").unwrap();
    assert_eq!(closed.limit, Some(Duration::from_millis(1_500)));
    assert_eq!(closed.steps.len(), 8);
    assert_eq!(closed.steps[4], Step::History { object: Template::Source(Source::Found(Some(Name::fixed("customer")))), limit: 10 });
    let objects = vec![Template::Source(Source::Result(Name::fixed("case"))), Template::Fixed(Value::Reference(ObjectId(1)))];
    assert_eq!(closed.steps[7], Step::Get { objects, at_most: 2 });
    assert_eq!(workload.users[0].front_ends, ["desk-malmo", "desk-2"]);
    assert_eq!(workload.users[0].limit(), Some(Duration::from_secs(4)));
    // Three users at two front ends by turns: two at the first.
    let at = |front_end| workload.at(front_end).map(|(users, count)| (users.operation.name.as_str(), count)).collect::<Vec<_>>();
    assert_eq!(at("desk-malmo"), [("case closed", 2)]);
    assert_eq!(at("desk-2"), [("case closed", 1), ("mail filed", 1)]);
    assert!(!format!("{closed:?}").contains("correct horse"));
}

#[test]
fn written_operations_read_back() {
    let deployment = parse(GOOD).unwrap();
    let head = &GOOD[..GOOD.find("[[operation]]").unwrap()];
    let text: String = deployment.workload.operations.iter().map(|operation| format!("\n{operation}")).collect();
    let again = parse(&format!("{head}{text}")).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(again.workload.operations, deployment.workload.operations, "{text}");
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let table = [
        ("name = \"mail filed\"", "name = \"case closed\"", "41: there are two operations named \"case closed\""),
        ("name = \"mail filed\"", "name = \" \"", "41: \" \" is no name"),
        ("limit = \"1s500ms\"", "limit = \"fast\"", "14: \"fast\" is not a duration: write it as 500ms, 2s or 5m20s"),
        ("limit = \"1s500ms\"", "limit = \"0s\"", "14: \"0s\" is no time at all"),
        ("limit = \"1s500ms\"", "limit = \"2h\"", "14: 2h is more than 1h"),
        ("connect = true", "connect = false", "17: a step that does not connect does nothing"),
        ("connect = true", "connect = true\nthink = \"1s\"", "16: a step does one thing"),
        ("connect = true", "", "16: this step does nothing: it is one of connect, login,"),
        ("connect = true", "conect = true", "17: unknown field `conect`"),
        ("user = \"astrid\"", "user = \"\"", "20: the user has no name"),
        (
            "entity = \"case\"",
            "entity = \"kase\"",
            "23: no module declares an entity \"kase\"; there are user, group, session, effect, customer",
        ),
        ("status = open and", "status = open end", "23: the filter, at character 15: expected 'and', 'or' or the end, found 'end'"),
        ("status = open and", "state = open and", "23: case has no attribute state; it has"),
        ("number < 3", "number < three", "23: number is of kind int, and three is of kind text: nothing satisfies that"),
        ("$$n", "$m", "23: '$m' stands for nothing: there are $n, $found"),
        ("$$n", "$found", "23: $found stands for nothing yet: a query or get must come before"),
        ("number desc", "number down", "23: an order is attributes with commas between"),
        ("number desc", "size desc", "23: case has no attribute size"),
        ("limit = 20", "limit = 0", "23: a limit is 1 to 10000"),
        ("pick = \"any\"", "pick = \"best\"", "23: \"best\" picks nothing: it is \"first\" or \"any\""),
        ("objects = \"found\"", "objects = \"n\"", "26: \"n\" is no object: write \"found\""),
        ("objects = \"found\"", "objects = \"result.case\"", "26: $result.case stands for nothing yet: a call must come before"),
        ("objects = \"found\"", "objects = []", "26: 1 to 1000 objects"),
        ("at_most = 1", "at_most = 0", "26: at_most is 1 to 1000"),
        ("found.customer", "found.subject", "29: $found.subject is of kind text, not an object"),
        ("found.customer", "#1", "29: \"#1\": an id has 26 characters, this has 1"),
        ("think = \"2s\"", "think = \"2d\"", "32: 2d is more than 1day"),
        ("module = \"casedesk\"", "module = \"crm\"", "35: this deployment has no module \"crm\"; it has people, effects, casedesk"),
        ("method = \"close\"", "method = \"shut\"", "35: the module casedesk has no method \"shut\"; it has file_mail"),
        ("reason =", "why =", "35: close takes no \"why\"; it takes case, reason"),
        (", reason = \"no. $n of $found.number\"", "", "35: close needs reason: Why."),
        ("reason = \"no. $n of $found.number\"", "reason = 5", "35: reason is of kind text, and 5 is not"),
        ("case = \"$found\"", "case = \"the first\"", "35: case is of kind reference, and \"the first\" (write $found or #id) is not"),
        ("case = \"$found\"", "case = [\"$found\", \"$found\"]", "35: case takes at most 1 values, not 2"),
        ("result.case", "result.message", "38: close does not answer message; it answers case"),
        ("bytes = 4000", "bytes = 4", "44: a mail has 500 to 400000 bytes"),
        ("for = \"8h\"", "for = \"8\"", "47: \"8\" is not a duration"),
        (
            "operation = \"mail filed\"",
            "operation = \"mail\"",
            "57: there is no operation \"mail\" in this file; it has case closed, mail filed",
        ),
        ("front_end = \"desk-2\"", "front_end = \"desk-3\"", "58: there is no front end \"desk-3\"; the file has desk-malmo, desk-2"),
        ("front_end = \"desk-2\"", "front_end = \"store-lund\"", "58: store-lund is of layer 1: users sit at nodes of layer 4"),
        ("front_end = \"desk-2\"", "", "57: where are they? say front_end = \"NODE\" or site = \"SITE\""),
        ("front_end = \"desk-2\"", "front_end = \"desk-2\"\nsite = \"malmo\"", "59: users sit at a front_end or are spread over a site"),
        ("site = \"malmo\"\ncount", "site = \"paris\"\ncount", "51: there is no site \"paris\"; the file has lund, malmo, ystad"),
        ("site = \"malmo\"\ncount", "site = \"ystad\"\ncount", "51: ystad has no front end (layer = 4): nobody can work there"),
        ("count = 3", "count = 0", "52: the count of users is 1 to 100000"),
        ("count = 3", "count = -1", "52:"),
        ("every = \"2m\"", "every = \"0s\"", "53: \"0s\" is no time at all"),
    ];
    for (from, to, expected) in table {
        assert!(GOOD.contains(from), "{from}");
        let Err(error) = parse(&GOOD.replacen(from, to, 1)) else { panic!("{to} is taken") };
        assert!(error.starts_with(&format!("caps.toml:{expected}")), "{to}: {error}");
    }
}

#[test]
fn operation_without_steps_or_rest_is_refused() {
    let bare = "domain = \"d.example\"\nsite = [{ name = \"a\" }]\n\
        node = [{ name = \"s\", site = \"a\", layer = 1, listen = \"127.0.0.1:1\" }, { name = \"f\", site = \"a\", layer = 4 }]\n\
        cabinet = { voters = [\"s\"] }\n[[operation]]\nname = \"x\"\n";
    assert_eq!(parse(bare).unwrap_err(), "caps.toml:6: \"x\" does nothing: add [[operation.step]] with what a user does");
    let restless = format!("{bare}step = [{{ query = {{ entity = \"case\" }} }}]\n[[users]]\noperation = \"x\"\nsite = \"a\"\ncount = 1\n");
    assert!(parse(&restless).unwrap_err().contains("caps.toml:9: how often?"));
    let mail = format!("modules = []\n{bare}step = [{{ file_mail = {{ text = \"x\", bytes = 900 }} }}]");
    assert_eq!(parse(&mail).unwrap_err(), "caps.toml:8: this deployment has no module \"casedesk\"; it has people, effects");
}

#[test]
fn company_in_five_regions_makes_sense() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulations/deployments/five-regions.toml");
    let deployment = Deployment::read(&file).unwrap();
    let workload = &deployment.workload;
    assert_eq!(workload.operations.len(), 7);
    for (from, to) in deployment.nodes.iter().flat_map(|from| deployment.nodes.iter().map(move |to| (from, to))) {
        deployment.network.hops(from, to).unwrap();
    }
    assert_eq!(workload.at("desk-outback").count(), 6);
}
