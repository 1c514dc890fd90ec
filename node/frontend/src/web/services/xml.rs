//! Answers and arguments in XML, as `schema.xsd` describes them: an element for each attribute, again for each further value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use caps_adapters::web::Problem;
use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::http::{HeaderValue, header};
use caps_adapters::web::axum::response::{IntoResponse, Response};
use caps_adapters::web::xml::{Element, Writer};
use caps_model::messages::Event;
use caps_model::schema::Attribute;
use caps_model::value::Entry;
use caps_model::{Name, Object, Record, Value, ValueKind};

use super::super::catalogue::Catalogue;
use super::super::input;
use super::super::moment::rfc3339;
use super::answer::{Answer, shown};
use super::json::Unfit;

/// The document of an answer.
pub(super) fn answer(answer: &Answer<'_>, catalogue: &Catalogue) -> String {
    let mut writer = Writer::new();
    match answer {
        Answer::Objects { position, objects, next, columns } => {
            let position = position.to_string();
            let attributes = [("position", position.as_str())].into_iter().chain(next.as_deref().map(|next| ("next", next)));
            writer.element("Objects", attributes, |writer| objects.iter().for_each(|found| object(found, catalogue, *columns, writer)));
        }
        Answer::Object(found) => object(found, catalogue, None, &mut writer),
        Answer::History { position, events, more } => {
            let (position, more) = (position.to_string(), more.to_string());
            writer.element("History", [("position", position.as_str()), ("more", &more)], |writer| {
                events.iter().for_each(|one| event(one, catalogue, writer));
            });
        }
        Answer::Called { module, method, position, commit, repeated, result } => {
            let name = format!("{module}.{}.result", method.name);
            let (position, commit, repeated) = (position.to_string(), commit.to_string(), repeated.to_string());
            let attributes = [("position", position.as_str()), ("commit", &commit), ("repeated", &repeated)];
            writer.element(&name, attributes, |writer| record(&method.results, result, writer));
        }
        Answer::LoggedIn { token, user, expires } => {
            let expires = rfc3339(*expires);
            writer.element("Token", [("user", user.as_str()), ("expires", &expires)], |writer| writer.text(token));
        }
        Answer::Stored { blob, size_bytes } => {
            writer.element("Stored", [("bytes", size_bytes.to_string().as_str())], |writer| writer.text(&blob.to_string()));
        }
    }
    writer.finish()
}

/// A problem, in the XML of RFC 7807, which RFC 9457 follows.
pub(super) fn problem(problem: Problem) -> Response {
    let mut writer = Writer::new();
    writer.element("problem", [("xmlns", "urn:ietf:rfc:7807")], |writer| {
        writer.leaf("type", Problem::TYPE);
        writer.leaf("title", problem.title());
        writer.leaf("status", &problem.status.to_string());
        problem.members().for_each(|(name, text)| writer.leaf(name, text));
    });
    let mut response = problem.into_response();
    *response.body_mut() = Body::from(writer.finish());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+xml"));
    response
}

/// The arguments in a document whose element is named after the method.
pub(super) fn arguments(method: &str, parameters: &[Attribute], document: &Element) -> Result<Record, Unfit> {
    let unfit = |field: &str, sentence: String| Unfit { field: field.chars().take(63).collect(), sentence };
    if document.name != method {
        return Err(unfit(&document.name, format!("the document is <{method}>")));
    }
    let mut record = Record::new();
    for element in &document.elements {
        let parameter = parameters.iter().find(|parameter| parameter.name == element.name.as_str());
        let parameter = parameter.ok_or_else(|| unfit(&element.name, "there is no such parameter".to_owned()))?;
        let value = value(parameter, element).map_err(|sentence| unfit(&element.name, sentence))?;
        let values = record.entry(parameter.name.clone()).or_default();
        if parameter.arity.max == 1 && !values.is_empty() {
            return Err(unfit(&element.name, "this is given twice, and takes one value".to_owned()));
        }
        values.push(value);
    }
    Ok(record)
}

fn value(parameter: &Attribute, element: &Element) -> Result<Value, String> {
    if !element.elements.is_empty() {
        return Err("there is nothing but text in a value".to_owned());
    }
    let one = scalar(parameter, &element.text)?;
    match (parameter.is_map, element.attribute("key")) {
        (false, None) => Ok(one),
        (true, Some(key)) => {
            Entry::new(key, one).map(|entry| Value::Entry(Box::new(entry))).ok_or_else(|| "an entry holds no entry".to_owned())
        }
        (true, None) => Err("an entry of a map has a key: write it as the attribute key".to_owned()),
        (false, Some(_)) => Err("this is no map: there is no key".to_owned()),
    }
}

fn scalar(parameter: &Attribute, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    Ok(match parameter.kind {
        ValueKind::Text => Value::text(text),
        ValueKind::Bool => match trimmed {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => return Err("give true or false".to_owned()),
        },
        ValueKind::Timespan => Value::Timespan(trimmed.parse().map_err(|_| "give a whole number of microseconds")?),
        ValueKind::Bytes => {
            let digits: String = trimmed.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            Value::Bytes(STANDARD.decode(digits).map_err(|_| "give bytes in base64")?)
        }
        _ => return input::value(parameter, trimmed),
    })
}

fn object(object: &Object, catalogue: &Catalogue, columns: Option<&[Name]>, writer: &mut Writer) {
    let numbers = [object.id.to_string(), object.created.to_string(), object.version.to_string(), object.deleted.to_string()];
    let names = ["id", "created", "version", "deleted"];
    let attributes = names.into_iter().zip(numbers.iter().map(String::as_str));
    let shown = shown(catalogue.kind(object.entity.as_str()), columns);
    writer.element(object.entity.as_str(), attributes, |writer| record(&shown, &object.attributes, writer));
}

fn event(event: &Event, catalogue: &Catalogue, writer: &mut Writer) {
    let (position, commit, time) = (event.object.version.to_string(), event.commit.to_string(), rfc3339(event.time));
    let (method, user) = (format!("{}.{}", event.method.0, event.method.1), event.user.map(|user| user.to_string()));
    let always =
        [("position", position.as_str()), ("commit", &commit), ("time", &time), ("front_end", &event.front_end), ("method", &method)];
    let sometimes = [("user", user.as_deref()), ("reason", event.reason.as_deref())];
    let attributes = always.into_iter().chain(sometimes.into_iter().filter_map(|(name, value)| Some((name, value?))));
    writer.element("Event", attributes, |writer| object(&event.object, catalogue, None, writer));
}

fn record(attributes: &[Attribute], record: &Record, writer: &mut Writer) {
    for attribute in attributes {
        for value in record.get(&attribute.name).into_iter().flatten() {
            let key = value.as_entry().map(|entry| ("key", entry.key()));
            writer.element(attribute.name.as_str(), key, |writer| writer.text(&written(value)));
        }
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Entry(entry) => written(entry.value()),
        Value::Timestamp(micros) => rfc3339(*micros),
        Value::Timespan(micros) => micros.to_string(),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
        Value::Reference(id) => id.to_string(),
        Value::Float(number) if number.is_infinite() => if *number > 0.0 { "INF" } else { "-INF" }.to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use caps_adapters::web::xml::parse;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arguments_are_elements_by_name() {
        let parameters = [Attribute::one("case", ValueKind::Reference, ""), Attribute::list("to", ValueKind::Text, 9, "")];
        let read = |text: &str| arguments("m.reply", &parameters, &parse(text.as_bytes()).unwrap());
        let record = read("<m.reply><case>01jd4m3v7q8z0r5t1x6y2w9k3n</case><to>a</to><to>b</to></m.reply>").unwrap();
        assert_eq!((record["case"].len(), record["to"].len()), (1, 2));
        for (text, field) in [
            ("<m.other/>", "m.other"),
            ("<m.reply><x/></m.reply>", "x"),
            ("<m.reply><case>1</case></m.reply>", "case"),
            ("<m.reply><to><b/></to></m.reply>", "to"),
            ("<m.reply><to key='a'>b</to></m.reply>", "to"),
        ] {
            assert_eq!(read(text).unwrap_err().field, field);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn values_read_back_as_they_were_written(int in any::<i64>(), float in -1e9..1e9, text in "\\PC{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..9)) {
            for (kind, value) in [(ValueKind::Int, Value::Int(int)), (ValueKind::Float, Value::Float(float)), (ValueKind::Text, Value::text(text)),
                (ValueKind::Bytes, Value::Bytes(bytes)), (ValueKind::Timespan, Value::Timespan(int))] {
                let parameters = [Attribute::one("a", kind, "")];
                let mut writer = Writer::new();
                let original: Record = [(Name::fixed("a"), vec![value])].into();
                writer.element("m", [], |writer| record(&parameters, &original, writer));
                prop_assert_eq!(arguments("m", &parameters, &parse(writer.finish().as_bytes()).unwrap()).unwrap(), original);
            }
        }
    }
}
