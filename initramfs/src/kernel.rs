//! What the tree's kernel is and can.

use std::collections::BTreeSet;

use stage::Result;
use store::Store;
use store::tree::Tree;

use crate::content;
use crate::modules::module_name;

/// The kernel that the initramfs is for.
#[derive(Debug, Clone, Copy)]
pub struct Kernel<'a> {
    /// Release, as `uname -r` prints it.
    pub release: &'a str,
    /// The directory of its modules in the tree, without the leading slash.
    pub modules: &'a str,
}

/// How a kernel was built.
#[derive(Debug)]
pub struct Config(String);

impl Config {
    /// The configuration in `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether an option is built in.
    pub fn has(&self, option: &str) -> bool {
        let mut lines = self.0.lines();
        lines.any(|line| line.strip_suffix("=y") == Some(option))
    }
}

impl Kernel<'_> {
    /// Its configuration, where the tree has it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn config(&self, store: &Store, tree: &Tree) -> Result<Option<Config>> {
        let places = [
            format!("boot/config-{}", self.release),
            format!("{}/config", self.modules),
        ];
        for place in places {
            if let Some(text) = content(store, tree, &place)? {
                return Ok(Some(Config::new(String::from_utf8_lossy(&text))));
            }
        }
        Ok(None)
    }

    /// The first of these modules that it does not have, built in or not.
    ///
    /// # Errors
    /// Those of the store.
    pub fn lacks<'n>(
        &self,
        store: &Store,
        tree: &Tree,
        names: &[&'n str],
    ) -> Result<Option<&'n str>> {
        let mut present = BTreeSet::new();
        for list in ["modules.dep", "modules.builtin"] {
            let text = content(store, tree, &format!("{}/{list}", self.modules))?;
            let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
            let files = text.lines().filter_map(|line| line.split(':').next());
            present.extend(files.map(module_name));
        }
        let absent = |name: &&&str| !present.contains(**name);
        Ok(names.iter().find(absent).copied())
    }
}
