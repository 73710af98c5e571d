//! The least machine that comes up, in few boots.
//!
//! ```text
//! start 64 MiB below what is predicted ─ not ──▶ what it says it lacks, else 64, 128, 256 … MiB more until one is up ─┐
//!                                      └ up ───▶ 64, 128, 256 … MiB less until one is not ────────────────────────────┤
//!                                                a step below the least that is up, else halve what lies between  ◀───┘
//! ```
//!
//! A machine that is refused says how much it lacks, and is refused long before one is up; so a prediction that is right
//! within 64 MiB takes three boots, of which one is whole. It is taken for granted that a machine with more RAM comes up
//! where one with less does.

/// The result is known to so many MiB, and every machine that is tried is a multiple of it.
pub(crate) use crate::model::STEP_MIB;

/// How far below the prediction the first machine is, and from that the second where it says nothing.
const FIRST_MIB: u64 = 64;
/// How many times the prediction a machine is larger at most, where nothing comes up.
const AT_MOST: u64 = 4;
/// How often what a machine says it lacks is taken for true; then what lies between is halved.
const BELIEVED: u32 = 3;

/// What a machine did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It came up.
    Up,
    /// It did not. It may have said how many MiB it lacks.
    Not(Option<u64>),
}

/// What was found, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The least machine that came up; none did where it is absent.
    pub(crate) least: Option<u64>,
    /// The largest machine that did not; 0 where all did.
    pub(crate) too_little: u64,
}

/// A search that goes on.
struct Search {
    found: Found,
    /// Where the answer lies by what the last machine said that was refused.
    said: Option<u64>,
    believed: u32,
    /// How far the next machine is from one that answered, where nothing is known on its side.
    distance: u64,
    most: u64,
}

/// Finds the least machine that comes up, beginning near `predicted` MiB.
pub(crate) fn least<E>(
    predicted: u64,
    mut ask: impl FnMut(u64) -> Result<Answer, E>,
) -> Result<Found, E> {
    let predicted = predicted.max(1).next_multiple_of(STEP_MIB);
    let mut search = Search {
        found: Found {
            least: None,
            too_little: 0,
        },
        said: None,
        believed: 0,
        distance: FIRST_MIB,
        most: predicted.saturating_mul(AT_MOST),
    };
    let mut next = Some(predicted.saturating_sub(FIRST_MIB).max(STEP_MIB));
    while let Some(ram) = next {
        match ask(ram)? {
            Answer::Up => search.found.least = Some(ram),
            Answer::Not(lacking) => search.refused(ram, lacking),
        }
        next = search.next();
    }
    Ok(search.found)
}

impl Search {
    fn refused(&mut self, ram: u64, lacking: Option<u64>) {
        self.found.too_little = ram;
        self.said = lacking
            .filter(|_| self.believed < BELIEVED)
            .and_then(|lacking| ram.checked_add(lacking.max(1)))
            .and_then(|enough| enough.checked_next_multiple_of(STEP_MIB));
        self.believed += u32::from(self.said.is_some());
    }

    /// The machine to be asked next; none where the answer is known, or is given up.
    fn next(&mut self) -> Option<u64> {
        let Found { least, too_little } = self.found;
        match least {
            None => self.above(too_little),
            Some(least) if least - too_little <= STEP_MIB => None,
            Some(least) if too_little == 0 => Some(self.below(least)),
            Some(least) => Some(self.between(too_little, least)),
        }
    }

    /// Nothing is up yet.
    fn above(&mut self, too_little: u64) -> Option<u64> {
        if too_little >= self.most {
            return None;
        }
        let next = self.said.unwrap_or_else(|| {
            self.distance *= 2;
            too_little + self.distance / 2
        });
        Some(next.min(self.most))
    }

    /// All are up so far.
    fn below(&mut self, least: u64) -> u64 {
        let next = least.saturating_sub(self.distance).max(STEP_MIB);
        self.distance *= 2;
        next
    }

    fn between(&mut self, too_little: u64, least: u64) -> u64 {
        let steps = (least - too_little) / STEP_MIB;
        match self.said.take() {
            Some(said) => said.clamp(too_little + STEP_MIB, least - STEP_MIB),
            None => too_little + steps / 2 * STEP_MIB,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where machines from `least` on come up, and the number of boots. A machine that is refused says what
    /// `lacks` makes of what it lacks.
    fn searched(predicted: u64, least: u64, lacks: impl Fn(u64) -> Option<u64>) -> (Found, u32) {
        let mut boots = 0;
        let found = super::least(predicted, |ram| {
            boots += 1;
            assert!(ram > 0 && ram.is_multiple_of(STEP_MIB), "{ram}");
            Ok::<_, ()>(match ram >= least {
                true => Answer::Up,
                false => Answer::Not(lacks(least - ram)),
            })
        });
        (found.unwrap(), boots)
    }

    #[test]
    fn the_least_is_found_to_a_step_from_any_prediction() {
        let said: [fn(u64) -> Option<u64>; 4] = [
            |_| None,
            Some,
            |lacking| Some(lacking / 3),
            |lacking| Some(lacking * 5),
        ];
        for least in (1..2000).step_by(7) {
            for predicted in (104..2000).step_by(88) {
                for (n, said) in said.iter().enumerate() {
                    let (found, boots) = searched(predicted, least, said);
                    let place =
                        format!("{n}: {boots} boots from {predicted} to {least}: {found:?}");
                    assert!(boots <= 18, "{place}");
                    let Some(up) = found.least else {
                        assert!(least > predicted * 3, "{place}");
                        continue;
                    };
                    assert_eq!(up, least.next_multiple_of(STEP_MIB), "{place}");
                    assert_eq!(found.too_little, up - STEP_MIB, "{place}");
                }
            }
        }
    }

    #[test]
    fn a_good_prediction_takes_three_boots() {
        for least in 609..=672 {
            let (_, boots) = searched(672, least, Some);
            assert!(boots <= 3, "{least}: {boots}");
            let (_, boots) = searched(672, least, |_| None);
            assert!(boots <= 4, "{least}: {boots}");
        }
    }

    #[test]
    fn what_never_comes_up_is_given_up() {
        for said in [None, Some(1), Some(u64::MAX)] {
            let (found, boots) = searched(672, u64::MAX, |_| said);
            assert_eq!(found.least, None);
            assert!(
                found.too_little >= 2 * 672 && boots < 12,
                "{found:?}, {boots}"
            );
        }
    }
}
