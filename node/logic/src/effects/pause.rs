//! How long to wait before another attempt.

use caps_model::ObjectId;

/// The pause after this many attempts, the first of which is followed by `first`: twice as long each time, up to [`LONGEST_MICROS`], and up to
/// a quarter longer, so that what failed together is not tried together. The same for every run of the code: the spread comes from the id.
pub(super) fn after(attempts: i64, first: i64, effect: ObjectId) -> i64 {
    let doublings = u8::try_from(attempts.saturating_sub(1).clamp(0, 32)).unwrap_or(0);
    let pause = first.clamp(SHORTEST_MICROS, LONGEST_MICROS).saturating_mul(1 << doublings).min(LONGEST_MICROS);
    let [.., spread] = effect.0.to_be_bytes();
    pause + pause / 4 * i64::from(spread.wrapping_add(doublings)) / 255
}

/// The first pause if nobody says otherwise: servers that defer unknown senders expect a minute or more (RFC 6647 section 5).
pub(super) const FIRST_MICROS: i64 = 60 * 1_000_000;

/// The longest pause.
pub(super) const LONGEST_MICROS: i64 = 3_600 * 1_000_000;

/// The shortest pause that anybody may ask for.
const SHORTEST_MICROS: i64 = 100_000;

/// After so long it is given up: four to five days are what RFC 5321 section 4.5.4.1 expects of a mail server.
pub(super) const PATIENCE_MICROS: i64 = 5 * 24 * 3_600 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_are_spread_by_a_quarter() {
        let second = 1_000_000;
        assert_eq!(after(1, second, ObjectId(0)), second);
        // The spread is 1/255 of a quarter a step of the id or the attempt.
        let third = after(3, second, ObjectId(0));
        assert!((4 * second..=5 * second).contains(&third), "{third}");
        assert_eq!(after(1, second, ObjectId(255)), second + second / 4);
        for attempts in [13, 40, i64::MAX] {
            let pause = after(attempts, second, ObjectId(7));
            assert!((LONGEST_MICROS..=LONGEST_MICROS + LONGEST_MICROS / 4).contains(&pause), "{pause}");
        }
        assert_eq!(after(i64::MIN, -5, ObjectId(0)), SHORTEST_MICROS);
    }
}
