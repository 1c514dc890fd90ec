//! What programs ask for.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::company::{Company, PASSWORD};
use super::http::{Answer, ask};

/// A program with a token.
struct Program {
    address: SocketAddr,
    bearer: String,
}

impl Program {
    fn log_in(address: SocketAddr, user: &str) -> Self {
        let body = format!("{{\"user\":\"{user}\",\"password\":\"{PASSWORD}\"}}");
        let answer = ask(address, "POST", "/api/v1/login", &[("Content-Type", "application/json")], &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { address, bearer: format!("Bearer {}", answer.json()["token"].as_str().unwrap()) }
    }

    fn get(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        ask(self.address, "GET", target, &[&[("Authorization", self.bearer.as_str())], fields].concat(), "")
    }

    fn call(&self, method: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let always = [("Authorization", self.bearer.as_str()), ("Content-Type", "application/json")];
        let fields = if fields.iter().any(|(name, _)| *name == "Content-Type") {
            [&always[..1], fields].concat()
        } else {
            [&always[..], fields].concat()
        };
        ask(self.address, "POST", &format!("/api/v1/call/{method}"), &fields, body)
    }
}

#[test]
fn programs_read_and_call_and_are_told_what_is_wrong() {
    let company = Company::at(&["lund"]);
    company.mail("one", "Anna <anna@example.com>", "Pump", "It leaks.");
    company.mail("two", "Bertil <bertil@example.com>", "Valve", "It sticks.");
    let program = Program::log_in(company.console(), "astrid");

    let page = program.get("/api/v1/objects/case?order=number%20desc&limit=1&columns=number,subject", &[]);
    let json = page.json();
    assert_eq!(
        (json["objects"][0]["attributes"]["number"].as_i64(), json["objects"][0]["attributes"].as_object().unwrap().len()),
        (Some(2), 2)
    );
    let next = json["next"].as_str().unwrap();
    let second = program.get(&format!("/api/v1/objects/case?order=number%20desc&limit=1&after={next}"), &[]);
    let case = second.json()["objects"][0].clone();
    assert_eq!((case["attributes"]["subject"].as_str(), second.json()["next"].as_str()), (Some("Pump"), None));
    let same =
        program.get("/api/v1/objects/case?order=number%20desc&limit=1&columns=number,subject", &[("If-None-Match", page.field("etag"))]);
    assert_eq!((same.status, same.body.as_str()), (304, ""));

    let id = case["id"].as_str().unwrap();
    let one = program.get(&format!("/api/v1/objects/case/{id}"), &[]);
    let tag = one.field("etag").to_owned();
    assert_eq!(program.get(&format!("/api/v1/objects/case/{id}"), &[("If-None-Match", &tag)]).status, 304);
    assert_eq!(program.get(&format!("/api/v1/objects/message/{id}"), &[]).status, 404);

    // Asked again under the same key: the first answer, though a closed case cannot be closed.
    let close = format!("{{\"case\":\"{id}\",\"reason\":\"done\"}}");
    let key = [("Idempotency-Key", "close-1"), ("If-Match", tag.as_str())];
    let closed = program.call("casedesk/close", &key, &close);
    assert_eq!(closed.status, 200, "{closed:?}");
    let again = program.call("casedesk/close", &key[..1], &close).json();
    assert_eq!(
        (again["commit"].clone(), again["position"].clone(), again["repeated"].clone()),
        (closed.json()["commit"].clone(), closed.json()["position"].clone(), true.into())
    );
    let refused = program.call("casedesk/close", &[], &close);
    assert_eq!(
        (refused.status, refused.field("content-type"), refused.json()["code"].as_str()),
        (422, "application/problem+json", Some("closed"))
    );
    // So it is with the condition that held then and does not now.
    assert_eq!(program.call("casedesk/close", &key, &close).json()["repeated"], true);
    let stale = program.call("casedesk/reopen", &[("If-Match", &tag)], &format!("{{\"case\":\"{id}\"}}"));
    assert_eq!((stale.status, stale.json()["code"].as_str()), (412, Some("not_as_expected")), "{stale:?}");
    let never = program.call("casedesk/reopen", &[("If-Match", "\"soon\"")], &format!("{{\"case\":\"{id}\"}}"));
    assert_eq!(never.status, 412, "{never:?}");
    let refused = program.call("casedesk/set_priority", &[], &format!("{{\"case\":\"{id}\",\"priority\":\"high\"}}"));
    assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("priority")));
    assert_eq!(program.call("people/add_group", &[], "{\"name\":\"x\"}").status, 403);
    assert_eq!(program.call("casedesk/nothing", &[], "{}").status, 404);

    let history = program.get(&format!("/api/v1/objects/case/{id}/history"), &[]).json();
    assert_eq!((history["events"][0]["method"].as_str(), history["events"].as_array().unwrap().len()), (Some("casedesk.close"), 2));
    for (target, status) in [
        ("/api/v1/objects/nothing", 404),
        ("/api/v1/objects/case?q=%3D", 400),
        ("/api/v1/objects/case?limit=0", 400),
        ("/api/v1/objects/case?lmit=1", 400),
        ("/api/v1/objects/case?after=00", 400),
        ("/api/v1/objects/case?at_least=99999999", 400),
        ("/api/v1/nothing", 404),
    ] {
        let answer = program.get(target, &[]);
        assert_eq!((answer.status, answer.field("content-type")), (status, "application/problem+json"), "{target}: {answer:?}");
    }
    let stranger = ask(company.console(), "GET", "/api/v1/objects/case", &[], "");
    assert_eq!((stranger.status, stranger.field("www-authenticate")), (401, "Bearer"));
    assert_eq!(stranger.field("access-control-allow-origin"), "");

    // The same in XML.
    let xml = [("Content-Type", "application/xml"), ("Accept", "application/xml")];
    let opened = program.call("casedesk/reopen", &xml, &format!("<casedesk.reopen><case>{id}</case></casedesk.reopen>"));
    assert!(opened.status == 200 && opened.body.contains(&format!("<case>{id}</case></casedesk.reopen.result>")), "{opened:?}");
    let list = program.get("/api/v1/objects/case?q=number%20%3D%201", &xml[1..]);
    assert!(
        list.field("content-type") == "application/xml" && list.body.contains("<subject>Pump</subject><status>open</status>"),
        "{list:?}"
    );
    let refused = program.call("casedesk/reopen", &xml, "<other/>");
    assert_eq!((refused.status, refused.field("content-type")), (422, "application/problem+xml"));

    let document = ask(company.console(), "GET", "/api/v1/openapi.json", &[], "").json();
    let priority = &document["paths"]["/api/v1/call/casedesk/set_priority"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        ["properties"]["priority"];
    assert_eq!((document["openapi"].as_str(), priority["maximum"].as_i64()), (Some("3.1.0"), Some(4)));
    assert!(ask(company.console(), "GET", "/api/v1/schema.xsd", &[], "").body.contains("<xs:element name=\"casedesk.close\">"));

    // A file comes first, and a call names it then.
    let bearer = ("Authorization", program.bearer.as_str());
    let sent = ask(program.address, "POST", "/api/v1/files", &[bearer], "a photo").json();
    let blob = sent["blob"].as_str().unwrap();
    assert_eq!((blob.starts_with("blob:"), sent["bytes"].as_u64()), (true, Some(7)));
    let attach = format!("{{\"case\":\"{id}\",\"name\":\"pump.jpg\",\"content\":\"{blob}\"}}");
    let document = program.call("casedesk/attach", &[], &attach).json()["result"]["document"].as_str().unwrap().to_owned();
    let file = program.get(&format!("/api/v1/objects/document/{document}/files/content/0"), &[]);
    assert!(file.status == 200 && file.body == "a photo" && file.field("content-disposition").contains("pump.jpg"), "{file:?}");
    for nowhere in [
        format!("case/{document}/files/content/0"),
        format!("document/{document}/files/content/1"),
        format!("document/{id}/files/content/0"),
    ] {
        assert_eq!(program.get(&format!("/api/v1/objects/{nowhere}"), &[]).status, 404, "{nowhere}");
    }
    assert_eq!(ask(program.address, "POST", "/api/v1/files", &[], "a photo").status, 401);
    let in_xml = ask(program.address, "POST", "/api/v1/files", &[bearer, ("Accept", "application/xml")], "");
    assert!(in_xml.body.contains("<Stored") && in_xml.body.contains("bytes=\"0\""), "{in_xml:?}");
    let made_up = attach.replace(blob, &format!("blob:{}:7", "00".repeat(32)));
    assert_eq!(program.call("casedesk/attach", &[], &made_up).status, 422);

    // The token is over, and no other one.
    let other = Program::log_in(company.console(), "astrid");
    let end = || ask(program.address, "POST", "/api/v1/logout", &[("Authorization", &program.bearer)], "").status;
    assert_eq!((end(), end()), (204, 204));
    let status = |program: &Program| program.get("/api/v1/objects/case", &[]).status;
    assert_eq!((status(&program), status(&other)), (401, 200));
}

#[test]
fn pythons_xml_rpc_client_works() {
    let company = Company::at(&["lund"]);
    company.mail("one", "Anna <anna@example.com>", "Pump", "It leaks.");
    let program = Program::log_in(company.console(), "astrid");
    let case = program.get("/api/v1/objects/case", &[]).json()["objects"][0]["id"].as_str().unwrap().to_owned();
    let script = format!(
        r#"
import xmlrpc.client
url = "http://{}/xmlrpc"
names = xmlrpc.client.ServerProxy(url)
assert "casedesk.close" in names.system.listMethods()
assert names.system.methodSignature("casedesk.close") == [["struct", "string", "string"], ["struct", "struct"]]
assert "Closes a case" in names.system.methodHelp("casedesk.close")
token = names.session.login("astrid", "{PASSWORD}")
desk = xmlrpc.client.ServerProxy(url, headers=[("Authorization", "Bearer " + token)])
assert desk.casedesk.set_priority({{"case": "{case}", "priority": 4}}) == {{"case": "{case}"}}
assert desk.casedesk.close("{case}", "pump & <valve> \u00e5") == {{"case": "{case}"}}
for call, code in [
    (lambda: desk.casedesk.close("{case}", "again"), 422),
    (lambda: desk.casedesk.close("{case}", 5), -32602),
    (lambda: desk.casedesk.nothing(), -32601),
    (lambda: names.casedesk.close("{case}", "x"), 401),
]:
    try:
        call()
        raise SystemExit("no fault")
    except xmlrpc.client.Fault as fault:
        assert fault.faultCode == code, fault
assert desk.session.logout() is True
try:
    desk.casedesk.reopen("{case}")
    raise SystemExit("the session goes on")
except xmlrpc.client.Fault as fault:
    assert fault.faultCode == 401, fault
"#,
        company.console()
    );
    let output = Command::new("python3").args(["-c", &script]).output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let closed = program.get("/api/v1/objects/case", &[]).json();
    assert_eq!(closed["objects"][0]["attributes"]["close_reason"], "pump & <valve> å");
}

#[test]
fn changes_are_told_as_events_and_a_console_ends_in_good_order() {
    let mut company = Company::at(&["lund"]);
    let program = Program::log_in(company.console(), "astrid");
    let mut stream = TcpStream::connect(program.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /api/v1/objects/case/events?columns=subject HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n\r\n", program.bearer)
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "event: present"));
    company.mail("one", "Anna <anna@example.com>", "Pump", "It leaks.");
    assert!(lines.any(|line| line == "event: changes"));
    let told: serde_json::Value = serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (told["changes"][0]["change"].as_str(), told["changes"][0]["object"]["attributes"]["subject"].as_str()),
        (Some("added"), Some("Pump"))
    );
    let (_, console) = company.consoles.remove(0);
    assert!(console.terminate(), "the console did not end well");
    assert_eq!(lines.by_ref().filter(|line| line.starts_with("event: problem")).count(), 0);
}
