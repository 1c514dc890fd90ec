//! The shape of `caps.toml`, with the place of each value.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{Survival, front_end, network, workload};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) domain: Spanned<String>,
    #[serde(default = "certificates")]
    pub(super) certificates: String,
    #[serde(default = "data")]
    pub(super) data: String,
    #[serde(default = "modules")]
    pub(super) modules: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) site: Vec<Site>,
    #[serde(default)]
    pub(super) node: Vec<Node>,
    pub(super) cabinet: Cabinets,
    #[serde(default)]
    pub(super) operation: Vec<workload::file::Operation>,
    #[serde(default)]
    pub(super) users: Vec<workload::file::Users>,
    #[serde(default)]
    pub(super) link: Vec<network::file::Link>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Site {
    pub(super) name: Spanned<String>,
    pub(super) line: Option<Spanned<String>>,
    pub(super) region: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) name: Spanned<String>,
    pub(super) site: Spanned<String>,
    pub(super) line: Option<Spanned<String>>,
    pub(super) layer: Spanned<u8>,
    pub(super) listen: Option<Spanned<String>>,
    pub(super) announce: Option<Spanned<String>>,
    pub(super) cabinet: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) cabinets: Vec<Spanned<String>>,
    pub(super) web: Option<Spanned<front_end::file::Web>>,
    pub(super) mail: Option<Spanned<front_end::file::Mail>>,
    #[serde(default)]
    pub(super) webhooks: Vec<Spanned<front_end::file::Webhook>>,
    #[serde(default)]
    pub(super) imports: Vec<Spanned<front_end::file::Import>>,
    #[serde(default)]
    pub(super) exports: Vec<Spanned<front_end::file::Export>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cabinet {
    pub(super) name: Option<Spanned<String>>,
    pub(super) voters: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) learners: Vec<Spanned<String>>,
    pub(super) survives: Option<Survival>,
    pub(super) state: Option<Spanned<String>>,
    pub(super) tick: Option<Spanned<String>>,
    pub(super) reserve_mib: Option<u32>,
    pub(super) modules: Option<Vec<Spanned<String>>>,
}

/// `[cabinet]` once, or `[[cabinet]]` as often as there are cabinets.
pub(super) struct Cabinets(pub(super) Vec<Cabinet>);

impl<'de> Deserialize<'de> for Cabinets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Cabinets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table [cabinet], or tables [[cabinet]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cabinets, A::Error> {
        Cabinet::deserialize(MapAccessDeserializer::new(map)).map(|cabinet| Cabinets(vec![cabinet]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, tables: A) -> Result<Cabinets, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(tables)).map(Cabinets)
    }
}

/// The line of a byte, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn certificates() -> String {
    "certs".to_owned()
}

fn data() -> String {
    "data".to_owned()
}

fn modules() -> Vec<Spanned<String>> {
    vec![Spanned::new(0..0, "casedesk".to_owned())]
}
