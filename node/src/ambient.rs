//! What commands that make things read from the machine around them: the time and fresh randomness. Nodes get theirs from the overlay's
//! environment.

use std::time::SystemTime;

use anyhow::Context;
use rand::TryRng;

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "commands run in the real world; no simulation runs through here")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// A source of random bytes for keys and serial numbers.
pub(crate) fn random() -> anyhow::Result<impl FnMut(&mut [u8])> {
    let mut probe = [0; 1];
    rand::rngs::SysRng.try_fill_bytes(&mut probe).context("the system gives no random numbers")?;
    Ok(|bytes: &mut [u8]| rand::rngs::SysRng.try_fill_bytes(bytes).expect("a system that gave random numbers once goes on to"))
}
