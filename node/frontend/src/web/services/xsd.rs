//! The XML Schema document of everything that travels as XML, made from the schemas.

use std::sync::Arc;

use caps_adapters::web::axum::body::Body;
use caps_adapters::web::axum::extract::State;
use caps_adapters::web::axum::http::{HeaderValue, header};
use caps_adapters::web::axum::response::Response;
use caps_adapters::web::xml::Writer;
use caps_model::schema::Attribute;
use caps_model::{Value, ValueKind};

use super::super::catalogue::{Catalogue, range, selection, size};
use super::super::site::Site;
use super::caller::{Format, Refused};

pub(super) async fn document(State(site): State<Arc<Site>>) -> Result<Response, Refused> {
    let catalogue = site.catalogue().await.map_err(|trouble| Format::Xml.trouble(trouble))?;
    let mut response = Response::new(Body::from(xsd(&catalogue)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// The document. What is ours begins with a capital letter: names that modules give never do.
fn xsd(catalogue: &Catalogue) -> String {
    let mut writer = Writer::new();
    writer.element("xs:schema", [("xmlns:xs", "http://www.w3.org/2001/XMLSchema")], |writer| {
        pattern(writer, "Id", ID_PATTERN);
        pattern(writer, "Decimal", r"-?[0-9]+(\.[0-9]+)?");
        pattern(writer, "Blob", "blob:[0-9a-f]{64}:[0-9]+");
        for kind in catalogue.kinds() {
            element(writer, kind.entity.name.as_str(), OBJECT, |writer| sequence(writer, &kind.entity.attributes, false));
        }
        element(writer, "Objects", &[("position", "xs:unsignedLong", true), ("next", "xs:string", false)], |writer| {
            any_object(writer, catalogue, "unbounded");
        });
        element(writer, "Event", EVENT, |writer| any_object(writer, catalogue, "1"));
        element(writer, "History", &[("position", "xs:unsignedLong", true), ("more", "xs:boolean", true)], |writer| {
            writer.element("xs:sequence", [], |writer| {
                writer.element("xs:element", [("ref", "Event"), ("minOccurs", "0"), ("maxOccurs", "unbounded")], |_| {});
            });
        });
        for schema in catalogue.schemas() {
            for method in &schema.methods {
                let name = format!("{}.{}", schema.module, method.name);
                element(writer, &name, &[], |writer| all(writer, &method.parameters));
                element(writer, &format!("{name}.result"), CALLED, |writer| sequence(writer, &method.results, false));
            }
        }
        element(writer, "Login", &[], |writer| {
            writer.element("xs:sequence", [], |writer| {
                for name in ["user", "password"] {
                    writer.element("xs:element", [("name", name), ("type", "xs:string")], |_| {});
                }
            });
        });
        text_element(writer, "Token", "xs:string", &[("user", "Id", true), ("expires", "xs:dateTime", true)]);
        text_element(writer, "Stored", "Blob", &[("bytes", "xs:unsignedLong", true)]);
    });
    writer.finish()
}

/// An element with a text of this type in it.
fn text_element(writer: &mut Writer, name: &str, base: &str, of: Attributes<'_>) {
    writer.element("xs:element", [("name", name)], |writer| {
        writer.element("xs:complexType", [], |writer| {
            writer.element("xs:simpleContent", [], |writer| {
                writer.element("xs:extension", [("base", base)], |writer| attributes(writer, of));
            });
        });
    });
}

type Attributes<'a> = &'a [(&'a str, &'a str, bool)];

fn pattern(writer: &mut Writer, name: &str, pattern: &str) {
    writer.element("xs:simpleType", [("name", name)], |writer| {
        writer.element("xs:restriction", [("base", "xs:string")], |writer| writer.element("xs:pattern", [("value", pattern)], |_| {}));
    });
}

fn element(writer: &mut Writer, name: &str, of: Attributes<'_>, content: impl FnOnce(&mut Writer)) {
    writer.element("xs:element", [("name", name)], |writer| {
        writer.element("xs:complexType", [], |writer| {
            content(writer);
            attributes(writer, of);
        });
    });
}

fn attributes(writer: &mut Writer, of: Attributes<'_>) {
    for (name, kind, is_required) in of {
        let needed = if *is_required { "required" } else { "optional" };
        writer.element("xs:attribute", [("name", *name), ("type", *kind), ("use", needed)], |_| {});
    }
}

/// Attributes in the order in which they are declared, as answers have them.
fn sequence(writer: &mut Writer, attributes: &[Attribute], is_input: bool) {
    writer.element("xs:sequence", [], |writer| {
        for attribute in attributes {
            let max = if attribute.arity.max == 1 { "1" } else { "unbounded" };
            one(writer, attribute, "0", max, is_input);
        }
    });
}

/// Parameters in any order. Where one may come again, XML Schema 1.0 has no way to say how often.
fn all(writer: &mut Writer, parameters: &[Attribute]) {
    if parameters.iter().all(|parameter| parameter.arity.max == 1) {
        writer.element("xs:all", [], |writer| {
            for parameter in parameters {
                one(writer, parameter, if parameter.arity.min == 0 { "0" } else { "1" }, "1", true);
            }
        });
        return;
    }
    writer.element("xs:choice", [("minOccurs", "0"), ("maxOccurs", "unbounded")], |writer| {
        parameters.iter().for_each(|parameter| one(writer, parameter, "1", "1", true));
    });
}

fn one(writer: &mut Writer, attribute: &Attribute, min: &str, max: &str, is_input: bool) {
    let name = attribute.name.as_str();
    let head = [("name", name), ("minOccurs", min), ("maxOccurs", max)];
    if attribute.is_map {
        writer.element("xs:element", head, |writer| {
            writer.element("xs:complexType", [], |writer| {
                writer.element("xs:simpleContent", [], |writer| {
                    writer.element("xs:extension", [("base", base(attribute.kind))], |writer| {
                        attributes(writer, &[("key", "xs:string", true)]);
                    });
                });
            });
        });
        return;
    }
    let facets = if is_input { facets(attribute) } else { choices(attribute) };
    if facets.is_empty() {
        writer.element("xs:element", head.into_iter().chain([("type", base(attribute.kind))]), |_| {});
        return;
    }
    writer.element("xs:element", head, |writer| {
        writer.element("xs:simpleType", [], |writer| {
            writer.element("xs:restriction", [("base", base(attribute.kind))], |writer| {
                facets.iter().for_each(|(facet, value)| writer.element(&format!("xs:{facet}"), [("value", value.as_str())], |_| {}));
            });
        });
    });
}

/// What is asked of arguments. Objects may be older than what is asked now.
fn facets(attribute: &Attribute) -> Vec<(&'static str, String)> {
    let mut facets = choices(attribute);
    if let Some((min, max)) = size(attribute).filter(|_| attribute.kind == ValueKind::Text) {
        // Characters are no more than bytes.
        facets.push(("maxLength", max.to_string()));
        facets.extend((min > 0).then(|| ("minLength", min.div_ceil(4).to_string())));
    }
    if let Some((Value::Int(from), Value::Int(to))) = range(attribute) {
        facets.extend([("minInclusive", from.to_string()), ("maxInclusive", to.to_string())]);
    }
    if let Some(values) = selection(attribute) {
        facets.extend(values.iter().map(|value| ("enumeration", value.to_string())));
    }
    facets
}

fn choices(attribute: &Attribute) -> Vec<(&'static str, String)> {
    attribute.choices.iter().map(|choice| ("enumeration", choice.word.to_string())).collect()
}

fn base(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Bool => "xs:boolean",
        ValueKind::Int | ValueKind::Timespan => "xs:long",
        ValueKind::Float => "xs:double",
        ValueKind::Timestamp => "xs:dateTime",
        ValueKind::Bytes => "xs:base64Binary",
        ValueKind::Reference => "Id",
        ValueKind::Decimal => "Decimal",
        ValueKind::Blob => "Blob",
        ValueKind::Text | ValueKind::Choice | ValueKind::Entry => "xs:string",
    }
}

fn any_object(writer: &mut Writer, catalogue: &Catalogue, max: &str) {
    let min = if max == "1" { "1" } else { "0" };
    writer.element("xs:choice", [("minOccurs", min), ("maxOccurs", max)], |writer| {
        catalogue.kinds().for_each(|kind| writer.element("xs:element", [("ref", kind.entity.name.as_str())], |_| {}));
    });
}

/// Ids as they are written: base 32 of 128 bits.
pub(super) const ID_PATTERN: &str = "[0-7][0-9a-hjkmnp-tv-z]{25}";

const OBJECT: Attributes<'static> =
    &[("id", "Id", true), ("created", "xs:unsignedLong", true), ("version", "xs:unsignedLong", true), ("deleted", "xs:boolean", true)];
const CALLED: Attributes<'static> = &[("position", "xs:unsignedLong", true), ("commit", "Id", true), ("repeated", "xs:boolean", true)];
const EVENT: Attributes<'static> = &[
    ("position", "xs:unsignedLong", true),
    ("commit", "Id", true),
    ("time", "xs:dateTime", true),
    ("front_end", "xs:string", true),
    ("method", "xs:string", true),
    ("user", "Id", false),
    ("reason", "xs:string", false),
];
