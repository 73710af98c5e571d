//! Diagnostics: what is wrong, where, and what was expected.

use crate::code::{self, Code};
use crate::source::{Source, Sources, Span};

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No plan is written.
    Error,
    /// The plan is written.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: the thing and the fact.
    pub message: String,
    /// The place, and the few words that stand below it: what was expected.
    pub place: Option<(Span, String)>,
    /// A second place that belongs to it.
    pub other: Option<(Span, String)>,
    /// Further places of which the very same is to be said.
    pub also: Vec<Span>,
    /// The way out.
    pub help: Option<String>,
    /// The change that would mend it.
    pub fix: Option<Fix>,
}

/// A change of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Fix {
    /// Ranges and what shall stand there instead; they do not overlap.
    pub edits: Vec<(Span, String)>,
    /// Whether no other meaning is likely, so that it may be made without asking.
    pub safe: bool,
}

impl Diagnostic {
    /// Adds a second place.
    #[must_use]
    pub fn and(mut self, span: Span, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }

    /// Adds the change that would mend it.
    #[must_use]
    pub fn fix(mut self, edits: Vec<(Span, String)>, safe: bool) -> Self {
        self.fix = Some(Fix { edits, safe });
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// An error at a place.
pub fn error(
    code: Code,
    span: Span,
    message: impl Into<String>,
    label: impl Into<String>,
) -> Diagnostic {
    Diagnostic {
        code,
        severity: Severity::Error,
        message: message.into(),
        place: Some((span, label.into())),
        other: None,
        also: Vec::new(),
        help: None,
        fix: None,
    }
}

/// A warning at a place.
pub fn warning(
    code: Code,
    span: Span,
    message: impl Into<String>,
    label: impl Into<String>,
) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        ..error(code, span, message, label)
    }
}

/// An error without a place in any text.
pub fn error_nowhere(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        code,
        severity: Severity::Error,
        message: message.into(),
        place: None,
        other: None,
        also: Vec::new(),
        help: None,
        fix: None,
    }
}

/// Most findings that are kept; the rest are counted.
const MOST: usize = 200;

/// Longest message or label in characters.
const LONGEST_SENTENCE: usize = 500;

/// Every text and every finding of one run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The texts.
    pub sources: Sources,
    found: Vec<Diagnostic>,
    errors: usize,
    left_out: usize,
}

impl Report {
    /// Adds a finding; the same finding at the same place counts once. Where a value is not even of its
    /// kind, nothing more is said about it.
    pub fn add(&mut self, mut diagnostic: Diagnostic) {
        tidy(&mut diagnostic.message);
        let places = [&mut diagnostic.place, &mut diagnostic.other];
        for (_, label) in places.into_iter().flatten() {
            tidy(label);
        }
        // An option is no text that could be edited.
        let sources = &self.sources;
        let edits_option = |f: &Fix| {
            let mut spans = f.edits.iter().map(|e| e.0);
            spans.any(|span| sources.get(span).is_some_and(Source::is_option))
        };
        diagnostic.fix = diagnostic.fix.filter(|f| !edits_option(f));
        let place = |d: &Diagnostic| d.place.as_ref().map(|p| p.0);
        let follows = |d: &Diagnostic| {
            let settles = match d.code {
                code::BAD_VALUE | code::OLD_NAME => true,
                // That it would be ignored is no news where it may not stand at all.
                code::MISFIT | code::CONTRADICTION => diagnostic.code == code::IGNORED,
                _ => false,
            };
            settles && d.place.is_some() && place(d) == place(&diagnostic)
        };
        if self.found.iter().any(|d| *d == diagnostic || follows(d)) {
            return;
        }
        if let Some(same) = self
            .found
            .iter_mut()
            .find(|d| says_the_same(d, &diagnostic))
        {
            same.also.extend(place(&diagnostic));
            return;
        }
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.found.len() < MOST {
            self.found.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// Whether there is an error among the findings.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// The number of errors in options of the command line.
    pub fn errors_in_options(&self) -> usize {
        let is_option = |d: &&Diagnostic| {
            let source = d.place.as_ref().and_then(|p| self.sources.get(p.0));
            d.severity == Severity::Error && source.is_some_and(Source::is_option)
        };
        self.found.iter().filter(is_option).count()
    }

    /// Whether so much was found that looking for more is no use.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// The number of findings that are counted but not kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The findings in the order of their places.
    pub fn diagnostics(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.found.iter().collect();
        sorted.sort_by_key(|d| (d.place.as_ref().map(|p| p.0), d.code));
        sorted
    }
}

/// Whether two warnings of one file differ only in their places: then one is enough.
fn says_the_same(one: &Diagnostic, two: &Diagnostic) -> bool {
    let (Some(a), Some(b)) = (&one.place, &two.place) else {
        return false;
    };
    one.code == code::IGNORED
        && (one.code, one.severity, &one.message) == (two.code, two.severity, &two.message)
        && (a.0.source, &a.1) == (b.0.source, &b.1)
}

/// Cuts what a hostile description made too long to be read, and makes visible what a terminal would obey.
fn tidy(text: &mut String) {
    if text.contains(is_obeyed) {
        *text = visible(text);
    }
    if let Some((end, _)) = text.char_indices().nth(LONGEST_SENTENCE) {
        text.truncate(end);
        text.push('…');
    }
}

/// Whether a terminal would obey a character instead of showing it: control characters, and those that turn
/// the direction of writing.
pub fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text with escapes for what a terminal would obey.
pub fn visible(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match is_obeyed(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Text in double quotes, with control characters made visible.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(120).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", visible(&short))
}

/// The known name nearest to `name`, where one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(name);
    known
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&folded, &fold(candidate));
            (distance, candidate)
        })
        // Of a name that is as short as the distance, nothing is left to know it by.
        .filter(|(distance, candidate)| {
            *distance <= 1 + candidate.len().min(name.len()) / 4 && *distance < candidate.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether two names differ by so little that one must be the other, misspelt.
pub fn is_slip(name: &str, meant: &str) -> bool {
    strsim::damerau_levenshtein(&fold(name), &fold(meant)) <= 1 && meant.len() > 3
}

/// Spelling without case and separators, so that `oem_boot_title` is near `oem-boot-title`.
fn fold(name: &str) -> String {
    name.chars()
        .take(64)
        .filter(|c| !matches!(c, '-' | '_' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["package", "packages", "packagemanager", "product"];
        assert_eq!(nearest("pakage", known), Some("package"));
        assert_eq!(nearest("packageManager", known), Some("packagemanager"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("T", ["M", "G"]), None);
    }

    #[test]
    fn nothing_in_a_sentence_is_obeyed_by_a_terminal() {
        let mut report = Report::default();
        report.add(error_nowhere(
            code::BAD_INCLUDE,
            "a\u{9b}31m\nb\u{202e}c: ü",
        ));
        let found = report.diagnostics();
        assert_eq!(found[0].message, "a\\u{9b}31m\\nb\\u{202e}c: ü");
    }

    #[test]
    fn findings_are_counted_beyond_the_limit() {
        let mut report = Report::default();
        let whole = report.sources.add_whole("a", "x".repeat(1000));
        for start in 0..1000 {
            let span = Span { start, ..whole };
            report.add(error(code::CONTRADICTION, span, "no", ""));
            report.add(error(code::CONTRADICTION, span, "no", ""));
        }
        assert!(report.diagnostics().len() == MOST && report.errors() >= 1000);
    }
}
