//! A bound on how fast passwords can be guessed.

use std::collections::BTreeMap;
use std::time::Duration;

/// Counts failed logins by login name. An attempt counts as failed until it has succeeded, so that many at once are no way round it.
///
/// Bounded: of [`NAMES_MAX`] names the one with the fewest failures makes room, so made-up names do not push out one under attack. In memory
/// of one host: across `n` hosts a guesser has `n` times the attempts.
#[derive(Debug, Default)]
pub(crate) struct LoginGuard {
    attempts: BTreeMap<String, Attempts>,
}

#[derive(Clone, Copy, Debug)]
struct Attempts {
    failed: u32,
    /// When it is forgotten, or the lock opens: microseconds since 1970.
    until: i64,
}

impl LoginGuard {
    /// Notes an attempt at `now` (microseconds since 1970), or says how long this name has to wait.
    pub(crate) fn attempt(&mut self, login: &str, now: i64) -> Result<(), Duration> {
        self.forget(login, now);
        let failed = self.attempts.get(login).map_or(0, |attempts| attempts.failed);
        if failed >= FAILURES_MAX {
            let until = self.attempts.get(login).map_or(now, |attempts| attempts.until);
            return Err(Duration::from_micros(u64::try_from(until - now).unwrap_or(0)));
        }
        self.make_room(login);
        self.attempts.insert(login.to_owned(), Attempts { failed: failed + 1, until: now.saturating_add(LOCK_MICROS) });
        Ok(())
    }

    /// The last attempt succeeded: this name starts over.
    pub(crate) fn succeeded(&mut self, login: &str) {
        self.attempts.remove(login);
    }

    fn forget(&mut self, login: &str, now: i64) {
        // A clock that was set back must not lock anybody out for longer than the lock lasts.
        let over = |attempts: &Attempts| attempts.until <= now || attempts.until - now > LOCK_MICROS;
        if self.attempts.get(login).is_some_and(over) {
            self.attempts.remove(login);
        }
    }

    fn make_room(&mut self, login: &str) {
        if self.attempts.len() < NAMES_MAX || self.attempts.contains_key(login) {
            return;
        }
        let least = self.attempts.iter().min_by_key(|(_, attempts)| (attempts.failed, attempts.until));
        if let Some(name) = least.map(|(name, _)| name.clone()) {
            self.attempts.remove(&name);
        }
    }
}

/// Failures after which a name is locked: ten guesses each five minutes find no decent password, and a person with a typo is not locked out.
pub(crate) const FAILURES_MAX: u32 = 10;

/// How long failures are remembered, and how long a lock lasts: five minutes.
const LOCK_MICROS: i64 = 5 * 60 * 1_000_000;

/// Names remembered, about 100 bytes each.
const NAMES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_locked_after_so_many_failures_and_opens_again() {
        let mut guard = LoginGuard::default();
        for _ in 0..FAILURES_MAX {
            assert_eq!(guard.attempt("eva", 0), Ok(()));
        }
        assert_eq!(guard.attempt("eva", 0), Err(Duration::from_secs(300)));
        assert_eq!(guard.attempt("åke", 0), Ok(()));
        assert_eq!(guard.attempt("eva", LOCK_MICROS), Ok(()));
    }

    #[test]
    fn success_starts_over() {
        let mut guard = LoginGuard::default();
        for _ in 0..3 * FAILURES_MAX {
            assert_eq!(guard.attempt("eva", 0), Ok(()));
            guard.succeeded("eva");
        }
    }

    #[test]
    fn made_up_names_push_out_no_name_under_attack() {
        let mut guard = LoginGuard::default();
        for _ in 0..FAILURES_MAX {
            guard.attempt("eva", 0).unwrap();
        }
        for number in 0..NAMES_MAX + 100 {
            guard.attempt(&format!("made up {number}"), 1).unwrap();
        }
        assert_eq!(guard.attempts.len(), NAMES_MAX);
        assert!(guard.attempt("eva", 1).is_err());
    }
}
