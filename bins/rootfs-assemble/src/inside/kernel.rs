//! The kernel of the tree.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;

use manifest::Kernel;
use stage::{Error, Result};
use store::tree::{Kind, Tree};

/// Where modules lie in a merged tree.
const MODULES: &str = "usr/lib/modules";

/// A kernel with its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its release.
    pub release: String,
    /// Path of its image in the tree, without the leading slash.
    pub image: String,
}

/// The newest kernel of the tree.
///
/// # Errors
/// Exit code 1 where there is none.
pub fn find() -> Result<Found> {
    let dir = Path::new("/").join(MODULES);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut found: Vec<Found> = names.filter_map(with_image).collect();
    found.sort_by(|a, b| by_version(&a.release, &b.release));
    found.pop().ok_or_else(|| {
        Error::failed("the tree has no kernel: nothing in /boot fits a directory of /lib/modules")
            .advice(
                "add a kernel package to the description: <package name=\"linux-image-amd64\"/>",
            )
    })
}

fn with_image(release: String) -> Option<Found> {
    let candidates = [
        format!("boot/vmlinuz-{release}"),
        format!("boot/vmlinux-{release}"),
        format!("boot/Image-{release}"),
        format!("{MODULES}/{release}/vmlinuz"),
    ];
    let image = candidates
        .into_iter()
        .find(|path| Path::new("/").join(path).is_file())?;
    Some(Found { release, image })
}

/// Compares digit by number and the rest by letters: 6.10 is newer than 6.9.
fn by_version(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            let rest = part[digits.len()..].to_owned();
            parts.push((digits.parse().unwrap_or(0), rest));
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

impl Found {
    /// Path of its initramfs, as Debian names it, without the leading slash.
    pub fn initramfs(&self) -> String {
        format!("boot/initrd.img-{}", self.release)
    }

    /// The section's description, with the image as it was captured.
    ///
    /// # Errors
    /// Exit code 1 where the image is gone.
    pub fn describe(&self, tree: &Tree) -> Result<Kernel> {
        let image = match tree.get(&self.image).map(|e| &e.kind) {
            Some(Kind::File(object)) => *object,
            _ => return Err(Error::failed(format!("the kernel {} is gone", self.image))),
        };
        Ok(Kernel {
            release: self.release.clone(),
            image,
            path: self.image.clone(),
            modules: format!("{MODULES}/{}", self.release),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        let mut releases = ["6.9.0-2-amd64", "6.10.1-1-amd64", "6.9.0-10-amd64"];
        releases.sort_by(|a, b| by_version(a, b));
        assert_eq!(
            releases,
            ["6.9.0-2-amd64", "6.9.0-10-amd64", "6.10.1-1-amd64"]
        );
    }
}
