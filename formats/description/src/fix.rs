//! Applies safe fixes to texts. Everything else of a text stays as it is, comments and layout too.

use crate::diagnostic::{Fix, Report};
use crate::node::parse;
use crate::source::{Source, Span};

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
/// No fix is applied that would touch what another has changed, and none after which a text would be XML
/// no more: one attribute may not get the name of another, say.
pub fn mended(report: &Report) -> Vec<Mended> {
    let fixes = safe(report);
    let mut numbers: Vec<u32> = fixes.iter().filter_map(|f| source_of(f)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let changed = numbers.into_iter().filter_map(|number| {
        let whole = Span {
            source: number,
            ..Span::default()
        };
        let source = report.sources.get(whole)?;
        let of_source = fixes.iter().filter(|f| source_of(f) == Some(number));
        let (new, fixes) = best(source, &of_source.copied().collect::<Vec<_>>())?;
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

/// The safe fixes that do not touch each other, in the order of their places.
fn safe(report: &Report) -> Vec<&Fix> {
    let mut taken: Vec<(Span, String)> = Vec::new();
    let mut found = Vec::new();
    for diagnostic in report.diagnostics() {
        let fix = diagnostic.fix.as_ref().filter(|f| f.safe);
        if let Some(fix) = fix.filter(|f| fits(f, &taken, report)) {
            taken.extend(fix.edits.iter().cloned());
            found.push(fix);
        }
    }
    found
}

fn source_of(fix: &Fix) -> Option<u32> {
    fix.edits.first().map(|e| e.0.source)
}

/// The text with all fixes; where it would be no XML, with those that leave it XML. The number of fixes too.
fn best(source: &Source, fixes: &[&Fix]) -> Option<(String, usize)> {
    if let Some(new) = with(source, fixes) {
        return Some((new, fixes.len()));
    }
    let mut kept = Vec::new();
    for fix in fixes {
        kept.push(*fix);
        if with(source, &kept).is_none() {
            kept.pop();
        }
    }
    let new = with(source, &kept).filter(|_| !kept.is_empty());
    new.map(|new| (new, kept.len()))
}

/// The text with these fixes, if that is XML.
fn with(source: &Source, fixes: &[&Fix]) -> Option<String> {
    let mut edits: Vec<&(Span, String)> = fixes.iter().flat_map(|f| &f.edits).collect();
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(*span));
    let mut new = source.text.clone();
    for (span, text) in edits {
        new.replace_range(span.start as usize..span.end as usize, text);
    }
    parse(&source.name, new.as_bytes(), &mut Report::default())?;
    Some(new)
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
