//! `draft [OPTIONS OF desc-parse] FILE`: what a description resolves to, refused or not.
//!
//! stdout gets one JSON object: `plan`, what it would be; `archives`, `files` and `keys`, what it names besides;
//! `errors`, the codes of all errors. desc-parse writes no plan of what Ramforge cannot build; this one lets
//! everything else in such a description be compared with what KIWI resolves (`tests/kiwi/compare.py`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use description::{
    ArchiveWanted, Choice, FileError, FileWanted, Files, Report, Severity, read, relative, resolve,
};
use serde_json::json;

/// The directory of the description.
struct Here(PathBuf);

impl Files for Here {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        let path = self.0.join(relative(name)?);
        std::fs::read(path).map_err(|e| FileError::Other(e.to_string()))
    }
}

fn main() -> ExitCode {
    let Some((choice, file)) = arguments() else {
        eprintln!("draft: expected options of desc-parse, each with its value, and a file");
        return ExitCode::from(2);
    };
    let path = Path::new(&file);
    let here = Here(path.parent().unwrap_or(Path::new(".")).to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut report = Report::default();
    let document = read(&here, &name, &mut report);
    let draft = document.map(|document| resolve(&document, &choice, &mut report));
    let found = report.diagnostics().into_iter();
    let errors: Vec<String> = found
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.code.to_string())
        .collect();
    let wants = draft.as_ref().map(|d| d.wants.clone()).unwrap_or_default();
    let archive = |a: &ArchiveWanted| json!([a.path, a.target]);
    let file = |f: &FileWanted| json!([f.path, f.target]);
    let resolved = json!({
        "plan": draft.map(|d| d.plan),
        "archives": wants.archives.iter().map(archive).collect::<Vec<_>>(),
        "files": wants.files.iter().map(file).collect::<Vec<_>>(),
        "keys": wants.keys.iter().map(|k| k.path.clone()).collect::<Vec<_>>(),
        "errors": errors,
    });
    println!("{resolved}");
    ExitCode::SUCCESS
}

/// The options and the file.
fn arguments() -> Option<(Choice, String)> {
    let mut choice = Choice::default();
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        match word.as_str() {
            "--ignore-repos" => choice.ignore_repos = true,
            "--ignore-repos-used-for-build" => choice.ignore_repos_used_for_build = true,
            "--profile" => choice.profiles.push(given.next()?),
            "--type" => choice.image_type = given.next(),
            "--target-arch" => choice.machine = given.next()?,
            "--set-repo" => choice.set_repo = given.next(),
            "--add-repo" => choice.add_repo.push(given.next()?),
            "--add-package" => choice.add_package.push(given.next()?),
            "--add-bootstrap-package" => choice.add_bootstrap_package.push(given.next()?),
            "--delete-package" => choice.delete_package.push(given.next()?),
            "--set-release-version" => choice.release_version = given.next(),
            "--set-type-attr" => choice.type_attributes.push(given.next()?),
            file => return given.next().is_none().then(|| (choice, file.to_owned())),
        }
    }
    None
}
