//! The shape of `[[operation]]` and `[[users]]`, with the place of each value.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Operation {
    pub(super) name: Spanned<String>,
    pub(super) limit: Option<Spanned<String>>,
    pub(super) about: Option<String>,
    #[serde(default)]
    pub(super) step: Vec<Spanned<Step>>,
}

/// Exactly one of its fields is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Step {
    pub(super) connect: Option<Spanned<bool>>,
    pub(super) login: Option<Login>,
    pub(super) query: Option<Query>,
    pub(super) get: Option<Get>,
    pub(super) history: Option<History>,
    pub(super) call: Option<Call>,
    pub(super) file_mail: Option<FileMail>,
    pub(super) watch: Option<Watch>,
    pub(super) think: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Login {
    pub(super) user: Spanned<String>,
    pub(super) password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Query {
    pub(super) entity: Spanned<String>,
    pub(super) filter: Option<Spanned<String>>,
    pub(super) order: Option<Spanned<String>>,
    pub(super) limit: Option<Spanned<u32>>,
    pub(super) pick: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Get {
    pub(super) objects: Spanned<toml::Value>,
    pub(super) at_most: Option<Spanned<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct History {
    pub(super) object: Spanned<String>,
    pub(super) limit: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Call {
    pub(super) module: Spanned<String>,
    pub(super) method: Spanned<String>,
    #[serde(default)]
    pub(super) arguments: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct FileMail {
    pub(super) text: Spanned<String>,
    pub(super) bytes: Spanned<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Watch {
    pub(super) entity: Spanned<String>,
    pub(super) filter: Option<Spanned<String>>,
    #[serde(rename = "for")]
    pub(super) length: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::deployment) struct Users {
    pub(super) operation: Spanned<String>,
    pub(super) front_end: Option<Spanned<String>>,
    pub(super) site: Option<Spanned<String>>,
    pub(super) count: Spanned<u32>,
    pub(super) every: Option<Spanned<String>>,
    pub(super) limit: Option<Spanned<String>>,
}
