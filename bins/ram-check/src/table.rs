//! The terms as a table for people.

use std::fmt::Write;

use manifest::{Moment, StoreNeed};
use stage::Context;

const MOMENTS: [(&str, Moment); 3] = [
    ("unpack", Moment::Unpack),
    ("deploy", Moment::Deploy),
    ("login", Moment::Login),
];

/// Writes the table to stderr.
pub(crate) fn show(cx: &Context, need: &StoreNeed) {
    for line in lines(need) {
        cx.say(&line);
    }
}

fn lines(need: &StoreNeed) -> Vec<String> {
    let mut title = format!("{:<44}", format!("RAM in MiB, {}", need.store));
    for (name, _) in MOMENTS {
        let _ = write!(title, "{name:>8}");
    }
    let mut lines = vec![title];
    for term in &need.terms {
        let cell = |m| term.at.contains(&m).then_some(term.kib);
        lines.push(row(&term.name, cell));
    }
    let sum = |m| -> u64 {
        let counted = need.terms.iter().filter(|t| t.at.contains(&m));
        counted.map(|t| t.kib).sum()
    };
    lines.push(row("sum", |m| Some(sum(m))));
    lines
}

fn row(name: &str, cell: impl Fn(Moment) -> Option<u64>) -> String {
    let mut line = format!("{name:<44}");
    for (_, moment) in MOMENTS {
        let text = cell(moment).map_or(String::new(), mib);
        let _ = write!(line, "{text:>8}");
    }
    line.trim_end().to_owned()
}

/// Tenths of a MiB, rounded to the nearest.
fn mib(kib: u64) -> String {
    let tenths = (kib * 10 + 512) / 1024;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::Term;

    #[test]
    fn the_table_adds_up() {
        let term = |name: &str, kib, at: &[Moment]| Term {
            name: name.to_owned(),
            kib,
            at: at.to_vec(),
        };
        let need = StoreNeed {
            store: "brd".to_owned(),
            least_ram_mib: 8,
            steady_mib: 3,
            peak_mib: 4,
            peak_at: Moment::Deploy,
            terms: vec![
                term(
                    "kernel",
                    1024,
                    &[Moment::Unpack, Moment::Deploy, Moment::Login],
                ),
                term("image", 2561, &[Moment::Deploy, Moment::Login]),
                term("initrd", 52, &[Moment::Unpack]),
            ],
        };
        let expected = "\
RAM in MiB, brd                               unpack  deploy   login
kernel                                           1.0     1.0     1.0
image                                                    2.5     2.5
initrd                                           0.1
sum                                              1.1     3.5     3.5";
        assert_eq!(lines(&need).join("\n"), expected);
    }
}
