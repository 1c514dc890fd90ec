//! Modules that come with the system. They see nothing of it but the module interface, [`caps_logic::module`].
//!
//! Start reading at [`casedesk`].

pub mod casedesk;

pub use casedesk::CaseDesk;
