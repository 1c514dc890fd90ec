//! Proposals whose outcome somebody waits for, and rounds of linearizable reads.

use std::collections::BTreeMap;

use bytes::Bytes;
use caps_model::CommitId;
use tokio::sync::oneshot;

use crate::cabinet::Verdict;

/// A proposal on its way into the log.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What is proposed.
    pub(crate) subject: Subject,
    /// Its bytes, as an entry carries them.
    pub(crate) payload: Bytes,
    /// The last obliteration that the log may hold before it; none: it does not matter.
    pub(crate) after: Option<u64>,
    /// Who wants to know.
    pub(crate) reply: Reply,
}

/// What a proposal is about. Two proposals about the same share one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// This commit.
    Commit(CommitId),
    /// The sealing of this commit.
    Seal(CommitId),
}

/// Where the outcome goes.
pub(crate) type Reply = oneshot::Sender<Result<Verdict, NotDecided>>;

/// A proposal was not decided here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotDecided {
    /// It was not taken into the log: this replica does not lead.
    #[error("this replica is not the leader")]
    NotLeader,
    /// It was not taken into the log: too much waits already.
    #[error("too many commits are waiting for a majority")]
    Overloaded,
    /// It was not taken into the log: the disk is nearly full.
    #[error("the disk is nearly full")]
    NearlyFull,
    /// It was not taken into the log: an obliteration was, which may have taken away what it relies on.
    #[error("values were obliterated meanwhile")]
    Obliterated,
    /// It was in the log when the leadership ended: a later leader may still bring it to an end.
    #[error("the leadership ended before a majority had the commit")]
    LeadershipLost,
}

/// The proposals of one leadership that wait for a majority.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    waiting: BTreeMap<Subject, Vec<Reply>>,
    replies: usize,
}

impl Proposals {
    /// Adds `reply` to the proposal if one about this is under way; gives it back if not.
    pub(crate) fn join(&mut self, subject: Subject, reply: Reply) -> Option<Reply> {
        let Some(replies) = self.waiting.get_mut(&subject) else { return Some(reply) };
        replies.push(reply);
        self.replies += 1;
        None
    }

    /// Whether one more may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.replies < PROPOSALS_MAX
    }

    /// A proposal was taken into the log.
    pub(crate) fn add(&mut self, subject: Subject, reply: Reply) {
        self.waiting.entry(subject).or_default().push(reply);
        self.replies += 1;
    }

    /// It was not taken into the log after all.
    pub(crate) fn refuse(&mut self, subject: Subject, why: NotDecided) {
        for reply in self.waiting.remove(&subject).unwrap_or_default() {
            self.replies -= 1;
            reply.send(Err(why)).ok();
        }
    }

    /// It was decided.
    pub(crate) fn decide(&mut self, subject: Subject, verdict: &Verdict) {
        for reply in self.waiting.remove(&subject).unwrap_or_default() {
            self.replies -= 1;
            // Whoever gave up waiting is not there any more.
            reply.send(Ok(verdict.clone())).ok();
        }
    }

    /// The leadership ended: nobody here can say what becomes of the proposals.
    pub(crate) fn abandon(&mut self) {
        self.replies = 0;
        for reply in std::mem::take(&mut self.waiting).into_values().flatten() {
            reply.send(Err(NotDecided::LeadershipLost)).ok();
        }
    }
}

/// Linearizable reads. All that come while a round is under way share the next one, so that any number of readers costs one question.
#[derive(Debug, Default)]
pub(crate) struct ReadRounds {
    next_context: u64,
    current: Option<(u64, Vec<oneshot::Sender<u64>>)>,
    following: Vec<oneshot::Sender<u64>>,
}

impl ReadRounds {
    /// Rounds whose contexts start at `first_context`: a random number, so that a restarted replica never takes an old answer for a new one.
    pub(crate) fn new(first_context: u64) -> Self {
        Self { next_context: first_context, ..Self::default() }
    }

    /// A reader wants the index that it must wait for. Dropped when there are too many: the reader sees that and reads elsewhere.
    pub(crate) fn add(&mut self, reader: oneshot::Sender<u64>) {
        if self.following.len() >= READERS_MAX {
            self.following.retain(|reader| !reader.is_closed());
        }
        if self.following.len() < READERS_MAX {
            self.following.push(reader);
        }
    }

    /// The context of a round that starts now, if one is wanted and none is under way.
    pub(crate) fn start(&mut self) -> Option<u64> {
        if self.current.is_some() || self.following.is_empty() {
            return None;
        }
        let context = self.next_context;
        self.next_context = context.wrapping_add(1);
        self.current = Some((context, std::mem::take(&mut self.following)));
        Some(context)
    }

    /// The context of the round under way: its question is asked again, because it, or the answer, may have been lost.
    pub(crate) fn repeat(&mut self) -> Option<u64> {
        let (context, readers) = self.current.as_mut()?;
        readers.retain(|reader| !reader.is_closed());
        if !readers.is_empty() {
            return Some(*context);
        }
        self.current = None;
        self.start()
    }

    /// The leader answered: reads of this round wait for `index`.
    pub(crate) fn answer(&mut self, context: u64, index: u64) {
        if self.current.as_ref().is_none_or(|(current, _)| *current != context) {
            return;
        }
        for reader in self.current.take().map(|(_, readers)| readers).unwrap_or_default() {
            reader.send(index).ok();
        }
    }
}

/// Proposals that wait for a majority at once. 256 callers at full speed need 256; the rest is room for a slow disk.
const PROPOSALS_MAX: usize = 8_192;

/// Linearizable readers that wait for a round at once.
const READERS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use caps_model::messages::Outcome;

    #[test]
    fn two_proposals_of_one_commit_share_an_entry() {
        let mut proposals = Proposals::default();
        let subject = Subject::Seal(CommitId(7));
        let (first, mut first_reply) = oneshot::channel();
        let (second, mut second_reply) = oneshot::channel();
        assert!(proposals.join(subject, first).map(|reply| proposals.add(subject, reply)).is_some());
        assert!(proposals.join(subject, second).is_none());
        proposals.decide(subject, &Verdict::Seal(Outcome::Sealed));
        assert!(matches!(first_reply.try_recv(), Ok(Ok(Verdict::Seal(Outcome::Sealed)))));
        assert!(matches!(second_reply.try_recv(), Ok(Ok(Verdict::Seal(Outcome::Sealed)))));
    }

    #[test]
    fn readers_that_come_during_a_round_wait_for_the_next() {
        let mut rounds = ReadRounds::new(u64::MAX);
        let (early, mut early_index) = oneshot::channel();
        let (late, mut late_index) = oneshot::channel();
        rounds.add(early);
        let first = rounds.start().unwrap();
        rounds.add(late);
        assert_eq!(rounds.start(), None);
        assert_eq!(rounds.repeat(), Some(first));
        rounds.answer(first, 5);
        assert_eq!(early_index.try_recv(), Ok(5));
        // The late reader started after the leader was asked: the answer does not cover it.
        assert!(late_index.try_recv().is_err());
        let second = rounds.start().unwrap();
        rounds.answer(first, 6);
        assert!(late_index.try_recv().is_err());
        rounds.answer(second, 7);
        assert_eq!(late_index.try_recv(), Ok(7));
    }
}
