//! Who a replica is when it opens: what its journal says, or, if that is empty, what the deployment says; and what becomes of a journal that
//! cannot prove what it holds.

use std::sync::Arc;

use caps_overlay::Rng;

use super::{OpenError, Settings};
use crate::journal::{self, Opened, Record, Recovered, Seat};
use crate::storage::Storage;

/// Opens the journal, sets a damaged one aside, and finds out who the replica is.
///
/// What is set aside is kept for inspection, and so that an administrator can decide when more than a minority is damaged. The replica that
/// begins afterwards is another one: it waits until the leader lets it in under a number of its own, learns everything anew, and counts for
/// nothing until it has ([`replication::membership`](crate::replication) says why). A replica that has nobody to learn from stops instead.
pub(super) fn open_journal(settings: &Settings, storage: &Arc<dyn Storage>, rng: &Rng) -> Result<(Opened, Seat), OpenError> {
    let options = journal::Options::new(settings.cabinet.clone());
    let opened = match journal::open(storage.clone(), options.clone()) {
        Err(damage @ journal::OpenError::Damaged { .. }) if settings.has_peers() => {
            let names = journal::set_aside(&**storage).map_err(journal::OpenError::from)?;
            tracing::error!(cabinet = %settings.cabinet, %damage, set_aside = %format!("{names}*"), "the journal was set aside; this replica is repaired from its peers");
            journal::open(storage.clone(), options)
        }
        opened => opened,
    };
    let mut opened = opened?;
    if let Some(tail) = &opened.recovered.repaired {
        tracing::warn!(cabinet = %settings.cabinet, ?tail, "repaired the torn tail of the journal");
    }
    if let Some(seat) = opened.recovered.seat.clone() {
        return Ok((opened, seat));
    }
    let seat = first_seat(settings, &**storage, &opened.recovered, rng)?;
    opened.writer.append(opened.reader.stage(vec![Record::Seat(seat.clone())]))?;
    opened.writer.sync()?;
    Ok((opened, seat))
}

/// The seat of a replica whose journal says nothing. Where a journal was set aside before, its number is gone with it.
fn first_seat(settings: &Settings, storage: &dyn Storage, recovered: &Recovered, rng: &Rng) -> Result<Seat, OpenError> {
    let set_aside = recovered.last_index == 0 && journal::is_quarantined(storage).map_err(journal::OpenError::from)?;
    let founder = settings.founders.iter().find(|founder| founder.identity == settings.identity.uri() && !set_aside);
    let incarnation = new_incarnation(rng);
    Ok(match founder {
        Some(founder) => Seat { incarnation, number: founder.number, founders: settings.founders.clone() },
        None => Seat { incarnation, number: 0, founders: Vec::new() },
    })
}

/// A number for a journal that is begun, or that stands for another replica from now on.
pub(super) fn new_incarnation(rng: &Rng) -> u64 {
    rng.next_u64() | 1
}
