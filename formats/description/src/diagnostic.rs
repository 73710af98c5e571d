//! Diagnostics: what is wrong, where, and what was expected.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::code::{self, Code};
use crate::source::{Sources, Span};

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
    /// The way out.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Adds a second place.
    #[must_use]
    pub fn and(mut self, span: Span, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
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
        help: None,
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
        help: None,
    }
}

/// Every text and every finding of one run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The texts.
    pub sources: Sources,
    found: Vec<Diagnostic>,
}

impl Report {
    /// Adds a finding; the same finding at the same place counts once. Where a value is not even of its
    /// kind, nothing more is said about it.
    pub fn add(&mut self, diagnostic: Diagnostic) {
        let place = |d: &Diagnostic| d.place.as_ref().map(|p| p.0);
        let follows = |d: &Diagnostic| {
            matches!(d.code, code::BAD_VALUE | code::OLD_NAME)
                && d.place.is_some()
                && place(d) == place(&diagnostic)
        };
        if !self.found.iter().any(|d| *d == diagnostic || follows(d)) {
            self.found.push(diagnostic);
        }
    }

    /// Whether there is an error among the findings.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        let is_error = |d: &&Diagnostic| d.severity == Severity::Error;
        self.found.iter().filter(is_error).count()
    }

    /// The findings in the order of their places.
    pub fn diagnostics(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.found.iter().collect();
        sorted.sort_by_key(|d| (d.place.as_ref().map(|p| p.0), d.code));
        sorted
    }

    /// One finding as text for people, with the line it is about.
    pub fn render(&self, diagnostic: &Diagnostic, colour: bool) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let places: Vec<_> = [&diagnostic.place, &diagnostic.other]
            .into_iter()
            .flatten()
            .collect();
        let mut group = level
            .primary_title(diagnostic.message.as_str())
            .id(diagnostic.code.to_string())
            .elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new());
        for snippet in self.snippets(&places) {
            group = group.element(snippet);
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            // A file or a pipe has no width: the whole line is shown, unless it is absurd.
            Renderer::plain().term_width(1000)
        };
        renderer.render(&[group])
    }

    /// One snippet per source, so that two places of one file are shown in one excerpt.
    fn snippets<'a>(
        &'a self,
        places: &[&'a (Span, String)],
    ) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let mut snippets = Vec::new();
        for (index, (span, _)) in places.iter().enumerate() {
            let first_of_source = places[..index].iter().all(|p| p.0.source != span.source);
            let Some(source) = self.sources.get(*span).filter(|_| first_of_source) else {
                continue;
            };
            let here = || places.iter().filter(|p| p.0.source == span.source);
            let from = here().map(|p| p.0.start).min().unwrap_or(span.start);
            let to = here()
                .map(|p| visible_end(source, p.0))
                .max()
                .unwrap_or(span.end);
            let (line, offset, text) = source.lines_around(from, to);
            let mut snippet = Snippet::source(text).line_start(line).path(&source.name);
            for place in here() {
                let kind = if std::ptr::eq(*place, places[0]) {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                let range = within(text, offset, place.0.start, visible_end(source, place.0));
                snippet = snippet.annotation(kind.span(range).label(place.1.as_str()));
            }
            snippets.push(snippet);
        }
        snippets
    }
}

/// The end of a span, cut at the end of its first line: a long element is shown by its first line.
fn visible_end(source: &crate::source::Source, span: Span) -> u32 {
    let (_, from, line) = source.lines_around(span.start, span.start);
    span.end.min((from + line.len()) as u32).max(span.start)
}

/// The range of a span inside an excerpt, on character boundaries.
fn within(text: &str, offset: usize, start: u32, end: u32) -> std::ops::Range<usize> {
    let floor = |at: u32| {
        let mut at = (at as usize).saturating_sub(offset).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    floor(start)..floor(end).max(floor(start))
}

/// Text in double quotes, with control characters made visible.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(120).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    let mut out = String::from("\"");
    for c in short.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out + dots + "\""
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
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
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
    }

    #[test]
    fn two_places_of_one_file_share_an_excerpt() {
        let mut report = Report::default();
        let source = report.sources.add("a.kiwi", "one\ntwo\nthree\n");
        let span = |start, end| Span { source, start, end };
        let d =
            error(crate::code::CONTRADICTION, span(8, 13), "no", "here").and(span(0, 3), "there");
        let text = report.render(&d, false);
        assert!(
            text.contains("a.kiwi:3:1") && text.contains("there"),
            "{text}"
        );
    }
}
