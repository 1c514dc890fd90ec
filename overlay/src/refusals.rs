//! Peers that were refused: counted all, logged once each.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::REFUSALS_REMEMBERED;

/// Counts refused peers, and logs each address and reason once.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: AtomicU64,
    logged: Mutex<BTreeSet<(IpAddr, String)>>,
}

impl Refusals {
    /// Takes note of a refusal; says whether it was logged, being new. Ports do not tell peers apart: each attempt has its
    /// own. When too many are remembered all are forgotten, so that the log stays useful and memory bounded.
    pub(crate) fn note(&self, address: SocketAddr, reason: &str) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut logged = self.logged.lock().expect("nothing panics while it holds this lock");
        if logged.len() >= REFUSALS_REMEMBERED {
            logged.clear();
        }
        let new = logged.insert((address.ip(), reason.to_owned()));
        if new {
            tracing::warn!(%address, reason, "refused a peer");
        }
        new
    }

    /// How many peers were refused.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_and_reason_is_logged_once_and_counted_always() {
        let refusals = Refusals::default();
        let peer = |port| SocketAddr::from(([10, 0, 0, 1], port));
        assert!(refusals.note(peer(1), "expired"));
        assert!(!refusals.note(peer(2), "expired"));
        assert!(refusals.note(peer(2), "revoked"));
        assert_eq!(refusals.count(), 3);
    }

    #[test]
    fn memory_is_bounded() {
        let refusals = Refusals::default();
        for number in 0..3000 {
            refusals.note(([10, 0, 0, 1], 1).into(), &number.to_string());
        }
        assert!(refusals.logged.lock().unwrap().len() <= REFUSALS_REMEMBERED);
    }
}
