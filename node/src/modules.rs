//! The modules that this build can load, by name.

use std::sync::Arc;

use caps_logic::Catalogue;
use caps_logic::module::Module;
use caps_model::Schema;

/// Their names.
pub const NAMES: [&str; 2] = ["casedesk", "webhooks"];

/// The module of this name, for the company whose domain this is.
pub fn named(name: &str, domain: &str) -> Option<Arc<dyn Module>> {
    match name {
        "casedesk" => Some(Arc::new(caps_modules::CaseDesk::new(format!("desk@{domain}")))),
        "webhooks" => Some(Arc::new(caps_modules::Webhooks)),
        _ => None,
    }
}

/// What a host that loads these modules declares, the built-in ones and the attributes that the host adds included; nothing when they do not go
/// together, which the host then says.
pub fn schemas(names: &[String]) -> Vec<Schema> {
    // What they declare is the same in every domain.
    let loaded = names.iter().filter_map(|name| named(name, "invalid")).collect();
    Catalogue::with_built_in(loaded).map(|catalogue| catalogue.schemas()).unwrap_or_default()
}
