//! What a watcher was asked in vain.

use caps_model::Position;

/// Commits in a row that a watcher was asked about and that did not concern it.
#[derive(Debug, Default)]
pub(super) struct Vain {
    times: u32,
    /// The first of them.
    first: Position,
}

impl Vain {
    /// Takes note of one. When that was often, given how many commits there were: within how many.
    pub(super) fn note(&mut self, position: Position) -> Option<u64> {
        if self.times == 0 {
            self.first = position;
        }
        self.times += 1;
        if self.times < TIMES_MAX {
            return None;
        }
        self.times = 0;
        Some(position.0 - self.first.0 + 1).filter(|within| *within <= u64::from(TIMES_MAX) * RARE)
    }

    /// Takes note of a commit that did concern it.
    pub(super) fn end(&mut self) {
        self.times = 0;
    }
}

/// So many are no accident.
const TIMES_MAX: u32 = 16;

/// To be asked about one commit in more than so many costs little.
const RARE: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_often_and_in_a_row_counts() {
        let often = |step: u64, concerned: Option<u64>| {
            let mut vain = Vain::default();
            (1..=20).find_map(|time| {
                if concerned == Some(time) {
                    vain.end();
                }
                vain.note(Position(time * step)).map(|within| (time, within))
            })
        };
        // 15 steps from the first to the 16th, and the first itself.
        assert_eq!((often(1, None), often(10, None)), (Some((16, 16)), Some((16, 151))));
        assert_eq!((often(100, None), often(1, Some(10))), (None, None));
        assert_eq!(often(1, Some(3)), Some((18, 16)));
    }
}
