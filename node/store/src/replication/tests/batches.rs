//! What travels together, and what does not wait for what.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

use super::core::{Core, from_two};
use crate::replication::APPEND_BYTES_MAX;

/// A leader whose first, empty entry is committed and known to replica 2, and its term.
fn leader() -> (Core, u64) {
    let mut core = Core::new(1);
    let term = core.lead();
    acknowledge(&mut core, term, 1);
    core.work();
    (core, term)
}

/// Replica 2 has everything up to `index`.
fn acknowledge(core: &mut Core, term: u64, index: u64) {
    core.consensus.handle_message(Message { term, index, ..from_two(MessageType::MsgAppendResponse) }).unwrap();
}

/// What is said to replica 2: how many entries, and the commit index.
fn appends(said: &[Message]) -> Vec<(usize, u64)> {
    let to_two = said.iter().filter(|message| message.to == 2 && message.get_msg_type() == MessageType::MsgAppend);
    to_two.map(|message| (message.entries.len(), message.commit)).collect()
}

fn payloads(count: usize) -> Vec<Bytes> {
    vec![Bytes::from_static(b"x"); count]
}

#[test]
fn an_append_leaves_before_the_leaders_own_sync_and_counts_only_after_it() {
    let (mut core, term) = leader();
    assert_eq!(core.consensus.propose(payloads(10)), (10, None));
    let output = core.consensus.poll().unwrap().unwrap();
    assert_eq!(appends(&output.messages), [(10, 1)]);
    let write = output.write.unwrap();
    // Entry 1 is the leader's own empty one, 2 to 11 are proposals. Replica 2 was faster than the leader's own disk: one of three has them.
    acknowledge(&mut core, term, 11);
    assert!(core.work().is_empty());
    assert_eq!(core.consensus.committed_index(), 1);
    core.sync(write);
    assert_eq!(core.consensus.committed_index(), 11);
}

#[test]
fn several_appends_are_under_way_while_none_is_answered() {
    let (mut core, _) = leader();
    for _ in 0..5 {
        core.consensus.propose(payloads(2));
        assert_eq!(appends(&core.work()), [(2, 1)]);
    }
}

#[test]
fn proposals_beyond_one_append_all_leave_at_once() {
    let (mut core, _) = leader();
    let half = Bytes::from(vec![0; APPEND_BYTES_MAX / 2]);
    assert_eq!(core.consensus.propose(vec![half; 5]), (5, None));
    let entries: usize = appends(&core.work()).into_iter().map(|(entries, _)| entries).sum();
    assert_eq!(entries, 5);
}

#[test]
fn the_commit_index_travels_with_entries_and_alone_only_when_no_more_are_under_way() {
    let (mut core, term) = leader();
    core.consensus.propose(payloads(1));
    core.work();
    core.consensus.propose(payloads(1));
    core.work();
    // Entry 2 is committed while entry 3 is under way: nothing is said of it ...
    acknowledge(&mut core, term, 2);
    assert_eq!((appends(&core.work()), core.consensus.committed_index()), (vec![], 2));
    // ... but by the next append.
    core.consensus.propose(payloads(1));
    assert_eq!(appends(&core.work()), [(1, 2)]);
    // The last one is committed: nothing else would say so before the next heartbeat.
    acknowledge(&mut core, term, 4);
    assert_eq!(appends(&core.work()), [(0, 4)]);
    assert_eq!(appends(&core.work()), []);
}

#[test]
fn appends_that_became_durable_with_one_sync_are_answered_together() {
    let mut core = Core::new(1);
    let append = |index: u64| {
        let entry = Entry { term: 1, index: index + 1, data: Bytes::from_static(b"x"), ..Entry::default() };
        let mut append = Message { term: 1, index, log_term: u64::from(index > 0), ..from_two(MessageType::MsgAppend) };
        append.set_entries(vec![entry].into());
        append
    };
    let mut writes = Vec::new();
    for index in 0..3 {
        core.consensus.handle_message(append(index)).unwrap();
        while let Some(output) = core.consensus.poll().unwrap() {
            assert!(output.messages.is_empty(), "nothing is promised before it is durable");
            writes.extend(output.write);
        }
    }
    let last = writes.last().unwrap().number;
    for write in writes {
        core.writer.append(write.batch).unwrap();
    }
    core.writer.sync().unwrap();
    core.consensus.handle_persisted(last);
    let said: Vec<(MessageType, u64)> = core.work().iter().map(|message| (message.get_msg_type(), message.index)).collect();
    assert_eq!(said, [(MessageType::MsgAppendResponse, 3)]);
}
