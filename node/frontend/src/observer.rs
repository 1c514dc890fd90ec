//! Listening to what a client asks, for those who record it.

use std::fmt;
use std::time::Duration;

/// Somebody who is told of each request that was answered.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Takes note of it. Runs between the answer and whoever waits for it: to be quick.
    fn answered(&self, exchange: &Exchange<'_>);
}

/// A request and its answer, as they travelled. Sessions and passwords are inside: an observer passes on neither.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The method's number: one of [`caps_model::messages::host`].
    pub method: u16,
    /// The request.
    pub asked: &'a [u8],
    /// The answer; empty for a subscription, whose answer has no end.
    pub answer: &'a [u8],
    /// From the first attempt to the answer.
    pub took: Duration,
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("method", &self.method).field("took", &self.took).finish_non_exhaustive()
    }
}
