//! The shape of a front end's tables in `caps.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Web {
    pub(super) listen: Spanned<String>,
    pub(super) certificate: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) behind_tls: bool,
    pub(super) requests_per_second: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Mail {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) host: Option<Spanned<String>>,
    pub(super) recipients: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) certificate: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) relay: Option<Spanned<String>>,
    pub(super) dkim: Option<Dkim>,
    pub(super) retry: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Webhook {
    pub(super) endpoint: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) secret: String,
    pub(super) authorities: Option<String>,
    pub(super) retry: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Import {
    pub(super) name: Spanned<String>,
    pub(super) from: Spanned<String>,
    pub(super) query: String,
    pub(super) key: String,
    pub(super) cursor: Option<String>,
    pub(super) call: Spanned<String>,
    pub(super) map: Spanned<BTreeMap<Spanned<String>, String>>,
    #[serde(default)]
    pub(super) set: BTreeMap<Spanned<String>, Spanned<String>>,
    pub(super) every: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Export {
    pub(super) name: Spanned<String>,
    pub(super) to: Spanned<String>,
    pub(super) table: Option<String>,
    pub(super) entity: Spanned<String>,
    pub(super) filter: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) columns: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dkim {
    pub(super) domain: Option<String>,
    pub(super) selector: String,
    pub(super) key: String,
}
