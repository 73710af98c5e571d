//! The command line. Options that KIWI has too carry KIWI's names and meaning.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use description::Choice;
use serde::Serialize;

/// What can be asked of desc-parse.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Options {
    /// Directory with config.xml or one *.kiwi, or such a file
    #[arg(value_name = "DESCRIPTION")]
    pub description: PathBuf,
    /// Bring a profile into force (repeatable)
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Build the <type> with this image= instead of the primary or first one
    #[arg(long = "type", value_name = "IMAGE")]
    pub image_type: Option<String>,
    /// Build for this machine instead of the host's
    #[arg(long, value_name = "MACHINE")]
    pub target_arch: Option<String>,
    /// Change the first repository: URI[,TYPE,ALIAS,PRIORITY,IMAGEINCLUDE,PACKAGE_GPGCHECK,{KEYS},COMPONENTS,DISTRIBUTION,REPO_GPGCHECK,SOURCETYPE]
    #[arg(long, value_name = "URI[,…]")]
    pub set_repo: Option<String>,
    /// Add a repository, written as for --set-repo (repeatable)
    #[arg(long, value_name = "URI[,…]")]
    pub add_repo: Vec<String>,
    /// Trust this OpenPGP key for every repository but obsrepositories:/ (repeatable)
    #[arg(long, value_name = "FILE")]
    pub signing_key: Vec<String>,
    /// Forget the description's own repositories
    #[arg(long)]
    pub ignore_repos: bool,
    /// Forget those of the description's repositories that the build would use
    #[arg(long)]
    pub ignore_repos_used_for_build: bool,
    /// Add a package to the image (repeatable)
    #[arg(long, value_name = "NAME")]
    pub add_package: Vec<String>,
    /// Add a package to the bootstrap (repeatable)
    #[arg(long, value_name = "NAME")]
    pub add_bootstrap_package: Vec<String>,
    /// Remove a package at the end, with what depends on it (repeatable)
    #[arg(long, value_name = "NAME")]
    pub delete_package: Vec<String>,
    /// Set <release-version>
    #[arg(long, value_name = "VERSION")]
    pub set_release_version: Option<String>,
    /// Set an attribute of the chosen <type> (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub set_type_attr: Vec<String>,
    /// Show the plan as a person reads it, on stderr
    #[arg(long)]
    pub explain_plan: bool,
    /// How errors and warnings are written to stderr
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Human)]
    pub message_format: Format,
    /// Mend the description in place, where no other meaning is likely
    #[arg(long)]
    pub fix: bool,
    /// Explain a diagnostic's code, such as R0101, and do nothing else
    #[arg(long, value_name = "CODE", exclusive = true)]
    pub explain: Option<String>,
}

/// How errors and warnings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// With the line itself, for people
    Human,
    /// One JSON object a line, for programs; a line that does not begin with { is for people
    Json,
}

impl Options {
    /// The options as the resolution of a description takes them.
    pub fn choice(&self, program: String, source_date_epoch: Option<u64>) -> Choice {
        Choice {
            profiles: self.profiles.clone(),
            image_type: self.image_type.clone(),
            machine: self.target_arch.clone().unwrap_or_else(host_machine),
            machine_was_given: self.target_arch.is_some(),
            set_repo: self.set_repo.clone(),
            add_repo: self.add_repo.clone(),
            signing_keys: self.signing_key.clone(),
            ignore_repos: self.ignore_repos,
            ignore_repos_used_for_build: self.ignore_repos_used_for_build,
            add_package: self.add_package.clone(),
            add_bootstrap_package: self.add_bootstrap_package.clone(),
            delete_package: self.delete_package.clone(),
            release_version: self.set_release_version.clone(),
            type_attributes: self.set_type_attr.clone(),
            program,
            source_date_epoch,
        }
    }
}

/// The name that `uname -m` prints, as far as Rust's targets tell it apart.
fn host_machine() -> String {
    match std::env::consts::ARCH {
        "x86" => "ix86".to_owned(),
        "powerpc64" => "ppc64le".to_owned(),
        other => other.to_owned(),
    }
}
