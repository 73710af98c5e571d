//! What the command line of desc-parse asks for, apart from the description's place.

use crate::source::Span;

/// The options, as given.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// `--profile`, in order.
    pub profiles: Vec<String>,
    /// `--type`.
    pub image_type: Option<String>,
    /// The machine: `--target-arch`, else the build host's.
    pub machine: String,
    /// Whether `--target-arch` was given.
    pub machine_was_given: bool,
    /// `--set-repo`: changes the first repository.
    pub set_repo: Option<String>,
    /// `--add-repo`, in order.
    pub add_repo: Vec<String>,
    /// `--signing-key`, in order: files, anywhere.
    pub signing_keys: Vec<String>,
    /// `--ignore-repos`: the description's own repositories do not count.
    pub ignore_repos: bool,
    /// `--ignore-repos-used-for-build`: of them only those with `imageonly` do.
    pub ignore_repos_used_for_build: bool,
    /// `--add-package`.
    pub add_package: Vec<String>,
    /// `--add-bootstrap-package`.
    pub add_bootstrap_package: Vec<String>,
    /// `--delete-package`.
    pub delete_package: Vec<String>,
    /// `--set-release-version`.
    pub release_version: Option<String>,
    /// `--set-type-attr NAME=VALUE`.
    pub type_attributes: Vec<String>,
    /// Program and version, for the plan.
    pub program: String,
    /// SOURCE_DATE_EPOCH.
    pub source_date_epoch: Option<u64>,
}

/// An option in force: what was given, where it is shown, and what it replaced.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The option as given: `--set-repo http://…`.
    pub option: String,
    /// Its text as a source.
    pub span: Span,
    /// What stood there before, in words.
    pub replaced: Option<String>,
}

/// A repository as KIWI writes it on the command line:
/// `source,type,alias,priority,imageinclude,package_gpgcheck,{keys},components,distribution,repo_gpgcheck,sourcetype`.
/// Empty parts are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoOption {
    /// The URI.
    pub uri: String,
    /// Attributes of `<repository>`: name and value.
    pub attributes: Vec<(&'static str, String)>,
    /// Keys, from the part in braces.
    pub keys: Vec<String>,
}

const PARTS: [&str; 11] = [
    "",
    "type",
    "alias",
    "priority",
    "imageinclude",
    "package_gpgcheck",
    "{keys}",
    "components",
    "distribution",
    "repository_gpgcheck",
    "sourcetype",
];

impl RepoOption {
    /// Splits the option's value.
    ///
    /// # Errors
    /// A sentence, where there are too many parts or no URI.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = split_outside_braces(text);
        if parts.len() > PARTS.len() {
            return Err(format!(
                "{} parts, expected at most {}",
                parts.len(),
                PARTS.len()
            ));
        }
        let mut option = Self::default();
        for (part, name) in parts.iter().map(|p| p.trim()).zip(PARTS) {
            match name {
                _ if part.is_empty() => {}
                "" => option.uri = part.to_owned(),
                "{keys}" => {
                    let inside = part.trim_start_matches('{').trim_end_matches('}');
                    let keys = inside.split([';', ',']).map(|k| k.trim().to_owned());
                    option.keys = keys.filter(|k| !k.is_empty()).collect();
                }
                name => option.attributes.push((name, part.to_owned())),
            }
        }
        if option.uri.is_empty() {
            return Err("no URI".to_owned());
        }
        Ok(option)
    }
}

fn split_outside_braces(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_option_has_kiwis_parts() {
        let text = "http://deb.example.org/debian,apt-deb,main,5,,,{this://a.asc,this://b.asc},main contrib,bookworm,false";
        let option = RepoOption::parse(text).unwrap();
        assert_eq!(option.uri, "http://deb.example.org/debian");
        assert_eq!(option.keys, ["this://a.asc", "this://b.asc"]);
        assert!(
            option
                .attributes
                .contains(&("distribution", "bookworm".to_owned()))
        );
        assert!(
            option
                .attributes
                .contains(&("repository_gpgcheck", "false".to_owned()))
        );
        assert!(RepoOption::parse(",apt-deb").is_err());
    }
}
