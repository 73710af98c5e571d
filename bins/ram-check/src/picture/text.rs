//! The picture in letters, for a terminal of eighty columns: one letter for each term.

use super::{Bar, Picture};

/// Columns of a bar.
const WIDTH: u64 = 56;
/// What stands for the terms, in their order.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// The machine that is asked about.
const MACHINE: char = '|';

impl Picture {
    /// The lines, without a newline.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "RAM at the highest moment, MiB; a column is {}",
            tenths(self.scale_kib / WIDTH)
        )];
        lines.extend(self.bars.iter().map(|bar| self.line(bar)));
        lines.extend((0..self.terms.len()).map(|n| format!("  {} {}", letter(n), self.terms[n])));
        if let Some(kib) = self.machine_kib {
            lines.push(format!("  {MACHINE} the machine of {} MiB", kib / 1024));
        }
        lines
    }

    fn line(&self, bar: &Bar) -> String {
        let mut columns: Vec<char> = Vec::new();
        for part in &bar.parts {
            let end = usize::try_from(self.scaled(part.to, WIDTH)).unwrap_or(0);
            columns.resize(end.max(columns.len()), letter(part.term));
        }
        if let Some(machine) = self.machine_kib {
            let at = usize::try_from(self.scaled(machine, WIDTH)).unwrap_or(0);
            columns.resize(columns.len().max(at + 1), ' ');
            columns[at] = MACHINE;
        }
        let columns: String = columns.into_iter().collect();
        let line = format!(
            "{:<6}{:>8} {:<7}{columns}",
            bar.store,
            bar.mib(),
            bar.moment
        );
        line.trim_end().to_owned()
    }
}

fn letter(term: usize) -> char {
    LETTERS.get(term).map_or('?', |byte| char::from(*byte))
}

/// KiB as MiB with one digit behind the point.
fn tenths(kib: u64) -> String {
    format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024)
}
