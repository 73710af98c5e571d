//! Applies safe fixes to texts. Everything else of a text stays as it is, comments and layout too.

use crate::diagnostic::{Fix, Report};
use crate::node::parse;
use crate::source::Span;

/// A text before and after its safe fixes.
#[derive(Debug, Clone, PartialEq)]
pub struct Mended {
    /// Name of the source.
    pub name: String,
    /// Its name for people.
    pub shown: String,
    /// The text that was judged.
    pub old: String,
    /// The text with the fixes.
    pub new: String,
    /// Number of fixes.
    pub fixes: usize,
}

/// The texts that safe fixes change.
///
/// No fix is applied that would touch what another has changed, and none to a text that would then be
/// XML no more.
pub fn mended(report: &Report) -> Vec<Mended> {
    let mut taken: Vec<(Span, String)> = Vec::new();
    let mut fixes: Vec<(u32, usize)> = Vec::new();
    for diagnostic in report.diagnostics() {
        let Some(fix) = diagnostic.fix.as_ref().filter(|f| f.safe) else {
            continue;
        };
        if !fits(fix, &taken, report) {
            continue;
        }
        taken.extend(fix.edits.iter().cloned());
        let Some(source) = fix.edits.first().map(|e| e.0.source) else {
            continue;
        };
        match fixes.iter_mut().find(|f| f.0 == source) {
            Some(count) => count.1 += 1,
            None => fixes.push((source, 1)),
        }
    }
    taken.sort_by_key(|(span, _)| std::cmp::Reverse(*span));
    let changed = fixes.into_iter().filter_map(|(number, fixes)| {
        let whole = Span {
            source: number,
            ..Span::default()
        };
        let source = report.sources.get(whole)?;
        let mut new = source.text.clone();
        for (span, text) in taken.iter().filter(|e| e.0.source == number) {
            new.replace_range(span.start as usize..span.end as usize, text);
        }
        parse(&source.name, new.as_bytes(), &mut Report::default())?;
        Some(Mended {
            name: source.name.clone(),
            shown: source.shown.clone(),
            old: source.text.clone(),
            new,
            fixes,
        })
    });
    changed.collect()
}

/// Whether every edit lies inside its text, on character boundaries, and touches no other.
fn fits(fix: &Fix, taken: &[(Span, String)], report: &Report) -> bool {
    fix.edits.iter().all(|(span, _)| {
        let inside = report.sources.get(*span).is_some_and(|source| {
            let range = span.start as usize..span.end as usize;
            !source.is_option() && source.text.get(range).is_some()
        });
        let apart = |other: &Span| {
            other.source != span.source || other.end <= span.start || span.end <= other.start
        };
        inside && taken.iter().all(|(other, _)| apart(other))
    })
}
