//! The pages of the case desk: its queue, and the conversation about a case.

pub(super) mod conversation;
pub(super) mod queue;
