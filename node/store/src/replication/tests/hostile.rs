//! Messages that no honest voter sends, and the faults of the library that our checks keep away.

use std::sync::Arc;

use bytes::Bytes;
use caps_model::Name;
use caps_overlay::Rng;
use raft::eraftpb::{Entry, Message, MessageType};

use super::core::{Core, from_two};
use crate::journal::{self, HardState, Opened, Record};
use crate::replication::{Consensus, HandleError, Membership, Refusal, Timing};
use crate::storage::MemoryStorage;

#[test]
fn no_message_makes_a_replica_panic() {
    const KINDS: [MessageType; 19] = [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgSnapshot,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
        MessageType::MsgTransferLeader,
        MessageType::MsgTimeoutNow,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ];
    for seed in 0..150 {
        let rng = Rng::seeded(seed);
        let mut core = Core::new(seed);
        if seed % 3 == 0 {
            core.lead();
        }
        // Small numbers meet what is there; a few are as large as they get.
        let number = |most: u64| match rng.below(20) {
            0 => u64::MAX,
            1 => u64::MAX - rng.below(3),
            _ => rng.below(most),
        };
        for _ in 0..300 {
            let index = number(6);
            let entries: Vec<Entry> = (0..rng.below(4))
                .map(|step| Entry {
                    index: index.wrapping_add(1 + step + rng.below(8) / 7),
                    term: number(5),
                    data: Bytes::from_static(b"x"),
                    ..Entry::default()
                })
                .collect();
            let mut message = Message {
                from: number(4),
                to: 1 + rng.below(20) / 19,
                term: number(6),
                log_term: number(5),
                index,
                commit: number(6),
                commit_term: number(5),
                reject: rng.below(2) == 0,
                reject_hint: number(6),
                request_snapshot: rng.below(20) / 19,
                ..Message::default()
            };
            message.set_msg_type(KINDS[usize::try_from(rng.below(19)).unwrap()]);
            message.set_entries(entries.into());
            match core.consensus.handle_message(message) {
                Ok(()) | Err(HandleError::Refused(_)) => {}
                // It stops, loudly: that is right, too.
                Err(HandleError::Lost(_)) => break,
            }
            core.consensus.handle_tick();
            core.work();
        }
    }
}

#[test]
fn a_state_ahead_of_the_durable_commit_index_opens() {
    // raft-rs #543: the commit index is written lazily, what was applied was committed.
    let entries = (1..=3).map(|index| Record::Entry(entry(index)));
    let records = std::iter::once(Record::HardState(HardState { term: 1, vote: 1, commit: 1 })).chain(entries).collect();
    let core = Core::over(1, records, 3);
    assert_eq!(core.consensus.committed_index(), 3);
}

#[test]
fn a_term_behind_the_last_entry_is_caught_up_without_a_vote() {
    let records = vec![Record::Entry(journal::Entry { term: 4, ..entry(1) })];
    let core = Core::over(1, records, 0);
    assert_eq!(core.consensus.standing().term, 4);
}

#[test]
fn a_delayed_rejection_does_not_move_the_leader_back() {
    // raft-rs #557: the next index must stay above the matched one.
    let mut core = Core::new(1);
    let term = core.lead();
    for _ in 0..5 {
        assert_eq!(core.consensus.propose(vec![Bytes::from_static(b"x")]), (1, None));
    }
    core.work();
    // Entry 1 is the leader's own empty one, 2 to 6 are proposals.
    core.consensus.handle_message(Message { term, index: 6, ..from_two(MessageType::MsgAppendResponse) }).unwrap();
    core.work();
    let rejection = Message { term, index: 5, reject: true, reject_hint: 2, log_term: 1, ..from_two(MessageType::MsgAppendResponse) };
    let refused = core.consensus.handle_message(rejection).unwrap_err();
    assert!(matches!(refused, HandleError::Refused(Refusal::Stale)));
    assert!(core.work().iter().all(|message| message.to != 2 || message.index >= 6));
}

#[test]
fn damage_found_while_a_follower_catches_up_stops_the_leader() {
    let storage = MemoryStorage::new();
    let options = journal::Options { cache_bytes: 0, ..journal::Options::new(Name::fixed("main")) };
    let Opened { mut writer, reader, .. } = journal::open(Arc::new(storage.clone()), options).unwrap();
    let entries = (1..=3).map(|index| Record::Entry(journal::Entry { payload: Bytes::from_static(b"x"), ..entry(index) }));
    writer.append(reader.stage(entries.collect())).unwrap();
    writer.sync().unwrap();
    let consensus = Consensus::new(1, Membership::of_voters(&[1, 2, 3]), Timing::default(), reader.clone(), 0, Box::new(|_| 0)).unwrap();
    let mut core = Core { consensus, writer };
    let term = core.lead();
    // The follower has nothing; the leader has to read from the beginning, and not here.
    let rejection = Message { term, index: 3, reject: true, ..from_two(MessageType::MsgAppendResponse) };
    core.consensus.handle_message(rejection).unwrap();
    let output = core.consensus.poll().unwrap().unwrap();
    assert!(output.messages.is_empty() && output.fetches.len() == 1);
    assert!(storage.flip_bit("journal-0000000001", 160, 0));
    let fetched = output.fetches.into_iter().next().unwrap().read(&reader);
    core.consensus.handle_fetched(fetched);
    assert!(matches!(core.consensus.poll(), Err(journal::ReadError::Damaged { .. })));
}

#[test]
fn a_replica_that_lost_what_it_acknowledged_stops() {
    let mut core = Core::new(1);
    let heartbeat = Message { term: 3, commit: 9, ..from_two(MessageType::MsgHeartbeat) };
    assert!(matches!(core.consensus.handle_message(heartbeat), Err(HandleError::Lost(lost)) if lost.acknowledged == 9));
}

#[test]
fn nobody_speaks_as_this_replica_and_no_stranger_answers() {
    let mut core = Core::new(1);
    for (from, kind) in [(0, MessageType::MsgHeartbeat), (1, MessageType::MsgHeartbeat), (4, MessageType::MsgHeartbeatResponse)] {
        let message = Message { from, term: 1, ..from_two(kind) };
        assert!(matches!(core.consensus.handle_message(message), Err(HandleError::Refused(Refusal::Sender(who))) if who == from));
    }
    // A leader that joined while this replica was away is not known here yet.
    core.consensus.handle_message(Message { from: 4, term: 1, ..from_two(MessageType::MsgHeartbeat) }).unwrap();
    assert_eq!(core.consensus.standing().leader, Some(4));
}

fn entry(index: u64) -> journal::Entry {
    journal::Entry { index, term: 1, kind: journal::EntryKind::Normal, payload: Bytes::new() }
}
