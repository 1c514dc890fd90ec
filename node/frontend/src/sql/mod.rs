//! Databases of others: rows that become calls ([`import`]), and objects that become rows ([`export`]).
//!
//! Both may be interrupted at any moment and go on afterwards. A row is a call under a commit id that is made of the row itself, so reading it again
//! changes nothing; a table holds how far it is, in the same transaction as its rows.

pub mod export;
pub mod import;
pub mod mark;

pub use export::{Export, ExportError, export};
pub use import::{Heard, Import, ImportError, Imported, Source, import, keep_importing};
pub use mark::Mark;
