//! A replica whose journal was made by a restore, and that has promised nothing in it yet: it holds entries and a seat, and no hard state.
//!
//! All members of a restored group have new numbers, drawn from what was restored ([`crate::backup`] says how). So nothing that is left of the
//! group before, and no group of nodes that begin with nothing, ever has a say in the restored one; and replicas that were restored to different
//! points never take each other for members. What is left is the replica that is restored a second time, after it had voted and acknowledged
//! under its number: it asks before it takes part, as one does whose journal is empty ([`super::joining`]).

use std::sync::Arc;

use bytes::Bytes;
use caps_model::codec;
use caps_model::messages::cabinet::{MEMBERS, Members};
use caps_overlay::{Identity, Rng};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Core;
use super::driver::Disk;
use super::joining::{ANSWER_WITHIN, FOUNDING_PATIENCE, FOUNDING_PAUSE};
use super::peers::Peers;
use super::seat::new_incarnation;
use super::shared::{Shared, Stopped};
use crate::journal::{HardState, JournalReader, Record, Recovered, Seat};
use crate::replication::Membership;

/// Whether a journal holds what was restored, and no promise yet.
pub(crate) fn is_restored(last_index: u64, hard_state: HardState) -> bool {
    last_index > 0 && hard_state == HardState::default()
}

/// How far a journal is known to be committed: everything that was restored is.
pub(crate) fn committed(recovered: &Recovered) -> u64 {
    match is_restored(recovered.last_index, recovered.hard_state) {
        true => recovered.last_index,
        false => recovered.hard_state.commit.min(recovered.last_index),
    }
}

/// Begins to take part, durably: from now on the journal is like any other. Where the group has gone on already, the number is given up, and the
/// replica is let in under another one.
pub(super) async fn begin(
    shared: &Shared,
    peers: &Arc<dyn Peers>,
    core: &Core,
    disk: &mut Disk,
    stop: &mut mpsc::Receiver<Instant>,
    rng: &Rng,
) -> Result<(), Stopped> {
    let promise = first_promise(&core.reader);
    let mut records = vec![Record::HardState(promise)];
    let seat = shared.seat();
    if seat.number != 0 {
        let membership = core.membership(&seat).map_err(|error| Stopped::Change { index: 0, error: Arc::new(error) })?;
        if has_gone_on(shared, peers, &membership, promise.term, stop).await.ok_or(Stopped::Asked)? {
            tracing::warn!(cabinet = %shared.cabinet_name, "the restored group is at work already: this replica joins it under another number");
            let seat = Seat { incarnation: new_incarnation(rng), number: 0, ..seat };
            records.push(Record::Seat(seat.clone()));
            shared.take_seat(seat);
        }
    }
    disk.write(core.reader.stage(records)).await
}

/// What a restored replica promises when it begins: that it saw the term of the last entry, voted for nobody in it, and knows that all is committed.
fn first_promise(reader: &JournalReader) -> HardState {
    let last = reader.last_index();
    HardState { term: reader.term(last).unwrap_or_default(), vote: 0, commit: last }
}

/// Whether the restored group has begun to work already, with an earlier journal at this node: somebody has come to a later term and counts this
/// replica's number among its members. `None`: the replica was told to stop.
async fn has_gone_on(
    shared: &Shared,
    peers: &Arc<dyn Peers>,
    membership: &Membership,
    term: u64,
    stop: &mut mpsc::Receiver<Instant>,
) -> Option<bool> {
    let number = shared.seat().number;
    let is_member = |other: &&Identity| membership.of_identity(other).is_some();
    let mut answers: FuturesUnordered<_> = shared.others.iter().filter(is_member).map(|other| ask(peers, other)).collect();
    let deadline = sleep(FOUNDING_PATIENCE);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            // The wish to stop first, then what is known, and last that it has taken too long.
            biased;
            _ = stop.recv() => return None,
            answer = answers.next() => match answer {
                Some(told) if counts(&told, number, &shared.identity) => {
                    if told.term > term {
                        return Some(true);
                    }
                }
                Some(told) if told.last_index > 0 => tracing::warn!(
                    cabinet = %shared.cabinet_name, node = %told.node,
                    "it keeps a cabinet of this name that does not count this replica: was it restored to another point, or not at all?"
                ),
                Some(_) => {}
                None => return Some(false),
            },
            () = &mut deadline => {
                tracing::warn!(cabinet = %shared.cabinet_name, silent = answers.len(), "the restored group begins without having heard all of it");
                return Some(false);
            }
        }
    }
}

fn counts(told: &Members, number: u64, me: &Identity) -> bool {
    told.members.iter().any(|member| member.number == number && member.node == me.uri())
}

/// Asks one node until it answers.
async fn ask(peers: &Arc<dyn Peers>, node: &Identity) -> Members {
    loop {
        let answer = peers.call(node, MEMBERS, Bytes::new(), Instant::now() + ANSWER_WITHIN).await;
        if let Some(members) = answer.ok().and_then(|body| codec::decode::<Members>(&body).ok()) {
            return members;
        }
        sleep(FOUNDING_PAUSE).await;
    }
}
