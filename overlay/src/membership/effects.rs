//! What foca asks for while it handles an input.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use caps_certs_gen::Identity;
use foca::{Incarnation, Notification, Timer};

use super::announced::Announced;

/// Collects what foca wants sent and when it wants to be called again.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// When the input that is being handled came.
    pub(super) now: Duration,
    /// Packets to be sent, oldest first. Emptied after each input.
    pub(super) packets: VecDeque<(Announced, Bytes)>,
    /// Whether a member is known to listen to this life of the node.
    pub(super) is_heard: bool,
    /// Whom this node itself has accused, to be told. At most one entry a member.
    pub(super) accused: BTreeMap<Identity, (Announced, Incarnation)>,
    timers: BTreeMap<TimerKey, Due>,
    timers_made: u64,
    /// Where the only timer of each of these kinds stands, so that a member that comes and goes leaves one timer, not many.
    forgetting: BTreeMap<Identity, TimerKey>,
}

/// Timers go off by time, then in the order in which they were made.
type TimerKey = (Duration, u64);

/// What is to be done at a time.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// Something of foca's.
    Foca(Timer<Announced>),
    /// Ask seeds and peers who are not members yet.
    Join,
    /// Tell suspects that they are suspected.
    Remind,
    /// Report load and position.
    Report,
}

impl Effects {
    pub(super) fn schedule(&mut self, due: Due, after: Duration) -> TimerKey {
        self.timers_made += 1;
        let key = (self.now + after, self.timers_made);
        self.timers.insert(key, due);
        key
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first timer that has gone off by `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Due> {
        let first = self.timers.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let due = first.remove();
        if let Due::Foca(Timer::RemoveDown(member)) = &due {
            self.forgetting.remove(member.identity());
        }
        Some(due)
    }
}

impl foca::Runtime<Announced> for Effects {
    /// Only what concerns the node itself: the directory is compared with foca's state after each input, which
    /// also shows suspicions; notifications do not.
    fn notify(&mut self, notification: Notification<'_, Announced>) {
        match notification {
            Notification::Active => self.is_heard = true,
            Notification::Idle | Notification::Rejoin(_) | Notification::Defunct => self.is_heard = false,
            Notification::MemberUp(_) | Notification::MemberDown(_) | Notification::Rename(..) => {}
        }
    }

    fn send_to(&mut self, to: Announced, packet: &[u8]) {
        self.packets.push_back((to, Bytes::copy_from_slice(packet)));
    }

    fn submit_after(&mut self, timer: Timer<Announced>, after: Duration) {
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
            if self.accused.is_empty() {
                self.schedule(Due::Remind, Duration::ZERO);
            }
            self.accused.insert(member_id.identity().clone(), (member_id.clone(), *incarnation));
        }
        let forgotten = match &timer {
            Timer::RemoveDown(member) => Some(member.identity().clone()),
            _ => None,
        };
        let key = self.schedule(Due::Foca(timer), after);
        if let Some(earlier) = forgotten.and_then(|member| self.forgetting.insert(member, key)) {
            self.timers.remove(&earlier);
        }
    }
}
