//! What happens in a round, drawn from the seed and the round's number alone.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use caps_overlay::Rng;
use clap::ValueEnum;

use super::company::{HOSTS, REPLICAS};
use super::point::{Kind, Moment, Point};

/// The rounds that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Random moments and points in turn.
    Both,
    /// Processes are killed at random moments.
    Random,
    /// A replica dies at one of its writes, syncs and so on, each in turn.
    Points,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long everybody works before something happens.
    pub before: Duration,
    /// What happens.
    pub strike: Strike,
    /// How long the dead stay dead.
    pub dead_for: Duration,
    /// How long everybody works afterwards.
    pub after: Duration,
}

/// What happens in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// These are killed, all at once, and perhaps another one soon after they were started again.
    Kill {
        /// Whom.
        victims: Vec<Victim>,
        /// Who is killed while the others come back, and how long after.
        again: Option<(Victim, Duration)>,
    },
    /// This replica is held, so that others take it for dead, and goes on where it was: it may believe that it still leads.
    Hold {
        /// Whom.
        victim: Victim,
        /// How long.
        held_for: Duration,
    },
    /// A replica dies at a point, and perhaps again at another one while it opens what it left.
    Points {
        /// Whom.
        victim: Victim,
        /// Where.
        first: Point,
        /// Where the next time.
        second: Option<Point>,
    },
}

/// Somebody to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// This replica.
    Replica(usize),
    /// This host.
    Host(usize),
    /// Whoever leads.
    Leader,
}

impl Plan {
    /// The plan of a round.
    pub fn draw(seed: u64, round: u64, mode: Mode) -> Self {
        let rng = Rng::seeded(seed.wrapping_mul(1_000_003).wrapping_add(round));
        let ms = |least: u64, most: u64| Duration::from_millis(least + rng.below(most - least));
        let (points, turn) = match mode {
            Mode::Both => (round.is_multiple_of(2), round / 2),
            Mode::Random => (false, round),
            Mode::Points => (true, round),
        };
        let strike = if points { Strike::points(turn, &rng) } else { Strike::kill(&rng, &ms) };
        Self { before: ms(50, 350), strike, dead_for: ms(0, 300), after: ms(200, 400) }
    }

    /// Whether the journal must begin new segments for the plan to work.
    pub fn needs_large(&self) -> bool {
        let Strike::Points { first, .. } = &self.strike else { return false };
        matches!(first.kind, Kind::Create | Kind::Truncate | Kind::SyncDirectory) || first.kind == Kind::Reserve && first.number > 1
    }
}

impl Strike {
    fn kill(rng: &Rng, ms: &impl Fn(u64, u64) -> Duration) -> Self {
        let some = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap_or(0);
        let one = some(REPLICAS.len());
        if rng.below(6) == 0 {
            let victim = if rng.below(3) == 0 { Victim::Replica(one) } else { Victim::Leader };
            return Self::Hold { victim, held_for: ms(100, 1_200) };
        }
        let victims = match rng.below(10) {
            0..=2 => vec![Victim::Replica(one)],
            3..=4 => vec![Victim::Leader],
            5..=6 => vec![Victim::Replica(one), Victim::Replica((one + 1) % REPLICAS.len())],
            7 => (0..REPLICAS.len()).map(Victim::Replica).collect(),
            8 => vec![Victim::Replica(one), Victim::Host(some(HOSTS.len()))],
            _ => (0..REPLICAS.len()).map(Victim::Replica).chain((0..HOSTS.len()).map(Victim::Host)).collect(),
        };
        let again = (rng.below(3) == 0).then(|| (Victim::Replica(some(REPLICAS.len())), ms(0, 150)));
        Self::Kill { victims, again }
    }

    fn points(turn: u64, rng: &Rng) -> Self {
        let table = table();
        let (first, second) = table[usize::try_from(turn).unwrap_or(0) % table.len()];
        let victim = match rng.below(3) {
            0 => Victim::Leader,
            _ => Victim::Replica(usize::try_from(rng.below(REPLICAS.len() as u64)).unwrap_or(0)),
        };
        Self::Points { victim, first, second }
    }
}

/// Every point that is visited in turn: the first operations of each kind after a start (those of opening among them), those of beginning a new
/// segment, some later ones, and those of mending what a first death left.
fn table() -> Vec<(Point, Option<Point>)> {
    let point = |kind, number, moment| Point { kind, number, moment };
    let (before, half, after) = (Moment::Before, Moment::Half, Moment::After);
    let numbers = |least: u64| (least..=6).chain([9, 17, 40, 90]);
    let mut table = Vec::new();
    table.extend(numbers(1).flat_map(|number| [before, half, after].map(|moment| (point(Kind::Write, number, moment), None))));
    table.extend(numbers(1).flat_map(|number| [before, after].map(|moment| (point(Kind::Sync, number, moment), None))));
    let segment = [(Kind::Reserve, 1), (Kind::Truncate, 1), (Kind::Create, 1), (Kind::Reserve, 2), (Kind::SyncDirectory, 1)];
    table.extend(segment.iter().flat_map(|(kind, number)| [before, after].map(|moment| (point(*kind, *number, moment), None))));
    let torn = point(Kind::Write, 3, half);
    let mending = [Kind::Truncate, Kind::Sync, Kind::Write, Kind::Reserve];
    table.extend(mending.iter().flat_map(|kind| [before, after].map(|moment| (torn, Some(point(*kind, 1, moment))))));
    let unfinished = point(Kind::Create, 1, after);
    let removing = [Kind::Remove, Kind::SyncDirectory];
    table.extend(removing.iter().flat_map(|kind| [before, after].map(|moment| (unfinished, Some(point(*kind, 1, moment))))));
    table
}

/// How many different points rounds visit in turn.
pub fn points() -> usize {
    let points = table().into_iter().flat_map(|(first, second)| [Some(first), second]).flatten();
    points.collect::<BTreeSet<Point>>().len()
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { victims, again } => {
                let victims: Vec<String> = victims.iter().map(ToString::to_string).collect();
                write!(f, "kill {}", victims.join(" and "))?;
                again.as_ref().map_or(Ok(()), |(victim, after)| write!(f, ", {victim} {after:?} after the start"))
            }
            Self::Hold { victim, held_for } => write!(f, "hold {victim} for {held_for:?}"),
            Self::Points { victim, first, second } => {
                write!(f, "{victim} dies at {first}")?;
                second.as_ref().map_or(Ok(()), |second| write!(f, ", then at {second}"))
            }
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica(number) => f.write_str(REPLICAS[*number]),
            Self::Host(number) => f.write_str(HOSTS[*number]),
            Self::Leader => f.write_str("the leader"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_come_from_the_seed_alone() {
        for round in 0..50 {
            assert_eq!(Plan::draw(7, round, Mode::Both), Plan::draw(7, round, Mode::Both));
        }
        assert!((0..50).any(|round| Plan::draw(7, round, Mode::Random) != Plan::draw(8, round, Mode::Random)));
    }

    #[test]
    fn every_point_is_visited_in_turn() {
        let seen: BTreeSet<String> = (0..table().len() as u64)
            .map(|round| Plan::draw(1, round, Mode::Points).strike)
            .filter_map(|strike| match strike {
                Strike::Points { first, second, .. } => Some(format!("{first} {second:?}")),
                Strike::Kill { .. } | Strike::Hold { .. } => None,
            })
            .collect();
        assert_eq!(seen.len(), table().len());
        // 150 rounds at points, which is half of the usual 300, visit each twice at least.
        assert!(table().len() * 2 <= 150, "{}", table().len());
    }
}
