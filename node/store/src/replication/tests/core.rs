//! One core and its disk, driven by hand.

use std::sync::Arc;

use caps_model::Name;
use caps_overlay::Rng;
use raft::eraftpb::{Message, MessageType};

use crate::journal::{self, JournalWriter, Opened, Record};
use crate::replication::{Consensus, Membership, Role, Timing, Write};
use crate::storage::MemoryStorage;

/// Replica 1 of three, with its disk.
pub(super) struct Core {
    pub(super) consensus: Consensus,
    pub(super) writer: JournalWriter,
}

impl Core {
    pub(super) fn new(seed: u64) -> Self {
        Self::over(seed, Vec::new(), 0)
    }

    /// On a journal that holds `records`, with a state that has applied up to `applied`.
    pub(super) fn over(seed: u64, records: Vec<Record>, applied: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let Opened { mut writer, reader, .. } = journal::open(storage, journal::Options::new(Name::fixed("main"))).unwrap();
        writer.append(reader.stage(records)).unwrap();
        writer.sync().unwrap();
        let rng = Rng::seeded(seed);
        let draw = Box::new(move |below| rng.below(below));
        let consensus = Consensus::new(1, Membership::of_voters(&[1, 2, 3]), Timing::default(), reader, applied, draw).unwrap();
        Self { consensus, writer }
    }

    /// Does what consensus asks for; what it wants to say.
    pub(super) fn work(&mut self) -> Vec<Message> {
        let mut said = Vec::new();
        while let Some(output) = self.consensus.poll().unwrap() {
            said.extend(output.messages);
            if let Some(write) = output.write {
                self.sync(write);
            }
            if let Some(last) = output.committed.last() {
                self.consensus.handle_applied(last.index);
            }
        }
        said
    }

    /// Makes a write durable.
    pub(super) fn sync(&mut self, write: Write) {
        self.writer.append(write.batch).unwrap();
        self.writer.sync().unwrap();
        self.consensus.handle_persisted(write.number);
    }

    /// Makes it the leader, with the vote of replica 2; the term that it leads.
    pub(super) fn lead(&mut self) -> u64 {
        for _ in 0..100 {
            self.consensus.handle_tick();
            let mut said = self.work();
            while let Some(asked) = said.pop() {
                let kind = match asked.get_msg_type() {
                    MessageType::MsgRequestPreVote => MessageType::MsgRequestPreVoteResponse,
                    MessageType::MsgRequestVote => MessageType::MsgRequestVoteResponse,
                    _ => continue,
                };
                self.consensus.handle_message(Message { term: asked.term, ..from_two(kind) }).unwrap();
                said.extend(self.work());
            }
            if self.consensus.standing().role == Role::Leader {
                return self.consensus.standing().term;
            }
        }
        panic!("it never led");
    }
}

/// A message from replica 2.
pub(super) fn from_two(kind: MessageType) -> Message {
    let mut message = Message { from: 2, to: 1, ..Message::default() };
    message.set_msg_type(kind);
    message
}
