//! XML and XML-RPC: what is read can be written, and is read as the same.

use caps_adapters::web::{
    xml::{self, ATTRIBUTES_MAX, DEPTH_MAX, Element, NODES_MAX, Writer, XmlError},
    xml_rpc::{self, Call, CallError, Value},
};

use super::oracle::text;

/// A document.
pub(super) fn document(input: &[u8]) {
    let root = match xml::parse(input) {
        Ok(root) => root,
        Err(error) => return assert!(error.to_string().len() <= 5_000, "{error}"),
    };
    let mut nodes = 0;
    check(&root, 1, &mut nodes);
    assert!(nodes <= NODES_MAX);
    let mut writer = Writer::new();
    write(&root, &mut writer);
    let written = writer.finish();
    assert_eq!(xml::parse(written.as_bytes()).as_ref(), Ok(&root), "{written}");
}

/// A call; and any text, as a value of one.
pub(super) fn call(input: &[u8]) {
    if let Ok(call) = Call::parse(input) {
        let written = call.write();
        match Call::parse(written.as_bytes()) {
            Ok(again) => assert_eq!(again, call, "{written}"),
            // A string that did not say that it is one was one element less deep.
            Err(CallError::Xml(XmlError::Depth)) => {}
            Err(error) => panic!("{error}: {written}"),
        }
        call.parameters.iter().for_each(|value| assert!(xml::parse(xml_rpc::answer(value).as_bytes()).is_ok() || written.len() > 1_000));
    }
    let said = text(input);
    let call = Call { method: "m".to_owned(), parameters: vec![Value::Text(said.clone()), Value::Bytes(input.to_vec())] };
    let again = Call::parse(call.write().as_bytes()).expect("what is written can be read");
    let [Value::Text(read), Value::Bytes(bytes)] = &again.parameters[..] else { panic!("{again:?}") };
    assert_eq!(bytes, input);
    assert_eq!(read.chars().count(), said.chars().count());
    assert!(read.chars().zip(said.chars()).all(|(read, said)| read == said || read == char::REPLACEMENT_CHARACTER));
    let fault = xml_rpc::fault(&xml_rpc::Fault { code: -1, message: said });
    assert!(xml::parse(fault.as_bytes()).is_ok(), "{fault}");
}

fn check(element: &Element, depth: usize, nodes: &mut usize) {
    assert!(depth <= DEPTH_MAX && element.attributes.len() <= ATTRIBUTES_MAX);
    *nodes += 1;
    element.elements.iter().for_each(|inner| check(inner, depth + 1, nodes));
}

fn write(element: &Element, writer: &mut Writer) {
    let attributes = element.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    writer.element(&element.name, attributes, |writer| {
        writer.text(&element.text);
        element.elements.iter().for_each(|inner| write(inner, writer));
    });
}

pub(super) const DOCUMENTS: &[&[u8]] = &[
    b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><a b='c&quot;' d=\"\">t&#x41;<e/>&amp;<![CDATA[<x>]]></a>\n",
    b"\xef\xbb\xbf<n:a xmlns:n=\"u\">\r\n<n:b></n:b></n:a>",
    b"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
];

pub(super) const CALLS: &[&[u8]] = &[
    b"<methodCall><methodName>m</methodName><params><param><value><array><data><value><i4>1</i4></value><value>t</value></data></array></value></param>\
      <param><value><struct><member><name>n</name><value><double>-1.5e3</double></value></member></struct></value></param></params></methodCall>",
    b"<methodCall><methodName>m</methodName><params><param><value><base64>QQ==</base64></value></param><param><value><boolean>1</boolean></value></param>\
      <param><value><nil/></value></param><param><value><dateTime.iso8601>20261122T10:30:00</dateTime.iso8601></value></param></params></methodCall>",
];

pub(super) const WORDS: &[&str] = &[
    "<value>",
    "</value>",
    "<string>",
    "</string>",
    "<array><data>",
    "<struct>",
    "<member>",
    "<name>",
    "<nil/>",
    "<i8>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "&#",
    "&lt;",
    "/>",
    "</",
    "<?xml ",
    "\u{feff}",
];
