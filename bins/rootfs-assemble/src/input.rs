//! What the stage reads: its options and exactly these fields of the plan.

use std::path::PathBuf;

use clap::Args;
use manifest::{Object, Packages, Profile, Repository, Scripts, User};
use serde::{Deserialize, Serialize};

/// The options.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Options {
    /// Work as root without a user namespace, for hosts that forbid those (run it with sudo)
    #[arg(long)]
    #[serde(skip)]
    pub as_root: bool,
    /// Install exactly the packages of this lock, which an earlier run wrote
    #[arg(long, value_name = "FILE", conflicts_with = "refresh")]
    #[serde(skip)]
    pub lock: Option<PathBuf>,
    /// Open no connection: packages and metadata must be in the store, and scripts have no network
    #[arg(long, conflicts_with = "refresh")]
    #[serde(skip)]
    pub offline: bool,
    /// Read the repositories again, however short ago that was done
    #[arg(long)]
    #[serde(skip)]
    pub refresh: bool,
    /// Read the repositories again when that was done longer ago than this
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    #[serde(skip)]
    pub max_age: u64,
    /// Take the user and password of a server from this file instead of /etc/apt/auth.conf (apt_auth.conf(5))
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub auth: Option<PathBuf>,
    /// Where the build tree lives while it is made: in RAM if there is enough, or always on disk
    #[arg(long, value_enum, default_value_t = Place::Auto)]
    #[serde(skip)]
    pub build_tree: Place,
}

/// Where the build tree lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// In RAM if three times the need is free.
    Auto,
    /// In RAM.
    Ram,
    /// In the store's scratch directory.
    Disk,
}

/// The part of the manifest that the stage reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Input {
    /// Section `plan`.
    pub plan: PlanInput,
}

impl PlanInput {
    /// The repositories that packages are taken from.
    pub fn sources(&self) -> impl Iterator<Item = &Repository> {
        self.repositories.iter().filter(|r| !r.imageonly)
    }
}

impl Input {
    /// Only scripts read the version and the profiles; without scripts neither counts.
    pub fn narrow(_: &Options, input: &mut Self) {
        if input.plan.scripts == Scripts::default() {
            input.plan.version.clear();
            input.plan.profiles.clear();
        }
    }
}

/// The fields of the plan that shape a root tree. See [`manifest::Plan`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanInput {
    /// Image name: host name, `.packages` file.
    pub name: String,
    /// Image version, for scripts.
    pub version: String,
    /// Architecture in the kernel's spelling.
    pub arch: String,
    /// Profiles in force, for scripts.
    pub profiles: Vec<Profile>,
    /// Packages to install and to remove.
    pub packages: Packages,
    /// Package sources.
    pub repositories: Vec<Repository>,
    /// `apt`.
    pub package_manager: String,
    /// Accounts.
    pub users: Vec<User>,
    /// Locales, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Console keymap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keytable: Option<String>,
    /// Time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Overlay tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Object>,
    /// Scripts.
    pub scripts: Scripts,
    /// Time stamp of the newest file, where the environment says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_date_epoch: Option<u64>,
}
