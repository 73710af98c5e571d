//! The picture as SVG 1.1: one file that needs no other, no script and no font of its own.
//!
//! A bar is a group of `<rect>`, each with a `<title>` that a browser shows beside the pointer. All numbers are whole, so
//! the same verdict gives the same bytes. *Not here:* styles, which a page that holds the picture can add by the class
//! `t0`, `t1`, … of each term.

use std::fmt::Write;

use super::{Bar, Part, Picture};

/// Units of the whole picture from left to right.
const WIDTH: u64 = 960;
/// Where bars begin, and how long they can be.
const LEFT: u64 = 90;
const LENGTH: u64 = 760;
/// A bar, and the distance from one to the next.
const HEIGHT: u64 = 30;
const STEP: u64 = 44;
/// Where the first bar begins.
const TOP: u64 = 56;
/// A line of the legend, its columns.
const LINE: u64 = 22;
const COLUMNS: u64 = 2;
/// Colours of the terms, in their order; a neighbour differs in brightness too.
const COLOURS: &[&str] = &[
    "#4e79a7", "#a0cbe8", "#f28e2b", "#ffbe7d", "#59a14f", "#8cd17d", "#b6992d", "#f1ce63",
    "#499894", "#86bcb6", "#e15759", "#ff9d9a", "#79706e", "#bab0ac", "#d37295", "#fabfd2",
    "#b07aa1", "#d4a6c8", "#9d7660", "#d7b5a6",
];

impl Picture {
    /// The file.
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        self.head(&mut svg);
        for (n, bar) in (0..).zip(&self.bars) {
            self.bar(&mut svg, bar, TOP + n * STEP);
        }
        self.machine(&mut svg);
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Below the last bar.
    fn bottom(&self) -> u64 {
        TOP + self.bars.len() as u64 * STEP
    }

    fn head(&self, svg: &mut String) {
        let rows = (self.terms.len() as u64).div_ceil(COLUMNS);
        let height = self.bottom() + rows * LINE + LINE;
        let _ = writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"14\" role=\"img\">"
        );
        let _ = writeln!(
            svg,
            "<title>RAM at the highest moment of the boot, in MiB</title>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"26\" font-size=\"16\">RAM at the highest moment of the boot, in MiB</text>"
        );
    }

    fn bar(&self, svg: &mut String, bar: &Bar, top: u64) {
        let (text, end) = (top + 20, LEFT + self.scaled(bar.kib(), LENGTH) + 8);
        let _ = writeln!(
            svg,
            "<g>\n<text x=\"10\" y=\"{text}\">{}</text>",
            escaped(&bar.store)
        );
        for part in &bar.parts {
            self.part(svg, *part, top);
        }
        let _ = writeln!(
            svg,
            "<text x=\"{end}\" y=\"{text}\">{} <tspan fill=\"#79706e\">{}</tspan></text>\n</g>",
            bar.mib(),
            bar.moment
        );
    }

    fn part(&self, svg: &mut String, part: Part, top: u64) {
        let Part { term, from, to } = part;
        let (left, right) = (self.scaled(from, LENGTH), self.scaled(to, LENGTH));
        let _ = writeln!(
            svg,
            "<rect class=\"t{term}\" x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{HEIGHT}\" fill=\"{}\">\
             <title>{}: {} MiB</title></rect>",
            LEFT + left,
            right - left,
            colour(term),
            escaped(&self.terms[term]),
            crate::table::mib(to - from)
        );
    }

    /// A line through all bars where the RAM of the machine ends.
    fn machine(&self, svg: &mut String) {
        let Some(kib) = self.machine_kib else { return };
        let (x, end) = (LEFT + self.scaled(kib, LENGTH), self.bottom() - 8);
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{end}\" stroke=\"#000000\" stroke-width=\"2\"/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{} MiB of RAM</text>",
            TOP - 6,
            TOP - 10,
            kib / 1024
        );
    }

    fn legend(&self, svg: &mut String) {
        for (n, name) in (0..).zip(&self.terms) {
            let (column, row) = (n % COLUMNS, n / COLUMNS);
            let x = LEFT + column * (LENGTH / COLUMNS);
            let y = self.bottom() + row * LINE + 8;
            let term = usize::try_from(n).unwrap_or(0);
            let _ = writeln!(
                svg,
                "<rect class=\"t{term}\" x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text>",
                colour(term),
                x + 20,
                y + 11,
                escaped(name)
            );
        }
    }
}

fn colour(term: usize) -> &'static str {
    COLOURS[term % COLOURS.len()]
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
