//! `<preferences>` without `<type>`.

use super::Often::{Any, Once, Some};
use super::Use::{Carried, Ignored, Used};
use super::{ARCH, Element, Kind, PROFILES, node, text};

const IN: &[(&str, super::Often)] = &[("preferences", Once)];

/// Package managers that KIWI knows, older names too.
const PACKAGE_MANAGERS: &[&str] = &[
    "apt", "apt-get", "zypper", "dnf", "dnf4", "dnf5", "microdnf", "yum", "pacman", "apk",
];

// A table: one row a line.
#[rustfmt::skip]
pub(super) const ROWS: &[Element] = &[
    node("preferences", &[("image", Some)], &[PROFILES, ARCH.since(7, 4)], Used("settings; of several in force, the first that has an element counts")),
    text("version", IN, Kind::Version, Used("the image's version, part of every file name")),
    text("packagemanager", IN, Kind::OneOf(PACKAGE_MANAGERS), Used("apt is supported")),
    text("locale", IN, Kind::Locales, Used("language of the system")),
    text("keytable", IN, Kind::Text, Used("console keymap")),
    text("timezone", IN, Kind::Text, Used("time zone")),
    text("release-version", IN, Kind::Text, Ignored("apt names a release per repository (distribution=)")).since(7, 5),
    text("rpm-check-signatures", IN, Kind::Bool, Ignored("apt checks the repository's signature, see repository_gpgcheck")),
    text("rpm-excludedocs", IN, Kind::Bool, Ignored("it is a setting of rpm; with apt, put path-exclude lines into an overlay's etc/dpkg/dpkg.cfg.d")),
    text("rpm-locale-filtering", IN, Kind::Bool, Ignored("it is a setting of rpm")).since(7, 1),
    text("bootsplash-theme", IN, Kind::Text, Ignored("no splash is set up; run plymouth-set-default-theme in config.sh")),
    text("bootloader-theme", IN, Kind::Text, Ignored("the boot menu is text")),
    text("showlicense", &[("preferences", Any)], Kind::Text, Carried("a licence that an installer would show")),
];
