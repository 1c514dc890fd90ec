//! Modules that come with the system. They see nothing of it but the module interface, [`caps_logic::module`].
//!
//! Start reading at [`casedesk`]; [`webhooks`] shows what a module can do about the objects of others.

pub mod casedesk;
pub mod webhooks;

pub use casedesk::CaseDesk;
pub use webhooks::Webhooks;
