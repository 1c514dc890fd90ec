//! Values as JSON has them, and back: by what the schema says, so that nothing is guessed.
//!
//! An attribute of at most one value is that value, or absent; a list is an array, a map an object. Moments are in RFC 3339, lengths of time whole
//! microseconds, bytes base64, decimals and references text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use caps_adapters::web::json::{Map, Value as Json};
use caps_model::schema::Attribute;
use caps_model::value::Entry;
use caps_model::{Record, Value, ValueKind};

use super::super::input::object_id;
use super::super::moment::{parse, rfc3339};

/// A parameter that is not what it should be: which, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) field: String,
    pub(super) sentence: String,
}

/// The values of a record as an object; those that no schema knows are left out.
pub(super) fn record(attributes: &[Attribute], record: &Record) -> Map<String, Json> {
    let of = |attribute: &Attribute| {
        let values = record.get(&attribute.name).filter(|values| !values.is_empty())?;
        Some((attribute.name.to_string(), several(attribute, values)))
    };
    attributes.iter().filter_map(of).collect()
}

fn several(attribute: &Attribute, values: &[Value]) -> Json {
    if attribute.is_map {
        let entries = values.iter().filter_map(Value::as_entry);
        return entries.map(|entry| (entry.key().to_owned(), one(entry.value()))).collect::<Map<_, _>>().into();
    }
    match (attribute.arity.max, values) {
        (1, [value]) => one(value),
        _ => values.iter().map(one).collect(),
    }
}

fn one(value: &Value) -> Json {
    match value {
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) | Value::Timespan(number) => (*number).into(),
        // JSON has no others: infinities and NaN become null.
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Timestamp(micros) => rfc3339(*micros).into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Reference(id) => id.to_string().into(),
        Value::Choice(choice) => choice.word.as_str().into(),
        Value::Decimal(_) | Value::Blob(_) => value.to_string().into(),
        Value::Entry(entry) => one(entry.value()),
    }
}

/// The arguments that an object gives for these parameters. Names that are no parameters are refused: they would be lost without a word.
pub(super) fn arguments(parameters: &[Attribute], given: &Map<String, Json>) -> Result<Record, Unfit> {
    if let Some(unknown) = given.keys().find(|name| parameters.iter().all(|parameter| parameter.name != name.as_str())) {
        return Err(Unfit { field: unknown.chars().take(63).collect(), sentence: "there is no such parameter".to_owned() });
    }
    let mut record = Record::new();
    for parameter in parameters {
        let Some(given) = given.get(parameter.name.as_str()).filter(|given| !given.is_null()) else { continue };
        let unfit = |sentence: String| Unfit { field: parameter.name.to_string(), sentence };
        record.insert(parameter.name.clone(), values(parameter, given).map_err(unfit)?);
    }
    Ok(record)
}

fn values(parameter: &Attribute, given: &Json) -> Result<Vec<Value>, String> {
    match (parameter.is_map, parameter.arity.max, given) {
        (true, _, Json::Object(entries)) => entries
            .iter()
            .map(|(key, given)| {
                Entry::new(key, value(parameter, given)?).map(|entry| Value::Entry(Box::new(entry))).ok_or_else(|| "no entry".to_owned())
            })
            .collect(),
        (true, _, _) => Err("this is a map: give an object".to_owned()),
        (false, 1, given) => value(parameter, given).map(|value| vec![value]),
        (false, _, Json::Array(list)) => list.iter().map(|given| value(parameter, given)).collect(),
        (false, ..) => Err("this is a list: give an array".to_owned()),
    }
}

fn value(parameter: &Attribute, given: &Json) -> Result<Value, String> {
    let kind = parameter.kind;
    let text = || given.as_str().ok_or_else(|| format!("this is a {kind}: give a string"));
    Ok(match kind {
        ValueKind::Bool => Value::Bool(given.as_bool().ok_or("give true or false")?),
        ValueKind::Int => Value::Int(whole(given).ok_or("give a whole number of 64 bits")?),
        ValueKind::Timespan => Value::Timespan(whole(given).ok_or("give a whole number of microseconds")?),
        ValueKind::Float => Value::Float(given.as_f64().ok_or("give a number")?),
        ValueKind::Text => Value::text(text()?),
        ValueKind::Timestamp => Value::Timestamp(parse(text()?).ok_or("give a moment as RFC 3339 has it")?),
        ValueKind::Bytes => Value::Bytes(STANDARD.decode(text()?).map_err(|_| "give bytes in base64")?),
        ValueKind::Reference => Value::Reference(object_id(text()?).ok_or("give the id of an object: 26 characters")?),
        ValueKind::Decimal => Value::Decimal(text()?.parse().map_err(|_| "give a decimal number as a string, such as \"12.50\"")?),
        ValueKind::Blob => Value::Blob(Box::new(text()?.parse().map_err(|_| "give the name of a blob: blob:HASH:SIZE")?)),
        ValueKind::Choice => {
            let word = text()?;
            let choice = parameter.choices.iter().find(|choice| choice.word == *word);
            Value::Choice(choice.cloned().ok_or("give one of the choices")?)
        }
        ValueKind::Entry => return Err("an entry holds no entry".to_owned()),
    })
}

/// A whole number, also where it is written with a point and nothing behind it: JSON Schema counts `5.0` as one.
fn whole(given: &Json) -> Option<i64> {
    let exact = |number: f64| (number.fract() == 0.0 && number.abs() < EXACT_BELOW).then_some(number);
    // Below the bound every such number is one.
    #[expect(clippy::cast_possible_truncation, reason = "the bound is far below 2^63")]
    given.as_i64().or_else(|| given.as_f64().and_then(exact).map(|number| number as i64))
}

/// Up to here a float holds every whole number: 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use caps_adapters::web::json::json;
    use caps_model::ObjectId;
    use caps_model::schema::Arity;
    use proptest::prelude::*;

    use super::*;

    fn parameters() -> Vec<Attribute> {
        vec![
            Attribute::one("int", ValueKind::Int, ""),
            Attribute::one("float", ValueKind::Float, ""),
            Attribute::one("text", ValueKind::Text, ""),
            Attribute::one("moment", ValueKind::Timestamp, ""),
            Attribute::one("bytes", ValueKind::Bytes, ""),
            Attribute::one("of", ValueKind::Reference, ""),
            Attribute::list("texts", ValueKind::Text, 9, ""),
            Attribute { arity: Arity::up_to(9), is_map: true, ..Attribute::one("map", ValueKind::Int, "") },
        ]
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (given, field) in [
            (json!({"int": 1.5}), "int"),
            (json!({"int": 18_446_744_073_709_551_615_u64}), "int"),
            (json!({"int": "1"}), "int"),
            (json!({"text": 1}), "text"),
            (json!({"moment": "yesterday"}), "moment"),
            (json!({"bytes": "!"}), "bytes"),
            (json!({"of": "x"}), "of"),
            (json!({"texts": "a"}), "texts"),
            (json!({"map": [1]}), "map"),
            (json!({"other": 1}), "other"),
        ] {
            assert_eq!(arguments(&parameters(), given.as_object().unwrap()).unwrap_err().field, field);
        }
        assert_eq!(arguments(&parameters(), json!({"int": null}).as_object().unwrap()), Ok(Record::new()));
        assert_eq!(arguments(&parameters(), json!({"int": 5.0}).as_object().unwrap()).unwrap()["int"], [Value::Int(5)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn records_read_back_as_they_were_written(int in any::<i64>(), float in -1e9..1e9, text in any::<String>(), moment in -60_000_000_000_000_000i64..250_000_000_000_000_000,
            bytes in prop::collection::vec(any::<u8>(), 0..9), id in any::<u128>(), texts in prop::collection::vec(any::<String>(), 1..4), key in any::<String>()) {
            let entry = Value::Entry(Box::new(Entry::new(key, Value::Int(int)).unwrap()));
            let pairs = [("int", vec![Value::Int(int)]), ("float", vec![Value::Float(float)]), ("text", vec![Value::text(text)]), ("moment", vec![Value::Timestamp(moment)]),
                ("bytes", vec![Value::Bytes(bytes)]), ("of", vec![Value::Reference(ObjectId(id))]), ("texts", texts.into_iter().map(Value::text).collect()), ("map", vec![entry])];
            let original: Record = pairs.into_iter().map(|(name, values)| (caps_model::Name::fixed(name), values)).collect();
            prop_assert_eq!(arguments(&parameters(), &record(&parameters(), &original)).unwrap(), original);
        }
    }
}
