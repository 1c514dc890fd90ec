//! What people type into forms, as values; what cannot be one, with a sentence about why.

use std::collections::BTreeMap;

use caps_adapters::web::form::Form;
use caps_model::schema::Attribute;
use caps_model::value::Entry;
use caps_model::{Name, ObjectId, Record, Value, ValueKind};

use super::moment;

/// What is wrong with fields, by their names.
pub(crate) type Complaints = BTreeMap<String, String>;

/// The arguments that a form gives for these parameters. What the host would say to them is the host's to say.
pub(crate) fn arguments(parameters: &[Attribute], form: &Form) -> Result<Record, Complaints> {
    let mut record = Record::new();
    let mut complaints = Complaints::new();
    for parameter in parameters {
        match values(parameter, form) {
            Ok(values) if values.is_empty() => {}
            Ok(values) => drop(record.insert(parameter.name.clone(), values)),
            Err(complaint) => drop(complaints.insert(parameter.name.to_string(), complaint)),
        }
    }
    if complaints.is_empty() { Ok(record) } else { Err(complaints) }
}

fn values(parameter: &Attribute, form: &Form) -> Result<Vec<Value>, String> {
    let name = parameter.name.as_str();
    if parameter.arity.max != 1 {
        // One value a line, or one of several fields.
        let lines = form.all(name).flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty());
        return lines.map(|line| if parameter.is_map { entry(parameter, line) } else { value(parameter, line) }).collect();
    }
    let Some(text) = form.get(name) else { return Ok(Vec::new()) };
    match parameter.kind {
        // An empty text is a text where one is asked for.
        ValueKind::Text if text.is_empty() && parameter.arity.min == 0 => Ok(Vec::new()),
        ValueKind::Text => Ok(vec![Value::text(text)]),
        _ if text.trim().is_empty() => Ok(Vec::new()),
        _ => value(parameter, text.trim()).map(|value| vec![value]),
    }
}

fn entry(parameter: &Attribute, line: &str) -> Result<Value, String> {
    let (key, text) = line.split_once(':').ok_or("write one entry a line, as key: value")?;
    let entry = Entry::new(key.trim(), value(parameter, text.trim())?).ok_or("an entry holds no entry")?;
    Ok(Value::Entry(Box::new(entry)))
}

/// One value of an attribute, as a person types it.
pub(crate) fn value(attribute: &Attribute, text: &str) -> Result<Value, String> {
    let wrong = |what: &str| format!("this is not {what}");
    Ok(match attribute.kind {
        ValueKind::Text => Value::text(text),
        ValueKind::Bool => match text {
            "true" | "yes" | "on" => Value::Bool(true),
            "false" | "no" | "off" => Value::Bool(false),
            _ => return Err(wrong("yes or no")),
        },
        ValueKind::Int => Value::Int(text.parse().map_err(|_| wrong("a whole number of at most 18 digits"))?),
        ValueKind::Float => {
            Value::Float(text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| wrong("a number, such as 2.5"))?)
        }
        ValueKind::Decimal => Value::Decimal(text.parse().map_err(|_| wrong("a decimal number, such as 12.50"))?),
        ValueKind::Timestamp => Value::Timestamp(moment::parse(text).ok_or_else(|| wrong("a moment, such as 2026-11-22T10:30"))?),
        ValueKind::Timespan => match text.parse() {
            Ok(Value::Timespan(micros)) => Value::Timespan(micros),
            _ => return Err(wrong("a length of time, such as 2d or 1h30m")),
        },
        ValueKind::Reference => Value::Reference(object_id(text).ok_or_else(|| wrong("the id of an object: 26 characters"))?),
        ValueKind::Blob => Value::Blob(Box::new(text.parse().map_err(|_| wrong("the name of a blob: blob:HASH:SIZE"))?)),
        ValueKind::Choice => {
            let choice = attribute.choices.iter().find(|choice| choice.word == *text).cloned();
            Value::Choice(choice.ok_or_else(|| wrong("one of the choices"))?)
        }
        ValueKind::Bytes => {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let bytes = text.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4) | digit(*pair.get(1)?)?)).collect::<Option<_>>();
            Value::Bytes(bytes.ok_or_else(|| wrong("bytes: two hexadecimal digits each"))?)
        }
        ValueKind::Entry => return Err("an entry holds no entry".to_owned()),
    })
}

/// A value as a field of a form holds it.
pub(crate) fn written(value: &Value) -> String {
    match value {
        Value::Timestamp(micros) => moment::of_field(*micros),
        Value::Timespan(micros) => moment::span(*micros),
        Value::Reference(id) => id.to_string(),
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => other.to_string(),
    }
}

/// An id with or without the `#` that people paste with it.
pub(crate) fn object_id(text: &str) -> Option<ObjectId> {
    text.strip_prefix('#').unwrap_or(text).parse().ok()
}

/// A name, or nothing.
pub(crate) fn name(text: &str) -> Option<Name> {
    Name::new(text).ok()
}

#[cfg(test)]
mod tests {
    use caps_model::schema::Arity;

    use super::*;

    fn read(attribute: &Attribute, text: &str) -> Result<Value, String> {
        value(attribute, text)
    }

    #[test]
    fn every_kind_reads_what_it_writes() {
        let kinds = [
            (ValueKind::Bool, Value::Bool(true)),
            (ValueKind::Int, Value::Int(-5)),
            (ValueKind::Float, Value::Float(2.5)),
            (ValueKind::Decimal, Value::Decimal("12.50".parse().unwrap())),
            (ValueKind::Text, Value::text("a")),
            (ValueKind::Timestamp, Value::Timestamp(60_000_000)),
            (ValueKind::Timespan, Value::Timespan(5_400_000_000)),
            (ValueKind::Reference, Value::Reference(ObjectId(7))),
            (ValueKind::Bytes, Value::Bytes(vec![1, 255])),
        ];
        for (kind, value) in kinds {
            let attribute = Attribute::one("a", kind, "");
            assert_eq!(read(&attribute, &written(&value)), Ok(value));
            assert!(kind == ValueKind::Text || read(&attribute, "å?").is_err(), "{kind}");
        }
    }

    #[test]
    fn forms_become_arguments_or_complaints() {
        let parameters = [
            Attribute::one("n", ValueKind::Int, ""),
            Attribute::list("l", ValueKind::Text, 9, ""),
            Attribute::optional("t", ValueKind::Text, ""),
            Attribute { arity: Arity::up_to(9), is_map: true, ..Attribute::one("m", ValueKind::Int, "") },
        ];
        let form = Form::parse(b"n=5&l=a%0Ab%0A%0A&t=&m=k:+1").unwrap();
        let record = arguments(&parameters, &form).unwrap();
        assert_eq!(record["l"], [Value::text("a"), Value::text("b")]);
        assert_eq!((record.get("t"), record["m"][0].to_string()), (None, "k: 1".to_owned()));
        let complaints = arguments(&parameters, &Form::parse(b"n=x&m=1").unwrap()).unwrap_err();
        assert_eq!(complaints.keys().collect::<Vec<_>>(), ["m", "n"]);
    }
}
