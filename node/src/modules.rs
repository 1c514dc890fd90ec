//! The modules that this build can load, by name.

use std::sync::Arc;

use caps_logic::module::Module;

/// Their names.
pub const NAMES: [&str; 1] = ["casedesk"];

/// The module of this name.
pub fn named(name: &str) -> Option<Arc<dyn Module>> {
    match name {
        "casedesk" => Some(Arc::new(caps_modules::CaseDesk::default())),
        _ => None,
    }
}
