//! The least machine that comes up, in few boots.
//!
//! ```text
//! start at what is predicted ─ up ──▶ 64, 128, 256 … MiB less until one is not up ─┐
//!                            └ not ─▶ 64, 128, 256 … MiB more until one is up ─────┴▶ halve what lies between
//! ```
//!
//! A prediction that is right within 64 MiB takes four boots. It is taken for granted that a machine with more RAM comes up
//! where one with less does.

/// The result is known to so many MiB, and every machine that is tried is a multiple of it.
pub(crate) const STEP_MIB: u64 = 16;
/// How far from the prediction the second machine is.
const FIRST_MIB: u64 = 64;
/// How many times the prediction a machine is larger at most, where nothing comes up.
const AT_MOST: u64 = 4;

/// What was found, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The least machine that came up; none did where it is absent.
    pub(crate) least: Option<u64>,
    /// The largest machine that did not; 0 where all did.
    pub(crate) too_little: u64,
}

/// Finds the least machine for which `is_up` says yes, beginning at `predicted` MiB.
pub(crate) fn least<E>(
    predicted: u64,
    mut is_up: impl FnMut(u64) -> Result<bool, E>,
) -> Result<Found, E> {
    let start = predicted.max(1).next_multiple_of(STEP_MIB);
    let mut found = bracket(start, &mut is_up)?;
    while let Some(least) = found.least.filter(|l| l - found.too_little > STEP_MIB) {
        let steps = (least - found.too_little) / STEP_MIB;
        let middle = found.too_little + steps / 2 * STEP_MIB;
        match is_up(middle)? {
            true => found.least = Some(middle),
            false => found.too_little = middle,
        }
    }
    Ok(found)
}

/// Goes away from `start`, twice as far each time, until a machine answers otherwise.
fn bracket<E>(start: u64, is_up: &mut impl FnMut(u64) -> Result<bool, E>) -> Result<Found, E> {
    let mut found = Found {
        least: None,
        too_little: 0,
    };
    let mut next = start;
    let mut distance = FIRST_MIB;
    loop {
        match is_up(next)? {
            true => found.least = Some(next),
            false => found.too_little = next,
        }
        next = match found.least {
            Some(_) if found.too_little > 0 => return Ok(found),
            Some(_) if distance >= start => return Ok(found),
            Some(_) => start - distance,
            None if distance >= start.saturating_mul(AT_MOST) => return Ok(found),
            None => start + distance,
        };
        distance *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where machines from `least` on come up, and the number of boots.
    fn searched(predicted: u64, least: u64) -> (Found, u32) {
        let mut boots = 0;
        let found = super::least(predicted, |ram| {
            boots += 1;
            assert!(ram > 0 && ram.is_multiple_of(STEP_MIB), "{ram}");
            Ok::<_, ()>(ram >= least)
        });
        (found.unwrap(), boots)
    }

    #[test]
    fn the_least_is_found_to_a_step_from_any_prediction() {
        for least in (1..2000).step_by(7) {
            for predicted in (104..2000).step_by(88) {
                let (found, boots) = searched(predicted, least);
                assert!(boots <= 16, "{boots} boots from {predicted} to {least}");
                let Some(up) = found.least else {
                    assert!(least > predicted * 3, "{predicted} to {least}: {found:?}");
                    continue;
                };
                assert_eq!(up, least.next_multiple_of(STEP_MIB), "{predicted}");
                assert_eq!(found.too_little, up - STEP_MIB);
            }
        }
    }

    #[test]
    fn a_good_prediction_takes_four_boots() {
        for least in 609..=672 {
            assert_eq!(searched(672, least).1, 4, "{least}");
        }
    }

    #[test]
    fn what_never_comes_up_is_given_up() {
        let (found, boots) = searched(672, u64::MAX);
        assert_eq!(found.least, None);
        assert!(
            found.too_little >= 2 * 672 && boots < 8,
            "{found:?}, {boots}"
        );
    }
}
