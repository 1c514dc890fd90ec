//! Ambient randomness, decided by a seed: whatever asks the system for random bytes on a simulated thread gets seeded ones.
//!
//! The standard library's hash maps and every crate that uses `getrandom` call the C function of that name. This program has one of its own,
//! which asks the system on ordinary threads and a seeded generator on simulated ones. What bypasses it (ring asks the kernel directly) must
//! be replaced; see [`crypto`](crate::crypto). A simulation is one fresh thread, so that no thread-local state is older than the seed.

#![expect(unsafe_code, reason = "a C function is replaced: the one exception that the style allows")]

use std::cell::{Cell, RefCell};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

thread_local! {
    static SOURCE: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
    static QUESTIONS: Cell<u64> = const { Cell::new(0) };
}

/// Makes this thread a simulated one: from now on its ambient randomness is decided by `seed`.
pub(crate) fn seed_thread(seed: u64) {
    SOURCE.with_borrow_mut(|source| *source = Some(ChaCha8Rng::seed_from_u64(seed)));
    QUESTIONS.set(0);
}

/// How often this thread was asked for randomness since it was seeded: a simulation in which nobody ever asks has lost its hook.
pub(crate) fn questions() -> u64 {
    QUESTIONS.get()
}

/// Fills `bytes` on a simulated thread; `false` on any other.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    SOURCE.with_borrow_mut(|source| match source {
        Some(source) => {
            source.fill_bytes(bytes);
            true
        }
        None => false,
    })
}

/// The C library's `getrandom` (getrandom(2)), as the rest of the program is linked to it.
///
/// # Safety
/// `buffer` must be valid for writing `length` bytes, as for the function that this one replaces.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, length: usize, flags: libc::c_uint) -> isize {
    QUESTIONS.set(QUESTIONS.get() + 1);
    if length > 0 {
        // SAFETY: the caller promises `length` writable bytes; randomness is written before anything is read.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        if fill(bytes) {
            return isize::try_from(length).unwrap_or(isize::MAX);
        }
    }
    // SAFETY: the same arguments, handed on to the system call of the same name.
    let written = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
    isize::try_from(written).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn order_of_a_hash_map(seed: u64) -> Vec<u32> {
        let thread = std::thread::spawn(move || {
            seed_thread(seed);
            let map: HashMap<u32, ()> = (0..100).map(|key| (key, ())).collect();
            assert!(questions() > 0, "the standard library did not ask through the hook");
            map.into_keys().collect()
        });
        thread.join().unwrap()
    }

    #[test]
    fn the_order_of_hash_maps_comes_from_the_seed() {
        assert_eq!(order_of_a_hash_map(1), order_of_a_hash_map(1));
        assert_ne!(order_of_a_hash_map(1), order_of_a_hash_map(2));
    }
}
