//! What a host takes from outside.

use std::fmt;
use std::sync::Arc;

use caps_overlay::{Environment, Rng, Tasks, WallClock, Workers};

/// What a host takes from outside: the part of the node's [`Environment`] that is not about the network.
#[derive(Clone)]
pub struct HostEnvironment {
    /// For ids and jitter.
    pub rng: Rng,
    /// For what people read: times of commits, ends of sessions.
    pub wall_clock: Arc<dyn WallClock>,
    /// Where passwords are hashed.
    pub workers: Arc<dyn Workers>,
    /// Where the host's own tasks run.
    pub tasks: Tasks,
    /// For secrets: fills the bytes and says whether it could.
    pub secrets: SecretSource,
}

/// Fills bytes with randomness that nobody can guess, and says whether it could.
pub type SecretSource = Arc<dyn Fn(&mut [u8]) -> bool + Send + Sync>;

impl From<&Environment> for HostEnvironment {
    fn from(environment: &Environment) -> Self {
        let provider = environment.provider.clone();
        Self {
            rng: environment.rng.clone(),
            wall_clock: environment.wall_clock.clone(),
            workers: environment.workers.clone(),
            tasks: environment.tasks.clone(),
            secrets: Arc::new(move |bytes| provider.secure_random.fill(bytes).is_ok()),
        }
    }
}

impl fmt::Debug for HostEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostEnvironment").finish_non_exhaustive()
    }
}
