//! From what was asked and answered to the steps of an operation.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use caps_model::codec::decode;
use caps_model::messages::host::{self, Call, Called, Login};
use caps_model::messages::{GET_MAX, Get, Got, History, Objects, Subscribe};
use caps_model::{Name, Object, ObjectId, Query, Record, Value};

use super::transcript::{Line, bytes};
use crate::deployment::workload::{Password, Pick, Source, Step, Template, escaped};

/// The steps of an operation that does what was recorded.
pub(super) fn steps(lines: &[Line]) -> anyhow::Result<Vec<Step>> {
    let mut telling = Telling::default();
    for line in lines {
        telling.hear(line).context("the recording is damaged, or of another release")?;
    }
    Ok(telling.steps)
}

#[derive(Default)]
struct Telling {
    steps: Vec<Step>,
    /// When the last answer came: microseconds since 1970.
    ended_us: Option<i64>,
    found: Vec<Object>,
    result: Record,
}

impl Telling {
    fn hear(&mut self, line: &Line) -> anyhow::Result<()> {
        self.think(line);
        let asked = bytes(&line.asked)?;
        let answer = bytes(&line.answer)?;
        match line.method {
            host::LOGIN => {
                let Login { user, .. } = decode(&asked)?;
                self.steps.push(Step::Login { user, password: Password(PASSWORD_MISSING.to_owned()) });
            }
            host::QUERY => {
                let query: Query = decode(&asked)?;
                self.steps.push(Step::Query { query: self.query(query), pick: Pick::First });
                self.found = decode::<Objects>(&answer)?.objects;
            }
            host::GET => {
                let Get { objects } = decode(&asked)?;
                self.steps.push(self.get(&objects));
                self.found = decode::<Got>(&answer)?.objects.into_iter().flatten().collect();
            }
            host::HISTORY => {
                let History { object, limit, .. } = decode(&asked)?;
                self.steps.push(Step::History { object: self.object(object), limit });
            }
            host::CALL => {
                let call: Call = decode(&asked)?;
                self.steps.push(self.call(&call));
                self.result = decode::<Called>(&answer)?.result;
            }
            host::SUBSCRIBE => {
                let Subscribe { query, .. } = decode(&asked)?;
                let length = since(line.started_us, line.ended_us).max(WATCH_MIN);
                self.steps.push(Step::Watch { query: self.query(query), length });
            }
            _ => {}
        }
        self.ended_us = self.ended_us.max(Some(line.ended_us));
        Ok(())
    }

    /// The pause before a request, if it was a person's.
    fn think(&mut self, line: &Line) {
        let pause = self.ended_us.map_or(Duration::ZERO, |ended| since(ended, line.started_us));
        if pause >= PAUSE_MIN {
            let tenths = u64::try_from(pause.as_millis() / 100).unwrap_or(u64::MAX);
            self.steps.push(Step::Think(Duration::from_millis(tenths.saturating_mul(100))));
        }
    }

    fn get(&self, objects: &[ObjectId]) -> Step {
        let all_found = !objects.is_empty() && objects.iter().all(|id| self.found.iter().any(|found| found.id == *id));
        let templates = match all_found {
            true => vec![Template::Source(Source::Found(None))],
            false => objects.iter().map(|id| self.object(*id)).collect(),
        };
        Step::Get { objects: templates, at_most: objects.len().clamp(1, GET_MAX) }
    }

    fn call(&self, call: &Call) -> Step {
        if call.module == "casedesk" && call.method == "file_mail" {
            return mail(&call.arguments);
        }
        let template = |value: &Value| match value {
            Value::Reference(id) => self.object(*id),
            value => Template::Fixed(value.clone()),
        };
        let argument = |(name, values): (&Name, &Vec<Value>)| (name.clone(), values.iter().map(template).collect());
        Step::Call {
            module: call.module.clone(),
            method: call.method.clone(),
            arguments: call
                .arguments
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "password" => (name.clone(), vec![Template::Fixed(Value::text(PASSWORD_MISSING))]),
                    _ => argument((name, value)),
                })
                .collect(),
        }
    }

    fn query(&self, query: Query) -> Query {
        let filter = query.filter.with_values(&mut |value| Ok::<_, Infallible>(vec![self.compared(&value)]));
        let Ok(filter) = filter;
        Query { filter, ..query }
    }

    /// A value on the right of a comparison, as a template.
    fn compared(&self, value: &Value) -> Value {
        match value {
            Value::Text(text) => Value::Text(escaped(text)),
            Value::Reference(id) => self.source(*id).map_or_else(|| value.clone(), |source| Value::Text(source.to_string())),
            value => value.clone(),
        }
    }

    fn object(&self, id: ObjectId) -> Template {
        self.source(id).map_or(Template::Fixed(Value::Reference(id)), Template::Source)
    }

    /// The answer that brought an object, the nearest first. That it was not the first of those found does not matter: somebody chose one.
    fn source(&self, id: ObjectId) -> Option<Source> {
        let names = |record: &Record| {
            let mut with_id = record.iter().filter(|(_, values)| values.contains(&Value::Reference(id)));
            with_id.find(|(name, _)| !["readers", "writers"].contains(&name.as_str())).map(|(name, _)| name.clone())
        };
        if self.found.iter().any(|object| object.id == id) {
            return Some(Source::Found(None));
        }
        let result = names(&self.result).map(Source::Result);
        result.or_else(|| self.found.first().and_then(|object| names(&object.attributes)).map(|name| Source::Found(Some(name))))
    }
}

/// A mail like the one that was filed: as large as what of it travels, and never filed before.
fn mail(arguments: &Record) -> Step {
    let text = |name: &str| arguments.get(name).and_then(|values| values.first()).and_then(Value::as_text).unwrap_or_default();
    let start: String = text("text").chars().take(TEXT_CHARACTERS).collect();
    let start: String = format!("{}\n{start}", text("subject")).chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let size_bytes: usize = arguments.values().flatten().map(Value::size_bytes).sum();
    Step::FileMail { text: Template::Fixed(Value::text(start.trim())), size_bytes: (size_bytes + HEADERS_BYTES).clamp(500, 400_000) }
}

fn since(from_us: i64, to_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(to_us.saturating_sub(from_us)).unwrap_or(0))
}

/// Shorter pauses are the time that a shell takes to start the next command and that takes to join the overlay.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// A console that was closed at once was open.
const WATCH_MIN: Duration = Duration::from_millis(100);

/// Stands where a password should: recordings have none.
const PASSWORD_MISSING: &str = "PUT-THE-PASSWORD-HERE";

/// Of a mail's text, what is kept.
const TEXT_CHARACTERS: usize = 200;

/// What a small mail has in front of its text and we do not keep.
const HEADERS_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use caps_model::Position;
    use caps_model::codec::encode;
    use caps_model::messages::From;

    use super::super::transcript::read;
    use super::*;
    use crate::output::hex;

    fn case(id: u128) -> Object {
        let customer = (Name::fixed("customer"), vec![Value::Reference(ObjectId(90))]);
        let readers = (Name::fixed("readers"), vec![Value::Reference(ObjectId(91))]);
        Object::new(ObjectId(id), Name::fixed("case"), Position(1), [customer, readers].into())
    }

    fn line(ms: (i64, i64), method: u16, asked: Vec<u8>, answer: Vec<u8>) -> String {
        let (started_us, ended_us) = (ms.0 * 1_000, ms.1 * 1_000);
        serde_json::to_string(&Line { started_us, ended_us, method, asked: hex(&asked), answer: hex(&answer) }).unwrap()
    }

    #[test]
    fn recording_becomes_steps_that_take_other_objects_next_time() {
        let position = Position(9);
        let cases = Query { filter: "status = new and subject = 'a $ sign'".parse().unwrap(), ..Query::all(Name::fixed("case")) };
        let found = Objects { position, objects: vec![case(1), case(2)], more: false };
        let got = Got { position, objects: vec![Some(case(2))] };
        let of_case = Query { filter: format!("case = #{}", ObjectId(2)).parse().unwrap(), ..Query::all(Name::fixed("message")) };
        let arguments = |id| Record::from([(Name::fixed("case"), vec![Value::Reference(ObjectId(id))])]);
        let call = |id| {
            let (module, method) = (Name::fixed("casedesk"), Name::fixed("reopen"));
            encode(&Call {
                session: None,
                commit: caps_model::CommitId(1),
                again: false,
                module,
                method,
                arguments: arguments(id),
                reason: None,
                expected: Vec::new(),
            })
            .unwrap()
        };
        let called = encode(&Called { position, result: arguments(3), repeated: false }).unwrap();
        let lines = [
            line((0, 10), host::QUERY, encode(&cases).unwrap(), encode(&found).unwrap()),
            line((2_040, 2_050), host::GET, encode(&Get { objects: vec![ObjectId(2)] }).unwrap(), encode(&got).unwrap()),
            line((2_200, 2_300), host::CALL, call(2), called.clone()),
            line((2_400, 2_500), host::CALL, call(3), called.clone()),
            line((2_600, 2_700), host::CALL, call(77), called),
            line((2_650, 9_700), host::SUBSCRIBE, encode(&Subscribe::new(of_case, From::Present)).unwrap(), Vec::new()),
            line((9_800, 9_900), host::HISTORY, encode(&History { object: ObjectId(90), before: None, limit: 5 }).unwrap(), Vec::new()),
        ];
        let steps = steps(&read(&lines.join("\n")).unwrap()).unwrap();
        let told: Vec<String> = steps.iter().map(ToString::to_string).collect();
        let reopen = |case: &str| format!("call = {{ module = \"casedesk\", method = \"reopen\", arguments = {{ case = \"{case}\" }} }}");
        let expected = [
            "query = { entity = \"case\", filter = \"status = new and subject = 'a $$ sign'\", limit = 1000 }".to_owned(),
            "think = \"2s\"".to_owned(),
            "get = { objects = \"found\", at_most = 1 }".to_owned(),
            reopen("$found"),
            reopen("$result.case"),
            reopen(&format!("#{}", ObjectId(77))),
            "watch = { entity = \"message\", filter = \"case = $found\", for = \"7s50ms\" }".to_owned(),
            "history = { object = \"found.customer\", limit = 5 }".to_owned(),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn damaged_recordings_are_told_so() {
        assert!(read("{").is_err());
        assert!(steps(&read(&line((0, 1), host::QUERY, vec![9, 9], Vec::new())).unwrap()).is_err());
        assert!(bytes("0").is_err() && bytes("zz").is_err());
    }
}
