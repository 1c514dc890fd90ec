//! The web front end: a console for people and services for programs, both made from what the modules declare.
//!
//! Every browser session and every token acts through a [`Client`](crate::Client) of its own, as the user who logged in; the front end's own
//! rights are used for nothing. What a user may see and do is decided by the host, and what it says is shown as it says it.
//!
//! [`server`] is the door, [`site`] what all requests share, [`visitor`] whoever asks. [`console`] makes pages, [`services`] JSON, XML and XML-RPC.

// What all requests share.
mod blob;
mod catalogue;
mod cursor;
mod refusal;
mod samples;
mod server;
mod settings;
mod site;
mod titles;
mod visitor;

// Values as people and programs write them.
pub(crate) mod input;
pub(crate) mod moment;
mod shown;

pub(crate) use self::moment::rfc3339;

mod console;
mod services;

pub use server::{Server, StartError};
pub use settings::{REQUESTS_PER_SECOND, Settings};
