//! Answers that hold what a stranger wrote: events, file names, problems.

use caps_adapters::web::{Problem, axum::response::IntoResponse, disposition, json, sse::Event};

use super::oracle::text;

/// An event of an id, a kind and data, divided by `|`; a file name; a problem.
pub(super) fn answers(input: &[u8]) {
    let given = text(input);
    let mut parts = given.splitn(3, '|');
    let (id, kind, data) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let frame = Event { id, kind, data }.frame();
    let cut = |text: Option<&str>| text.map(|text| text.split(['\n', '\r', '\0']).next().unwrap_or_default().to_owned());
    let expected = Read { id: cut(id), kind: cut(kind), data: data.replace("\r\n", "\n").replace('\r', "\n") };
    assert_eq!(read_events(&frame), [expected], "{frame:?}");

    let name = disposition::attachment(&given);
    let name = name.to_str().expect("the field is ASCII");
    assert!(name.starts_with("attachment; filename=\"") && name.matches('"').count() == 2 && name.len() <= 200 * 13 + 60);

    let problem = Problem::of(400).detail(given.clone()).code(given.clone()).field(id.unwrap_or_default());
    let read = json::parse(problem.json().as_bytes()).expect("a problem is JSON");
    assert!(given.is_empty() || read["detail"] == given);
    assert_eq!(problem.into_response().status(), 400);
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    id: Option<String>,
    kind: Option<String>,
    data: String,
}

/// The events in a stream, as the HTML standard reads them (section 9.2.6).
fn read_events(stream: &str) -> Vec<Read> {
    let mut events = Vec::new();
    let (mut event, mut data) = (Read::default(), Vec::new());
    for line in stream.replace("\r\n", "\n").replace('\r', "\n").split_terminator('\n') {
        if line.is_empty() {
            events.push(Read { data: data.join("\n"), ..std::mem::take(&mut event) });
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "id" => event.id = Some(value),
            "event" => event.kind = Some(value),
            "data" => data.push(value),
            _ => panic!("{line:?} is no field of an event"),
        }
    }
    assert!(data.is_empty(), "the event is whole");
    events
}

pub(super) const ANSWERS: &[&[u8]] = &[b"7|changed|a\r\nb\rc\n", b"1\n|x\r|data: y\n\nid: 2", b"r\xc3\xa9sum\xc3\xa9 \"x\"/..\\a.txt"];
