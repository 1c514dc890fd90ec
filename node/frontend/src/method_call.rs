//! A call of a method, before it is made.

use caps_model::messages::host::{Call, Expected, Session};
use caps_model::{CommitId, Name, Record};

/// A call of a method, for [`Client::call_with`](crate::Client::call_with) and [`Client::call_again`](crate::Client::call_again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodCall {
    commit: CommitId,
    module: Name,
    method: Name,
    arguments: Record,
    reason: Option<String>,
    expected: Vec<Expected>,
}

impl MethodCall {
    /// A call under this commit id. Calling again under the same one never does anything twice.
    pub fn new(commit: CommitId, module: Name, method: Name, arguments: Record) -> Self {
        Self { commit, module, method, arguments, reason: None, expected: Vec::new() }
    }

    /// The same, saying why, for whoever reads the history of what it changes.
    #[must_use]
    pub fn because(self, reason: Option<String>) -> Self {
        Self { reason, ..self }
    }

    /// The same, which is refused unless all of this is so where its commit stands: nothing that others changed meanwhile is overlooked.
    #[must_use]
    pub fn expecting(self, expected: Vec<Expected>) -> Self {
        Self { expected, ..self }
    }

    /// The id of its commit.
    pub fn commit(&self) -> CommitId {
        self.commit
    }

    pub(crate) fn message(self, session: Option<Session>) -> Call {
        let Self { commit, module, method, arguments, reason, expected } = self;
        Call { session, commit, again: false, module, method, arguments, reason, expected }
    }
}
