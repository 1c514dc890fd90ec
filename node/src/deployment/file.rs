//! The shape of `caps.toml`, with the place of each value.

use serde::Deserialize;
use toml::Spanned;

use super::{StateKind, Survival, network, workload};

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
    pub(super) cabinet: Cabinet,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cabinet {
    #[serde(default = "cabinet")]
    pub(super) name: String,
    pub(super) voters: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) learners: Vec<Spanned<String>>,
    pub(super) survives: Option<Survival>,
    #[serde(default = "state")]
    pub(super) state: StateKind,
    pub(super) tick: Option<Spanned<String>>,
    pub(super) reserve_mib: Option<u32>,
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

fn cabinet() -> String {
    "main".to_owned()
}

fn state() -> StateKind {
    StateKind::Sled
}
