//! From files to a checked document: read, include, upgrade, check.

use crate::check::check;
use crate::code;
use crate::diagnostic::{Report, error, error_nowhere, quoted, warning};
use crate::files::{FileError, Files, relative};
use crate::node::{Node, parse};
use crate::source::Span;
use crate::table::{NEWEST, OLDEST, Version};
use crate::upgrade::upgrade;

/// Most includes in one description.
const MAX_INCLUDES: usize = 64;
/// Most elements in a description with everything that it includes.
const MAX_ELEMENTS: usize = 100_000;

/// A description that has been read, upgraded and checked against the table.
#[derive(Debug, Clone)]
pub struct Document {
    /// `<image>`, with the included elements in place.
    pub image: Node,
    /// The schema version that it declares.
    pub version: Version,
}

/// Reads the description `main` and everything it includes. `None` where the text cannot be judged
/// any further; even a document that is returned may have errors in the report.
pub fn read(files: &dyn Files, main: &str, report: &mut Report) -> Option<Document> {
    let bytes = match files.read(main) {
        Ok(bytes) => bytes,
        Err(wrong) => {
            let code = match wrong {
                FileError::TooLarge(_) => code::LIMIT,
                _ => code::UNREADABLE,
            };
            let fact = format!("{}: {}", report.sources.shown(main), words(&wrong));
            report.add(error_nowhere(code, fact));
            return None;
        }
    };
    let mut image = parse(main, &bytes, report)?;
    if !is_image(&image, report) {
        return None;
    }
    let version = schema_version(&image, report)?;
    include(&mut image, files, main, report)?;
    if !counts_fit(&image, report) {
        return None;
    }
    upgrade(&mut image, version, report);
    check(&mut image, version, report);
    Some(Document { image, version })
}

fn elements(node: &Node) -> usize {
    1 + node.children.iter().map(elements).sum::<usize>()
}

/// Whether there are no more sections than any description needs.
fn counts_fit(image: &Node, report: &mut Report) -> bool {
    const LIMITS: [(&str, &str, usize); 4] = [
        ("profiles", "profile", 1000),
        ("users", "user", 500),
        ("repository", "", 500),
        ("packages", "", 2000),
    ];
    let count = |section: &Node, inner: &str| match inner {
        "" => 1,
        name => section.all(name).count(),
    };
    LIMITS.iter().all(|(outer, inner, limit)| {
        let found: usize = image.all(outer).map(|s| count(s, inner)).sum();
        if found > *limit {
            let name = if inner.is_empty() { outer } else { inner };
            let fact = format!("{found} <{name}> are more than any description needs");
            report.add(error(
                code::LIMIT,
                image.span,
                fact,
                format!("the limit is {limit}"),
            ));
        }
        found <= *limit
    })
}

fn is_image(root: &Node, report: &mut Report) -> bool {
    if root.name == "image" && root.namespace.is_none() {
        return true;
    }
    let fact = match &root.namespace {
        Some(_) if root.name == "image" => "<image> stands in a namespace".to_owned(),
        _ => format!("the root element is <{}>", root.name),
    };
    report.add(error(
        code::NOT_AN_IMAGE,
        root.span,
        fact,
        "expected <image> without a namespace",
    ));
    false
}

fn schema_version(image: &Node, report: &mut Report) -> Option<Version> {
    let Some(text) = image.value("schemaversion") else {
        let fact = "<image> has no schemaversion";
        report.add(
            error(
                code::SCHEMA_VERSION,
                image.span,
                fact,
                "expected schemaversion=\"8.0\"",
            )
            .help("schemaversion says by which rules the description was written; 8.0 fits most"),
        );
        return None;
    };
    let span = image.value_span("schemaversion");
    let parsed = text
        .split_once('.')
        .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let Some(version) = parsed else {
        let fact = format!("schemaversion {} is no version", quoted(text));
        report.add(error(
            code::SCHEMA_VERSION,
            span,
            fact,
            "expected two numbers, such as 8.0",
        ));
        return None;
    };
    if version < OLDEST || version.0 > NEWEST.0 {
        let fact = format!("schema version {text} is not supported");
        let help = match version < OLDEST {
            true => "an older description must first be upgraded by the KIWI that wrote it",
            false => "a newer release of Ramforge may read it",
        };
        report.add(error(code::SCHEMA_VERSION, span, fact, "expected 6.8 to 8.5").help(help));
        return None;
    }
    if version > NEWEST {
        let fact = format!("schema version {text} is newer than this release knows");
        report.add(warning(code::NEWER_SCHEMA, span, fact, "it is read as 8.5"));
    }
    Some(version)
}

/// Puts the children of every included `<image>` in the place of its `<include>`. `None` where files that are
/// each small enough make a giant together.
fn include(image: &mut Node, files: &dyn Files, main: &str, report: &mut Report) -> Option<()> {
    let mut seen = vec![main.to_owned()];
    let mut found = elements(image);
    let mut children = Vec::with_capacity(image.children.len());
    for child in std::mem::take(&mut image.children) {
        match child.attribute("from").filter(|_| child.name == "include") {
            Some(from) => {
                let (value, span) = (from.value.trim().to_owned(), from.value_span);
                let more = included(&value, span, &mut seen, files, report).unwrap_or_default();
                found += more.iter().map(elements).sum::<usize>();
                if found > MAX_ELEMENTS {
                    let fact = "the included files have more elements than any description needs";
                    let label = format!("the limit is {MAX_ELEMENTS} with this one");
                    report.add(error(code::LIMIT, span, fact, label));
                    return None;
                }
                children.extend(more);
            }
            None => children.push(child),
        }
    }
    image.children = children;
    Some(())
}

fn included(
    from: &str,
    span: Span,
    seen: &mut Vec<String>,
    files: &dyn Files,
    report: &mut Report,
) -> Option<Vec<Node>> {
    let (name, bytes) = match included_file(from, seen, files) {
        Ok(found) => found,
        Err((fact, label)) => {
            report.add(error(code::BAD_INCLUDE, span, fact, label));
            return None;
        }
    };
    seen.push(name.clone());
    let root = parse(&name, &bytes, report)?;
    if !is_image(&root, report) {
        return None;
    }
    let (nested, children): (Vec<Node>, Vec<Node>) =
        root.children.into_iter().partition(|c| c.name == "include");
    for nested in nested {
        let fact = "an included file includes another";
        let label = "expected the elements themselves";
        let help = "KIWI follows one level only; move this include into the main description";
        let found = error(code::BAD_INCLUDE, nested.span, fact, label);
        report.add(found.and(span, "included from here").help(help));
    }
    Some(children)
}

/// Name and bytes of the file that is meant, or fact and expectation.
fn included_file(
    from: &str,
    seen: &[String],
    files: &dyn Files,
) -> Result<(String, Vec<u8>), (String, &'static str)> {
    let outside = |_| {
        let fact = format!("{} leads outside the description", quoted(from));
        let label =
            "expected a relative path, or this://./FILE: copy the file into the description";
        (fact, label)
    };
    let name = relative(from).map_err(outside)?;
    if seen.contains(&name) {
        return Err((
            format!("{name} is included already"),
            "expected each file once",
        ));
    }
    if seen.len() > MAX_INCLUDES {
        let fact = format!("more than {MAX_INCLUDES} files are included");
        return Err((fact, "expected fewer"));
    }
    let unreadable = |wrong| {
        let fact = format!("{name}: {}", words(&wrong));
        (fact, "expected a file of the description")
    };
    let bytes = files.read(&name).map_err(unreadable)?;
    Ok((name, bytes))
}

/// What a file error means.
pub fn words(wrong: &FileError) -> String {
    match wrong {
        FileError::Missing => "there is no such file".to_owned(),
        FileError::Outside => "it leads outside the description".to_owned(),
        FileError::TooLarge(limit) => format!("it is larger than {limit} bytes"),
        FileError::Other(fact) => fact.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn files_that_are_each_small_enough_make_no_giant() {
        let packages = "<package name='a'/>".repeat(30_000);
        let part = format!("<image><packages type='image'>{packages}</packages></image>");
        let includes: String = (0..5).map(|n| format!("<include from='{n}'/>")).collect();
        let main = format!("<image schemaversion='8.5' name='a'>{includes}</image>");
        let parts = (0..5).map(|n| (n.to_string(), part.clone().into_bytes()));
        let mut files: BTreeMap<String, Vec<u8>> = parts.collect();
        files.insert("main".to_owned(), main.into_bytes());
        let mut report = Report::default();
        assert!(read(&files, "main", &mut report).is_none());
        let found = report.diagnostics();
        assert_eq!(found[0].code, code::LIMIT);
        let place = report.sources.text(found[0].place.as_ref().unwrap().0);
        assert_eq!((found.len(), place), (1, Some("3")));
    }
}
