//! What people see without a script.

use super::company::{Company, PASSWORD, Visit, try_log_in};
use super::http::ask;

#[test]
fn nobody_comes_in_without_a_password_and_a_page_of_ours() {
    let company = Company::at(&["lund"]);
    let console = company.console();
    let strange = ask(console, "GET", "/desk?view=mine", &[], "");
    assert_eq!((strange.status, strange.field("location")), (303, "/login?next=%2Fdesk%3Fview%3Dmine"));
    for page in ["/", "/e/case", "/o/01jd4m3v7q8z0r5t1x6y2w9k3n", "/overlay", "/live/desk", "/m/casedesk/close"] {
        assert_eq!(ask(console, "GET", page, &[], "").status, 303, "{page}");
    }
    let forged = format!("caps_session={}.01jd4m3v7q8z0r5t1x6y2w9k3n", "00".repeat(32));
    assert_eq!(ask(console, "GET", "/desk", &[("Cookie", &forged)], "").status, 303);

    assert_eq!(try_log_in(console, "astrid", PASSWORD, &[("Sec-Fetch-Site", "cross-site")]).status, 400);
    assert_eq!(try_log_in(console, "astrid", PASSWORD, &[("Origin", "https://evil.example")]).status, 400);
    assert_eq!(ask(console, "POST", "/login", &[], "user=astrid&password=x&token=x").status, 400);
    let wrong = try_log_in(console, "astrid", "wrong-password", &[]);
    assert!(wrong.status == 401 && wrong.body.contains("do not belong together") && wrong.body.contains("value=\"astrid\""), "{wrong:?}");
    let right = try_log_in(console, "astrid", PASSWORD, &[]);
    assert_eq!((right.status, right.field("location")), (303, "/desk"));
    let cookie = right.fields.iter().find(|(_, value)| value.starts_with("caps_session=")).unwrap().1.clone();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age="), "{cookie}");

    // The host counts failures by name, and says for how long it stays away.
    let mut tries = 0;
    let locked = loop {
        let answer = try_log_in(console, "bo", "wrong-password", &[]);
        tries += 1;
        assert!(tries < 30, "{answer:?}");
        if answer.status == 429 {
            break answer;
        }
    };
    assert!(locked.body.contains("wait"), "{}", locked.body);
    let visit = Visit::log_in(console, "astrid");
    assert_eq!(visit.get("/desk").status, 200);
    let token = visit.get("/desk").hidden("token");
    assert_eq!(visit.post("/logout", &[("token", "00")]).status, 400);
    assert_eq!(visit.post("/logout", &[("token", &token)]).field("location"), "/login");
    let after = visit.get("/desk");
    assert!(
        after.status == 303 && after.field("location").starts_with("/login"),
        "the session is over for whoever has its secret: {after:?}"
    );
}

#[test]
fn case_is_worked_on_without_a_script_and_mistakes_are_told() {
    let company = Company::at(&["lund"]);
    company.mail("one", "Anna <anna@example.com>", "Pump", "It leaks.");
    let visit = Visit::log_in(company.console(), "astrid");
    let case = visit.first("/desk");
    let page = visit.get(&format!("/desk/cases/{case}"));
    assert!(page.body.contains("It leaks.") && page.body.contains("is-new"), "{}", page.body);
    let (token, commit) = (page.hidden("token"), page.hidden("commit"));
    let path = format!("/desk/cases/{case}");

    let refused = visit.post(&path, &[("token", &token), ("commit", &commit), ("action", "set_priority"), ("priority", "9")]);
    assert!(refused.status == 422 && refused.body.contains("priority goes from 1 to 4"), "{refused:?}");
    let fields = [("token", token.as_str()), ("commit", commit.as_str()), ("action", "close"), ("reason", "pump \"replaced\" <b>")];
    // Sent twice, done once: the second one is told the first one's answer.
    for _ in 0..2 {
        assert_eq!(visit.post(&path, &fields).status, 303);
    }
    let closed = visit.get(&path).body;
    assert!(closed.contains("is-closed") && closed.contains("pump &quot;replaced&quot; &lt;b&gt;"), "{closed}");
    let again = visit.get(&path);
    let fields = [("token", token.as_str()), ("commit", &again.hidden("commit")), ("action", "reply"), ("text", "kept text")];
    let refused = visit.post(&path, &fields);
    assert!(refused.status == 422 && refused.body.contains("reopen it to answer") && refused.body.contains("kept text"), "{refused:?}");

    // Any method of any module has a form of its own.
    let form = visit.get(&format!("/m/casedesk/close?case={case}"));
    assert!(form.body.contains("1 to 200 bytes") && form.body.contains("#1 Pump"), "{}", form.body);
    let empty = visit.post("/m/casedesk/close", &[("token", &token), ("case", "nonsense"), ("reason", "kept reason")]);
    assert!(empty.status == 422 && empty.body.contains("26 characters") && empty.body.contains("kept reason"), "{empty:?}");
    let nobody = visit.post("/m/people/add_group", &[("token", &token), ("name", "x")]);
    assert_eq!(nobody.status, 403, "{nobody:?}");

    let timeline = visit.get(&format!("/o/{case}")).body;
    assert!(timeline.contains("casedesk.close") && timeline.contains("Astrid Lind"), "{timeline}");
    let wrong = visit.get("/e/case?q=status+%3D");
    assert!(wrong.status == 422 && wrong.body.contains("expected a value, found the end"), "{wrong:?}");
    assert_eq!(visit.get("/e/nothing").status, 404);
    assert_eq!(visit.get("/o/nothing").status, 404);
    let status = visit.get("/overlay").body;
    assert!(status.contains("store-lund") && status.contains("leader") && status.contains("host-lund"), "{status}");
    assert!(status.contains("<svg class=\"map\"") && status.contains("1 site, 3 nodes, leader store-lund"), "{status}");
    assert!(status.contains("within lund") && status.contains("p99") && status.contains("certificate"), "{status}");
    assert!(status.contains("<svg class=\"plot\"") && !status.contains(" style="), "{status}");
}

#[test]
fn files_are_attached_kept_and_saved_again() {
    let company = Company::at(&["lund"]);
    company.mail("one", "Anna <anna@example.com>", "Pump", "It leaks.");
    let visit = Visit::log_in(company.console(), "astrid");
    let path = format!("/desk/cases/{}", visit.first("/desk"));
    let page = visit.get(&path);
    let (token, commit) = (page.hidden("token"), page.hidden("commit"));
    let fields = [("token", token.as_str()), ("commit", commit.as_str()), ("action", "attach")];
    let content = "<script>alert(1)</script>".repeat(20_000);
    let attached = visit.send_file(&path, &fields, ("C:\\temp\\pump.html", &content));
    assert_eq!((attached.status, attached.field("location")), (303, path.as_str()), "{attached:?}");
    let page = visit.get(&path).body;
    assert!(page.contains("Attached.") && page.contains("pump.html"), "{page}");
    let document = visit.first("/e/document");
    let saved = visit.get(&format!("/o/{document}/file/content/0"));
    assert!(
        saved.status == 200
            && saved.body == content
            && saved.field("content-disposition").starts_with("attachment; filename=\"pump.html\"")
    );
    assert_eq!((saved.field("content-type"), saved.field("x-content-type-options")), ("application/octet-stream", "nosniff"));
    for nowhere in ["content/1", "name/0", "nothing/0"] {
        assert_eq!(visit.get(&format!("/o/{document}/file/{nowhere}")).status, 404, "{nowhere}");
    }

    // Without the token nothing is kept, whatever stands behind the file.
    let forged = [("token", "00"), ("commit", commit.as_str()), ("action", "attach")];
    assert_eq!(visit.send_file(&path, &forged, ("a.txt", "a")).status, 400);
    // A form of any method: what was sent stays when something else is wrong.
    let form = visit.get("/m/casedesk/attach");
    assert!(form.body.contains("enctype=\"multipart/form-data\"") && form.body.contains("type=\"file\""), "{}", form.body);
    let (token, commit) = (form.hidden("token"), form.hidden("commit"));
    let fields = [("token", token.as_str()), ("commit", commit.as_str()), ("case", "nothing"), ("name", "notes.txt")];
    let refused = visit.send_file("/m/casedesk/attach", &fields, ("notes.txt", "notes"));
    let kept = refused.hidden("content-kept");
    assert!(refused.status == 422 && kept.starts_with("blob:") && kept.ends_with(":5"), "{refused:?}");
    let case = path.rsplit('/').next().unwrap();
    let fields = [("token", token.as_str()), ("commit", commit.as_str()), ("case", case), ("name", "notes.txt"), ("content-kept", &kept)];
    let attached = visit.send_file("/m/casedesk/attach", &fields, ("", ""));
    assert_eq!(attached.status, 303, "{attached:?}");
    assert!(visit.get(&path).body.contains("notes.txt"));
    let fields = [("token", token.as_str()), ("commit", "01jd4m3v7q8z0r5t1x6y2w9k3n"), ("case", case), ("name", "notes.txt")];
    let nothing = visit.send_file("/m/casedesk/attach", &fields, ("", ""));
    assert!(nothing.status == 422 && nothing.body.contains("role=\"alert\""), "{nothing:?}");
}

#[test]
fn what_people_write_is_text_in_every_page() {
    let company = Company::at(&["lund"]);
    let evil = "<script>alert(1)</script></textarea></title><img src=x onerror=alert(2)>\"'&lt;";
    company.mail("evil", "\"<img src=x onerror=alert(3)>\" <eve@example.com>", evil, evil);
    let visit = Visit::log_in(company.console(), "astrid");
    let (case, message) = (visit.first("/desk"), visit.first("/e/message"));
    let customer = visit.first("/e/customer");
    let path = format!("/desk/cases/{case}");
    let (token, commit) = {
        let page = visit.get(&path);
        (page.hidden("token"), page.hidden("commit"))
    };
    visit.post(&path, &[("token", &token), ("commit", &commit), ("action", "close"), ("reason", &evil[..60])]);
    let pages = [
        "/".to_owned(),
        "/desk".to_owned(),
        "/desk?view=closed".to_owned(),
        path.clone(),
        format!("/o/{case}"),
        format!("/o/{message}"),
        format!("/o/{customer}"),
        "/e/case".to_owned(),
        "/e/message?columns=subject,text,from,message_id".to_owned(),
        format!("/e/case?q={}", super::http::form(&[("q", evil)]).trim_start_matches("q=")),
        format!("/e/case?order={0}&columns={0}&after={0}", super::http::form(&[("q", evil)]).trim_start_matches("q=")),
        format!("/m/casedesk/close?case={case}"),
        format!("/m/casedesk/close?reason={}", super::http::form(&[("q", evil)]).trim_start_matches("q=")),
        "/overlay".to_owned(),
        "/nowhere%3Cscript%3E".to_owned(),
    ];
    for page in pages {
        let answer = visit.get(&page);
        assert!(answer.status < 500, "{page}: {answer:?}");
        for tag in ["<script>alert", "<img src=x", "</textarea></title>", "onerror=alert(2)>\"'"] {
            assert!(!answer.body.contains(tag), "{page} has {tag}: {}", answer.body);
        }
        let policy = answer.field("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{page}: {policy}");
        assert_eq!((answer.field("x-content-type-options"), answer.field("cache-control")), ("nosniff", "no-store"), "{page}");
    }
    let refused = visit.post(&path, &[("token", &token), ("action", "reply"), ("text", evil)]);
    assert!(refused.status == 422 && !refused.body.contains("<script>alert"), "{refused:?}");
}
