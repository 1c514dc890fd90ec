//! One value, and whoever waits for the next.
//!
//! It stands where tokio's channel of this name would: that one draws the order in which it wakes its readers from a counter of the process,
//! so that two simulated worlds in one process could not be equal. Here they wake in the order in which they began to wait.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A channel that starts with this value; its reader has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

/// Changes the value. When it is dropped, readers keep the last value and learn that there will be no other.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Reads the value, and waits for others.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value, held still: nobody can change it as long as this lives.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, Slot<T>>);

/// The sender is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody is left who could change it")]
pub struct Closed;

#[derive(Debug)]
struct Shared<T> {
    slot: RwLock<Slot<T>>,
    news: Notify,
}

#[derive(Debug)]
struct Slot<T> {
    value: T,
    /// Counts changes.
    version: u64,
    closed: bool,
}

impl<T> Sender<T> {
    /// A channel without a reader yet.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared { slot: RwLock::new(Slot { value, version: 0, closed: false }), news: Notify::new() }))
    }

    /// A reader that has seen the value of this moment.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: self.0.clone(), seen: self.0.read().version }
    }

    /// Puts a value in the place of the last, and returns that.
    pub fn send_replace(&self, value: T) -> T {
        let mut last = value;
        self.send_modify(|slot| std::mem::swap(slot, &mut last));
        last
    }

    /// Changes the value where it is.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value where it is; tells readers only if this says so, and says the same.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let changed = {
            let mut slot = self.0.write();
            let changed = change(&mut slot.value);
            slot.version += u64::from(changed);
            changed
        };
        if changed {
            self.0.news.notify_waiters();
        }
        changed
    }

    /// The value of this moment.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Whether no reader is left.
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.write().closed = true;
        self.0.news.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// The value of this moment. It may still count as unseen.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// The value of this moment, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let slot = self.shared.read();
        self.seen = slot.version;
        Ref(slot)
    }

    /// Whether there is a value that was not seen.
    pub fn has_changed(&self) -> bool {
        self.shared.read().version != self.seen
    }

    /// Whether nobody is left who could change it.
    pub fn is_closed(&self) -> bool {
        self.shared.read().closed
    }

    /// Waits for a value that was not seen; it counts as seen from then on. Nothing is lost if it is given up.
    ///
    /// # Errors
    /// [`Closed`]: there is none, and there will be none.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let next: Notified<'_> = self.shared.news.notified();
            {
                let slot = self.shared.read();
                if slot.version != self.seen {
                    self.seen = slot.version;
                    return Ok(());
                }
                if slot.closed {
                    return Err(Closed);
                }
            }
            next.await;
        }
    }

    /// Waits for a value like this, the one of this moment included.
    ///
    /// # Errors
    /// [`Closed`]: there is none, and there will be none.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            let next: Notified<'_> = self.shared.news.notified();
            {
                let slot = self.shared.read();
                self.seen = slot.version;
                if wanted(&slot.value) {
                    return Ok(Ref(slot));
                }
                if slot.closed {
                    return Err(Closed);
                }
            }
            next.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Slot<T>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot<T>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn readers_wake_in_the_order_in_which_they_began_to_wait() {
        let sender = Sender::new(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..50)
            .map(|number| {
                let (mut reader, woken) = (sender.subscribe(), woken.clone());
                tokio::spawn(async move {
                    reader.changed().await.unwrap();
                    woken.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(sender.send_replace(1), 0);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_not_seen_is_told_once_and_the_end_after_it() {
        let (sender, mut reader) = channel(1);
        assert!(!reader.has_changed());
        sender.send_modify(|value| *value += 1);
        assert!(!sender.send_if_modified(|value| {
            *value += 1;
            false
        }));
        let mut late = reader.clone();
        assert!(reader.has_changed());
        reader.changed().await.unwrap();
        assert_eq!((*reader.borrow(), reader.has_changed(), reader.is_closed()), (3, false, false));
        assert!(!sender.is_closed());
        drop(sender);
        assert_eq!(reader.changed().await, Err(Closed));
        assert_eq!(late.changed().await, Ok(()), "it has not seen the last value yet");
        assert_eq!(late.changed().await, Err(Closed));
        assert_eq!(*late.wait_for(|value| *value == 3).await.unwrap(), 3, "what is there needs nobody");
        assert_eq!(late.wait_for(|value| *value == 4).await.err(), Some(Closed));
    }
}
