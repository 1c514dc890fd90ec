//! Telling everything that a front end serves that it is to stop.

use caps_overlay::watch;

/// Tells that it is time to stop; so does dropping it.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

/// Hears when it is time to stop.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stop {
    /// Not yet.
    pub fn new() -> (Self, Stopping) {
        let (stop, stopping) = watch::channel(false);
        (Self(stop), Stopping(stopping))
    }

    /// Now.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Resolves when it is time to stop, and at once from then on. Dropping the future loses nothing.
    pub async fn stopped(&mut self) {
        while !*self.0.borrow() {
            if self.0.changed().await.is_err() {
                return;
            }
        }
    }
}
