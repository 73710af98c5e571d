//! The picture of a verdict: a bar for each RAM store, made of the terms of its highest moment.
//!
//! ```text
//! Verdict ──Picture::of──▶ Picture ──lines──▶ letters in a terminal
//!                              └─────svg────▶ rectangles in a file of its own
//! ```
//!
//! Both show the same: terms in the order of the table, all bars on one scale, a mark for the machine that is asked
//! about. *Not here:* the other moments, which the table has, and machines of a list, which may be of any size.

pub(crate) mod file;
mod svg;
mod text;

use manifest::{StoreNeed, Verdict};

/// A bar for each store, and what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    bars: Vec<Bar>,
    /// The names of all terms, in the order in which the bars have them.
    terms: Vec<String>,
    /// RAM in KiB of the machine that is asked about, where it is not beyond all bars.
    machine_kib: Option<u64>,
    /// What the whole width stands for, in KiB; never 0.
    scale_kib: u64,
}

/// One store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bar {
    store: String,
    /// The moment that is shown.
    moment: &'static str,
    parts: Vec<Part>,
}

/// One term of a bar: where it lies in it, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// Its name, as a position in [`Picture::terms`].
    term: usize,
    from: u64,
    to: u64,
}

impl Picture {
    /// The picture of a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        let mut terms = Vec::new();
        let bars: Vec<Bar> = verdict.stores.iter().map(|n| bar(n, &mut terms)).collect();
        let longest = bars.iter().map(Bar::kib).max().unwrap_or(0).max(1);
        // A machine many times as large would leave nothing of the bars.
        let machine_kib = verdict.asked_ram_mib.map(|mib| mib.saturating_mul(1024));
        let machine_kib = machine_kib.filter(|kib| kib / 2 <= longest);
        Self {
            scale_kib: longest.max(machine_kib.unwrap_or(0)),
            bars,
            terms,
            machine_kib,
        }
    }

    /// A length of `width` units as `kib` of the whole scale, rounded to the nearest.
    fn scaled(&self, kib: u64, width: u64) -> u64 {
        let (kib, scale) = (u128::from(kib), u128::from(self.scale_kib));
        let units = (kib * u128::from(width) * 2 + scale) / (scale * 2);
        u64::try_from(units).unwrap_or(width)
    }
}

impl Bar {
    fn kib(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.to)
    }

    fn mib(&self) -> u64 {
        self.kib().div_ceil(1024)
    }
}

fn bar(need: &StoreNeed, terms: &mut Vec<String>) -> Bar {
    let mut at = 0;
    let counted = need.terms.iter().filter(|t| t.at.contains(&need.peak_at));
    let parts = counted.map(|term| {
        let known = terms.iter().position(|name| *name == term.name);
        let part = Part {
            term: known.unwrap_or(terms.len()),
            from: at,
            to: at + term.kib,
        };
        at = part.to;
        if known.is_none() {
            terms.push(term.name.clone());
        }
        part
    });
    Bar {
        parts: parts.collect(),
        store: need.store.clone(),
        moment: crate::table::name(need.peak_at),
    }
}
