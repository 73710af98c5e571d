//! RAM as it is stated, beside what machines showed of it: of one run, and over all runs of the store.

use std::collections::BTreeMap;

use journal::{Measurement, fold, read, runs};
use stage::Result;
use store::Store;

/// Columns of the drawing.
const WIDTH: u64 = 32;

/// The firmware, and what ran the code where that is known: times of emulation are others.
pub(crate) fn machine(firmware: &str, accelerator: Option<&str>) -> String {
    let accelerator = accelerator.map(|name| format!(", {name}"));
    format!("{firmware}{}", accelerator.unwrap_or_default())
}

/// A prediction beside what machines showed of it.
pub(crate) fn least(measurement: &Measurement) -> String {
    let Measurement {
        store,
        firmware,
        accelerator,
        predicted_mib: stated,
        too_little_mib,
        boots,
        ..
    } = measurement;
    let recommended = measurement.recommended_mib;
    let recommended = recommended.map(|mib| format!(" ({mib} recommended)"));
    let begin = format!(
        "least RAM ({store}, {}): {stated} MiB stated{}",
        machine(firmware, accelerator.as_deref()),
        recommended.unwrap_or_default()
    );
    let kept = if measurement.kept { ", kept" } else { "" };
    match measurement.measured_mib {
        Some(measured) => format!(
            "{begin}, {measured} MiB measured in {boots} boots{kept}: {}",
            apart(*stated, measured)
        ),
        None => {
            format!("{begin}, in {boots} boots nothing up to {too_little_mib} MiB came up{kept}")
        }
    }
}

/// How far a statement is from what was measured.
fn apart(stated: u64, measured: u64) -> String {
    match (
        stated.checked_sub(measured),
        measured - stated.min(measured),
    ) {
        (Some(0), _) => "the same".to_owned(),
        (Some(above), _) => {
            let percent = u128::from(above) * 100 / u128::from(measured.max(1));
            format!("{above} MiB or {percent} % above")
        }
        (None, below) => format!("{below} MiB too little"),
    }
}

/// The newest measurement of each image, RAM store and firmware, by its medium and what meant that it was up: what was
/// measured of another build is none of this one's.
#[derive(Debug, Default)]
pub(crate) struct History {
    newest: BTreeMap<[String; 5], Measurement>,
    /// How many measurements there are of each, those that were kept not counted.
    times: BTreeMap<[String; 5], u64>,
    /// The journals that cannot be read, and why.
    unread: Vec<String>,
}

impl History {
    /// What all journals of the store say. One that cannot be read is told, and no reason to say nothing.
    ///
    /// # Errors
    /// Exit code 1 where the journals cannot be listed.
    pub(crate) fn of(store: &Store) -> Result<Self> {
        let mut history = Self::default();
        for path in runs(&store.journal_dir())? {
            match read(&path) {
                Ok(lines) => fold(&lines)
                    .measurements
                    .into_iter()
                    .for_each(|m| history.add(m)),
                Err(error) => history.unread.push(error.to_string()),
            }
        }
        Ok(history)
    }

    fn add(&mut self, measurement: Measurement) {
        let image = measurement.image.as_deref().unwrap_or("an image");
        let or_none = |word: &'_ Option<String>| word.clone().unwrap_or_default();
        let (up, medium) = (or_none(&measurement.up), or_none(&measurement.medium));
        let [image, store, firmware] =
            [image, &measurement.store, &measurement.firmware].map(str::to_owned);
        let key = [image, store, firmware, up, medium];
        *self.times.entry(key.clone()).or_default() += u64::from(!measurement.kept);
        match self.newest.get_mut(&key) {
            Some(newest) if newest.at > measurement.at => {}
            // What was kept is not new, but what is stated now may be.
            Some(newest) if measurement.kept => newest.predicted_mib = measurement.predicted_mib,
            _ => {
                self.newest.insert(key, measurement);
            }
        }
    }

    /// A title, and a line for each image, RAM store and firmware; nothing where nothing was measured.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unread = self.unread.iter().map(|e| format!("not read: {e}"));
        if self.newest.is_empty() {
            return unread.collect();
        }
        let image = |key: &[String; 5]| key[0].chars().count();
        let wide = self.newest.keys().map(image).max().unwrap_or(0).max(20);
        let title = format!(
            "{:wide$} {:6} {:9}{:>7}{:>9}{:>6}  measured    (=) and stated beyond (+) or below (!)",
            "least RAM, MiB", "store", "firmware", "stated", "measured", "times"
        );
        let scale = self.newest.values().map(most).max().unwrap_or(0).max(1);
        let line = |(key, m): (&[String; 5], &Measurement)| {
            let measured = m.measured_mib.map_or("-".to_owned(), |mib| mib.to_string());
            let [image, store, firmware, up, _] = key;
            let up = match up.as_str() {
                "" | "login" => String::new(),
                other => format!("  (up: {other})"),
            };
            format!(
                "{image:wide$} {store:6} {firmware:9}{:>7}{measured:>9}{:>6}  {}  {}{up}",
                m.predicted_mib,
                self.times[key],
                m.at.get(..10).unwrap_or_default(),
                drawn(m, scale)
            )
        };
        // Of several builds the newest.
        let lines = self.newest.iter().filter(|(key, m)| {
            let same = self
                .newest
                .iter()
                .filter(|(other, _)| other[..4] == key[..4]);
            same.map(|(_, other)| &other.at).max() == Some(&m.at)
        });
        let lines = lines.map(line);
        std::iter::once(title).chain(lines).chain(unread).collect()
    }
}

/// The larger of the two.
fn most(measurement: &Measurement) -> u64 {
    let measured = measurement.measured_mib.unwrap_or(0);
    measured.max(measurement.predicted_mib)
}

/// A bar on a scale, and the difference in words.
fn drawn(measurement: &Measurement, scale: u64) -> String {
    let (stated, too_little) = (measurement.predicted_mib, measurement.too_little_mib);
    let Some(measured) = measurement.measured_mib else {
        return format!("nothing up to {too_little} MiB came up");
    };
    // Whoever writes an event may write any number.
    let columns = |mib: u64| u128::from(mib) * u128::from(WIDTH) / u128::from(scale);
    let columns = |mib| usize::try_from(columns(mib)).unwrap_or(0);
    let (both, all) = (columns(stated.min(measured)), columns(stated.max(measured)));
    let beyond = if measured > stated { "!" } else { "+" };
    format!(
        "{}{}  {}",
        "=".repeat(both),
        beyond.repeat(all - both),
        apart(stated, measured)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(image: &str, stated: u64, measured: Option<u64>, at: &str) -> Measurement {
        Measurement {
            store: "brd".to_owned(),
            firmware: "bios".to_owned(),
            accelerator: None,
            predicted_mib: stated,
            recommended_mib: None,
            measured_mib: measured,
            too_little_mib: 400,
            boots: 3,
            image: (!image.is_empty()).then(|| image.to_owned()),
            up: None,
            medium: None,
            kept: false,
            at: at.to_owned(),
        }
    }

    #[test]
    fn each_image_has_a_line_with_its_newest_measurement() {
        let mut history = History::default();
        assert!(history.lines().is_empty());
        history.add(measurement("b.x86_64-1", 600, Some(640), "2026-01-02T03"));
        history.add(measurement("a.x86_64-1", 700, Some(640), "2026-01-01T01"));
        history.add(measurement("a.x86_64-1", 640, Some(640), "2026-02-01T01"));
        history.add(measurement("", 500, None, "2026-01-01T01"));
        let kept = measurement("a.x86_64-1", 800, Some(640), "2026-03-01T01");
        history.add(Measurement { kept: true, ..kept });
        let expected = "\
least RAM, MiB       store  firmware  stated measured times  measured    (=) and stated beyond (+) or below (!)
a.x86_64-1           brd    bios         800      640     2  2026-02-01  =========================+++++++  160 MiB or 25 % above
an image             brd    bios         500        -     1  2026-01-01  nothing up to 400 MiB came up
b.x86_64-1           brd    bios         600      640     1  2026-01-02  ========================!  40 MiB too little";
        assert_eq!(history.lines().join("\n"), expected);
    }

    #[test]
    fn another_build_has_a_measurement_of_its_own() {
        let of = |medium: &str, stated: u64, measured: u64, at: &str| Measurement {
            medium: Some(medium.to_owned()),
            ..measurement("a", stated, Some(measured), at)
        };
        let mut history = History::default();
        history.add(of("first", 672, 640, "2026-01-01"));
        history.add(of("second", 800, 760, "2026-01-02"));
        history.add(Measurement {
            kept: true,
            ..of("first", 672, 640, "2026-01-03")
        });
        let lines = history.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[1].contains(" 800      760     1  2026-01-02"),
            "{lines:?}"
        );
    }

    #[test]
    fn numbers_that_no_machine_has_are_drawn() {
        let mut history = History::default();
        history.add(measurement("a", u64::MAX, Some(1 << 60), "2026-01-02"));
        history.add(measurement("b", 1 << 60, Some(u64::MAX), "2026-01-02"));
        let lines = history.lines();
        let drawn = |n: usize, sign: &str| lines[n].matches(sign).count();
        assert_eq!((drawn(1, "="), drawn(1, "+")), (2, 30), "{lines:?}");
        assert_eq!((drawn(2, "="), drawn(2, "!")), (2, 30), "{lines:?}");
        assert!(lines[1].ends_with(" or 1499 % above"), "{lines:?}");
    }

    #[test]
    fn a_difference_is_told_in_words() {
        assert_eq!(apart(672, 640), "32 MiB or 5 % above");
        assert_eq!(apart(672, 672), "the same");
        assert_eq!(apart(672, 688), "16 MiB too little");
    }
}
