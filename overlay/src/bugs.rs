//! Mistakes made on purpose, so that it can be shown that they would be found.
//!
//! Each [`Bug`] is one that real systems had. The code where it could be made asks [`has`]; without the feature `seeded-bugs`, which nothing
//! but a build of the simulation for this purpose has, the answer is a constant `false` and nothing of it is compiled. The list lives in this
//! crate because every other one in which a mistake can be made knows it.

/// A mistake that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The journal reports a write as durable before the disk has it.
    AcknowledgeBeforeSync,
    /// A failed sync is taken for a good one.
    SyncErrorIgnored,
    /// A record of the journal is believed although its check does not match.
    CheckIgnored,
    /// After a restart the last committed entry is passed over.
    EntrySkippedAtReplay,
    /// A replica forgets for whom it voted.
    ForgottenVote,
    /// A leader commits what its own disk has, without a majority.
    MinorityCommit,
    /// Applying a commit looks at the replica's own clock.
    ClockInApply,
    /// A commit is accepted although what it read has changed.
    ReadsNotValidated,
    /// A commit that was made is not recognised when it comes again.
    CommitIdIgnored,
    /// A commit is said never to happen, and nothing keeps it from happening.
    SealNotKept,
    /// A linearizable read is answered without asking whether the leader still leads.
    UnconfirmedRead,
    /// A replica answers although it is behind what the session has seen.
    SessionIgnored,
    /// A subscription resumes one position too late.
    SubscriptionGap,
    /// A subscription resumes one position too early, and nobody notices.
    SubscriptionRepeat,
    /// A subscription whose reader has gone stays.
    LeakedSubscription,
    /// A call that ran again after a conflict answers what its first run found.
    StaleRerun,
    /// The question behind a linearizable read is asked once; when it is lost, its replica answers no more of them.
    ReadNotRepeated,
    /// A client tries again under a new commit id.
    BlindRetry,
    /// A client does not say that it has tried before.
    RetryUnmarked,
    /// Whoever has a valid certificate may call anybody.
    LayerUnchecked,
}

/// What is known of a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it is called where it is switched on.
    pub name: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// The promise that it breaks.
    pub breaks: &'static str,
    /// Who made this mistake.
    pub seen_in: &'static str,
}

impl Bug {
    /// All of them, from the disk up.
    pub const ALL: [Self; 20] = [
        Self::AcknowledgeBeforeSync,
        Self::SyncErrorIgnored,
        Self::CheckIgnored,
        Self::EntrySkippedAtReplay,
        Self::ForgottenVote,
        Self::MinorityCommit,
        Self::ClockInApply,
        Self::ReadsNotValidated,
        Self::CommitIdIgnored,
        Self::SealNotKept,
        Self::UnconfirmedRead,
        Self::SessionIgnored,
        Self::SubscriptionGap,
        Self::SubscriptionRepeat,
        Self::LeakedSubscription,
        Self::StaleRerun,
        Self::ReadNotRepeated,
        Self::BlindRetry,
        Self::RetryUnmarked,
        Self::LayerUnchecked,
    ];

    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.facts().name == name)
    }

    /// What is known of it.
    pub const fn facts(self) -> Facts {
        let (name, what, breaks, seen_in) = match self {
            Self::AcknowledgeBeforeSync => (
                "acknowledge-before-sync",
                "The journal reports a write as durable before the disk has it.",
                ACKNOWLEDGED,
                "NATS JetStream and sled, which sync on a timer",
            ),
            Self::SyncErrorIgnored => (
                "sync-error-ignored",
                "A failed sync is taken for a good one.",
                ACKNOWLEDGED,
                "PostgreSQL before 11.2, among many (\"fsyncgate\")",
            ),
            Self::CheckIgnored => (
                "check-ignored",
                "A record of the journal is believed although its check does not match.",
                ACKNOWLEDGED,
                "NATS JetStream, where one flipped bit on a minority lost acknowledged records",
            ),
            Self::EntrySkippedAtReplay => (
                "entry-skipped-at-replay",
                "After a restart the last committed entry is passed over.",
                ACKNOWLEDGED,
                "off-by-one errors between \"applied\" and \"next to apply\"",
            ),
            Self::ForgottenVote => (
                "forgotten-vote",
                "A replica forgets for whom it voted.",
                ACKNOWLEDGED,
                "Raft implementations that keep the vote in memory only",
            ),
            Self::MinorityCommit => (
                "minority-commit",
                "A leader commits what its own disk has, without a majority.",
                ACKNOWLEDGED,
                "asynchronous replication: Redis, MySQL",
            ),
            Self::ClockInApply => (
                "clock-in-apply",
                "Applying a commit looks at the replica's own clock.",
                ACKNOWLEDGED,
                "state machines that call `now()`: MySQL's statement replication, halted blockchains",
            ),
            Self::ReadsNotValidated => (
                "reads-not-validated",
                "A commit is accepted although what it read has changed.",
                SERIALIZABLE,
                "lost updates and write skew under snapshot isolation",
            ),
            Self::CommitIdIgnored => (
                "commit-id-ignored",
                "A commit that was made is not recognised when it comes again.",
                ACKNOWLEDGED,
                "retries without idempotence, as in jetcd",
            ),
            Self::SealNotKept => (
                "seal-not-kept",
                "A commit is said never to happen, and nothing keeps it from happening.",
                KNOWN,
                "time-outs taken for aborts",
            ),
            Self::UnconfirmedRead => (
                "unconfirmed-read",
                "A linearizable read is answered without asking whether the leader still leads.",
                SERIALIZABLE,
                "etcd and Consul in 2014",
            ),
            Self::SessionIgnored => (
                "session-ignored",
                "A replica answers although it is behind what the session has seen.",
                SERIALIZABLE,
                "read replicas without session guarantees",
            ),
            Self::SubscriptionGap => {
                ("subscription-gap", "A subscription resumes one position too late.", SERIALIZABLE, "resumption off by one")
            }
            Self::SubscriptionRepeat => (
                "subscription-repeat",
                "A subscription resumes one position too early, and nobody notices.",
                SERIALIZABLE,
                "consumers that note their offset late",
            ),
            Self::LeakedSubscription => {
                ("leaked-subscription", "A subscription whose reader has gone stays.", BOUNDED, "streams that outlive their readers")
            }
            Self::StaleRerun => (
                "stale-rerun",
                "A call that ran again after a conflict answers what its first run found.",
                SERIALIZABLE,
                "optimistic transactions that leak state from an aborted attempt",
            ),
            Self::ReadNotRepeated => (
                "read-not-repeated",
                "The question behind a linearizable read is asked once; when it is lost, its replica answers no more of them.",
                AVAILABLE,
                "request loops that trust every message to arrive",
            ),
            Self::BlindRetry => ("blind-retry", "A client tries again under a new commit id.", KNOWN, "jetcd, which lost updates so"),
            Self::RetryUnmarked => (
                "retry-unmarked",
                "A client does not say that it has tried before.",
                KNOWN,
                "a retry's refusal reported for a first attempt that had succeeded",
            ),
            Self::LayerUnchecked => {
                ("layer-unchecked", "Whoever has a valid certificate may call anybody.", IDENTITY, "\"chain valid\" taken for \"allowed\"")
            }
        };
        Facts { name, what, breaks, seen_in }
    }
}

// The promises.
const ACKNOWLEDGED: &str = "what is acknowledged is neither lost nor done twice";
const SERIALIZABLE: &str = "histories are serializable, sessions never go back";
const KNOWN: &str = "a client learns whether its commit happened";
const IDENTITY: &str = "nobody acts outside their layer";
const BOUNDED: &str = "nothing grows without bound";
const AVAILABLE: &str = "what was accepted is finished";

/// Whether bugs can be switched on in this build.
pub const COMPILED_IN: bool = cfg!(feature = "seeded-bugs");

#[cfg(not(feature = "seeded-bugs"))]
mod switch {
    use super::Bug;

    /// Whether this bug is switched on: never in this build.
    #[inline(always)]
    pub const fn has(_: Bug) -> bool {
        false
    }

    /// The bug that is switched on on this thread: none in this build.
    pub const fn switched_on() -> Option<Bug> {
        None
    }

    /// Does nothing in this build.
    pub const fn switch(_: Option<Bug>) {}

    /// Time in a build that has none to get wrong.
    #[inline(always)]
    pub const fn own_time() -> i64 {
        0
    }
}

#[cfg(feature = "seeded-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static ON: Cell<Option<Bug>> = const { Cell::new(None) };
        static TIME: Cell<i64> = const { Cell::new(0) };
    }

    /// Whether this bug is switched on, on this thread.
    pub fn has(bug: Bug) -> bool {
        ON.get() == Some(bug)
    }

    /// The bug that is switched on on this thread.
    pub fn switched_on() -> Option<Bug> {
        ON.get()
    }

    /// Switches one bug on, or all off, on this thread.
    pub fn switch(bug: Option<Bug>) {
        ON.set(bug);
    }

    /// What a replica's own clock may show: something else each time.
    pub fn own_time() -> i64 {
        TIME.set(TIME.get() + 1);
        TIME.get()
    }
}

pub use switch::{has, own_time, switch, switched_on};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(bug.facts().name), Some(bug));
        }
    }

    #[test]
    fn no_bug_is_there_unless_it_is_built_in_and_switched_on() {
        for bug in Bug::ALL {
            assert!(!has(bug));
            switch(Some(bug));
            assert_eq!(has(bug), COMPILED_IN);
            switch(None);
        }
    }
}
