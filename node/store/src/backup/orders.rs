//! Obliterations that a journal knows of: what was to be gone must not come back with an older history.

use bytes::Bytes;
use caps_model::CommitId;

use super::source::Source;
use crate::cabinet::Proposal;
use crate::journal::envelope::undecide;
use crate::replay::{ReplayError, proposed};

/// An obliteration, as the log carries it; nothing is decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its place in the log that it was found in.
    pub index: u64,
    /// Its name.
    pub id: CommitId,
    /// Its data.
    pub(super) data: Bytes,
}

impl Source {
    /// The obliterations that this journal knows of, in its order; also those after the last entry that it knows to be committed, for somebody may
    /// have been told that they happened.
    pub fn orders(&self) -> Result<Vec<Order>, ReplayError> {
        let mut orders = Vec::new();
        for index in self.reader.obliterations(u64::MAX) {
            for entry in self.reader.entries(index, index + 1, u64::MAX)? {
                if let Some(Proposal::Obliterate(order)) = proposed(&entry)?.map(|proposed| proposed.proposal) {
                    let mut data = entry.payload.to_vec();
                    undecide(&mut data);
                    orders.push(Order { index, id: order.id, data: data.into() });
                }
            }
        }
        Ok(orders)
    }
}
