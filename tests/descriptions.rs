//! Bad descriptions, as the person sees them who runs pipeline.sh: one clear end, and nothing left in the
//! output directory. What exactly each message says is tested beside desc-parse and rootfs-assemble.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::{Path, PathBuf};

use pipeline_tests::{command, root, run, scratch, store, text};
use tempfile::TempDir;

/// A copy of examples/debian-vm that may be spoilt.
struct Description {
    dir: TempDir,
}

impl Description {
    fn new() -> Self {
        let dir = scratch();
        run(
            "cp",
            &[
                &"-a",
                &root().join("examples/debian-vm"),
                &dir.path().join("d"),
            ],
        );
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("d").join(name)
    }

    /// Replaces a piece of config.xml, which must be there.
    fn with(self, old: &str, new: &str) -> Self {
        let file = self.path("config.xml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "no {old:?} in {}", file.display());
        std::fs::write(file, text.replacen(old, new, 1)).unwrap();
        self
    }

    /// The pipeline ends with `code`, having said all of `expected`.
    fn ends(&self, options: &[&str], code: i32, expected: &[&str]) {
        let out = self.dir.path().join("out");
        let output = command(root().join("pipeline.sh"))
            .env("RAMFORGE_STORE", store())
            .arg("-o")
            .arg(&out)
            .args(options)
            .arg(self.path(""))
            .output()
            .unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        for part in expected {
            assert!(said.contains(part), "no {part:?} in:\n{said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        // The stages behind the one that failed add nothing to its message.
        assert!(!said.contains("the input is empty"), "{said}");
        assert!(is_empty(&out), "something is left in {}", out.display());
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
fn malformed_xml() {
    let spoilt = Description::new().with("</preferences>", "</preference>");
    spoilt.ends(&[], 3, &["config.xml:", "preferences"]);
}

#[test]
fn an_unknown_element_with_the_nearest_name() {
    let spoilt = Description::new().with("<timezone>UTC</timezone>", "<timezon>UTC</timezon>");
    spoilt.ends(&[], 3, &["config.xml:", "timezon", "timezone"]);
}

#[test]
fn several_mistakes_in_one_run() {
    let spoilt = Description::new()
        .with("filesystem=\"ext4\"", "filesytem=\"ext4\"")
        .with("<oem-swap>false", "<oem-swap>maybe");
    spoilt.ends(&[], 3, &["filesytem", "filesystem", "maybe"]);
}

#[test]
fn two_descriptions_in_one_directory() {
    let spoilt = Description::new();
    let config = spoilt.path("config.xml");
    std::fs::copy(&config, spoilt.path("one.kiwi")).unwrap();
    std::fs::rename(&config, spoilt.path("two.kiwi")).unwrap();
    spoilt.ends(&[], 3, &["one.kiwi", "two.kiwi"]);
}

#[test]
fn no_description_at_all() {
    let spoilt = Description::new();
    std::fs::remove_file(spoilt.path("config.xml")).unwrap();
    spoilt.ends(&[], 3, &["config.xml"]);
}

#[test]
fn a_missing_overlay_file() {
    let archive = "<archive name=\"overlay.tar.gz\"/>\n    <package name=\"udev\"/>";
    let spoilt = Description::new().with("<package name=\"udev\"/>", archive);
    spoilt.ends(&[], 3, &["config.xml:", "overlay.tar.gz"]);
}

#[test]
fn a_ram_disk_smaller_than_the_image() {
    let spoilt = Description::new()
        .with("ramdisk_size=2048000", "ramdisk_size=102400")
        .with("</oemconfig>", "</oemconfig>\n<size unit=\"G\">1</size>");
    spoilt.ends(&[], 3, &["config.xml:", "ramdisk_size"]);
}

/// Without a <size> only the finished image tells: then it is the verdict, and says what to set.
#[test]
fn a_ram_disk_smaller_than_what_was_built() {
    let spoilt = Description::new()
        .with("ramdisk_size=2048000", "ramdisk_size=102400")
        .with("<oem-ramdisk-size>2048000", "<oem-ramdisk-size>102400");
    let out = spoilt.dir.path().join("out");
    let output = command(root().join("pipeline.sh"))
        .env("RAMFORGE_STORE", store())
        .arg("-o")
        .args([&out, &spoilt.path("")])
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("set ramdisk_size="), "{said}");
}

#[test]
fn a_root_that_cannot_run_from_ram() {
    let spoilt = Description::new().with("<oemconfig>", "<systemdisk name=\"vg\"/>\n<oemconfig>");
    spoilt.ends(&[], 3, &["config.xml:", "LVM"]);
}

#[test]
fn a_package_that_does_not_exist() {
    let spoilt = Description::new().with(
        "<package name=\"udev\"/>",
        "<package name=\"no-such-package\"/>",
    );
    // Not refused: the repositories decide, and tomorrow they may have it.
    spoilt.ends(&[], 1, &["no-such-package", "config.xml:"]);
}

#[test]
fn a_repository_that_is_not_there() {
    let spoilt = Description::new();
    // The discard port of this machine: nobody listens.
    let options = [
        "--set-repo",
        "http://127.0.0.1:9/debian,apt-deb,gone,,,,,main,stable",
    ];
    spoilt.ends(&options, 1, &["127.0.0.1:9"]);
}

/// A description is judged by the words that there are at boot.
#[test]
fn descriptions_know_the_words_of_ram_deploy() {
    let words: Vec<String> = description::boot_words().collect();
    assert_eq!(words, ram_deploy::cmdline::WORDS);
}
