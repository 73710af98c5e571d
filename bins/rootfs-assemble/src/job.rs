//! What the stage and its worker in the sandbox say to each other: JSON Lines over a pipe.

use manifest::{Kernel, Object, User};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The work: everything the worker may know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Whether the worker makes a user namespace.
    pub user_namespace: bool,
    /// The store's directory.
    pub store: String,
    /// The run that holds what the worker needs.
    pub run: String,
    /// An empty directory that becomes the root of the build tree.
    pub root: String,
    /// An empty directory beside it, for what does not stay.
    pub work: String,
    /// Bytes of RAM the tree may take; absent: it stays on disk.
    pub ram: Option<u64>,
    /// Architecture in Debian's spelling.
    pub architecture: String,
    /// The packages, in the order in which they are unpacked.
    pub packages: Vec<JobPackage>,
    /// What the description says beyond packages.
    pub image: Image,
    /// Whether the description's scripts may reach the network.
    pub network: bool,
    /// The host's resolv.conf, while scripts run.
    pub resolv_conf: Option<String>,
}

/// One package to install.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobPackage {
    /// Its name.
    pub name: String,
    /// Its full version.
    pub version: String,
    /// The package file.
    pub deb: Object,
    /// Whether the first programs in the tree need it.
    pub bootstrap: bool,
    /// Whether the description asks for it.
    pub requested: bool,
}

impl Job {
    /// What the outcome depends on: not where the tree lies meanwhile, nor with which privilege it is made. `network`:
    /// as if that were this job's.
    pub fn facts(&self, network: bool) -> Value {
        let scripts = self.image.config.is_some() || self.image.images.is_some();
        json!({
            "version": crate::STAGE_VERSION,
            "architecture": self.architecture,
            "packages": self.packages,
            "image": self.image,
            "network": scripts.then_some(network),
        })
    }
}

/// The image beyond its packages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// Name.
    pub name: String,
    /// Overlay tree.
    pub overlay: Option<Object>,
    /// Accounts.
    pub users: Vec<User>,
    /// Locales, joined by commas.
    pub locale: Option<String>,
    /// Console keymap.
    pub keytable: Option<String>,
    /// Time zone.
    pub timezone: Option<String>,
    /// Variables for scripts.
    pub profile: Vec<(String, String)>,
    /// `config.sh`.
    pub config: Option<Object>,
    /// `images.sh`.
    pub images: Option<Object>,
    /// Packages to remove with what depends on them.
    pub uninstall: Vec<String>,
    /// Packages to remove by force.
    pub delete: Vec<String>,
    /// Package sources that the image keeps.
    pub sources: Vec<ImageSource>,
    /// Time stamp of the newest file, where the environment says it.
    pub source_date_epoch: Option<u64>,
}

/// A package source that the image keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageSource {
    /// Name of the file below `/etc/apt/sources.list.d`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Keyrings: absolute path and content.
    pub keys: Vec<(String, Object)>,
}

/// A line from the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The namespaces are there; the uid map may be written. Answered by one line.
    Ready,
    /// What is being done now.
    Progress(String),
    /// Something the user should know.
    Warning(String),
    /// A part of the work is done.
    Part {
        /// Its name.
        name: String,
        /// Wall time.
        milliseconds: u64,
    },
    /// A fact for the journal.
    Event(Box<stage::Event>),
    /// An object of the store is not what its name says.
    Damage(store::Damage),
    /// The most RAM that the worker, or a program that it ran, has taken, in KiB.
    Peak(u64),
    /// The tree is made.
    Done(Box<Outcome>),
    /// It is not.
    Failed {
        /// Exit code of the stage.
        code: u8,
        /// What was refused when the sandbox was made: the step's name.
        step: Option<String>,
        /// The message.
        message: String,
        /// The way out.
        advice: Option<String>,
    },
}

/// What the worker made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The tree.
    pub tree: Object,
    /// Sum of file sizes.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
    /// The kernel.
    pub kernel: Kernel,
    /// The initramfs, where the tree has dracut.
    pub initramfs: Option<Object>,
    /// The time stamp.
    pub source_date_epoch: u64,
    /// Installed packages at the end: name, version, architecture.
    pub installed: Vec<(String, String, String)>,
}
