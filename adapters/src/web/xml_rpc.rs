//! XML-RPC (xmlrpc.com/spec), with the `nil` and `i8` that its clients agreed on since.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::xml::{self, Element, Writer, XmlError};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing (`nil`).
    Nil,
    /// `boolean`.
    Bool(bool),
    /// `int`, `i4` or `i8`.
    Int(i64),
    /// `double`.
    Double(f64),
    /// `string`.
    Text(String),
    /// `dateTime.iso8601`, as it was written: `20261122T10:30:00`.
    Moment(String),
    /// `base64`.
    Bytes(Vec<u8>),
    /// `array`.
    List(Vec<Self>),
    /// `struct`, in the order in which the members came, each name once.
    Members(Vec<(String, Self)>),
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The name of the method.
    pub method: String,
    /// What it is given.
    pub parameters: Vec<Value>,
}

/// What a caller is told that did not get an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault it is.
    pub code: i32,
    /// The same for people.
    pub message: String,
}

/// Why something is no call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It is no document.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// It is a document of something else.
    #[error("a call is <methodCall> with a <methodName> and <params>")]
    Shape,
    /// A value of no known kind, or that is not what its kind says.
    #[error("<{0}> does not hold what its name says")]
    Value(String),
}

impl Call {
    /// Reads a call.
    pub fn parse(bytes: &[u8]) -> Result<Self, CallError> {
        let document = xml::parse(bytes)?;
        let method = document.only("methodName").filter(|_| document.name == "methodCall").ok_or(CallError::Shape)?.text.trim().to_owned();
        let parameters = document.elements.iter().find(|element| element.name == "params").map_or(&[][..], |params| &params.elements);
        let parameter =
            |element: &Element| element.only("value").filter(|_| element.name == "param").ok_or(CallError::Shape).and_then(value);
        Ok(Self { method, parameters: parameters.iter().map(parameter).collect::<Result<_, _>>()? })
    }

    /// Writes a call.
    pub fn write(&self) -> String {
        let mut writer = Writer::new();
        writer.element("methodCall", [], |writer| {
            writer.leaf("methodName", &self.method);
            writer.element("params", [], |writer| {
                self.parameters.iter().for_each(|parameter| writer.element("param", [], |writer| write(parameter, writer)));
            });
        });
        writer.finish()
    }
}

/// Writes an answer.
pub fn answer(result: &Value) -> String {
    let mut writer = Writer::new();
    writer.element("methodResponse", [], |writer| {
        writer.element("params", [], |writer| writer.element("param", [], |writer| write(result, writer)));
    });
    writer.finish()
}

/// Writes a fault.
pub fn fault(fault: &Fault) -> String {
    let members =
        vec![("faultCode".to_owned(), Value::Int(fault.code.into())), ("faultString".to_owned(), Value::Text(fault.message.clone()))];
    let mut writer = Writer::new();
    writer.element("methodResponse", [], |writer| writer.element("fault", [], |writer| write(&Value::Members(members), writer)));
    writer.finish()
}

fn value(element: &Element) -> Result<Value, CallError> {
    let [inner] = element.elements.as_slice() else {
        // Without a kind it is a string.
        return if element.elements.is_empty() { Ok(Value::Text(element.text.clone())) } else { Err(CallError::Shape) };
    };
    let wrong = || CallError::Value(inner.name.chars().take(40).collect());
    let text = inner.text.trim();
    Ok(match inner.name.as_str() {
        "nil" | "ex:nil" => Value::Nil,
        "boolean" if text == "0" || text == "1" => Value::Bool(text == "1"),
        "int" | "i4" => Value::Int(text.parse::<i32>().map_err(|_| wrong())?.into()),
        "i8" | "ex:i8" => Value::Int(text.parse().map_err(|_| wrong())?),
        "double" => Value::Double(text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(wrong)?),
        "string" => Value::Text(inner.text.clone()),
        "dateTime.iso8601" => Value::Moment(text.to_owned()),
        "base64" => {
            let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            Value::Bytes(STANDARD.decode(digits).map_err(|_| wrong())?)
        }
        "array" => {
            let elements = &inner.only("data").ok_or_else(wrong)?.elements;
            let of = |element: &Element| if element.name == "value" { value(element) } else { Err(wrong()) };
            Value::List(elements.iter().map(of).collect::<Result<_, _>>()?)
        }
        "struct" => {
            let mut members: Vec<(String, Value)> = Vec::new();
            if inner.elements.len() > MEMBERS_MAX {
                return Err(wrong());
            }
            for member in &inner.elements {
                let (Some(name), Some(of)) = (member.only("name"), member.only("value")) else { return Err(wrong()) };
                if members.iter().any(|(known, _)| *known == name.text) {
                    return Err(wrong());
                }
                members.push((name.text.clone(), value(of)?));
            }
            Value::Members(members)
        }
        _ => return Err(wrong()),
    })
}

fn write(value: &Value, writer: &mut Writer) {
    writer.element("value", [], |writer| match value {
        Value::Nil => writer.element("nil", [], |_| {}),
        Value::Bool(truth) => writer.leaf("boolean", if *truth { "1" } else { "0" }),
        Value::Int(number) => writer.leaf(if i32::try_from(*number).is_ok() { "int" } else { "i8" }, &number.to_string()),
        Value::Double(number) => writer.leaf("double", &number.to_string()),
        Value::Text(text) => writer.leaf("string", text),
        Value::Moment(moment) => writer.leaf("dateTime.iso8601", moment),
        Value::Bytes(bytes) => writer.leaf("base64", &STANDARD.encode(bytes)),
        Value::List(list) => writer.element("array", [], |writer| {
            writer.element("data", [], |writer| list.iter().for_each(|element| write(element, writer)));
        }),
        Value::Members(members) => writer.element("struct", [], |writer| {
            for (name, of) in members {
                writer.element("member", [], |writer| {
                    writer.leaf("name", name);
                    write(of, writer);
                });
            }
        }),
    });
}

/// Members of one struct: more than any method has parameters.
const MEMBERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn call_of_pythons_client_is_read() {
        // As xmlrpc.client.dumps(("a", {"n": 5, "l": [True, None]}), "m.n", allow_none=True) writes it.
        let text = "<?xml version='1.0'?>\n<methodCall>\n<methodName>m.n</methodName>\n<params>\n<param>\n<value><string>a</string></value>\n</param>\n\
            <param>\n<value><struct>\n<member>\n<name>n</name>\n<value><int>5</int></value>\n</member>\n<member>\n<name>l</name>\n<value><array><data>\n\
            <value><boolean>1</boolean></value>\n<value><nil/></value></data></array></value>\n</member>\n</struct></value>\n</param>\n</params>\n</methodCall>\n";
        let list = Value::List(vec![Value::Bool(true), Value::Nil]);
        let members = Value::Members(vec![("n".to_owned(), Value::Int(5)), ("l".to_owned(), list)]);
        let expected = Call { method: "m.n".to_owned(), parameters: vec![Value::Text("a".to_owned()), members] };
        assert_eq!(Call::parse(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_call_is_refused() {
        let of = |inner: &str| {
            format!("<methodCall><methodName>m</methodName><params><param><value>{inner}</value></param></params></methodCall>")
        };
        for inner in [
            "<int>x</int>",
            "<int>99999999999</int>",
            "<boolean>2</boolean>",
            "<double>inf</double>",
            "<base64>!</base64>",
            "<x/>",
            "<int>1</int><int>2</int>",
            "<array/>",
            "<struct><member/></struct>",
            "<struct><member><name>a</name><value/></member><member><name>a</name><value/></member></struct>",
        ] {
            assert!(Call::parse(of(inner).as_bytes()).is_err(), "{inner}");
        }
        assert_eq!(Call::parse(of("plain").as_bytes()).unwrap().parameters, [Value::Text("plain".to_owned())]);
        for text in ["<methodResponse/>", "<methodCall/>", "<methodCall><methodName>m</methodName><params><x/></params></methodCall>"] {
            assert_eq!(Call::parse(text.as_bytes()), Err(CallError::Shape));
        }
        assert!(matches!(Call::parse(b"<!DOCTYPE a><methodCall/>"), Err(CallError::Xml(XmlError::DocumentType))));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e9..1e9).prop_map(Value::Double),
            "\\PC{0,12}".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let members = prop::collection::btree_map("[a-z]{1,4}", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::List),
                members.prop_map(|members| Value::Members(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn calls_read_back_as_they_were_written(parameters in prop::collection::vec(values(), 0..3)) {
            let call = Call { method: "a.b".to_owned(), parameters };
            prop_assert_eq!(Call::parse(call.write().as_bytes()).unwrap(), call);
        }
    }
}
