//! Requests that mean no good: refused, and nothing else is disturbed.

use super::company::{Company, PASSWORD, Visit};
use super::http::{ask, parse, say};

#[test]
fn hostile_requests_are_refused_and_others_served() {
    let company = Company::at(&["lund"]);
    let console = company.console();
    let login = format!("{{\"user\":\"astrid\",\"password\":\"{PASSWORD}\"}}");
    let token =
        ask(console, "POST", "/api/v1/login", &[("Content-Type", "application/json")], &login).json()["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let (json, xml) = (
        [("Authorization", bearer.as_str()), ("Content-Type", "application/json")],
        [("Authorization", bearer.as_str()), ("Content-Type", "application/xml")],
    );
    let call = "/api/v1/call/casedesk/close";

    let attributes: String = (0..100_000).map(|number| format!(" a{number}='x'")).collect();
    let bodies = [
        (&json, "[".repeat(500_000), 400),
        (&json, "{\"case\":".repeat(60_000), 400),
        (&json, "{\"case\":\"a\",\"case\":\"b\"}".to_owned(), 400),
        (&json, format!("{{\"case\":{}}}", "9".repeat(100_000)), 400),
        (&json, format!("[{}0]", "0,".repeat(200_000)), 400),
        (&json, "\u{feff}{}".to_owned(), 400),
        (&json, " ".repeat((1 << 20) + 1), 413),
        (&xml, "<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;\">]><a>&c;</a>".to_owned(), 400),
        (&xml, "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>".to_owned(), 400),
        (&xml, format!("<casedesk.close{attributes}/>"), 413),
        (&xml, format!("<casedesk.close{}/>", &attributes[..900_000]), 400),
        (&xml, "<a>".repeat(300_000), 400),
        (&xml, format!("<a>{}</a>", "<b/>".repeat(250_000)), 400),
        (&xml, "<casedesk.close><case>&#0;</case></casedesk.close>".to_owned(), 400),
    ];
    for (fields, body, expected) in bodies {
        let answer = ask(console, "POST", call, &fields[..], &body);
        assert_eq!(answer.status, expected, "{}: {answer:?}", &body[..body.len().min(60)]);
        assert!(!answer.body.contains("root:"), "{answer:?}");
    }

    let heads = [
        format!("GET /login HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /login HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(10_000)),
        format!("GET /login?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000)),
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /desk HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "GET /assets/../login HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /assets/%2e%2e%2flogin HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /e/case%00 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
    ];
    for head in heads {
        // Where the connection was cut before the client was done, there may be no answer any more: that is a refusal, too.
        let said = say(console, head.as_bytes());
        if !said.is_empty() {
            let answer = parse(&said);
            assert!((400..500).contains(&answer.status), "{}: {answer:?}", &head[..head.len().min(60)]);
            assert_eq!(String::from_utf8_lossy(&said).matches("HTTP/1.1 ").count(), 1, "{answer:?}");
        }
    }
    for field in [("Idempotency-Key", ""), ("If-Match", "42"), ("Accept", "image/png")] {
        let answer = ask(console, "POST", call, &[&json[..], &[field]].concat(), "{}");
        assert!(matches!(answer.status, 400 | 406 | 422), "{field:?}: {answer:?}");
    }

    // Nobody who is held up by others.
    company.mail("one", "Anna <anna@example.com>", "Pump", "It leaks.");
    let visit = Visit::log_in(console, "astrid");
    assert!(visit.get("/desk").body.contains("Pump"));
    assert_eq!(ask(console, "GET", "/api/v1/objects/case", &json[..1], "").json()["objects"][0]["attributes"]["number"], 1);
}
