//! The shape of a front end's tables in `caps.toml`.

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
pub(super) struct Dkim {
    pub(super) domain: Option<String>,
    pub(super) selector: String,
    pub(super) key: String,
}
