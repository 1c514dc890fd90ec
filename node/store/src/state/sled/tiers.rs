//! When runs are merged, and which.

use std::ops::Range;

/// Which runs of these sizes, the newest first, are to become one; `None`: they are few enough.
///
/// A run's tier is the logarithm of its size, or the tier of a newer run if that is higher. As soon as there are `fan` runs of a tier, they
/// are merged into one of the next: so a state of n tables has at most `fan` times log n runs, and writes a byte at most log n times. Should
/// there be `runs_max` nevertheless, all are merged.
pub(super) fn due(sizes: &[u64], fan: usize, runs_max: usize) -> Option<Range<usize>> {
    let fan = fan.max(2);
    let mut group = 0..0;
    let mut highest = 0;
    for (place, size) in sizes.iter().enumerate() {
        let tier = size.max(&1).ilog2() / u32::try_from(fan).unwrap_or(u32::MAX).ilog2();
        if tier > highest && !group.is_empty() {
            if group.len() >= fan {
                return Some(group);
            }
            group.start = place;
        }
        highest = highest.max(tier);
        group.end = place + 1;
    }
    if group.len() >= fan {
        return Some(group);
    }
    (sizes.len() >= runs_max.max(2)).then_some(0..sizes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_tier_are_merged_together() {
        assert_eq!(due(&[], 4, 32), None);
        assert_eq!(due(&[20, 20, 20, 100], 4, 32), None);
        assert_eq!(due(&[20, 20, 20, 20, 100], 4, 32), Some(0..4));
        assert_eq!(due(&[1, 1, 20, 20, 20, 20, 100], 4, 32), Some(2..6));
        // A small run between large ones goes with them.
        assert_eq!(due(&[100, 100, 1, 100, 5000], 4, 32), Some(0..4));
        assert_eq!(due(&[1, 20, 300, 5000], 4, 4), Some(0..4));
    }

    #[test]
    fn runs_stay_few_and_bytes_are_written_seldom() {
        let (mut runs, mut written, mut most) = (Vec::new(), 0, 0);
        for _ in 0..4_096 {
            runs.insert(0, 1_000);
            written += 1_000;
            while let Some(range) = due(&runs, 4, 32) {
                let merged: u64 = runs[range.clone()].iter().sum();
                runs.splice(range, [merged]);
                written += merged;
            }
            most = most.max(runs.len());
        }
        // 4,096 is the sixth power of 4: three runs stay in each of six tiers, and each byte went through each once.
        assert!(most <= 3 * 6 + 1, "{most} runs");
        assert!(written <= 4_096 * 1_000 * 7, "{written} bytes");
    }
}
