//! RAM as it is stated, beside what machines showed of it: of one run, and over all runs of the store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
    let set = match measurement.working_set_kib {
        Some(kib) => format!(" with {} MiB of working set measured", kib.div_ceil(1024)),
        None => String::new(),
    };
    let begin = format!(
        "least RAM ({store}, {}): {stated} MiB stated{set}{}",
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

/// A text with escapes for what a terminal would obey: whoever writes an event may write any name.
pub(crate) fn visible(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::new();
    for c in text.chars() {
        match c.is_control() || turns(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// What was asked of machines. The statement with a measured working set is another than the one with the assumed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    image: String,
    store: String,
    firmware: String,
    up: String,
    set_is_measured: bool,
}

impl Question {
    fn of(measurement: &Measurement) -> Self {
        Self {
            image: visible(measurement.image.as_deref().unwrap_or("an image")),
            store: visible(&measurement.store),
            firmware: visible(&measurement.firmware),
            up: visible(measurement.up.as_deref().unwrap_or_default()),
            set_is_measured: measurement.working_set_kib.is_some(),
        }
    }

    /// What stands behind the line where it is not the usual question.
    fn unusual(&self) -> String {
        let up = match self.up.as_str() {
            "" | "login" => String::new(),
            other => format!("  (up: {other})"),
        };
        let set = if self.set_is_measured {
            "  (set measured)"
        } else {
            ""
        };
        up + set
    }
}

/// What is known of one build.
#[derive(Debug)]
struct Build {
    newest: Measurement,
    /// How many measurements there are of it, those that were kept not counted.
    times: u64,
}

impl Build {
    fn add(&mut self, measurement: Measurement) {
        self.times += u64::from(!measurement.kept);
        if self.newest.at > measurement.at {
            return;
        }
        match measurement.kept {
            // What was measured is not new, and keeps its date; what is stated now may be.
            true => {
                self.newest.predicted_mib = measurement.predicted_mib;
                self.newest.recommended_mib = measurement.recommended_mib;
            }
            false => self.newest = measurement,
        }
    }
}

/// The newest measurement of every question, by the digest of the medium: what was measured of another build is none of this
/// one's.
#[derive(Debug, Default)]
pub(crate) struct History {
    builds: BTreeMap<Question, BTreeMap<String, Build>>,
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
        let builds = self.builds.entry(Question::of(&measurement)).or_default();
        let medium = measurement.medium.clone().unwrap_or_default();
        match builds.entry(medium) {
            Entry::Occupied(mut build) => build.get_mut().add(measurement),
            Entry::Vacant(place) => {
                place.insert(Build {
                    times: u64::from(!measurement.kept),
                    newest: measurement,
                });
            }
        }
    }

    /// A title, and a line for each question; nothing where nothing was measured.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unread = self.unread.iter();
        let unread = unread.map(|e| format!("not read: {}", visible(e)));
        let shown = self.builds.iter();
        let shown: Vec<_> = shown
            .filter_map(|(question, builds)| Some((question, newest(builds)?)))
            .collect();
        if shown.is_empty() {
            return unread.collect();
        }
        let image = |(question, _): &(&Question, &Build)| question.image.chars().count();
        let wide = shown.iter().map(image).max().unwrap_or(0).max(20);
        let title = format!(
            "{:wide$} {:6} {:9}{:>7}{:>9}{:>6}  measured    (=) and stated beyond (+) or below (!)",
            "least RAM, MiB", "store", "firmware", "stated", "measured", "times"
        );
        let scale = shown.iter().map(|(_, build)| most(&build.newest));
        let scale = scale.max().unwrap_or(0).max(1);
        let lines = shown.iter();
        let lines = lines.map(|(question, build)| line(question, build, wide, scale));
        std::iter::once(title).chain(lines).chain(unread).collect()
    }
}

/// Of several builds the newest.
fn newest(builds: &BTreeMap<String, Build>) -> Option<&Build> {
    let builds = builds.values();
    builds.max_by(|a, b| a.newest.at.cmp(&b.newest.at))
}

/// One line of the drawing, with so many columns for the image's name.
fn line(question: &Question, build: &Build, wide: usize, scale: u64) -> String {
    let (m, times) = (&build.newest, build.times);
    let measured = m.measured_mib.map_or("-".to_owned(), |mib| mib.to_string());
    let Question {
        image,
        store,
        firmware,
        ..
    } = question;
    format!(
        "{image:wide$} {store:6} {firmware:9}{:>7}{measured:>9}{times:>6}  {}  {}{}",
        m.predicted_mib,
        m.at.get(..10).unwrap_or_default(),
        drawn(m, scale),
        question.unusual()
    )
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
            working_set_kib: None,
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
    fn what_is_not_shown_makes_no_bar_shorter() {
        let mut history = History::default();
        let of = |medium: &str, mib: u64, at: &str| Measurement {
            medium: Some(medium.to_owned()),
            ..measurement("a", mib, Some(mib), at)
        };
        history.add(of("second", 8192, "2026-01-01"));
        history.add(of("first", 640, "2026-01-02"));
        let lines = history.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[1].matches('=').count(), 32, "{lines:?}");
    }

    #[test]
    fn a_measured_set_is_another_question() {
        let mut history = History::default();
        history.add(measurement("a", 592, Some(816), "2026-01-01"));
        history.add(Measurement {
            working_set_kib: Some(364 << 10),
            ..measurement("a", 896, Some(816), "2026-01-02")
        });
        let lines = history.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].ends_with("  224 MiB too little"), "{lines:?}");
        assert!(lines[2].ends_with(" above  (set measured)"), "{lines:?}");
    }

    #[test]
    fn what_was_kept_tells_what_is_stated_now() {
        let of = |stated: u64, recommended: u64, kept: bool, at: &str| Measurement {
            recommended_mib: Some(recommended),
            kept,
            ..measurement("a", stated, Some(640), at)
        };
        let mut history = History::default();
        history.add(of(672, 800, false, "2026-01-01"));
        history.add(of(656, 784, true, "2026-01-02"));
        let builds = history.builds.into_values().next().unwrap();
        let build = builds.into_values().next().unwrap();
        assert_eq!(build.times, 1);
        assert_eq!(build.newest, of(656, 784, false, "2026-01-01"));
    }

    #[test]
    fn a_terminal_obeys_no_name() {
        let mut history = History::default();
        let odd = "\u{1b}[31mred\n\u{202e}";
        history.add(Measurement {
            store: odd.to_owned(),
            firmware: odd.to_owned(),
            up: Some(odd.to_owned()),
            ..measurement(odd, 640, Some(640), "2026-01-01")
        });
        history.unread.push(odd.to_owned());
        let lines = history.lines();
        let shown = "\\u{1b}[31mred\\n\\u{202e}";
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[1].matches(shown).count(), 4, "{lines:?}");
        assert_eq!(lines[2], format!("not read: {shown}"));
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
