//! What a peer may say: the checks that the consensus library leaves to its caller.
//!
//! The library trusts its messages and panics when they contradict its own log. Nothing that a peer sends may do that, so every message
//! passes here first.

use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, StateRole};

use super::log::Log;

/// Why a message was not handled. It changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sender claims to be this replica, or answers what it was not asked, being no member.
    #[error("{0} is no other member of this group")]
    Sender(u64),
    /// The message is for somebody else.
    #[error("the message is for {0}")]
    Receiver(u64),
    /// The message contradicts itself or what this replica knows for certain.
    #[error("impossible message: {0}")]
    Impossible(&'static str),
    /// A duplicate or a straggler that the library would mistake for news.
    #[error("stale message")]
    Stale,
}

/// The leader knows that this replica acknowledged entries which it does not have: its disk lost what it had promised to keep.
///
/// Going on could elect a leader that lacks acknowledged commits. The replica must stop and be rebuilt from its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this replica acknowledged entries up to {acknowledged}, its journal ends at {last_index}: it lost data and must not vote")]
pub struct LostEntries {
    /// The index that the leader saw acknowledged.
    pub acknowledged: u64,
    /// Where the journal ends.
    pub last_index: u64,
}

/// What to do with a message.
pub(super) enum Verdict {
    Handle(Message),
    Refuse(Refusal),
    Stop(LostEntries),
}

/// Judges `message`, which came from the replica that its sender's certificate names.
///
/// Who asks need not be a member as far as this replica knows: it may be behind, and the leader or candidate have joined since. Raft counts on
/// such requests being handled (dissertation, 4.1); who answers must be known.
pub(super) fn judge(node: &RawNode<Log>, vote_is_durable: bool, message: Message) -> Verdict {
    let refuse = |why| Verdict::Refuse(Refusal::Impossible(why));
    let known = node.raft.prs().get(message.from).is_some() || may_be_a_stranger(node, &message);
    if message.from == node.raft.id || message.from == raft::INVALID_ID || !known {
        return Verdict::Refuse(Refusal::Sender(message.from));
    }
    if message.to != node.raft.id {
        return Verdict::Refuse(Refusal::Receiver(message.to));
    }
    if message.term > TERM_MAX || (message.term == 0) != (message.get_msg_type() == MessageType::MsgReadIndex) {
        return refuse("the term");
    }
    match message.get_msg_type() {
        MessageType::MsgAppend => match follows(&message) {
            true => Verdict::Handle(message),
            false => refuse("entries that do not follow each other"),
        },
        MessageType::MsgHeartbeat => judge_heartbeat(node, message),
        MessageType::MsgAppendResponse => judge_append_response(node, message),
        MessageType::MsgRequestVoteResponse if node.raft.state == StateRole::Candidate && !vote_is_durable => {
            refuse("a vote that was never asked for")
        }
        MessageType::MsgReadIndex => judge_read_index(node, message),
        MessageType::MsgReadIndexResp if message.entries.len() != 1 => refuse("an answer without its question"),
        MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgReadIndexResp
        | MessageType::MsgTimeoutNow => Verdict::Handle(message),
        _ => refuse("its kind does not cross the wire"),
    }
}

fn may_be_a_stranger(node: &RawNode<Log>, message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgRequestPreVote | MessageType::MsgRequestVote => true,
        MessageType::MsgTimeoutNow => message.from == node.raft.leader_id,
        _ => false,
    }
}

/// A leader never tells a follower more about commits than that follower acknowledged in this term.
fn judge_heartbeat(node: &RawNode<Log>, message: Message) -> Verdict {
    let last_index = node.raft.raft_log.last_index();
    if message.term >= node.raft.term && message.commit > last_index {
        return Verdict::Stop(LostEntries { acknowledged: message.commit, last_index });
    }
    Verdict::Handle(message)
}

/// Keeps the next index above the matched one (raft-rs #557), which the library lets go below when a delayed rejection arrives.
fn judge_append_response(node: &RawNode<Log>, mut message: Message) -> Verdict {
    if node.raft.state != StateRole::Leader || message.term != node.raft.term {
        return Verdict::Handle(message);
    }
    let last_index = node.raft.raft_log.last_index();
    if message.index > last_index || message.reject_hint > last_index {
        return Verdict::Refuse(Refusal::Impossible("an acknowledgement of what was never sent"));
    }
    let matched = node.raft.prs().get(message.from).map_or(0, |progress| progress.matched);
    if message.reject && message.index <= matched {
        return Verdict::Refuse(Refusal::Stale);
    }
    if message.reject && message.reject_hint < matched {
        message.reject_hint = matched;
        // Without a term the library takes the hint as it is.
        message.log_term = 0;
    }
    Verdict::Handle(message)
}

/// A question is answered by the leader only, and the library keeps each until a majority confirmed the leader.
fn judge_read_index(node: &RawNode<Log>, message: Message) -> Verdict {
    if message.entries.len() != 1 || message.entries[0].data.len() > READ_CONTEXT_BYTES_MAX {
        return Verdict::Refuse(Refusal::Impossible("a question without its context"));
    }
    if node.raft.state != StateRole::Leader || node.raft.pending_read_count() >= READS_PENDING_MAX {
        return Verdict::Refuse(Refusal::Stale);
    }
    Verdict::Handle(message)
}

/// Whether the entries of an append follow its anchor and each other, in index and term.
fn follows(message: &Message) -> bool {
    if (message.index == 0) != (message.log_term == 0) || message.log_term > message.term {
        return false;
    }
    let mut previous = (message.index, message.log_term);
    message.entries.iter().all(|entry: &Entry| {
        let fits = Some(entry.index) == previous.0.checked_add(1) && entry.term >= previous.1.max(1) && entry.term <= message.term;
        previous = (entry.index, entry.term);
        fits
    })
}

/// Terms beyond this are a mistake: at a thousand elections a second they are half a billion years away.
const TERM_MAX: u64 = u64::MAX / 2;

/// A question's context is a replica's number and a counter.
const READ_CONTEXT_BYTES_MAX: usize = 64;

/// Rounds of linearizable reads waiting for a majority; each replica has one at a time, so that this is never reached by honest peers.
const READS_PENDING_MAX: usize = 1_024;
