//! A diagnostic as text for people: the line itself, what is wrong in it, the way out.

use std::borrow::Cow;

use annotate_snippets::{Annotation, AnnotationKind, Element, Level, Origin, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Report, Severity};
use crate::source::{Source, Span};

/// Longest line in bytes that is shown; of a longer one only the position is told.
const LONGEST_LINE: usize = 4000;
/// Columns of an excerpt in a file or a pipe; what is longer is cut around the mark.
const PLAIN_WIDTH: usize = 180;
/// Most characters that are marked.
const LONGEST_MARK: usize = 100;
/// Most bytes between two places that are shown in one excerpt.
const LONGEST_EXCERPT: usize = 1 << 16;

/// Most line numbers that are listed.
const MOST_LINES: usize = 12;

type Place = (Span, String);

impl Report {
    /// One finding as text for people, with the lines it is about.
    pub fn render(&self, diagnostic: &Diagnostic, colour: bool) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut elements = self.excerpts(diagnostic);
        if let Some(help) = &diagnostic.help {
            elements.push(Level::HELP.message(help.as_str()).into());
        }
        let also = self.also(diagnostic);
        if !also.is_empty() {
            elements.push(Level::NOTE.message(also.as_str()).into());
        }
        let group = level
            .primary_title(diagnostic.message.as_str())
            .id(diagnostic.code.to_string())
            .elements(elements);
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain().term_width(PLAIN_WIDTH)
        };
        renderer.render(&[group])
    }

    /// The lines of further places.
    fn also(&self, diagnostic: &Diagnostic) -> String {
        let line = |span: &Span| Some(self.sources.get(*span)?.position(span.start).line);
        let mut lines: Vec<u64> = diagnostic.also.iter().filter_map(line).collect();
        lines.sort_unstable();
        lines.dedup();
        let shown: Vec<String> = lines.iter().take(MOST_LINES).map(u64::to_string).collect();
        match (shown.len(), lines.len()) {
            (0, _) => String::new(),
            (1, 1) => format!("also in line {}", shown[0]),
            (few, all) if few < all => {
                format!("also in lines {} and {} more", shown.join(", "), all - few)
            }
            _ => format!("also in lines {}", shown.join(", ")),
        }
    }

    /// The excerpts: one where both places are near each other in one text, else one for each.
    fn excerpts<'a>(&'a self, diagnostic: &'a Diagnostic) -> Vec<Element<'a>> {
        let Some(first) = &diagnostic.place else {
            return Vec::new();
        };
        let Some(source) = self.sources.get(first.0) else {
            return Vec::new();
        };
        if source.is_option() {
            return option(source, first);
        }
        let Some(second) = &diagnostic.other else {
            return vec![one(source, first, AnnotationKind::Primary)];
        };
        let far = first.0.start.abs_diff(second.0.start) as usize > LONGEST_EXCERPT;
        if first.0.source == second.0.source
            && !far
            && shows(source, first)
            && shows(source, second)
        {
            return vec![both(source, first, second)];
        }
        let other = self.sources.get(second.0);
        let other = other.map(|source| one(source, second, AnnotationKind::Context));
        let first = one(source, first, AnnotationKind::Primary);
        std::iter::once(first).chain(other).collect()
    }
}

/// Whether the line of a place is short enough.
fn shows(source: &Source, place: &Place) -> bool {
    source.lines_around(place.0.start, place.0.start).2.len() <= LONGEST_LINE
}

/// An option has no lines: it stands for itself, and below it what was expected.
fn option<'a>(source: &'a Source, place: &'a Place) -> Vec<Element<'a>> {
    let origin = Origin::path(source.shown.as_str()).into();
    let label = (!place.1.is_empty()).then(|| Level::NOTE.message(place.1.as_str()).into());
    std::iter::once(origin).chain(label).collect()
}

fn one<'a>(source: &'a Source, place: &'a Place, kind: AnnotationKind) -> Element<'a> {
    if !shows(source, place) {
        let position = source.position(place.0.start);
        let origin = Origin::path(source.shown.as_str());
        let line = usize::try_from(position.line).unwrap_or(usize::MAX);
        let column = usize::try_from(position.column).unwrap_or(usize::MAX);
        return origin.line(line).char_column(column).into();
    }
    let end = visible_end(source, place.0);
    let (line, offset, text) = source.lines_around(place.0.start, end);
    excerpt(source, line, text)
        .annotation(note(source, text, offset, place, kind))
        .into()
}

fn both<'a>(source: &'a Source, first: &'a Place, second: &'a Place) -> Element<'a> {
    let from = first.0.start.min(second.0.start);
    let to = visible_end(source, first.0).max(visible_end(source, second.0));
    let (line, offset, text) = source.lines_around(from, to);
    excerpt(source, line, text)
        .annotation(note(source, text, offset, first, AnnotationKind::Primary))
        .annotation(note(source, text, offset, second, AnnotationKind::Context))
        .into()
}

fn excerpt<'a>(source: &'a Source, line: usize, text: &'a str) -> Snippet<'a, Annotation<'a>> {
    Snippet::source(harmless(text))
        .line_start(line)
        .path(source.shown.as_str())
}

/// A text without the control characters that XML allows and a terminal would obey (U+0080 to U+009F), and
/// without carriage returns, which end each line of some files; as many bytes, so that places in it stay what
/// they are.
fn harmless(text: &str) -> Cow<'_, str> {
    let odd = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
    match text.contains(|c| odd(c) || c == '\r') {
        true => Cow::Owned(text.replace(odd, "\u{b7}").replace('\r', " ")),
        false => Cow::Borrowed(text),
    }
}

fn note<'a>(
    source: &Source,
    text: &str,
    offset: usize,
    place: &'a Place,
    kind: AnnotationKind,
) -> Annotation<'a> {
    let range = within(text, offset, place.0.start, visible_end(source, place.0));
    kind.span(range).label(place.1.as_str())
}

/// The end of a span, cut at the end of its first line, or where the mark would be too long to look at.
fn visible_end(source: &Source, span: Span) -> u32 {
    let (_, from, line) = source.lines_around(span.start, span.start);
    let behind = &line[(span.start as usize).saturating_sub(from).min(line.len())..];
    let mark = behind.char_indices().nth(LONGEST_MARK);
    let end = from + line.len() - behind.len() + mark.map_or(behind.len(), |m| m.0);
    span.end
        .min(u32::try_from(end).unwrap_or(u32::MAX))
        .max(span.start)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code;
    use crate::diagnostic::error;

    fn report(text: &str) -> (Report, impl Fn(u32, u32) -> Span + use<>) {
        let mut report = Report::default();
        let source = report.sources.add("a.kiwi", text);
        (report, move |start, end| Span { source, start, end })
    }

    #[test]
    fn two_places_of_one_file_share_an_excerpt() {
        let (report, span) = report("one\ntwo\nthree\n");
        let d = error(code::CONTRADICTION, span(8, 13), "no", "here").and(span(0, 3), "there");
        let text = report.render(&d, false);
        assert!(
            text.contains("a.kiwi:3:1") && text.contains("there"),
            "{text}"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        let (report, span) = report("a\u{9b}31m<b>");
        let d = error(code::CONTRADICTION, span(6, 9), "no", "here");
        let text = report.render(&d, false);
        assert!(
            text.contains("a\u{b7}31m<b>") && !text.contains('\u{9b}'),
            "{text}"
        );
    }

    #[test]
    fn the_ends_of_lines_are_no_part_of_them() {
        let (report, span) = report("one\r\ntwo\r\nthree\r\n");
        let d = error(code::CONTRADICTION, span(10, 15), "no", "here").and(span(5, 8), "there");
        let text = report.render(&d, false);
        assert!(text.contains("a.kiwi:3:1") && !text.contains('␍'), "{text}");
    }

    #[test]
    fn an_absurd_line_is_told_by_its_position() {
        let (report, span) = report(&format!("\n{}x{}", "é".repeat(9000), " ".repeat(9000)));
        let d = error(code::CONTRADICTION, span(18001, 18002), "no", "here");
        let text = report.render(&d, false);
        assert!(text.contains("a.kiwi:2:9001") && text.len() < 200, "{text}");
    }
}
