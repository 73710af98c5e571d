//! The terms as a table for people.

use std::fmt::Write;

use manifest::{MachineVerdict, Moment, StoreNeed, Verdict};
use stage::Context;

/// The moments in their order, with the words of the table.
const MOMENTS: [(&str, Moment); 3] = [
    ("unpack", Moment::Unpack),
    ("deploy", Moment::Deploy),
    ("login", Moment::Login),
];

/// Writes to stderr the terms of the chosen store, and what all stores need.
pub(crate) fn show(cx: &Context, verdict: &Verdict) {
    let terms = verdict.stores.first().map(lines).unwrap_or_default();
    let (stores, machines) = (stores(verdict), machines(&verdict.machines));
    for line in terms.iter().chain(&stores).chain(&machines) {
        cx.say(line);
    }
}

/// A line for each machine of a list; one that does not do has its sentence.
fn machines(machines: &[MachineVerdict]) -> Vec<String> {
    if machines.is_empty() {
        return Vec::new();
    }
    let title = format!(
        "{:<44}{:>8}{:>8}{:>8}",
        "machine, MiB", "RAM", "left", "asked"
    );
    let or_none = |mib: Option<u64>| mib.map_or("-".to_owned(), |mib| mib.to_string());
    let line = |machine: &MachineVerdict| {
        let (left, asked) = (or_none(machine.left_mib), or_none(machine.leave_mib));
        let sentence = if machine.ok {
            "fits"
        } else {
            &machine.sentence
        };
        format!(
            "{:<44}{:>8}{left:>8}{asked:>8}   {sentence}",
            machine.name, machine.ram_mib
        )
    };
    std::iter::once(title)
        .chain(machines.iter().map(line))
        .collect()
}

/// A line for each RAM store; with a machine that is asked about, what is left there for applications.
fn stores(verdict: &Verdict) -> Vec<String> {
    let mut title = format!(
        "{:<40}{:>8}{:>12}{:>8}{:>8}",
        "RAM store, MiB", "least", "recommended", "peak", "login"
    );
    if let Some(ram) = verdict.asked_ram_mib {
        let _ = write!(title, "   left for applications of {ram}");
    }
    let line = |need: &StoreNeed| {
        let (least, more) = (need.least_ram_mib, need.recommended_ram_mib);
        let (peak, login) = (need.peak_mib, need.steady_mib);
        let left = need
            .left_mib
            .map_or("-".to_owned(), |left| left.to_string());
        let left = match verdict.asked_ram_mib {
            Some(_) => format!("   {left}"),
            None => String::new(),
        };
        format!(
            "{:<40}{least:>8}{more:>12}{peak:>8}{login:>8}{left}",
            need.store
        )
    };
    std::iter::once(title)
        .chain(verdict.stores.iter().map(line))
        .collect()
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

/// The word of the table for a moment.
pub(crate) fn name(moment: Moment) -> &'static str {
    let found = MOMENTS.iter().find(|(_, m)| *m == moment);
    found.map_or("", |(name, _)| *name)
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
pub(crate) fn mib(kib: u64) -> String {
    let tenths = (kib * 10 + 512) / 1024;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::{Section, Term};

    fn need(store: &str, left_mib: Option<u64>) -> StoreNeed {
        let term = |name: &str, kib, at: &[Moment]| Term {
            name: name.to_owned(),
            kib,
            at: at.to_vec(),
        };
        StoreNeed {
            store: store.to_owned(),
            least_ram_mib: 8,
            recommended_ram_mib: 136,
            steady_mib: 3,
            left_mib,
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
        }
    }

    #[test]
    fn the_table_adds_up() {
        let expected = "\
RAM in MiB, brd                               unpack  deploy   login
kernel                                           1.0     1.0     1.0
image                                                    2.5     2.5
initrd                                           0.1
sum                                              1.1     3.5     3.5";
        assert_eq!(lines(&need("brd", None)).join("\n"), expected);
    }

    #[test]
    fn a_machine_of_a_list_is_a_line() {
        let machine = |name: &str, left_mib, ok| MachineVerdict {
            name: name.to_owned(),
            ram_mib: 1024,
            leave_mib: Some(512),
            left_mib,
            ok,
            sentence: "leaves too little".to_owned(),
        };
        let expected = "\
machine, MiB                                     RAM    left   asked
kiosk                                           1024     415     512   leaves too little
rack                                            1024     600     512   fits";
        let list = [
            machine("kiosk", Some(415), false),
            machine("rack", Some(600), true),
        ];
        assert_eq!(machines(&list).join("\n"), expected);
    }

    #[test]
    fn what_is_left_stands_beside_each_store() {
        let mut verdict = Verdict {
            format: Verdict::FORMAT,
            by: String::new(),
            ok: true,
            least_ram_mib: 8,
            sentence: String::new(),
            warnings: Vec::new(),
            asked_ram_mib: Some(16),
            asked_leave_mib: None,
            machines: Vec::new(),
            stores: vec![need("brd", Some(12)), need("zram", None)],
            working_set: None,
            measured: None,
            proof: None,
        };
        let expected = "\
RAM store, MiB                             least recommended    peak   login   left for applications of 16
brd                                            8         136       4       3   12
zram                                           8         136       4       3   -";
        assert_eq!(stores(&verdict).join("\n"), expected);
        assert!(machines(&verdict.machines).is_empty());
        verdict.asked_ram_mib = None;
        let without = stores(&verdict).join("\n");
        assert!(
            !without.contains("left") && !without.contains("12"),
            "{without}"
        );
    }
}
