//! JSON.

use caps_adapters::web::json::{self, DEPTH_MAX, VALUES_MAX, Value};

/// A text: it means what it means to others, and is written as it was read.
pub(super) fn text(input: &[u8]) {
    let value = match json::parse(input) {
        Ok(value) => value,
        Err(error) => return assert!(error.to_string().len() <= input.len() * 8 + 200, "{error}"),
    };
    let mut values = 0;
    check(&value, 0, &mut values);
    assert!(values <= VALUES_MAX);
    assert_eq!(serde_json::from_slice::<Value>(input).ok().as_ref(), Some(&value));
    let written = value.to_string();
    assert_eq!(json::parse(written.as_bytes()).ok().as_ref(), Some(&value), "{written}");
}

fn check(value: &Value, depth: usize, values: &mut usize) {
    *values += 1;
    match value {
        Value::Array(list) => {
            assert!(depth < DEPTH_MAX);
            list.iter().for_each(|value| check(value, depth + 1, values));
        }
        Value::Object(map) => {
            assert!(depth < DEPTH_MAX);
            map.values().for_each(|value| check(value, depth + 1, values));
        }
        Value::Number(number) => assert!(number.as_f64().is_some_and(f64::is_finite)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

pub(super) const TEXTS: &[&[u8]] = &[
    b"{\"a\":[1,-2,3.5e-7,18446744073709551615,null,true],\"b\":{\"\\u00e4\\n\":\"\\ud83d\\ude00\"}}",
    b"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
    b" 0.30000000000000004 ",
];
